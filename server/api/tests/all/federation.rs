//! Foreign trust domains on the wire: bundles, relationships, and the codes and words of every refusal.

use std::sync::Arc;

use plastron_proto::spire::api::server::bundle::v1::batch_delete_federated_bundle_request::Mode;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::bundle::v1::{
    BatchCreateFederatedBundleRequest, BatchDeleteFederatedBundleRequest, BatchSetFederatedBundleRequest,
    BatchUpdateFederatedBundleRequest, CountBundlesRequest, GetBundleRequest, GetFederatedBundleRequest,
    ListFederatedBundlesRequest,
};
use plastron_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use plastron_proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, BatchUpdateEntryRequest, GetEntryRequest,
};
use plastron_proto::types::{self, Bundle, BundleMask, Entry, JwtKey, Selector, Spiffeid, X509Certificate};
use plastron_server_core::federation::{FetchedError, Kept};
use plastron_server_core::store::FederatedBundleError;
use plastron_spiffe::TrustDomain;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{Server, TRUST_DOMAIN};

pub(crate) fn ca() -> X509Certificate {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let asn1 = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
    X509Certificate { asn1, tainted: false }
}

pub(crate) fn foreign(trust_domain: &str, sequence_number: u64) -> Bundle {
    let public_key = KeyPair::generate().unwrap().subject_public_key_info();
    Bundle {
        trust_domain: trust_domain.to_owned(),
        x509_authorities: vec![ca()],
        jwt_authorities: vec![JwtKey { public_key, key_id: "kid".to_owned(), expires_at: 9, tainted: false }],
        refresh_hint: 60,
        sequence_number,
        wit_authorities: Vec::new(),
    }
}

pub(crate) fn told(status: Option<types::Status>) -> (Code, String) {
    let status = status.unwrap();
    (Code::from_i32(status.code), status.message)
}

fn refused(code: Code, message: &str) -> (Code, String) {
    (code, message.to_owned())
}

fn done() -> (Code, String) {
    (Code::Ok, "OK".to_owned())
}

fn client(server: &Server) -> BundleClient<Channel> {
    BundleClient::new(server.local.clone())
}

async fn create(server: &Server, bundle: Vec<Bundle>) -> Vec<((Code, String), Option<Bundle>)> {
    let request = BatchCreateFederatedBundleRequest { bundle, output_mask: None };
    let results = client(server).batch_create_federated_bundle(request).await.unwrap().into_inner().results;
    results.into_iter().map(|result| (told(result.status), result.bundle)).collect()
}

async fn set(server: &Server, bundle: Bundle) -> ((Code, String), Option<Bundle>) {
    let request = BatchSetFederatedBundleRequest { bundle: vec![bundle], output_mask: None };
    let answer = client(server).batch_set_federated_bundle(request).await.unwrap().into_inner();
    let result = answer.results.into_iter().next().unwrap();
    (told(result.status), result.bundle)
}

async fn get(server: &Server, trust_domain: &str) -> Result<Bundle, Status> {
    let request = GetFederatedBundleRequest { trust_domain: trust_domain.to_owned(), output_mask: None };
    Ok(client(server).get_federated_bundle(request).await?.into_inner())
}

async fn delete(server: &Server, trust_domain: &str, mode: Mode) -> (Code, String) {
    let request = BatchDeleteFederatedBundleRequest { trust_domains: vec![trust_domain.to_owned()], mode: mode.into() };
    let answer = client(server).batch_delete_federated_bundle(request).await.unwrap().into_inner();
    let result = answer.results.into_iter().next().unwrap();
    assert_eq!(result.trust_domain, trust_domain);
    told(result.status)
}

#[tokio::test]
async fn bundles_are_created_changed_set_listed_and_counted() {
    let server = Server::start().await;
    let (a, b) = (foreign("a.example", 3), foreign("spiffe://b.example", 0));
    let created = create(&server, vec![a.clone(), a.clone(), b.clone()]).await;
    let b = Bundle { trust_domain: "b.example".to_owned(), ..b };
    let exists = refused(Code::AlreadyExists, "bundle already exists");
    assert_eq!(created, [(done(), Some(a.clone())), (exists, None), (done(), Some(b.clone()))]);
    let count = client(&server).count_bundles(CountBundlesRequest {}).await.unwrap().into_inner().count;
    assert_eq!(count, 3, "the server's own is one of them");

    let mut changed = foreign("a.example", 9);
    changed.x509_authorities = vec![ca(), X509Certificate { tainted: true, ..ca() }];
    let mask = BundleMask { x509_authorities: true, ..BundleMask::default() };
    let request = BatchUpdateFederatedBundleRequest {
        bundle: vec![changed.clone(), foreign("absent.example", 1)],
        input_mask: Some(mask),
        output_mask: None,
    };
    let results = client(&server).batch_update_federated_bundle(request).await.unwrap().into_inner().results;
    let [updated, absent] = <[_; 2]>::try_from(results).unwrap();
    for authority in &mut changed.x509_authorities {
        authority.tainted = false;
    }
    let expected = Bundle { x509_authorities: changed.x509_authorities, ..a };
    assert_eq!((told(updated.status), updated.bundle), (done(), Some(expected.clone())));
    assert_eq!(told(absent.status), refused(Code::NotFound, "bundle not found"));
    assert_eq!(get(&server, "spiffe://a.example").await.unwrap(), expected);

    let lower = foreign("a.example", 1);
    assert_eq!(set(&server, lower.clone()).await, (done(), Some(lower.clone())), "a person may go back");
    let third = foreign("c.example", 1);
    assert_eq!(set(&server, third.clone()).await, (done(), Some(third.clone())));
    let list = |page_size, page_token| ListFederatedBundlesRequest { page_size, page_token, output_mask: None };
    let first = client(&server).list_federated_bundles(list(2, String::new())).await.unwrap().into_inner();
    assert_eq!(first.bundles, [lower, b]);
    let last = client(&server).list_federated_bundles(list(2, first.next_page_token)).await.unwrap().into_inner();
    assert_eq!((last.bundles, last.next_page_token), (vec![third], String::new()));
    let refused = client(&server).list_federated_bundles(list(2, "rubbish".to_owned())).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_no_foreign_bundle_is_refused_in_the_words_of_spire() {
    let server = Server::start().await;
    let good = || foreign("a.example", 1);
    let not_valid = "trust domain argument is not valid: ";
    let converted = "failed to convert bundle: unable to parse ";
    let huge = X509Certificate { asn1: vec![0x30; 200_000], tainted: false };
    let cases = [
        (foreign("", 1), not_valid),
        (foreign("Not a domain", 1), not_valid),
        (foreign(TRUST_DOMAIN, 1), "setting a federated bundle for the server's own trust domain is not allowed"),
        (Bundle { x509_authorities: vec![X509Certificate::default()], ..good() }, converted),
        (Bundle { x509_authorities: vec![huge], ..good() }, converted),
        (Bundle { jwt_authorities: vec![JwtKey::default()], ..good() }, converted),
        (Bundle { x509_authorities: vec![ca(); 1025], ..good() }, "failed to convert bundle: 1025 X.509 authorities"),
        (Bundle { refresh_hint: -1, ..good() }, "failed to convert bundle: refresh hint -1 is negative"),
        (Bundle { sequence_number: u64::MAX, ..good() }, "failed to convert bundle: sequence number"),
    ];
    for (bundle, expected) in cases {
        let ((code, message), kept) = set(&server, bundle).await;
        assert_eq!((code, kept), (Code::InvalidArgument, None), "{expected}");
        assert!(message.starts_with(expected), "{message:?}, where {expected:?} was expected");
    }
    let mut twice = good();
    twice.x509_authorities.push(twice.x509_authorities[0].clone());
    let ((code, _), kept) = set(&server, twice.clone()).await;
    assert_eq!((code, kept.unwrap().x509_authorities.len()), (Code::Ok, 1), "what is there twice is kept once");

    let own = get(&server, TRUST_DOMAIN).await.unwrap_err();
    let expected = "getting a federated bundle for the server's own trust domain is not allowed";
    assert_eq!((own.code(), own.message()), (Code::InvalidArgument, expected));
    let absent = get(&server, "absent.example").await.unwrap_err();
    assert_eq!((absent.code(), absent.message()), (Code::NotFound, "bundle not found"));
    assert_eq!(get(&server, "").await.unwrap_err().code(), Code::InvalidArgument);
    let own = delete(&server, TRUST_DOMAIN, Mode::Delete).await;
    assert_eq!(own, refused(Code::InvalidArgument, "removing the bundle for the server trust domain is not allowed"));
    let absent = delete(&server, "absent.example", Mode::Restrict).await;
    assert_eq!(absent, refused(Code::NotFound, "bundle not found"));
    let request = BatchDeleteFederatedBundleRequest { trust_domains: vec!["a.example".to_owned()], mode: 7 };
    let mode = client(&server).batch_delete_federated_bundle(request).await.unwrap_err();
    let expected = "failed to parse deletion mode: unhandled delete mode \"7\"";
    assert_eq!((mode.code(), mode.message()), (Code::InvalidArgument, expected));
    let request = BatchSetFederatedBundleRequest { bundle: vec![Bundle::default(); 1001], output_mask: None };
    let many = client(&server).batch_set_federated_bundle(request).await.unwrap_err();
    assert_eq!(many.code(), Code::InvalidArgument);
}

fn entry(federates_with: &[&str]) -> Entry {
    let id = |path: &str| Some(Spiffeid { trust_domain: TRUST_DOMAIN.into(), path: path.into() });
    Entry {
        spiffe_id: id("/workload"),
        parent_id: id("/parent"),
        selectors: vec![Selector { r#type: "unix".into(), value: "uid:1".into() }],
        federates_with: federates_with.iter().map(|&name| name.to_owned()).collect(),
        ..Default::default()
    }
}

async fn create_entry(server: &Server, entry: Entry) -> ((Code, String), Option<Entry>) {
    let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
    let answer = EntryClient::new(server.local.clone()).batch_create_entry(request).await.unwrap().into_inner();
    let result = answer.results.into_iter().next().unwrap();
    (told(result.status), result.entry)
}

#[tokio::test]
async fn entries_hold_a_bundle_unless_they_are_let_go_or_deleted_with_it() {
    let server = Server::start().await;
    let unknown = create_entry(&server, entry(&["a.example"])).await.0;
    assert_eq!(unknown.0, Code::InvalidArgument);
    assert!(unknown.1.contains("unable to find federated bundle"), "{}", unknown.1);
    set(&server, foreign("a.example", 1)).await;
    set(&server, foreign("b.example", 1)).await;
    let created = create_entry(&server, entry(&["a.example", "b.example"])).await.1.unwrap();
    let held = delete(&server, "a.example", Mode::Restrict).await;
    assert_eq!(held.0, Code::FailedPrecondition);
    assert_eq!(
        held.1,
        "failed to delete federated bundle: cannot delete bundle; federated with 1 registration entries"
    );
    assert_eq!(delete(&server, "a.example", Mode::Dissociate).await, done());
    let fetch = GetEntryRequest { id: created.id.clone(), output_mask: None };
    let mut entries = EntryClient::new(server.local.clone());
    let kept = entries.get_entry(fetch.clone()).await.unwrap().into_inner();
    assert_eq!((kept.federates_with.as_slice(), kept.revision_number), (["b.example".to_owned()].as_slice(), 1));
    let again = Entry { federates_with: vec!["a.example".to_owned()], ..kept };
    let request = BatchUpdateEntryRequest { entries: vec![again], input_mask: None, output_mask: None };
    let answer = entries.batch_update_entry(request).await.unwrap().into_inner();
    assert_eq!(told(answer.results.into_iter().next().unwrap().status).0, Code::InvalidArgument);
    assert_eq!(delete(&server, "b.example", Mode::Delete).await, done());
    assert_eq!(entries.get_entry(fetch).await.unwrap_err().code(), Code::NotFound);
}

/// Agents read foreign bundles, and change none; administrators' messages may be as long as SPIRE's, and everyone's are short.
#[tokio::test]
async fn agents_read_foreign_bundles_and_strangers_nothing() {
    let server = Server::start().await;
    let bundle = foreign("a.example", 1);
    set(&server, bundle.clone()).await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let mut as_agent = BundleClient::new(server.tls(Some(&agent)).await);
    let mut as_stranger = BundleClient::new(server.tls(None).await);
    let request = GetFederatedBundleRequest { trust_domain: "a.example".to_owned(), output_mask: None };
    assert_eq!(as_agent.get_federated_bundle(request.clone()).await.unwrap().into_inner(), bundle);
    assert_eq!(as_stranger.get_federated_bundle(request).await.unwrap_err().code(), Code::PermissionDenied);
    let request = BatchSetFederatedBundleRequest { bundle: vec![bundle], output_mask: None };
    assert_eq!(as_agent.batch_set_federated_bundle(request).await.unwrap_err().code(), Code::PermissionDenied);
    let list = ListFederatedBundlesRequest::default();
    assert_eq!(as_agent.list_federated_bundles(list).await.unwrap_err().code(), Code::PermissionDenied);

    let long = ListFederatedBundlesRequest { page_token: "0".repeat(3 * 1024 * 1024), ..Default::default() };
    let read = client(&server).list_federated_bundles(long).await.unwrap_err();
    assert_eq!(read.code(), Code::InvalidArgument, "it was read");
    as_stranger.get_bundle(GetBundleRequest::default()).await.unwrap();
}

/// What `endpoint` fetched: older ones are refused, the same one again costs no write, and no one says whom this server trusts itself.
#[tokio::test]
async fn a_fetched_bundle_is_kept_once_and_never_goes_back() {
    let server = Server::start().await;
    let federation = &server.services.federation;
    let document = |name: &str, sequence| {
        let mut bundle = plastron_spiffe::Bundle::empty(TrustDomain::parse(name).unwrap());
        bundle.sequence_number = sequence;
        bundle
    };
    let kept = federation.keep_fetched(document("a.example", 5), || true).await.unwrap();
    assert!(matches!(kept, Kept::Changed(_)));
    let commits = server.services.ledger.statistics().commits;
    assert_eq!(federation.keep_fetched(document("a.example", 5), || true).await.unwrap(), Kept::Unchanged);
    assert_eq!(server.services.ledger.statistics().commits, commits);
    let back = federation.keep_fetched(document("a.example", 4), || true).await;
    assert_eq!(back, Err(FetchedError::Store(FederatedBundleError::Rollback { got: 4, kept: 5 })));
    assert_eq!(federation.keep_fetched(document(TRUST_DOMAIN, 9), || true).await, Err(FetchedError::OwnTrustDomain));
    let own = server.services.bundles.current();
    assert!(Arc::ptr_eq(&federation.bundle(&own.trust_domain).unwrap(), &own), "the server's own is as it was");
    assert_eq!(get(&server, "a.example").await.unwrap().sequence_number, 5);
}
