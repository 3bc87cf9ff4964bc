//! The client against a server that speaks TLS and SPIRE's Bundle service: who is believed, and as whom we come.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../core/tests/agent/authority.rs"]
mod authority;

use std::sync::{Arc, Mutex};

use authority::Authority;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use plastron_agent_core::upstream::{Caller, Upstream as _, UpstreamError};
use plastron_agent_core::{AgentSvid, PrivateKey, SvidKey};
use plastron_agent_upstream::GrpcUpstream;
use plastron_proto::spire::api::server::bundle::v1::bundle_server::{Bundle as BundleService, BundleServer};
use plastron_proto::spire::api::server::bundle::v1::*;
use plastron_proto::types;
use plastron_spiffe::x509::X509Svid;
use plastron_spiffe::{Bundle, TrustDomain};
use plastron_transport::{
    BundleSlot, IdentitySlot, ServerTls, TlsIdentity, TlsPeer, TrustedProxies, tls_incoming, tls_server,
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

/// An SVID of this authority, with its key.
fn svid(authority: &Authority, id: &str, lifetime: u64) -> (X509Svid, Zeroizing<Vec<u8>>) {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let id = plastron_spiffe::SpiffeId::parse(id).unwrap();
    let leaf = authority.leaf(&id, public.as_ref(), now() - 100, now() - 100 + lifetime);
    (X509Svid::parse(vec![leaf]).unwrap(), Zeroizing::new(key.to_pkcs8v1().unwrap().as_ref().to_vec()))
}

fn caller(authority: &Authority, bundle: &Bundle) -> Caller {
    let (svid, key) = svid(authority, "spiffe://example.org/spire/agent/test/one", 3600);
    let svid = AgentSvid { svid, key: SvidKey::Own(Arc::new(PrivateKey::from_pkcs8(key))), reattestable: true };
    Caller { svid: Arc::new(svid), bundle: Arc::new(bundle.clone()) }
}

#[derive(Clone)]
struct Fake {
    bundle: Bundle,
    callers: Arc<Mutex<Vec<Option<String>>>>,
}

/// A server whose SVID is `identity`, and that trusts and serves `authority`'s bundle. Its port, and who called it.
async fn serve(authority: &Authority, identity: (X509Svid, Zeroizing<Vec<u8>>)) -> (u16, Fake) {
    let fake = Fake { bundle: authority.bundle(), callers: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let identity = IdentitySlot::new(TlsIdentity::new(&identity.0, &identity.1).unwrap());
    let tls = ServerTls::new(identity, BundleSlot::new([authority.bundle()]));
    let service = BundleServer::new(fake.clone());
    tokio::spawn(tls_server().add_service(service).serve_with_incoming(tls_incoming(
        listener,
        tls,
        TrustedProxies::default(),
    )));
    (port, fake)
}

fn client(port: u16) -> GrpcUpstream {
    GrpcUpstream::new("127.0.0.1", port, domain("example.org")).unwrap()
}

const SERVER: &str = "spiffe://example.org/spire/server";

#[tokio::test]
async fn our_server_is_called_with_our_svid() {
    let authority = Authority::new(&domain("example.org"), now());
    let (port, fake) = serve(&authority, svid(&authority, SERVER, 3600)).await;
    let client = client(port);
    let caller = caller(&authority, &authority.bundle());
    for _ in 0..3 {
        let bundle = client.bundle(&caller).await.unwrap();
        assert_eq!(bundle.x509_authorities, authority.bundle().x509_authorities);
    }
    let foreign = client.federated_bundle(&caller, &domain("other.org")).await.unwrap();
    assert_eq!(foreign, None);
    let callers = fake.callers.lock().unwrap().clone();
    assert_eq!(callers, [(); 4].map(|()| Some("spiffe://example.org/spire/agent/test/one".to_owned())));
}

#[tokio::test]
async fn a_renewed_svid_is_used_from_the_next_call_on() {
    let authority = Authority::new(&domain("example.org"), now());
    let (port, fake) = serve(&authority, svid(&authority, SERVER, 3600)).await;
    let client = client(port);
    client.bundle(&caller(&authority, &authority.bundle())).await.unwrap();
    let (svid, key) = svid(&authority, "spiffe://example.org/spire/agent/test/two", 3600);
    let svid = AgentSvid { svid, key: SvidKey::Own(Arc::new(PrivateKey::from_pkcs8(key))), reattestable: true };
    client.bundle(&Caller { svid: Arc::new(svid), bundle: Arc::new(authority.bundle()) }).await.unwrap();
    let callers = fake.callers.lock().unwrap().clone();
    assert_eq!(callers.last().unwrap().as_deref(), Some("spiffe://example.org/spire/agent/test/two"));
}

#[tokio::test]
async fn whoever_is_not_our_server_is_not_called() {
    let ours = Authority::new(&domain("example.org"), now());
    let theirs = Authority::new(&domain("example.org"), now());
    let foreign = Authority::new(&domain("other.org"), now());
    for (what, identity) in [
        ("an agent", svid(&ours, "spiffe://example.org/spire/agent/test/evil", 3600)),
        ("a workload", svid(&ours, "spiffe://example.org/spire/server/x", 3600)),
        ("another authority", svid(&theirs, SERVER, 3600)),
        ("another trust domain", svid(&foreign, "spiffe://other.org/spire/server", 3600)),
        ("an expired SVID", svid(&ours, SERVER, 50)),
    ] {
        let (port, fake) = serve(&ours, identity).await;
        let result = client(port).bundle(&caller(&ours, &ours.bundle())).await;
        assert!(matches!(result, Err(UpstreamError::UntrustedServer { .. })), "{what}: {result:?}");
        assert!(fake.callers.lock().unwrap().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    let authority = Authority::new(&domain("example.org"), now());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let result = client(port).bundle(&caller(&authority, &authority.bundle())).await;
    let Err(UpstreamError::Unavailable { server, reason }) = result else { panic!("{result:?}") };
    assert_eq!(server, format!("127.0.0.1:{port}"));
    assert!(reason.contains("refused"), "{reason}");
}

#[tokio::test]
async fn a_denial_by_the_server_is_not_taken_for_an_outage() {
    let authority = Authority::new(&domain("example.org"), now());
    let (port, _) = serve(&authority, svid(&authority, SERVER, 3600)).await;
    let result = client(port).federated_bundle(&caller(&authority, &authority.bundle()), &domain("denied.org")).await;
    assert!(matches!(result, Err(UpstreamError::PermissionDenied { .. })), "{result:?}");
}

macro_rules! not_in_this_test {
    ($($name:ident($request:ty) -> $reply:ty;)*) => {
        #[tonic::async_trait]
        impl BundleService for Fake {
            async fn get_bundle(&self, request: Request<GetBundleRequest>) -> Result<Response<types::Bundle>, Status> {
                self.note(&request);
                let authorities = self.bundle.x509_authorities.iter();
                Ok(Response::new(types::Bundle {
                    trust_domain: self.bundle.trust_domain.to_string(),
                    x509_authorities: authorities
                        .map(|authority| types::X509Certificate { asn1: authority.certificate.clone(), tainted: false })
                        .collect(),
                    ..types::Bundle::default()
                }))
            }

            async fn get_federated_bundle(
                &self,
                request: Request<GetFederatedBundleRequest>,
            ) -> Result<Response<types::Bundle>, Status> {
                self.note(&request);
                match request.get_ref().trust_domain.as_str() {
                    "denied.org" => Err(Status::permission_denied("no")),
                    _ => Err(Status::not_found("bundle not found")),
                }
            }

            $(async fn $name(&self, _: Request<$request>) -> Result<Response<$reply>, Status> {
                Err(Status::unimplemented("not in this test"))
            })*
        }
    };
}

not_in_this_test! {
    count_bundles(CountBundlesRequest) -> CountBundlesResponse;
    append_bundle(AppendBundleRequest) -> types::Bundle;
    publish_jwt_authority(PublishJwtAuthorityRequest) -> PublishJwtAuthorityResponse;
    publish_wit_authority(PublishWitAuthorityRequest) -> PublishWitAuthorityResponse;
    list_federated_bundles(ListFederatedBundlesRequest) -> ListFederatedBundlesResponse;
    batch_create_federated_bundle(BatchCreateFederatedBundleRequest) -> BatchCreateFederatedBundleResponse;
    batch_update_federated_bundle(BatchUpdateFederatedBundleRequest) -> BatchUpdateFederatedBundleResponse;
    batch_set_federated_bundle(BatchSetFederatedBundleRequest) -> BatchSetFederatedBundleResponse;
    batch_delete_federated_bundle(BatchDeleteFederatedBundleRequest) -> BatchDeleteFederatedBundleResponse;
}

impl Fake {
    fn note<T>(&self, request: &Request<T>) {
        let peer = request.extensions().get::<TlsPeer>().unwrap();
        self.callers.lock().unwrap().push(peer.svid.as_ref().map(|svid| svid.id().to_string()));
    }
}
