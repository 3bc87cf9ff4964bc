//! Downstream servers and administrators of other trust domains, over TLS.

use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::bundle::v1::{ListFederatedBundlesRequest, PublishJwtAuthorityRequest};
use plastron_proto::spire::api::server::entry::v1::BatchUpdateEntryRequest;
use plastron_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_proto::spire::api::server::svid::v1::{
    BatchNewX509svidRequest, MintX509svidRequest, NewDownstreamX509caRequest, NewX509svidParams,
};
use plastron_proto::types::{Entry, EntryMask, JwtKey};
use plastron_server_core::authorization::{Caller, LocalPeer};
use plastron_server_core::store::DeleteMode;
use plastron_spiffe::x509::{Purpose, X509Svid, verify_chain};
use plastron_spiffe::{SpiffeId, TrustDomain};
use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::UnixTime;
use tonic::Code;

use crate::harness::{Agent, Server, TRUST_DOMAIN, bad_csr, csr};

/// A workload of the agent whose entry says that it is a downstream server.
async fn downstream(server: &Server, agent: &Agent) -> Agent {
    let id = server.entry(agent, "/nested").await;
    let request = BatchUpdateEntryRequest {
        entries: vec![Entry { id: id.clone(), downstream: true, ..Default::default() }],
        input_mask: Some(EntryMask { downstream: true, ..Default::default() }),
        output_mask: None,
    };
    EntryClient::new(server.local.clone()).batch_update_entry(request).await.unwrap();
    let key = KeyPair::generate().unwrap();
    let params = vec![NewX509svidParams { entry_id: id, csr: csr(&key) }];
    let mut client = SvidClient::new(server.tls(Some(agent)).await);
    let answer = client.batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap().into_inner();
    Agent { key, svid: answer.results.into_iter().next().unwrap().svid.unwrap() }
}

#[tokio::test]
async fn a_downstream_server_gets_its_ca_and_publishes_its_jwt_key() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let nested = downstream(&server, &agent).await;
    let channel = server.tls(Some(&nested)).await;
    let mut svids = SvidClient::new(channel.clone());
    let key = KeyPair::generate().unwrap();
    let request = |csr| NewDownstreamX509caRequest { csr, preferred_ttl: 600 };
    let answer = svids.new_downstream_x509ca(request(csr(&key))).await.unwrap().into_inner();
    let bundle = server.services.bundles.current();
    let roots: Vec<_> = bundle.x509_authorities.iter().map(|authority| authority.certificate.clone()).collect();
    assert_eq!(answer.x509_authorities, roots);
    let [ca] = answer.ca_cert_chain.as_slice() else { unreachable!("one certificate below a self-signed root") };
    // It is a CA of the trust domain and no SVID of anybody.
    assert!(X509Svid::parse(vec![ca.clone()]).is_err());
    plastron_spiffe::X509Authority::parse(ca.clone()).unwrap();
    let text = String::from_utf8_lossy(ca);
    assert!(text.contains("spiffe://example.org") && text.contains("DOWNSTREAM-1"));

    for (bad, expected) in [(Vec::new(), "malformed CSR: "), (bad_csr(&key), "invalid CSR signature")] {
        let refused = svids.new_downstream_x509ca(request(bad)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(expected), "{}", refused.message());
    }

    let mut bundles = BundleClient::new(channel);
    let public_key = key.subject_public_key_info();
    let authority = JwtKey { public_key, key_id: "nested".to_owned(), expires_at: 1_900_000_000, tainted: false };
    let publish = |jwt_authority| PublishJwtAuthorityRequest { jwt_authority };
    let keys = bundles.publish_jwt_authority(publish(Some(authority.clone()))).await.unwrap().into_inner();
    assert_eq!(keys.jwt_authorities.len(), bundle.jwt_authorities.len() + 1, "all of the bundle");
    assert!(keys.jwt_authorities.contains(&authority));
    let missing = bundles.publish_jwt_authority(publish(None)).await.unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::InvalidArgument, "missing JWT authority"));
    let unnamed = JwtKey { key_id: String::new(), ..authority };
    let unnamed = bundles.publish_jwt_authority(publish(Some(unnamed))).await.unwrap_err();
    assert_eq!((unnamed.code(), unnamed.message()), (Code::InvalidArgument, "invalid JWT authority: missing key ID"));

    for channel in [server.local.clone(), server.tls(None).await, server.tls(Some(&agent)).await] {
        let refused = SvidClient::new(channel.clone()).new_downstream_x509ca(request(csr(&key))).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        let refused = BundleClient::new(channel).publish_jwt_authority(publish(None)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
}

/// An SVID that the server of another trust domain minted.
async fn minted(server: &Server, id: &str) -> Agent {
    let key = KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(id.try_into().unwrap())];
    let csr = params.serialize_request(&key).unwrap().der().to_vec();
    let request = MintX509svidRequest { csr, ttl: 0 };
    let answer = SvidClient::new(server.local.clone()).mint_x509svid(request).await.unwrap().into_inner();
    Agent { key, svid: answer.svid.unwrap() }
}

#[tokio::test]
async fn an_administrator_of_a_federated_trust_domain_administers_and_no_one_else_there() {
    let ops_domain = TrustDomain::parse("ops.example").unwrap();
    let foreign = ops_domain.clone();
    let ops = Server::configured(move |config| config.ca.trust_domain = foreign).await;
    let admin_id = SpiffeId::parse("spiffe://ops.example/admin").unwrap();
    let server = Server::configured(|config| config.admin_ids = vec![admin_id]).await;
    let admin = minted(&ops, "spiffe://ops.example/admin").await;
    let nobody = minted(&ops, "spiffe://ops.example/nobody").await;
    let list = async |identity: &Agent| {
        let mut client = BundleClient::new(server.tls(Some(identity)).await);
        let listed = client.list_federated_bundles(ListFederatedBundlesRequest::default()).await;
        listed.map(|listed| listed.into_inner().bundles.len()).map_err(|status| status.code())
    };
    server.follow_bundles();
    assert!(server.refuses(Some(&admin)).await, "there is no bundle to verify it against");

    let caller = Caller::Local(LocalPeer { pid: None, uid: 0, gid: 0 });
    let permit = server.services.authorizer.authorize(&caller).await.unwrap();
    let bundle = ops.services.bundles.current();
    server.services.federation.set_bundle(&permit, bundle.as_ref().clone()).await.unwrap();
    server.follow_bundles();
    let parsed = X509Svid::parse(admin.svid.cert_chain.clone()).unwrap();
    verify_chain(parsed, bundle.as_ref(), Purpose::Any, UnixTime::now()).unwrap();
    assert_eq!(list(&admin).await, Ok(1));
    assert_eq!(list(&nobody).await, Err(Code::PermissionDenied));

    let permit = server.services.authorizer.authorize(&caller).await.unwrap();
    server.services.federation.delete_bundle(&permit, ops_domain, DeleteMode::Restrict).await.unwrap();
    server.follow_bundles();
    assert!(server.refuses(Some(&admin)).await, "nobody is let in by a bundle that is gone");
    assert_eq!(server.services.bundles.current().trust_domain.as_str(), TRUST_DOMAIN);
}
