//! Two workloads talk over TLS with what the Workload API gave them, verified by rustls' own WebPKI verifier and none of our code.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, Stream};

use super::testbed::{Agent, TRUST_DOMAIN, Testbed, path_of, workload_program};

/// What `api fetch x509 -write` left in a directory.
struct Material {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

fn fetch(agent: &Agent, workload: &Path, directory: PathBuf) -> Material {
    std::fs::create_dir(&directory).unwrap();
    let fetched = agent.fetch_as(workload, &["-write", directory.to_str().unwrap()]);
    assert!(fetched.status.success(), "{fetched:?}");
    let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(directory.join(name)).unwrap().map(Result::unwrap).collect()
    };
    let mut roots = RootCertStore::empty();
    for root in certificates("bundle.0.pem") {
        roots.add(root).unwrap();
    }
    Material {
        chain: certificates("svid.0.pem"),
        key: PrivateKeyDer::from_pem_file(directory.join("svid.0.key")).unwrap(),
        roots: Arc::new(roots),
    }
}

/// One connection: the client says hello, the server answers with the SPIFFE ID in the client's certificate.
fn talk(client: &Material, server: &Material) -> Result<String, String> {
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(server.roots.clone(), provider.clone()).build().unwrap();
    let server_config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(server.chain.clone(), server.key.clone_key())
        .unwrap();
    let client_config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(client.roots.clone())
        .with_client_auth_cert(client.chain.clone(), client.key.clone_key())
        .unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        let mut connection = ServerConnection::new(Arc::new(server_config)).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).map_err(|error| error.to_string())?;
        let leaf = stream.conn.peer_certificates().unwrap()[0].clone();
        let id = plastron_spiffe::x509::X509Svid::parse(vec![leaf.to_vec()]).unwrap().claimed_id().to_string();
        stream.write_all(id.as_bytes()).map_err(|error| error.to_string())?;
        stream.conn.send_close_notify();
        stream.flush().map_err(|error| error.to_string())
    });
    let name = ServerName::try_from("db.test").unwrap();
    let mut connection = ClientConnection::new(Arc::new(client_config), name).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let mut answer = String::new();
    let asked = stream.write_all(b"hello").and_then(|()| stream.read_to_string(&mut answer));
    drop(socket);
    serving.join().unwrap()?;
    asked.map(|_| answer).map_err(|error| error.to_string())
}

#[test]
fn two_workloads_talk_over_mutual_tls_and_a_stranger_does_not() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    let node = bed.only_node();
    let (web, db) = (workload_program(&bed.path(""), "web"), workload_program(&bed.path(""), "db"));
    bed.entry(&node, "/web", &[&path_of(&web)], &[]);
    bed.entry(&node, "/db", &[&path_of(&db)], &["-dns", "db.test"]);
    agent.await_id(&web, "/web");
    agent.await_id(&db, "/db");
    let web_material = fetch(&agent, &web, bed.path("web.d"));
    let db_material = fetch(&agent, &db, bed.path("db.d"));
    assert_eq!(talk(&web_material, &db_material), Ok(format!("spiffe://{TRUST_DOMAIN}/web")));

    // Another server's trust domain of the same name, with the same names in its SVIDs: neither end takes the other.
    let elsewhere = Testbed::start("");
    let foreign = elsewhere.start_agent();
    let foreign_node = elsewhere.only_node();
    elsewhere.entry(&foreign_node, "/web", &[&path_of(&web)], &["-dns", "db.test"]);
    foreign.await_id(&web, "/web");
    let stranger = fetch(&foreign, &web, elsewhere.path("web.d"));
    talk(&stranger, &db_material).unwrap_err();
    talk(&web_material, &stranger).unwrap_err();
    // Also if the stranger trusts everyone.
    let naive = Material { roots: web_material.roots.clone(), ..stranger };
    talk(&naive, &db_material).unwrap_err();
    talk(&web_material, &naive).unwrap_err();
}
