//! Handshakes between `ServerTls` and `ClientTls`, with a real gRPC server between them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "tls/handshakes.rs"]
mod handshakes;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plastron_spiffe::x509::{SvidError, X509Svid};
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain, X509Authority};
use plastron_transport::{
    BundleSlot, ClientTls, ConnectError, IdentityError, IdentitySlot, MAX_ANONYMOUS_CONNECTIONS_OF_ADDRESS,
    PeerRefused, ServerTls, TlsIdentity, TlsPeer, TrustedProxies, connect_error, tls_incoming, tls_server,
};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;

const SERVER: &str = "spiffe://example.org/spire/server";
const AGENT: &str = "spiffe://example.org/spire/agent/tpm/ab";

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    bundle: Bundle,
}

impl Ca {
    fn new(trust_domain: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, trust_domain);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        let mut bundle = Bundle::empty(TrustDomain::parse(trust_domain).unwrap());
        bundle.x509_authorities.push(X509Authority::parse(certificate).unwrap());
        Self { issuer: Issuer::new(params, key), bundle }
    }

    fn identity(&self, id: &str) -> TlsIdentity {
        self.identity_until(id, OffsetDateTime::now_utc() + Duration::from_secs(3600))
    }

    fn identity_until(&self, id: &str, not_after: OffsetDateTime) -> TlsIdentity {
        let (svid, key) = self.svid(id, not_after);
        TlsIdentity::new(&svid, &key.serialize_der()).unwrap()
    }

    fn svid(&self, id: &str, not_after: OffsetDateTime) -> (X509Svid, KeyPair) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(7200);
        params.not_after = not_after;
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        (X509Svid::parse(vec![leaf]).unwrap(), key)
    }
}

/// A server that notes the peer of each call.
struct Server {
    address: SocketAddr,
    identity: Arc<IdentitySlot>,
    bundles: Arc<BundleSlot>,
    peers: Arc<Mutex<Vec<TlsPeer>>>,
}

impl Server {
    async fn start(identity: TlsIdentity, bundles: Vec<Bundle>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), identity, bundles)
    }

    fn on(listener: TcpListener, identity: TlsIdentity, bundles: Vec<Bundle>) -> Self {
        let (address, peers) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (identity, bundles) = (IdentitySlot::new(identity), BundleSlot::new(bundles));
        let (reporter, _) = tonic_health::server::health_reporter();
        let noted = Arc::clone(&peers);
        let health = tonic_health::server::HealthService::from_health_reporter(reporter);
        let service = InterceptedService::new(HealthServer::new(health), move |request: tonic::Request<()>| {
            noted.lock().unwrap().push(request.extensions().get::<TlsPeer>().unwrap().clone());
            Ok(request)
        });
        let tls = ServerTls::new(Arc::clone(&identity), Arc::clone(&bundles));
        let incoming = tls_incoming(listener, tls, TrustedProxies::default());
        tokio::spawn(tls_server().add_service(service).serve_with_incoming(incoming));
        Self { address, identity, bundles, peers }
    }

    async fn connect(&self, tls: &ClientTls) -> Result<Channel, ConnectError> {
        tls.connect(&self.address.to_string()).await
    }

    fn last_peer(&self) -> TlsPeer {
        self.peers.lock().unwrap().last().unwrap().clone()
    }
}

async fn call(channel: Channel) -> Result<(), tonic::Status> {
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.map(drop)
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

fn client(bundle: &Bundle, identity: Option<TlsIdentity>) -> ClientTls {
    ClientTls::new(id(SERVER), BundleSlot::new([bundle.clone()]), identity.map(IdentitySlot::new))
}

fn refused(result: Result<Channel, ConnectError>) -> PeerRefused {
    match connect_error(&result.unwrap_err()) {
        Some(ConnectError::Refused { source, .. }) => source.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn both_sides_prove_who_they_are() {
    let ca = Ca::new("example.org");
    let server = Server::start(ca.identity(SERVER), vec![ca.bundle.clone()]).await;
    let tls = client(&ca.bundle, Some(ca.identity(AGENT)));
    call(server.connect(&tls).await.unwrap()).await.unwrap();
    let peer = server.last_peer();
    assert_eq!(peer.svid.unwrap().id(), &id(AGENT));
    assert!(peer.address.ip().is_loopback());
    // By name, whatever the certificate's names.
    call(tls.connect(&format!("localhost:{}", server.address.port())).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_client_without_certificate_connects_and_has_no_identity() {
    let ca = Ca::new("example.org");
    let server = Server::start(ca.identity(SERVER), vec![ca.bundle.clone()]).await;
    call(server.connect(&client(&ca.bundle, None)).await.unwrap()).await.unwrap();
    assert!(server.last_peer().svid.is_none());
}

/// Threat 23: whoever holds a certificate of another domain, a forged or an expired one, reaches no handler.
#[tokio::test]
async fn client_certificates_that_are_not_valid_svids_of_a_trusted_domain_are_refused() {
    let (ca, other) = (Ca::new("example.org"), Ca::new("other.org"));
    let server = Server::start(ca.identity(SERVER), vec![ca.bundle.clone()]).await;
    let expired = ca.identity_until(AGENT, OffsetDateTime::now_utc() - Duration::from_secs(60));
    for identity in [other.identity("spiffe://other.org/x"), other.identity(AGENT), expired] {
        // With TLS 1.3 the client has finished before the server has looked at its certificate.
        let called = match server.connect(&client(&ca.bundle, Some(identity.clone()))).await {
            Ok(channel) => call(channel).await.map_err(|status| status.to_string()),
            Err(error) => Err(error.to_string()),
        };
        assert!(called.is_err(), "{identity:?}");
    }
    assert!(server.peers.lock().unwrap().is_empty(), "no call arrived");
    call(server.connect(&client(&ca.bundle, Some(ca.identity(AGENT)))).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_foreign_domain_with_its_bundle_is_served() {
    let (ca, other) = (Ca::new("example.org"), Ca::new("other.org"));
    let server = Server::start(ca.identity(SERVER), vec![ca.bundle.clone(), other.bundle.clone()]).await;
    call(server.connect(&client(&ca.bundle, Some(other.identity("spiffe://other.org/x")))).await.unwrap())
        .await
        .unwrap();
    assert_eq!(server.last_peer().svid.unwrap().id(), &id("spiffe://other.org/x"));
    // But its authority speaks for its own domain only.
    let forged = server.connect(&client(&ca.bundle, Some(other.identity(AGENT)))).await;
    if let Ok(channel) = forged {
        call(channel).await.unwrap_err();
    }
    assert_eq!(server.peers.lock().unwrap().len(), 1);
}

/// An agent talks to no server but its own.
#[tokio::test]
async fn a_client_refuses_a_server_that_is_not_the_expected_one() {
    let (ca, other) = (Ca::new("example.org"), Ca::new("other.org"));
    let tls = client(&ca.bundle, None);
    let agent = Server::start(ca.identity(AGENT), Vec::new()).await;
    assert_eq!(refused(agent.connect(&tls).await), PeerRefused::Id { expected: id(SERVER), got: id(AGENT) });
    let forger = Server::start(other.identity(SERVER), Vec::new()).await;
    let reason = refused(forger.connect(&tls).await);
    assert!(matches!(reason, PeerRefused::Svid(SvidError::UnknownAuthority { .. })), "{reason}");
    let stranger = Server::start(other.identity("spiffe://other.org/spire/server"), Vec::new()).await;
    let trust_domain = TrustDomain::parse("other.org").unwrap();
    assert_eq!(
        refused(stranger.connect(&tls).await),
        PeerRefused::Svid(SvidError::UnknownTrustDomain { trust_domain })
    );
    let late = OffsetDateTime::now_utc() - Duration::from_secs(60);
    let expired = Server::start(ca.identity_until(SERVER, late), Vec::new()).await;
    let reason = refused(expired.connect(&tls).await);
    assert!(matches!(reason, PeerRefused::Svid(SvidError::Expired { .. })), "{reason}");
}

#[tokio::test]
async fn a_lazy_channel_tells_why_it_can_not_connect() {
    let (ca, other) = (Ca::new("example.org"), Ca::new("other.org"));
    let forger = Server::start(other.identity(SERVER), Vec::new()).await;
    let channel = client(&ca.bundle, None).connect_lazy(&forger.address.to_string()).unwrap();
    let status = call(channel).await.unwrap_err();
    assert!(matches!(connect_error(&status), Some(ConnectError::Refused { .. })), "{status:?}");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let error = client(&ca.bundle, None).connect(&closed).await.unwrap_err();
    assert!(matches!(connect_error(&error), Some(ConnectError::Tcp { .. })), "{error:?}");
}

#[tokio::test]
async fn new_bundles_and_identities_take_effect_at_the_next_handshake() {
    let (old, new) = (Ca::new("example.org"), Ca::new("example.org"));
    let server = Server::start(old.identity(SERVER), vec![old.bundle.clone()]).await;
    let new_client = client(&new.bundle, Some(new.identity(AGENT)));
    server.connect(&new_client).await.unwrap_err();
    server.identity.replace(new.identity(SERVER));
    server.bundles.replace([new.bundle.clone()]);
    call(server.connect(&new_client).await.unwrap()).await.unwrap();
    let old_identity = client(&new.bundle, Some(old.identity(AGENT)));
    if let Ok(channel) = server.connect(&old_identity).await {
        call(channel).await.unwrap_err();
    }
    server.bundles.replace([]);
    if let Ok(channel) = server.connect(&new_client).await {
        call(channel).await.unwrap_err();
    }
}

/// Threat 45.
#[tokio::test]
async fn a_peer_that_says_nothing_delays_no_one() {
    let ca = Ca::new("example.org");
    let server = Server::start(ca.identity(SERVER), vec![ca.bundle.clone()]).await;
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(tokio::net::TcpStream::connect(server.address).await.unwrap());
    }
    call(server.connect(&client(&ca.bundle, None)).await.unwrap()).await.unwrap();
}

/// Threat 45.
#[tokio::test]
async fn strangers_of_one_address_do_not_take_the_places_of_agents() {
    let ca = Ca::new("example.org");
    let server = Server::start(ca.identity(SERVER), vec![ca.bundle.clone()]).await;
    let stranger = client(&ca.bundle, None);
    let mut held = Vec::new();
    for _ in 0..MAX_ANONYMOUS_CONNECTIONS_OF_ADDRESS {
        let channel = server.connect(&stranger).await.unwrap();
        call(channel.clone()).await.unwrap();
        held.push(channel);
    }
    // The handshake ends at the client first, so it is the call that fails.
    match server.connect(&stranger).await {
        Ok(channel) => assert!(call(channel).await.is_err(), "one more than there are places"),
        Err(_closed) => {}
    }
    call(server.connect(&client(&ca.bundle, Some(ca.identity(AGENT)))).await.unwrap()).await.unwrap();
}

/// Threat 22: a resumed session would skip the verification of the client's certificate.
#[tokio::test]
async fn sessions_are_never_resumed() {
    let ca = Ca::new("example.org");
    let server = Server::start(ca.identity(SERVER), vec![ca.bundle.clone()]).await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.bundle.x509_authorities.first().unwrap().certificate.clone().into()).unwrap();
        // A client that would resume if it were given the chance. It verifies by DNS name, so the check is switched off.
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnything(provider)))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        for _ in 0..3 {
            let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
            let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
            // The server's first bytes come after any ticket it would send.
            let mut settings = [0; 9];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut settings).await.unwrap();
            let (_, session) = stream.get_ref();
            assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!(session.tls13_tickets_received(), 0);
            assert_eq!(session.alpn_protocol(), Some(b"h2".as_slice()));
        }
    }
}

#[derive(Debug)]
struct TrustAnything(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls_pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.verify_tls12_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ca = Ca::new("example.org");
    let later = OffsetDateTime::now_utc() + Duration::from_secs(60);
    let ((svid, _), (_, other_key)) = (ca.svid(AGENT, later), ca.svid(AGENT, later));
    let mismatch = TlsIdentity::new(&svid, &other_key.serialize_der());
    assert!(matches!(mismatch, Err(IdentityError::Mismatch { id: got }) if got == id(AGENT)));
    assert!(matches!(TlsIdentity::new(&svid, b"not a key"), Err(IdentityError::Key(_))));
}

#[tokio::test]
async fn addresses_are_host_and_port() {
    let ca = Ca::new("example.org");
    let tls = client(&ca.bundle, None);
    for good in ["localhost:8081", "127.0.0.1:1", "[::1]:65535", "a.b-c.example:80"] {
        tls.connect_lazy(good).unwrap();
    }
    for bad in ["", "localhost", "localhost:", "localhost:0", "localhost:65536", ":80", "user@host:80", "a b:1", "/x:1"]
    {
        assert!(matches!(tls.connect_lazy(bad), Err(ConnectError::Address(_))), "{bad}");
    }
}
