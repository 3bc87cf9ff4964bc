//! A CA that is not valid any more names the one that followed it, to those who were away: docs/adr/0007-successors.md.

use std::time::Duration;

use plastron_spiffe::Bundle;
use plastron_spiffe::x509::{CertificateFacts, Purpose, SvidError, X509Svid, verify_chain, verify_successor};
use rustls_pki_types::UnixTime;

use crate::fixture::{CA_TTL, Disk, Server};

const MONTH: u64 = 30 * 86_400;

fn own_chain(server: &Server) -> Vec<Vec<u8>> {
    server.services.server_svid.subscribe().borrow().chain.clone()
}

fn follow(server: &Server, known: &Bundle) -> Result<(), SvidError> {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(server.clock_now()));
    let svid = X509Svid::parse(own_chain(server)).unwrap();
    // The new bundle needs no successor, and one certificate more does not disturb.
    verify_chain(svid.clone(), &*server.services.bundles.current(), Purpose::ServerAuth, now).unwrap();
    verify_successor(svid, known, Purpose::ServerAuth, now).map(drop)
}

/// Threat 49
#[tokio::test]
async fn after_a_month_the_ca_of_before_names_the_one_of_now() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    assert_eq!(own_chain(&server).len(), 1, "there is none before");
    let known = (*server.services.bundles.current()).clone();
    drop(server);
    disk.clock.advance(MONTH);
    let server = disk.start().await.unwrap();
    follow(&server, &known).unwrap();
    // Also while it runs, and for as long as the key of before is in its slot.
    server.clock.advance(CA_TTL / 4);
    server.services.rotate().await;
    follow(&server, &known).unwrap();
    server.clock.advance(CA_TTL / 2);
    server.services.rotate().await;
    assert_eq!(own_chain(&server).len(), 1, "the slot has the next key by now");
    assert!(disk.audit.lines().iter().any(|line| line.contains("x509 authority name successor")), "it is announced");
}

/// Whoever keeps the certificate and gets the key that it names, which is revoked for that, poses as nobody with it for long.
#[tokio::test]
async fn a_successor_is_named_for_no_longer_than_the_svid_that_it_stands_behind() {
    for back in [false, true] {
        let disk = Disk::new();
        let server = disk.start().await.unwrap();
        if back {
            disk.clock.go_back(MONTH);
        } else {
            disk.clock.advance(MONTH);
        }
        server.services.rotate().await;
        let chain = own_chain(&server);
        let [svid, link] = chain.as_slice() else { panic!("{} certificates", chain.len()) };
        let ends = |certificate: &[u8]| CertificateFacts::read(certificate).unwrap().not_after;
        assert_eq!(ends(link), ends(svid));
        assert!(ends(link) < server.services.ca.authority().not_after());
    }
}

/// An old key signs nothing that nobody needs.
#[tokio::test]
async fn a_ca_that_is_still_valid_names_nobody() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    server.clock.advance(CA_TTL - CA_TTL / 6 + 1);
    server.services.rotate().await;
    assert_eq!(server.services.bundles.current().x509_authorities.len(), 2);
    assert_eq!(own_chain(&server).len(), 1);
}

/// Threat 56
#[tokio::test]
async fn a_ca_that_is_not_valid_yet_names_the_one_of_now() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let known = (*server.services.bundles.current()).clone();
    server.clock.go_back(MONTH);
    server.services.rotate().await;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(server.clock_now()));
    // Its end is still to come, so it is an authority as any other is.
    verify_chain(X509Svid::parse(own_chain(&server)).unwrap(), &known, Purpose::ServerAuth, now).unwrap();
}
