//! Federation relationships on the wire.

use std::sync::{Arc, Mutex};

use plastron_proto::spire::api::server::bundle::v1::GetFederatedBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::trustdomain::v1::trust_domain_client::TrustDomainClient;
use plastron_proto::spire::api::server::trustdomain::v1::{
    BatchCreateFederationRelationshipRequest, BatchDeleteFederationRelationshipRequest,
    BatchUpdateFederationRelationshipRequest, GetFederationRelationshipRequest, ListFederationRelationshipsRequest,
    RefreshBundleRequest,
};
use plastron_proto::types::federation_relationship::BundleEndpointProfile;
use plastron_proto::types::{
    Bundle, FederationRelationship, FederationRelationshipMask, HttpsWebProfile, HttpsspiffeProfile, X509Certificate,
};
use plastron_server_core::federation::{BundleRefresher, FetchFailure, Refreshed};
use plastron_spiffe::TrustDomain;
use tonic::Code;
use tonic::transport::Channel;

use crate::federation::{foreign, told};
use crate::harness::{Server, TRUST_DOMAIN};

fn web(trust_domain: &str) -> FederationRelationship {
    FederationRelationship {
        trust_domain: trust_domain.to_owned(),
        bundle_endpoint_url: format!("https://bundle.{trust_domain}:8443/b"),
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsWeb(HttpsWebProfile {})),
        trust_domain_bundle: None,
    }
}

fn spiffe(trust_domain: &str, endpoint_spiffe_id: &str) -> FederationRelationship {
    let profile = HttpsspiffeProfile { endpoint_spiffe_id: endpoint_spiffe_id.to_owned() };
    let bundle_endpoint_profile = Some(BundleEndpointProfile::HttpsSpiffe(profile));
    FederationRelationship { bundle_endpoint_profile, ..web(trust_domain) }
}

fn client(server: &Server) -> TrustDomainClient<Channel> {
    TrustDomainClient::new(server.local.clone())
}

type Item = ((Code, String), Option<FederationRelationship>);

async fn create(server: &Server, items: Vec<FederationRelationship>) -> Vec<Item> {
    let request = BatchCreateFederationRelationshipRequest { federation_relationships: items, output_mask: None };
    let answer = client(server).batch_create_federation_relationship(request).await.unwrap().into_inner();
    answer.results.into_iter().map(|result| (told(result.status), result.federation_relationship)).collect()
}

async fn update(server: &Server, item: FederationRelationship, mask: Option<FederationRelationshipMask>) -> Item {
    let request = BatchUpdateFederationRelationshipRequest {
        federation_relationships: vec![item],
        input_mask: mask,
        output_mask: None,
    };
    let answer = client(server).batch_update_federation_relationship(request).await.unwrap().into_inner();
    let result = answer.results.into_iter().next().unwrap();
    (told(result.status), result.federation_relationship)
}

#[tokio::test]
async fn relationships_are_created_changed_listed_and_deleted() {
    let server = Server::start().await;
    let ok = || (Code::Ok, "OK".to_owned());
    let (a, b) = (web("a.example"), spiffe("b.example", "spiffe://b.example/endpoint"));
    let with_bundle = FederationRelationship { trust_domain_bundle: Some(foreign("b.example", 1)), ..b.clone() };
    let created = create(&server, vec![a.clone(), a.clone(), with_bundle.clone()]).await;
    let exists = "failed to create federation relationship: federation relationship already exists".to_owned();
    assert_eq!(
        created,
        [(ok(), Some(a.clone())), ((Code::AlreadyExists, exists), None), (ok(), Some(with_bundle.clone()))]
    );
    let request = GetFederatedBundleRequest { trust_domain: "b.example".to_owned(), output_mask: None };
    let bundle = BundleClient::new(server.local.clone()).get_federated_bundle(request).await.unwrap().into_inner();
    assert_eq!(Some(&bundle), with_bundle.trust_domain_bundle.as_ref(), "the bundle came along");

    let moved = FederationRelationship { bundle_endpoint_url: "https://10.0.0.1".to_owned(), ..web("b.example") };
    let mask = FederationRelationshipMask { bundle_endpoint_url: true, ..Default::default() };
    let expected =
        FederationRelationship { bundle_endpoint_url: moved.bundle_endpoint_url.clone(), ..with_bundle.clone() };
    assert_eq!(update(&server, moved, Some(mask)).await, (ok(), Some(expected.clone())));
    let newer = FederationRelationship { trust_domain_bundle: Some(foreign("b.example", 2)), ..web("b.example") };
    assert_eq!(update(&server, newer.clone(), None).await, (ok(), Some(newer.clone())));
    let absent = update(&server, web("absent.example"), None).await.0;
    assert_eq!(absent, (Code::NotFound, "federation relationship not found".to_owned()));

    let list = |page_token| ListFederationRelationshipsRequest { page_size: 1, page_token, output_mask: None };
    let first = client(&server).list_federation_relationships(list(String::new())).await.unwrap().into_inner();
    assert_eq!(first.federation_relationships, [a]);
    let last = client(&server).list_federation_relationships(list(first.next_page_token)).await.unwrap().into_inner();
    assert_eq!((last.federation_relationships, last.next_page_token), (vec![newer], String::new()));
    let get = |name: &str| GetFederationRelationshipRequest {
        trust_domain: name.to_owned(),
        output_mask: Some(FederationRelationshipMask::default()),
    };
    let masked = client(&server).get_federation_relationship(get("b.example")).await.unwrap().into_inner();
    let bare = FederationRelationship { trust_domain: "b.example".to_owned(), ..Default::default() };
    assert_eq!(masked, bare);
    let absent = client(&server).get_federation_relationship(get("absent.example")).await.unwrap_err();
    assert_eq!((absent.code(), absent.message()), (Code::NotFound, "federation relationship does not exist"));

    let trust_domains = ["spiffe://b.example", "b.example", "", "Bad"].map(str::to_owned).to_vec();
    let request = BatchDeleteFederationRelationshipRequest { trust_domains };
    let answer = client(&server).batch_delete_federation_relationship(request).await.unwrap().into_inner();
    let results: Vec<_> = answer.results.into_iter().map(|result| (told(result.status), result.trust_domain)).collect();
    let [deleted, again, empty, bad] = <[_; 4]>::try_from(results).unwrap();
    assert_eq!(deleted, (ok(), "b.example".to_owned()));
    assert_eq!(again.0, (Code::NotFound, "federation relationship not found".to_owned()));
    assert_eq!(empty, ((Code::InvalidArgument, "missing trust domain".to_owned()), String::new()));
    assert_eq!((bad.0.0, bad.1.as_str()), (Code::InvalidArgument, "Bad"));
    assert!(bad.0.1.starts_with("failed to parse trust domain: "), "{}", bad.0.1);
}

#[tokio::test]
async fn what_is_no_relationship_is_refused_in_the_words_of_spire() {
    let server = Server::start().await;
    let url = |url: &str| FederationRelationship { bundle_endpoint_url: url.to_owned(), ..web("a.example") };
    let bundle = |bundle| FederationRelationship { trust_domain_bundle: Some(bundle), ..web("a.example") };
    let broken = Bundle { x509_authorities: vec![X509Certificate::default()], ..foreign("a.example", 1) };
    let convert = "failed to convert federation relationship: ";
    let cases = [
        (web(""), "failed to parse trust domain"),
        (url(""), "bundle endpoint URL must use the https scheme"),
        (url("http://a.example"), "bundle endpoint URL must use the https scheme"),
        (url("https:///b"), "bundle endpoint URL must specify the host"),
        (url("https://user:secret@a.example"), "bundle endpoint URL must not contain user info"),
        (url("https://a.example/\u{1}"), "failed to parse bundle endpoint URL"),
        (
            FederationRelationship { bundle_endpoint_profile: None, ..web("a.example") },
            "unsupported bundle endpoint profile type",
        ),
        (spiffe("a.example", ""), "failed to parse endpoint SPIFFE ID"),
        (bundle(Bundle::default()), "failed to parse bundle: invalid trust domain"),
        (bundle(broken), "failed to parse bundle: unable to parse X.509 authority"),
        (bundle(foreign("b.example", 1)), "trust domain bundle (\"b.example\") must match the trust domain"),
    ];
    for (relationship, expected) in cases {
        let ((code, message), kept) = create(&server, vec![relationship.clone()]).await.remove(0);
        assert_eq!((code, kept), (Code::InvalidArgument, None), "{expected}");
        assert!(message.starts_with(&format!("{convert}{expected}")), "{message:?}, not {expected:?}");
        let ((code, _message), _kept) = update(&server, relationship, None).await;
        assert_eq!(code, Code::InvalidArgument, "{expected}");
    }
    let own = create(&server, vec![web(TRUST_DOMAIN)]).await.remove(0).0;
    let expected = "unable to create federation relationship for server trust domain";
    assert_eq!(own, (Code::InvalidArgument, expected.to_owned()));
    assert!(server.services.federation.relationships().is_empty());
}

/// Knows one trust domain, and can't fetch another one.
#[derive(Default)]
struct Fetcher(Mutex<Vec<TrustDomain>>);

#[async_trait::async_trait]
impl BundleRefresher for Fetcher {
    async fn refresh(&self, trust_domain: &TrustDomain) -> Result<Refreshed, FetchFailure> {
        self.0.lock().unwrap().push(trust_domain.clone());
        match trust_domain.as_str() {
            "known.example" => Ok(Refreshed::Fetched),
            "broken.example" => Err(FetchFailure { reason: "connection refused".to_owned() }),
            _ => Ok(Refreshed::NoRelationship),
        }
    }
}

#[tokio::test]
async fn a_refresh_is_asked_of_who_fetches() {
    let server = Server::start().await;
    let refresh = async |name: &str| {
        let request = RefreshBundleRequest { trust_domain: name.to_owned() };
        let refused = client(&server).refresh_bundle(request).await.err();
        refused.map(|status| (status.code(), status.message().to_owned()))
    };
    assert_eq!(refresh("known.example").await.unwrap().0, Code::Unimplemented, "nobody fetches yet");
    let fetcher = Arc::new(Fetcher::default());
    server.services.federation.set_refresher(Arc::clone(&fetcher) as _);
    assert_eq!(refresh("known.example").await, None);
    let failed = (Code::Internal, "failed to refresh bundle: connection refused".to_owned());
    assert_eq!(refresh("broken.example").await, Some(failed));
    let unknown = (Code::NotFound, "no relationship with trust domain \"unknown.example\"".to_owned());
    assert_eq!(refresh("unknown.example").await, Some(unknown));
    let (code, message) = refresh("").await.unwrap();
    assert!(code == Code::InvalidArgument && message.starts_with("failed to parse trust domain: "), "{message}");
    assert_eq!(fetcher.0.lock().unwrap().len(), 3);
}
