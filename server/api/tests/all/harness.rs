//! A server on a Unix socket and on TLS, and the clients of both.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use plastron_hsm::KeyType;
use plastron_hsm_soft::SoftStore;
use plastron_plugins::node::NodeAttestor;
use plastron_plugins_node_join_token::JoinTokenNodeAttestor;
use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use plastron_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, CreateJoinTokenRequest, attest_agent_request, attest_agent_response,
};
use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::entry::v1::BatchCreateEntryRequest;
use plastron_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use plastron_proto::types::{AttestationData, Entry, Selector, Spiffeid, X509svid};
use plastron_server_api::{Api, LogControl, LogLevel, RateLimits};
use plastron_server_core::audit::{AuditLine, AuditSink, AuditSinkError};
use plastron_server_core::ca::{CaConfig, CaKeys, CaSubject};
use plastron_server_core::clock::SystemClock;
use plastron_server_core::ledger::Ledger;
use plastron_server_core::{Services, ServicesConfig};
use plastron_server_store::SqliteStore;
use plastron_spiffe::TrustDomain;
use plastron_spiffe::x509::X509Svid;
use plastron_transport::{
    BundleSlot, ClientTls, IdentitySlot, ServerTls, SocketModes, TlsIdentity, TrustedProxies, UnixSocket, unix_channel,
};
use rcgen::PublicKeyData as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

pub(crate) const TRUST_DOMAIN: &str = "example.org";

/// An audit log that takes every line and keeps none.
struct Unheard;

#[async_trait::async_trait]
impl AuditSink for Unheard {
    async fn write(&self, _lines: &[AuditLine]) -> Result<(), AuditSinkError> {
        Ok(())
    }

    fn state(&self) -> Result<(), AuditSinkError> {
        Ok(())
    }
}

/// A log that has a level and nothing else; it started with INFO.
struct LevelOnly(Mutex<LogLevel>);

impl LogControl for LevelOnly {
    fn current(&self) -> LogLevel {
        *self.0.lock().unwrap()
    }

    fn launch(&self) -> LogLevel {
        LogLevel::Info
    }

    fn set(&self, level: LogLevel) {
        *self.0.lock().unwrap() = level;
    }
}

pub(crate) struct Server {
    pub(crate) services: Arc<Services>,
    pub(crate) local: Channel,
    pub(crate) address: String,
    pub(crate) bundles: Arc<BundleSlot>,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::limited(RateLimits { attestation: false, signing: false }).await
    }

    /// With another configuration.
    pub(crate) async fn configured(change: impl FnOnce(&mut ServicesConfig)) -> Self {
        Self::started(RateLimits { attestation: false, signing: false }, change).await
    }

    pub(crate) async fn limited(limits: RateLimits) -> Self {
        Self::started(limits, |_config| {}).await
    }

    async fn started(limits: RateLimits, change: impl FnOnce(&mut ServicesConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("store.sqlite3")).await.unwrap();
        let ledger = Ledger::open(Arc::new(store)).await.unwrap();
        let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
        let hour = Duration::from_secs(3600);
        let mut config = ServicesConfig {
            ca: CaConfig {
                trust_domain: trust_domain.clone(),
                key_type: KeyType::EcP256,
                jwt_key_type: KeyType::EcP256,
                ttl: hour * 24,
                subject: CaSubject::default(),
                jwt_issuer: None,
                disable_jwt_svids: false,
            },
            admin_ids: Vec::new(),
            agent_ttl: hour,
            default_x509_svid_ttl: hour,
            default_jwt_svid_ttl: Duration::from_secs(300),
        };
        change(&mut config);
        let attestors: Vec<Arc<dyn NodeAttestor>> = vec![Arc::new(JoinTokenNodeAttestor)];
        let keys = CaKeys::kept(Arc::new(SoftStore::in_memory("test")));
        let services =
            Services::start(config, ledger, keys, attestors, Arc::new(SystemClock), Arc::new(Unheard)).await.unwrap();

        let svid = services.server_svid.subscribe().borrow().clone();
        let parsed = X509Svid::parse(svid.chain.clone()).unwrap();
        let identity = IdentitySlot::new(TlsIdentity::new(&parsed, &svid.private_key).unwrap());
        let bundle = services.bundles.current();
        let bundles = BundleSlot::new([bundle.as_ref().clone()]);
        let api = Api::new(Arc::clone(&services), limits, Arc::new(LevelOnly(Mutex::new(LogLevel::Info))));
        let stop = CancellationToken::new();
        let (following, until) = (Arc::clone(&services), stop.clone());
        tokio::spawn(async move { following.watchers.follow(until).await });

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tls = ServerTls::new(identity, Arc::clone(&bundles));
        let proxies = TrustedProxies::parse(["127.0.0.0/8"]).unwrap();
        tokio::spawn(api.clone().serve_tls(listener, tls, proxies, stop.clone()));
        let path = dir.path().join("private/api.sock");
        let socket = UnixSocket::bind(&path, SocketModes::PRIVATE).unwrap();
        tokio::spawn(api.serve_unix(socket, stop.clone()));
        Self { services, local: unix_channel(path), address, bundles, stop, _dir: dir }
    }

    /// What the server trusts now, as its program would follow it.
    pub(crate) fn follow_bundles(&self) {
        self.bundles.replace(self.services.trusted_bundles().iter().map(|bundle| bundle.as_ref().clone()));
    }

    /// The Unix socket, for those who speak without a library.
    pub(crate) async fn raw(&self) -> tokio::net::UnixStream {
        tokio::net::UnixStream::connect(self._dir.path().join("private/api.sock")).await.unwrap()
    }

    /// A TLS connection, with an SVID or without.
    pub(crate) async fn tls(&self, identity: Option<&Agent>) -> Channel {
        let server = TrustDomain::parse(TRUST_DOMAIN).unwrap().with_path("/spire/server").unwrap();
        let identity = identity.map(|agent| {
            let svid = X509Svid::parse(agent.svid.cert_chain.clone()).unwrap();
            IdentitySlot::new(TlsIdentity::new(&svid, &agent.key.serialize_der()).unwrap())
        });
        ClientTls::new(server, Arc::clone(&self.bundles), identity).connect(&self.address).await.unwrap()
    }

    /// Whether a connection with this SVID is refused, at the handshake or at its first call.
    pub(crate) async fn refuses(&self, identity: Option<&Agent>) -> bool {
        let server = TrustDomain::parse(TRUST_DOMAIN).unwrap().with_path("/spire/server").unwrap();
        let identity = identity.map(|agent| {
            let svid = X509Svid::parse(agent.svid.cert_chain.clone()).unwrap();
            IdentitySlot::new(TlsIdentity::new(&svid, &agent.key.serialize_der()).unwrap())
        });
        let Ok(channel) = ClientTls::new(server, Arc::clone(&self.bundles), identity).connect(&self.address).await
        else {
            return true;
        };
        let call = BundleClient::new(channel).get_bundle(GetBundleRequest::default()).await;
        call.is_err()
    }

    pub(crate) async fn token(&self) -> String {
        let request = CreateJoinTokenRequest { ttl: 60, ..Default::default() };
        AgentClient::new(self.local.clone()).create_join_token(request).await.unwrap().into_inner().value
    }

    pub(crate) async fn attest(&self, token: &str) -> Result<Agent, Status> {
        let key = rcgen::KeyPair::generate().unwrap();
        let messages = [params("join_token", token.as_bytes(), &csr(&key))];
        let mut client = AgentClient::new(self.tls(None).await);
        let mut answers = client.attest_agent(tokio_stream::iter(messages)).await?.into_inner();
        let answer = answers.message().await?.unwrap();
        assert!(answers.message().await?.is_none(), "the result is the last message");
        match answer.step.unwrap() {
            attest_agent_response::Step::Result(result) => {
                assert!(!result.reattestable);
                Ok(Agent { key, svid: result.svid.unwrap() })
            }
            attest_agent_response::Step::Challenge(_) => Err(Status::internal("a join token has no challenge")),
        }
    }

    /// An entry below the agent, by its identifier.
    pub(crate) async fn entry(&self, parent: &Agent, path: &str) -> String {
        self.create_entry(parent, path, Vec::new()).await
    }

    pub(crate) async fn federated_entry(&self, parent: &Agent, path: &str, with: &str) -> String {
        self.create_entry(parent, path, vec![with.to_owned()]).await
    }

    async fn create_entry(&self, parent: &Agent, path: &str, federates_with: Vec<String>) -> String {
        let entry = Entry {
            spiffe_id: Some(Spiffeid { trust_domain: TRUST_DOMAIN.into(), path: path.into() }),
            parent_id: parent.svid.id.clone(),
            selectors: vec![Selector { r#type: "unix".into(), value: "uid:1000".into() }],
            federates_with,
            ..Default::default()
        };
        let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
        let answer = EntryClient::new(self.local.clone()).batch_create_entry(request).await.unwrap().into_inner();
        let result = answer.results.into_iter().next().unwrap();
        assert_eq!(result.status.unwrap().code, i32::from(Code::Ok));
        result.entry.unwrap().id
    }
}

/// An agent as far as the API knows one.
pub(crate) struct Agent {
    pub(crate) key: rcgen::KeyPair,
    pub(crate) svid: X509svid,
}

pub(crate) fn csr(key: &rcgen::KeyPair) -> Vec<u8> {
    rcgen::CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

/// A request whose signature is over something else.
pub(crate) fn bad_csr(key: &rcgen::KeyPair) -> Vec<u8> {
    let other = rcgen::KeyPair::generate().unwrap();
    let (mut request, spki) = (csr(key), key.subject_public_key_info());
    let at = request.windows(spki.len()).position(|window| window == spki).unwrap();
    request[at..at + spki.len()].copy_from_slice(&other.subject_public_key_info());
    request
}

pub(crate) fn params(attestor: &str, payload: &[u8], csr: &[u8]) -> AttestAgentRequest {
    let data = AttestationData { r#type: attestor.into(), payload: payload.to_vec() };
    let params = AgentX509svidParams { csr: csr.to_vec() };
    let step = attest_agent_request::Params { data: Some(data), params: Some(params) };
    AttestAgentRequest { step: Some(attest_agent_request::Step::Params(step)) }
}

/// The reason in the details of a refusal.
pub(crate) fn denial(status: &Status) -> Option<i32> {
    use plastron_proto::types::PermissionDeniedDetails;
    use prost::Message as _;
    let rich = tonic_types::pb::Status::decode(status.details()).unwrap();
    assert_eq!((rich.code, rich.message.as_str()), (i32::from(status.code()), status.message()));
    let details = rich.details.first()?;
    assert_eq!(details.type_url, "type.googleapis.com/spire.api.types.PermissionDeniedDetails");
    Some(details.to_msg::<PermissionDeniedDetails>().unwrap().reason)
}
