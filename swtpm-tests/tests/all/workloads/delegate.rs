//! The admin socket of the real agent, and foreign bundles on their way to it and to workloads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use plastron_agent_cli::{Endpoint, connect};
use plastron_proto::spire::agent::debug::v1::GetInfoRequest;
use plastron_proto::spire::agent::debug::v1::debug_client::DebugClient;
use plastron_proto::spire::api::agent::delegatedidentity::v1 as wire;
use plastron_proto::spire::api::agent::delegatedidentity::v1::delegated_identity_client::DelegatedIdentityClient;
use plastron_proto::spire::api::agent::logger::v1::SetLogLevelRequest;
use plastron_proto::spire::api::agent::logger::v1::logger_client::LoggerClient;
use plastron_proto::types::{LogLevel, Selector};
use plastron_proto::workload::{X509BundlesRequest, X509svidRequest};
use plastron_transport::unix_channel;
use tonic::Code;

use super::testbed::{PATIENCE, TRUST_DOMAIN, Testbed, own_uid};

/// The certificate of another trust domain's CA, PEM in a file and DER.
fn foreign_authority(bed: &Testbed, name: &str) -> (PathBuf, Vec<u8>) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://other.test".try_into().unwrap())];
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let path = bed.path(name);
    std::fs::write(&path, certificate.pem()).unwrap();
    (path, certificate.der().to_vec())
}

/// A delegate on the admin socket has what is another's; a workload has what is its own; both get the bundle of a foreign trust domain
/// when the server has it, and lose it with the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_delegate_and_a_workload_get_foreign_bundles_and_what_is_theirs() {
    let bed = Testbed::start("");
    let socket = bed.path("admin/admin.sock");
    let lines = format!(
        "admin_socket_path = \"{}\"\n  authorized_delegates = [\"spiffe://{TRUST_DOMAIN}/delegate\"]",
        socket.display()
    );
    let agent = bed.start_agent_with(&lines);
    let node = bed.only_node();
    let mut delegate = DelegatedIdentityClient::new(unix_channel(&socket));
    let pod = || vec![Selector { r#type: "k8s".to_owned(), value: "ns:web".to_owned() }];
    let subscription = || wire::SubscribeToX509sviDsRequest { selectors: pod(), pid: 0 };
    let status = delegate.subscribe_to_x509svi_ds(subscription()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "no identity issued"));

    let (pem, der) = foreign_authority(&bed, "other.pem");
    bed.server_cli(&["bundle", "set", "-id", "spiffe://other.test", "-path", pem.to_str().unwrap()]);
    let federates = ["-federatesWith", "spiffe://other.test"];
    bed.entry(&node, "/pod", &["k8s:ns:web"], &federates);
    bed.entry(&node, "/delegate", &[&own_uid()], &federates);

    // As a workload.
    let mut workload = connect(&Endpoint::Unix(agent.socket())).await.unwrap();
    let mut own = loop {
        match workload.fetch_x509svid(X509svidRequest {}).await {
            Ok(stream) => break stream.into_inner(),
            Err(status) => assert_eq!(status.message(), "no identity issued"),
        }
    };
    let foreign = BTreeMap::from([("spiffe://other.test".to_owned(), der.clone())]);
    loop {
        let message = tokio::time::timeout(PATIENCE, own.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(message.svids[0].spiffe_id, format!("spiffe://{TRUST_DOMAIN}/delegate"));
        if message.federated_bundles == foreign {
            break;
        }
    }
    let mut bundles = workload.fetch_x509_bundles(X509BundlesRequest {}).await.unwrap().into_inner();
    assert_eq!(bundles.message().await.unwrap().unwrap().bundles.len(), 2);

    // As a delegate.
    let mut pods = delegate.subscribe_to_x509svi_ds(subscription()).await.unwrap().into_inner();
    let pods = loop {
        let message = tokio::time::timeout(PATIENCE, pods.message()).await.unwrap().unwrap().unwrap();
        if !message.x509_svids.is_empty() {
            break message;
        }
    };
    assert_eq!(pods.x509_svids[0].x509_svid.clone().unwrap().id.unwrap().path, "/pod");
    assert_eq!(pods.federates_with, ["spiffe://other.test"]);
    let request = wire::FetchJwtsviDsRequest { audience: vec!["x".to_owned()], selectors: pod(), pid: 0 };
    let tokens = delegate.fetch_jwtsvi_ds(request).await.unwrap().into_inner().svids;
    assert_eq!(tokens.len(), 1);
    let mut debug = DebugClient::new(unix_channel(&socket));
    let info = debug.get_info(GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.cached_x509_svids_count, info.cached_jwt_svids_count, info.svid_chain.len()), (2, 1, 2));
    assert_eq!(info.svid_chain[0].subject, "O=SPIRE,C=US");
    let mut all =
        delegate.subscribe_to_x509_bundles(wire::SubscribeToX509BundlesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.message().await.unwrap().unwrap().ca_certificates["spiffe://other.test"], der);

    // The foreign domain changes its authority, and then goes.
    let (pem, der) = foreign_authority(&bed, "next.pem");
    bed.server_cli(&["bundle", "set", "-id", "spiffe://other.test", "-path", pem.to_str().unwrap()]);
    let began = Instant::now();
    let changed = tokio::time::timeout(PATIENCE, bundles.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(changed.bundles["spiffe://other.test"], der);
    println!("a foreign bundle is at a workload {:?} after `bundle set` has ended", began.elapsed());
    let changed = tokio::time::timeout(PATIENCE, all.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(changed.ca_certificates["spiffe://other.test"], der);
    bed.server_cli(&["bundle", "delete", "-id", "spiffe://other.test", "-mode", "dissociate"]);
    let gone = tokio::time::timeout(PATIENCE, bundles.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(gone.bundles.keys().collect::<Vec<_>>(), [&format!("spiffe://{TRUST_DOMAIN}")]);
    let gone = tokio::time::timeout(PATIENCE, all.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(gone.ca_certificates.keys().collect::<Vec<_>>(), [&format!("spiffe://{TRUST_DOMAIN}")]);

    // As an operator.
    let quiet = SetLogLevelRequest { new_level: LogLevel::Error.into() };
    let logger = LoggerClient::new(unix_channel(&socket)).set_log_level(quiet).await.unwrap().into_inner();
    assert_eq!((logger.current_level(), logger.launch_level()), (LogLevel::Error, LogLevel::Debug));
}
