//! Workloads on crates.io's `spiffe` and `spiffe-rustls`: their sources and their verifiers take what real agents hand out, through changes
//! of the authorities, and of what two trust domains know of each other.

mod workload;

use std::collections::BTreeSet;

use spiffe::{JwtSource, JwtSvid};
use workload::Workload;

use crate::moved_authority::{Kind, authority, move_on};
use crate::workloads::testbed::{TRUST_DOMAIN, Testbed, eventually, own_uid};

const OTHER: &str = "other.example";

#[test]
fn spiffe_and_spiffe_rustls_take_every_svid_and_token_while_authorities_move_on() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    bed.entry(&bed.only_node(), "/rust", &[&own_uid()], &[]);
    let id = format!("spiffe://{TRUST_DOMAIN}/rust");
    let workload = Workload::start(&agent, &id, &id);
    let mut leaves = BTreeSet::new();
    let mut handshakes = 0;
    // Not one fails, with no state that the agent ever showed.
    let mut shake_hands = || {
        workload.after_each_update(|| {
            let shown = workload.shake_hands(&workload).unwrap();
            assert_eq!(shown, workload.leaf(), "a handshake shows the SVID of today");
            handshakes += 1;
            leaves.insert(shown);
        });
        leaves.len()
    };
    move_on(&bed, Kind::X509, || shake_hands() > 1);
    eventually("one authority", || {
        shake_hands();
        (workload.authorities_of(TRUST_DOMAIN) == Some(1)).then_some(())
    });

    let endpoint = format!("unix:{}", agent.socket().display());
    let tokens = workload.run(JwtSource::builder().endpoint(&endpoint).build()).unwrap();
    let mut signers = BTreeSet::new();
    let mut token = || {
        let svid = workload.run(tokens.fetch_jwt_svid(["reports", "another"])).unwrap();
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
    let (ours, theirs) = (Testbed::start(""), Testbed::start_as(OTHER, ""));
    let (our_agent, their_agent) = (ours.start_agent(), theirs.start_agent());
    let our_entry = ours.entry(&ours.only_node(), "/web", &[&own_uid()], &[]);
    let their_entry = theirs.entry(&theirs.only_node(), "/db", &[&own_uid()], &[]);
    let (web_id, db_id) = (format!("spiffe://{TRUST_DOMAIN}/web"), format!("spiffe://{OTHER}/db"));
    let web = Workload::start(&our_agent, &web_id, &db_id);
    let db = Workload::start(&their_agent, &db_id, &web_id);
    let meet = || {
        web.after_each_update(|| ());
        db.after_each_update(|| ());
        web.shake_hands(&db)
    };
    let no_bundle_of = |domain: &str| format!("x509 source has no bundle for trust domain {domain}");
    let refused = meet().unwrap_err();
    assert!(refused.client.contains(&no_bundle_of(OTHER)), "{refused:?}");
    ours.federate(&theirs, &our_entry, "/web", &own_uid());
    let refused = eventually("our workload to have their bundle", || {
        let refused = meet().unwrap_err();
        web.authorities_of(OTHER).is_some().then_some(refused)
    });
    assert!(refused.server.contains(&no_bundle_of(TRUST_DOMAIN)), "{refused:?}");
    theirs.federate(&ours, &their_entry, "/db", &own_uid());
    eventually("both to know each other", || meet().ok());
    ours.forget_bundle_of(&theirs);
    let refused = eventually("the end of it", || meet().err());
    assert!(refused.client.contains(&no_bundle_of(OTHER)), "{refused:?}");
}

/// Why [`Workload`] takes steps. From the moment that a source has an update until a task of spiffe-rustls has made a configuration's material
/// of it, that configuration has neither a certificate nor signature schemes. A server whom this meets after it chose its certificate asks
/// for one with an empty list of schemes, and the client ends the handshake with "decode error". Where this is mended, the steps can go.
#[test]
fn spiffe_rustls_refuses_everyone_between_an_update_and_its_conversion() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    bed.entry(&bed.only_node(), "/rust", &[&own_uid()], &[]);
    let id = format!("spiffe://{TRUST_DOMAIN}/rust");
    let (server, client) = (Workload::start(&agent, &id, &id), Workload::start(&agent, &id, &id));
    server.after_each_update(|| ());
    bed.server_cli(&["localauthority", "x509", "prepare"]);
    eventually("the client to have the prepared authority", || {
        client.after_each_update(|| drop(client.shake_hands(&server).unwrap()));
        (client.authorities_of(TRUST_DOMAIN) == Some(2)).then_some(())
    });

    let refused = client.shake_hands_while_an_update_arrives(&server).unwrap_err();
    assert_eq!(server.authorities_of(TRUST_DOMAIN), Some(2));
    assert!(refused.client.contains("NoSignatureSchemes"), "{refused:?}");
    assert!(refused.server.contains("DecodeError"), "{refused:?}");
    let refused = client.shake_hands(&server).unwrap_err();
    assert!(refused.server.contains("no server certificate chain resolved"), "{refused:?}");
    server.convert();
    client.shake_hands(&server).unwrap();
}
