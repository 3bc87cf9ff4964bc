//! The client on a server's services: relationships of configuration and API, and endpoints that rotate, roll back and fail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use plastron_server_core::authorization::rpc;
use plastron_spiffe::{Bundle, EndpointProfile, FederationRelationship, TrustDomain};
use plastron_transport::{HttpsServerTls, IdentitySlot};

use crate::fake::{Answer, Fake, answer, document};
use crate::pki::{Ca, SERVER, id, other};
use crate::server::{Server, by_id, by_name};

/// An endpoint whose document and SVID change.
struct Endpoint {
    fake: Fake,
    says: Arc<Mutex<Answer>>,
    identity: Arc<IdentitySlot>,
}

impl Endpoint {
    async fn start(ca: &Ca) -> Self {
        let says = Arc::new(Mutex::new(answer("500 x", "", b"nothing yet")));
        let identity = IdentitySlot::new(ca.identity(SERVER, true));
        let tls = HttpsServerTls::presenting_svid(Arc::clone(&identity)).unwrap();
        let said = Arc::clone(&says);
        let fake = Fake::start(tls, move |_| said.lock().unwrap().clone()).await;
        Self { fake, says, identity }
    }

    /// Shows the authorities of these from now on.
    fn show(&self, sequence_number: u64, of: &[&Ca]) {
        let x509_authorities = of.iter().flat_map(|ca| ca.bundle.x509_authorities.clone()).collect();
        let bundle = Bundle { x509_authorities, sequence_number, ..Bundle::empty(other()) };
        *self.says.lock().unwrap() = document(&bundle.to_spiffe_json().unwrap());
    }

    /// Answers nothing until `release`.
    fn hold(&self) {
        self.fake.held.send_replace(true);
    }

    fn release(&self) {
        self.fake.held.send_replace(false);
    }

    async fn until_asked(&self, times: usize) {
        while self.fake.asked().len() < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_relationship_of_the_api_is_followed_from_its_bundle_on() {
    let ca = Ca::new("other.test");
    let endpoint = Endpoint::start(&ca).await;
    endpoint.show(5, &[&ca]);
    let server = Server::start(Vec::new(), &ca).await;
    server.create(by_id(&endpoint.fake), Some(ca.bundle.clone())).await;
    assert_eq!(server.until(5).await.x509_authorities, ca.bundle.x509_authorities);
    endpoint.until_asked(1).await;
    endpoint.show(6, &[&ca]);
    // The next one is due in five minutes, as the bundle has no hint.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(331)).await;
    tokio::time::resume();
    server.until(6).await;
}

#[tokio::test]
async fn https_web_needs_no_bundle() {
    let (web, ca) = (Ca::new("web.test"), Ca::new("other.test"));
    let shown = Bundle { sequence_number: 5, ..ca.bundle.clone() }.to_spiffe_json().unwrap();
    let fake = Fake::start(web.web("localhost", true), move |_| document(&shown)).await;
    let server = Server::start(vec![by_name(&fake)], &web).await;
    server.until(5).await;
    assert_eq!(server.refresh().await, None);
}

#[tokio::test]
async fn the_same_bundle_again_is_not_written() {
    let ca = Ca::new("other.test");
    let endpoint = Endpoint::start(&ca).await;
    endpoint.show(5, &[&ca]);
    let server = Server::start(vec![by_id(&endpoint.fake)], &ca).await;
    server.set(ca.bundle.clone()).await;
    server.until(5).await;
    let before = server.services.ledger.state().revision();
    assert_eq!(server.refresh().await, None);
    assert_eq!(server.services.ledger.state().revision(), before);
}

/// FE-07 and the fault of other implementations that take whatever differs.
#[tokio::test]
async fn a_bundle_that_goes_back_is_refused() {
    let (ca, stolen) = (Ca::new("other.test"), Ca::new("other.test"));
    let endpoint = Endpoint::start(&ca).await;
    endpoint.show(5, &[&ca]);
    let server = Server::start(vec![by_id(&endpoint.fake)], &ca).await;
    server.set(ca.bundle.clone()).await;
    let kept = server.until(5).await;
    for back in [4, 1, 0] {
        endpoint.show(back, &[&ca, &stolen]);
        let said = server.refresh().await.unwrap();
        assert!(said.starts_with("failed to refresh bundle: failed to store fetched federated bundle"), "{said}");
        assert!(said.contains(&format!("sequence number {back}")) && said.contains("goes back"), "{said}");
        assert_eq!(server.bundle().unwrap(), kept);
    }
    endpoint.show(6, &[&ca]);
    assert_eq!(server.refresh().await, None);
    server.until(6).await;
}

/// FE-33
#[tokio::test]
async fn an_endpoint_that_rotates_is_believed_by_its_latest_bundle_and_one_that_jumps_is_not() {
    let (first, second, third) = (Ca::new("other.test"), Ca::new("other.test"), Ca::new("other.test"));
    let endpoint = Endpoint::start(&first).await;
    endpoint.show(5, &[&first, &second]);
    let server = Server::start(vec![by_id(&endpoint.fake)], &first).await;
    server.set(first.bundle.clone()).await;
    server.until(5).await;
    endpoint.identity.replace(second.identity(SERVER, true));
    endpoint.show(6, &[&second]);
    assert_eq!(server.refresh().await, None);
    let kept = server.until(6).await;
    // What the first authority signed counts no more, nor what one signed that was never shown.
    for jumped in [&first, &third] {
        endpoint.identity.replace(jumped.identity(SERVER, true));
        endpoint.show(7, &[jumped]);
        let said = server.refresh().await.unwrap();
        assert!(said.contains("is refused"), "{said}");
        assert_eq!(server.bundle().unwrap(), kept);
    }
}

#[tokio::test]
async fn a_bundle_that_is_set_by_hand_is_used_at_once() {
    let (ca, next) = (Ca::new("other.test"), Ca::new("other.test"));
    let endpoint = Endpoint::start(&ca).await;
    endpoint.show(5, &[&ca]);
    let server = Server::start(vec![by_id(&endpoint.fake)], &ca).await;
    let said = server.refresh().await.unwrap();
    assert!(said.contains("local copy of bundle not found"), "{said}");
    assert!(endpoint.fake.asked().is_empty());
    server.set(ca.bundle.clone()).await;
    server.until(5).await;
    // The same after an endpoint jumped to another authority.
    endpoint.identity.replace(next.identity(SERVER, true));
    endpoint.show(6, &[&next]);
    assert!(server.refresh().await.is_some());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(331)).await;
    tokio::time::resume();
    server.set(next.bundle.clone()).await;
    server.until(6).await;
}

#[tokio::test]
async fn a_failure_keeps_what_is_there() {
    let ca = Ca::new("other.test");
    let endpoint = Endpoint::start(&ca).await;
    endpoint.show(5, &[&ca]);
    let server = Server::start(vec![by_id(&endpoint.fake)], &ca).await;
    server.set(ca.bundle.clone()).await;
    let kept = server.until(5).await;
    for failure in [answer("500 x", "", b""), document("{}"), answer("302 x", "location: /x\r\n", b"")] {
        *endpoint.says.lock().unwrap() = failure;
        assert!(server.refresh().await.is_some());
        assert_eq!(server.bundle().unwrap(), kept);
    }
}

/// SPIFFE_Trust_Domain_and_Bundle.md, section 4.1.3
#[tokio::test]
async fn an_emptied_bundle_ends_the_trust() {
    let ca = Ca::new("other.test");
    let endpoint = Endpoint::start(&ca).await;
    endpoint.show(5, &[]);
    let server = Server::start(vec![by_id(&endpoint.fake)], &ca).await;
    server.set(ca.bundle.clone()).await;
    assert_eq!(server.until(5).await.x509_authorities, []);
    assert!(server.refresh().await.unwrap().contains("is refused"));
}

#[tokio::test]
async fn configuration_wins_over_the_api_and_a_changed_relationship_over_the_one_before() {
    let ca = Ca::new("other.test");
    let (configured, made, moved) =
        (Endpoint::start(&ca).await, Endpoint::start(&ca).await, Endpoint::start(&ca).await);
    configured.show(5, &[&ca]);
    made.show(9, &[&ca]);
    moved.show(11, &[&ca]);
    let server = Server::start(vec![by_id(&configured.fake)], &ca).await;
    server.create(by_id(&made.fake), Some(ca.bundle.clone())).await;
    server.until(5).await;
    assert_eq!(server.refresh().await, None);
    assert!(made.fake.asked().is_empty());

    let server = Server::start(Vec::new(), &ca).await;
    server.create(by_id(&made.fake), Some(ca.bundle.clone())).await;
    server.until(9).await;
    let permit = server.permit::<rpc::BatchUpdateFederationRelationship>().await;
    let patch = plastron_server_core::store::RelationshipPatch {
        trust_domain: other(),
        bundle_endpoint_url: Some(moved.fake.url("127.0.0.1", "/")),
        profile: None,
        bundle: None,
    };
    server.services.federation.update_relationship(&permit, patch).await.unwrap();
    server.until(11).await;
}

#[tokio::test]
async fn a_relationship_that_is_gone_is_not_fetched() {
    let ca = Ca::new("other.test");
    let endpoint = Endpoint::start(&ca).await;
    endpoint.show(5, &[&ca]);
    let server = Server::start(Vec::new(), &ca).await;
    let none = server.refresh().await.unwrap();
    assert!(none.starts_with("no relationship with trust domain \"other.test\""), "{none}");
    server.create(by_id(&endpoint.fake), Some(ca.bundle.clone())).await;
    server.until(5).await;
    let permit = server.permit::<rpc::BatchDeleteFederationRelationship>().await;
    server.services.federation.delete_relationship(&permit, other()).await.unwrap();
    assert!(server.refresh().await.is_some());
    // Let the task see it, then let the time pass at which it would have asked again.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let asked = endpoint.fake.asked().len();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3600)).await;
    tokio::time::resume();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(endpoint.fake.asked().len(), asked);
    assert_eq!(server.bundle().unwrap().sequence_number, 5);
}

#[tokio::test]
async fn an_endpoint_may_be_of_a_third_trust_domain_and_never_speaks_for_that() {
    let (ca, third) = (Ca::new("other.test"), Ca::new("third.test"));
    let shown = Bundle { sequence_number: 5, ..ca.bundle.clone() }.to_spiffe_json().unwrap();
    let host = "spiffe://third.test/host";
    let fake = Fake::start(third.svid(host, true), move |_| document(&shown)).await;
    let relationship =
        FederationRelationship { profile: EndpointProfile::HttpsSpiffe { id: id(host) }, ..by_id(&fake) };
    let server = Server::start(vec![relationship], &ca).await;
    server.set(third.bundle.clone()).await;
    assert_eq!(server.until(5).await.x509_authorities, ca.bundle.x509_authorities);
    let kept = server.services.federation.bundle(&TrustDomain::parse("third.test").unwrap()).unwrap();
    assert_eq!(*kept, third.bundle);
}

#[tokio::test]
async fn nobody_else_speaks_for_the_own_trust_domain() {
    let (web, ca) = (Ca::new("web.test"), Ca::new("example.org"));
    let shown = Bundle { sequence_number: 500, ..ca.bundle.clone() }.to_spiffe_json().unwrap();
    let fake = Fake::start(web.web("localhost", true), move |_| document(&shown)).await;
    let own = TrustDomain::parse("example.org").unwrap();
    let server =
        Server::start(vec![FederationRelationship { trust_domain: own.clone(), ..by_name(&fake) }], &web).await;
    let before = server.services.bundles.current();
    let permit = server.permit::<rpc::RefreshBundle>().await;
    let refused = server.services.federation.refresh(permit, &own).await.unwrap_err();
    let cause = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
    assert!(cause.contains("own trust domain is not fetched"), "{refused}: {cause}");
    assert_eq!(server.services.bundles.current(), before);
}

/// Whoever ends a relationship and deletes the bundle is not overruled by an answer that was under way.
#[tokio::test]
async fn an_answer_that_comes_after_the_relationship_ended_is_not_kept() {
    let ca = Ca::new("other.test");
    let endpoint = Endpoint::start(&ca).await;
    endpoint.show(5, &[&ca]);
    let server = Server::start(Vec::new(), &ca).await;
    server.create(by_id(&endpoint.fake), Some(ca.bundle.clone())).await;
    server.until(5).await;
    let asked = endpoint.fake.asked().len();
    endpoint.show(6, &[&ca]);
    endpoint.hold();
    let ended = async {
        endpoint.until_asked(asked + 1).await;
        let permit = server.permit::<rpc::BatchDeleteFederationRelationship>().await;
        server.services.federation.delete_relationship(&permit, other()).await.unwrap();
        let permit = server.permit::<rpc::BatchDeleteFederatedBundle>().await;
        let mode = plastron_server_core::store::DeleteMode::Restrict;
        server.services.federation.delete_bundle(&permit, other(), mode).await.unwrap();
        endpoint.release();
    };
    let (said, ()) = tokio::join!(server.refresh(), ended);
    assert_eq!(server.bundle(), None);
    let said = said.unwrap();
    assert!(said.contains("was changed during the fetch"), "{said}");
}

/// Whoever holds a stolen authority's key can hold an answer back for as long as a fetch may take.
#[tokio::test]
async fn an_answer_that_comes_after_its_authority_was_taken_away_is_not_kept() {
    let (stolen, next) = (Ca::new("other.test"), Ca::new("other.test"));
    let endpoint = Endpoint::start(&stolen).await;
    endpoint.show(5, &[&stolen]);
    let server = Server::start(vec![by_id(&endpoint.fake)], &stolen).await;
    server.set(stolen.bundle.clone()).await;
    server.until(5).await;
    let asked = endpoint.fake.asked().len();
    endpoint.show(1_000_000, &[&stolen]);
    endpoint.hold();
    let replaced = async {
        endpoint.until_asked(asked + 1).await;
        server.set(Bundle { sequence_number: 6, ..next.bundle.clone() }).await;
        endpoint.release();
    };
    let (said, ()) = tokio::join!(server.refresh(), replaced);
    assert_eq!(server.bundle().unwrap().x509_authorities, next.bundle.x509_authorities);
    let said = said.unwrap();
    assert!(said.contains("was changed during the fetch"), "{said}");
}

/// Whoever asks for a refresh learns within bounded time that endpoints hang, however many domains come before.
#[tokio::test]
async fn a_refresh_that_does_not_get_its_turn_is_refused_with_the_reason() {
    let ca = Ca::new("other.test");
    let endpoint = Endpoint::start(&ca).await;
    endpoint.show(5, &[&ca]);
    endpoint.hold();
    let server = Server::start(vec![by_id(&endpoint.fake)], &ca).await;
    server.set(ca.bundle.clone()).await;
    // The periodic fetch hangs, and the callers wait behind it, one after another.
    endpoint.until_asked(1).await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let said = futures_util::future::join_all((0..6).map(|_| server.refresh())).await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(36), "{:?}", begun.elapsed());
    let turned_away = said.iter().flatten().filter(|said| said.contains("did not get its turn")).count();
    assert!(turned_away >= 3, "{said:?}");
    assert_eq!(said.iter().flatten().count(), 6, "{said:?}");
    tokio::time::resume();
    endpoint.release();
    assert_eq!(server.refresh().await, None);
}
