//! Who an endpoint must be, under either profile.

use plastron_server_federation::{FetchError, fetch};
use plastron_spiffe::Bundle;
use plastron_spiffe::x509::SvidError;
use plastron_transport::{HttpGetError, HttpsClientTls, HttpsConnectError, HttpsServerTls, PeerRefused};

use crate::fake::{Fake, document};
use crate::pki::{Ca, SERVER, id, other};

const DOCUMENT: &str = r#"{"keys": [], "spiffe_sequence": 7, "spiffe_refresh_hint": 60}"#;

async fn get(served: HttpsServerTls, host: &str, tls: &HttpsClientTls) -> Result<Bundle, FetchError> {
    let fake = Fake::start(served, |_| document(DOCUMENT)).await;
    fetch(&other(), &fake.url(host, "/"), tls).await
}

fn spiffe(ca: &Ca) -> HttpsClientTls {
    HttpsClientTls::Spiffe { server: id(SERVER), bundle: ca.bundle.clone() }
}

fn tls_error(result: Result<Bundle, FetchError>) -> String {
    match result.unwrap_err() {
        FetchError::Get(HttpGetError::Connect(HttpsConnectError::Tls { source, .. })) => source.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_of_the_web_is_believed_where_its_authority_is() {
    let ca = Ca::new("web.test");
    let tls = HttpsClientTls::Web(ca.roots());
    for name in ["localhost", "127.0.0.1"] {
        let bundle = get(ca.web(name, true), name, &tls).await.unwrap();
        assert_eq!((bundle.trust_domain, bundle.sequence_number, bundle.refresh_hint), (other(), 7, 60));
    }
}

#[tokio::test]
async fn https_web_refuses_another_name_another_authority_and_the_past() {
    let ca = Ca::new("web.test");
    let tls = HttpsClientTls::Web(ca.roots());
    let said = tls_error(get(ca.web("example.org", true), "localhost", &tls).await);
    assert!(said.contains("not valid for name"), "{said}");
    let said = tls_error(get(ca.web("example.org", true), "127.0.0.1", &tls).await);
    assert!(said.contains("not valid for name"), "{said}");
    let said = tls_error(get(Ca::new("web.test").web("localhost", true), "localhost", &tls).await);
    assert!(said.contains("UnknownIssuer") || said.contains("BadSignature"), "{said}");
    let said = tls_error(get(ca.web("localhost", false), "localhost", &tls).await);
    assert!(said.contains("expired"), "{said}");
}

#[tokio::test]
async fn https_web_says_that_the_profile_is_the_wrong_one_where_the_endpoint_has_an_svid() {
    let (web, ca) = (Ca::new("web.test"), Ca::new("other.test"));
    // Even where the roots are those of the trust domain: an SVID is for no name.
    for roots in [web.roots(), ca.roots()] {
        match get(ca.svid(SERVER, true), "localhost", &HttpsClientTls::Web(roots)).await.unwrap_err() {
            FetchError::Get(HttpGetError::Connect(error @ HttpsConnectError::WrongProfile { .. })) => {
                assert!(error.to_string().contains(SERVER), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_spiffe_id_is_believed_whatever_the_name() {
    let ca = Ca::new("other.test");
    for host in ["localhost", "127.0.0.1"] {
        get(ca.svid(SERVER, true), host, &spiffe(&ca)).await.unwrap();
    }
}

#[tokio::test]
async fn https_spiffe_refuses_another_id_another_authority_a_web_certificate_and_the_past() {
    let (ca, impostor) = (Ca::new("other.test"), Ca::new("other.test"));
    let refused = async |served| match get(served, "localhost", &spiffe(&ca)).await.unwrap_err() {
        FetchError::Get(HttpGetError::Connect(HttpsConnectError::Refused { source, .. })) => source,
        other => panic!("{other:?}"),
    };
    let neighbour = "spiffe://other.test/workload";
    assert_eq!(refused(ca.svid(neighbour, true)).await, PeerRefused::Id { expected: id(SERVER), got: id(neighbour) });
    let said = refused(impostor.svid(SERVER, true)).await;
    assert!(matches!(said, PeerRefused::Svid(SvidError::UnknownAuthority { .. })), "{said:?}");
    let said = refused(ca.svid("spiffe://third.test/spire/server", true)).await;
    assert!(matches!(said, PeerRefused::Svid(SvidError::UnknownTrustDomain { .. })), "{said:?}");
    let said = refused(ca.svid(SERVER, false)).await;
    assert!(matches!(said, PeerRefused::Svid(SvidError::Expired { .. })), "{said:?}");
    let said = refused(ca.web("localhost", true)).await;
    assert!(matches!(said, PeerRefused::Svid(_)), "{said:?}");
}

#[tokio::test]
async fn an_emptied_bundle_authenticates_no_one() {
    let ca = Ca::new("other.test");
    let tls = HttpsClientTls::Spiffe { server: id(SERVER), bundle: Bundle::empty(other()) };
    let refused = get(ca.svid(SERVER, true), "localhost", &tls).await.unwrap_err();
    assert!(
        matches!(refused, FetchError::Get(HttpGetError::Connect(HttpsConnectError::Refused { .. }))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn nobody_who_listens_is_an_error() {
    let ca = Ca::new("other.test");
    let fake = Fake::start(ca.svid(SERVER, true), |_| document(DOCUMENT)).await;
    let url = fake.url("127.0.0.1", "/");
    drop(fake);
    tokio::task::yield_now().await;
    let error = fetch(&other(), &url, &spiffe(&ca)).await.unwrap_err();
    assert!(matches!(error, FetchError::Get(HttpGetError::Connect(_))), "{error:?}");
}
