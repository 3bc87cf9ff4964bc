//! Envoy's SDS on a real Unix socket, with identities published by the test in the agent's place.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use plastron_agent_core::jwt::JwtSvids;
use plastron_agent_core::upstream::AuthorizedEntry;
use plastron_agent_core::{Clock, Identity, PrivateKey, Publisher, WorkloadAttestation};
use plastron_agent_workload_api::limits::{MAX_SDS_REQUEST_BYTES, SDS_CALLS_OF_USER};
use plastron_agent_workload_api::{
    Access, BundleAccess, ForeignClaims, Offers, RateLimits, WorkloadApi, WorkloadApiServer,
};
use plastron_plugins::workload::{WorkloadAttestError, WorkloadAttestor, WorkloadProcess};
use plastron_proto::envoy::config::core::v3::Node;
use plastron_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse};
use plastron_proto::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use plastron_proto::workload::X509BundlesRequest;
use plastron_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use plastron_spiffe::x509::X509Svid;
use plastron_spiffe::{Bundle, Selector, SpiffeId, TrustDomain, X509Authority};
use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::UnixTime;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use zeroize::Zeroizing;

/// Knows everybody, or nobody.
struct Attestor(bool);

#[async_trait::async_trait]
impl WorkloadAttestor for Attestor {
    fn name(&self) -> &str {
        "test"
    }

    async fn attest(&self, process: &WorkloadProcess) -> Result<Vec<Selector>, WorkloadAttestError> {
        let pid = process.pid;
        let reason = "told so".to_owned();
        let refused = WorkloadAttestError::Unreadable { pid, what: "anything", reason };
        if self.0 { Ok(vec![Selector::new("test", "any").unwrap()]) } else { Err(refused) }
    }
}

struct NoTime;

impl Clock for NoTime {
    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::ZERO)
    }
}

/// An agent with its socket; everything ends with it.
struct Agent {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    publisher: Publisher,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Agent {
    fn start(offers: Offers, attests: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        let (publisher, identities) = Publisher::new();
        let attestation = WorkloadAttestation::new(vec![Arc::new(Attestor(attests)) as Arc<dyn WorkloadAttestor>]);
        let access = Access {
            bundles: BundleAccess::IdentifiedWorkloads,
            foreign_claims: ForeignClaims::default(),
            rate_limits: RateLimits::default(),
            logged_selectors: Vec::new(),
        };
        let (jwt_svids, _signer) = JwtSvids::new(identities.clone(), Arc::new(NoTime), 1);
        let api = WorkloadApi::new(attestation, identities, jwt_svids, Arc::new(NoTime), access);
        let server = WorkloadApiServer::bind(&socket, api).unwrap().offering(offers);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move { server.serve(async { drop(stopped.await) }).await.unwrap() });
        Self { _dir: dir, socket, publisher, stop, task }
    }

    /// Another SVID each time; none for `None`.
    fn publish(&self, path: Option<&str>) {
        let authority = X509Authority { certificate: b"root".to_vec(), tainted: false };
        let domain = TrustDomain::parse("example.org").unwrap();
        let bundle = Bundle { x509_authorities: vec![authority], ..Bundle::empty(domain) };
        let held = path.map(|path| {
            let entry = Arc::new(entry(path));
            (entry.clone(), Some(identity(&entry)))
        });
        self.publisher.publish(held.into_iter().collect(), Arc::new(bundle), BTreeMap::new());
    }

    async fn channel(&self) -> Channel {
        let socket = self.socket.clone();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
    }

    async fn client(&self) -> SecretDiscoveryServiceClient<Channel> {
        SecretDiscoveryServiceClient::new(self.channel().await)
    }
}

fn entry(path: &str) -> AuthorizedEntry {
    AuthorizedEntry {
        id: "entry".into(),
        spiffe_id: SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap(),
        selectors: vec![Selector::new("test", "any").unwrap()],
        federates_with: Vec::new(),
        hint: String::new(),
        revision: 0,
        created_at: 1,
        store_svid: false,
        disable_x509_svid_prefetch: false,
        jwt_svid_include_jti: false,
        admin: false,
        downstream: false,
    }
}

fn identity(entry: &AuthorizedEntry) -> Arc<Identity> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI(entry.spiffe_id.as_str().try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let leaf = params.self_signed(&key).unwrap().der().to_vec();
    Arc::new(Identity {
        entry_id: entry.id.clone(),
        spiffe_id: entry.spiffe_id.clone(),
        hint: String::new(),
        entry_created_at: 1,
        is_delegable: true,
        svid: Arc::new(X509Svid::parse(vec![leaf]).unwrap()),
        private_key: Arc::new(PrivateKey::from_pkcs8(Zeroizing::new(key.serialize_der()))),
    })
}

fn request(name: &str) -> DiscoveryRequest {
    DiscoveryRequest { resource_names: vec![name.to_owned()], ..DiscoveryRequest::default() }
}

/// What a proxy says, and what it hears.
struct Proxy {
    says: mpsc::Sender<DiscoveryRequest>,
    hears: Streaming<DiscoveryResponse>,
}

impl Proxy {
    async fn open(mut client: SecretDiscoveryServiceClient<Channel>) -> Result<Self, Status> {
        let (says, said) = mpsc::channel(8);
        let said = futures_util::stream::unfold(said, |mut said| async { Some((said.recv().await?, said)) });
        Ok(Self { says, hears: client.stream_secrets(said).await?.into_inner() })
    }

    async fn say(&self, request: DiscoveryRequest) {
        self.says.send(request).await.unwrap();
    }

    async fn hear(&mut self) -> DiscoveryResponse {
        self.hears.message().await.unwrap().unwrap()
    }
}

/// Proxies send no security header.
#[tokio::test]
async fn a_proxy_has_its_secret_at_once_and_each_one_that_follows() {
    let agent = Agent::start(Offers::default(), true);
    agent.publish(Some("/web"));
    let mut proxy = Proxy::open(agent.client().await).await.unwrap();
    proxy.say(request("default")).await;
    let first = proxy.hear().await;
    assert_eq!((first.version_info.as_str(), first.resources.len()), ("1", 1));
    let (version_info, response_nonce) = (first.version_info.clone(), first.nonce.clone());
    proxy.say(DiscoveryRequest { version_info, response_nonce, ..request("default") }).await;
    agent.publish(Some("/web"));
    let second = proxy.hear().await;
    assert_eq!(second.version_info, "2");
    assert_ne!(first.resources, second.resources);
    // Its ID changes, and then it has none: the end, in the words that SPIRE has for it.
    agent.publish(Some("/other"));
    assert_eq!(proxy.hear().await.version_info, "3");
    agent.publish(None);
    let status = proxy.hears.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "workload is not authorized for the requested identities [\"default\"]");
}

#[tokio::test]
async fn a_single_request_has_its_answer_and_the_incremental_form_does_not_exist() {
    let agent = Agent::start(Offers::default(), true);
    agent.publish(Some("/web"));
    let mut client = agent.client().await;
    let answer = client.fetch_secrets(request("spiffe://example.org/web")).await.unwrap().into_inner();
    assert_eq!((answer.resources.len(), answer.version_info.as_str(), answer.nonce.as_str()), (1, "", ""));
    let status = client.fetch_secrets(request("nobody")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let never = futures_util::stream::pending::<DeltaDiscoveryRequest>();
    let status = client.delta_secrets(never).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "Method is not implemented"));
}

#[tokio::test]
async fn whoever_can_not_be_attested_gets_nothing() {
    let agent = Agent::start(Offers::default(), false);
    agent.publish(Some("/web"));
    let mut client = agent.client().await;
    let streamed = Proxy::open(client.clone()).await.err().unwrap();
    let fetched = client.fetch_secrets(request("ROOTCA")).await.unwrap_err();
    for status in [streamed, fetched] {
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "workload attestation failed"));
    }
}

#[tokio::test]
async fn a_stream_ends_when_the_agent_stops_or_its_proxy_is_done() {
    let agent = Agent::start(Offers::default(), true);
    agent.publish(Some("/web"));
    let client = agent.client().await;
    let mut done = Proxy::open(client.clone()).await.unwrap();
    done.say(request("default")).await;
    done.hear().await;
    done.says = mpsc::channel(1).0;
    assert!(done.hears.message().await.unwrap().is_none());

    let mut waiting = Proxy::open(client).await.unwrap();
    waiting.say(request("default")).await;
    waiting.hear().await;
    agent.stop.send(()).unwrap();
    let status = waiting.hears.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the agent is shutting down"));
    agent.task.await.unwrap();
}

/// Threat 30: what a proxy says of itself is large, so it is bounded, and so is how many say it.
#[tokio::test]
async fn no_user_takes_more_than_its_share_with_requests() {
    let agent = Agent::start(Offers::default(), true);
    agent.publish(Some("/web"));
    let mut client = agent.client().await;
    let telling = |bytes: usize| {
        let node = Some(Node { id: "x".repeat(bytes), ..Node::default() });
        DiscoveryRequest { node, ..request("default") }
    };
    client.fetch_secrets(telling(MAX_SDS_REQUEST_BYTES - 100)).await.unwrap();
    let status = client.fetch_secrets(telling(MAX_SDS_REQUEST_BYTES)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let mut telling_too_much = Proxy::open(client.clone()).await.unwrap();
    telling_too_much.say(telling(MAX_SDS_REQUEST_BYTES)).await;
    let status = telling_too_much.hears.message().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    drop(telling_too_much);

    let mut open = Vec::new();
    while open.len() < SDS_CALLS_OF_USER {
        let client = agent.client().await;
        for _ in 0..32 {
            open.push(Proxy::open(client.clone()).await.unwrap());
        }
    }
    let status = Proxy::open(agent.client().await).await.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    // The Workload API has places of its own, and places come back.
    bundles(&agent).await.unwrap();
    open.clear();
    while Proxy::open(agent.client().await).await.is_err() {
        tokio::task::yield_now().await;
    }
}

async fn bundles(agent: &Agent) -> Result<(), Status> {
    let mut request = Request::new(X509BundlesRequest {});
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    SpiffeWorkloadApiClient::new(agent.channel().await).fetch_x509_bundles(request).await.map(drop)
}

#[tokio::test]
async fn what_is_switched_off_is_unimplemented() {
    let both = Offers::default();
    for (offers, workload_api, sds) in [
        (both.clone(), true, true),
        (Offers { sds: None, ..both.clone() }, true, false),
        (Offers { workload_api: false, ..both }, false, true),
    ] {
        let agent = Agent::start(offers, true);
        agent.publish(Some("/web"));
        let code = |outcome: Result<(), Status>| outcome.err().map_or(Code::Ok, |status| status.code());
        let expected = |offered: bool| if offered { Code::Ok } else { Code::Unimplemented };
        assert_eq!(code(bundles(&agent).await), expected(workload_api));
        let fetched = agent.client().await.fetch_secrets(request("default")).await;
        assert_eq!(code(fetched.map(drop)), expected(sds));
    }
}
