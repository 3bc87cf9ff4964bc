//! The Workload API on a real Unix socket, with identities published by the test in the agent's place.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "socket/floods.rs"]
mod floods;
mod raw;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper_util::rt::TokioIo;
use plastron_agent_core::jwt::JwtSvids;
use plastron_agent_core::upstream::AuthorizedEntry;
use plastron_agent_core::{Clock, Identity, PrivateKey, Publisher, WorkloadAttestation};
use plastron_agent_workload_api::Limited;
use plastron_agent_workload_api::{Access, BundleAccess, ForeignClaims, RateLimits, WorkloadApi, WorkloadApiServer};
use plastron_plugins::workload::{WorkloadAttestError, WorkloadAttestor, WorkloadProcess};
use plastron_proto::workload as wire;
use plastron_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use plastron_spiffe::x509::X509Svid;
use plastron_spiffe::{Bundle, Selector, SpiffeId, TrustDomain, X509Authority};
use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::UnixTime;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use zeroize::Zeroizing;

/// Says what `unix` would say of this very process; can be made to fail.
#[derive(Default)]
struct Attestor {
    fails: AtomicBool,
}

#[async_trait::async_trait]
impl WorkloadAttestor for Attestor {
    fn name(&self) -> &str {
        "test"
    }

    async fn attest(&self, process: &WorkloadProcess) -> Result<Vec<Selector>, WorkloadAttestError> {
        assert!(process.liveness.is_same_process());
        let pid = process.pid;
        if self.fails.load(Ordering::SeqCst) {
            return Err(WorkloadAttestError::Unreadable { pid, what: "anything", reason: "told so".to_owned() });
        }
        Ok(vec![Selector::new("test", format!("pid:{pid}")).unwrap(), Selector::new("test", "any").unwrap()])
    }
}

/// Nothing here depends on it.
struct NoTime;

impl Clock for NoTime {
    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::ZERO)
    }
}

/// An agent with its socket; everything ends with it.
struct Agent {
    dir: tempfile::TempDir,
    publisher: Option<Publisher>,
    attestor: Arc<Attestor>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    fn start(access: BundleAccess) -> Self {
        Self::start_limited(access, RateLimits::default())
    }

    fn start_limited(access: BundleAccess, rate_limits: RateLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (publisher, identities) = Publisher::new();
        let attestor = Arc::new(Attestor::default());
        let attestation = WorkloadAttestation::new(vec![attestor.clone() as Arc<dyn WorkloadAttestor>]);
        let access = Access {
            bundles: access,
            foreign_claims: ForeignClaims::default(),
            rate_limits,
            logged_selectors: Vec::new(),
        };
        let (jwt_svids, _signer) = JwtSvids::new(identities.clone(), Arc::new(NoTime), 1);
        let api = WorkloadApi::new(attestation, identities, jwt_svids, Arc::new(NoTime), access);
        let server = WorkloadApiServer::bind(&socket_in(dir.path()), api).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move { server.serve(async { drop(stopped.await) }).await.unwrap() });
        Self { dir, publisher: Some(publisher), attestor, stop: Some(stop), task }
    }

    /// The entries that this process matches, each with an SVID, and the bundle's authorities.
    fn publish(&self, entries: &[(Arc<AuthorizedEntry>, Arc<Identity>)], authorities: &[&[u8]]) {
        let held = entries.iter().map(|(entry, identity)| (entry.clone(), Some(identity.clone()))).collect();
        let foreign = bundle("other.test", &[b"foreign"]);
        let federated = BTreeMap::from([(foreign.trust_domain.clone(), foreign)]);
        self.publisher.as_ref().unwrap().publish(held, bundle("example.org", authorities), federated);
    }

    async fn channel(&self) -> Channel {
        channel(&socket_in(self.dir.path())).await
    }

    async fn client(&self) -> Client {
        Client(SpiffeWorkloadApiClient::new(self.channel().await))
    }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("made/on/the/way/api.sock")
}

async fn channel(socket: &Path) -> Channel {
    endpoint(socket, |endpoint| endpoint).await
}

/// A connection with these settings.
async fn endpoint(socket: &Path, with: impl FnOnce(Endpoint) -> Endpoint) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    with(Endpoint::from_static("http://localhost")).connect_with_connector(connector).await.unwrap()
}

/// Sends the header.
struct Client(SpiffeWorkloadApiClient<Channel>);

fn with_header<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    request
}

impl Client {
    async fn svids(&mut self) -> Result<Streaming<wire::X509svidResponse>, Status> {
        Ok(self.0.fetch_x509svid(with_header(wire::X509svidRequest {})).await?.into_inner())
    }

    async fn bundles(&mut self) -> Result<Streaming<wire::X509BundlesResponse>, Status> {
        Ok(self.0.fetch_x509_bundles(with_header(wire::X509BundlesRequest {})).await?.into_inner())
    }
}

fn bundle(trust_domain: &str, authorities: &[&[u8]]) -> Arc<Bundle> {
    Arc::new(Bundle {
        trust_domain: TrustDomain::parse(trust_domain).unwrap(),
        x509_authorities: authorities
            .iter()
            .map(|der| X509Authority { certificate: der.to_vec(), tainted: false })
            .collect(),
        jwt_authorities: Vec::new(),
        refresh_hint: 0,
        sequence_number: 1,
    })
}

fn entry(id: &str, federates_with: &[&str]) -> Arc<AuthorizedEntry> {
    Arc::new(AuthorizedEntry {
        id: id.into(),
        spiffe_id: spiffe_id(id),
        selectors: vec![
            Selector::new("test", "any").unwrap(),
            Selector::new("test", format!("pid:{}", std::process::id())).unwrap(),
        ],
        federates_with: federates_with.iter().map(|name| TrustDomain::parse(name).unwrap()).collect(),
        hint: String::new(),
        revision: 0,
        created_at: 1,
        admin: false,
        downstream: false,
        store_svid: false,
        disable_x509_svid_prefetch: false,
        jwt_svid_include_jti: false,
    })
}

fn spiffe_id(entry_id: &str) -> SpiffeId {
    TrustDomain::parse("example.org").unwrap().with_path(&format!("/{entry_id}")).unwrap()
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
        hint: entry.hint.clone(),
        entry_created_at: 1,
        is_delegable: true,
        svid: Arc::new(X509Svid::parse(vec![leaf]).unwrap()),
        private_key: Arc::new(PrivateKey::from_pkcs8(Zeroizing::new(key.serialize_der()))),
    })
}

fn with_svid(entry: &Arc<AuthorizedEntry>) -> (Arc<AuthorizedEntry>, Arc<Identity>) {
    (entry.clone(), identity(entry))
}

fn refused<T>(outcome: Result<T, Status>, code: Code, message: &str) {
    match outcome {
        Ok(_) => panic!("not refused with {code:?}"),
        Err(status) => assert_eq!((status.code(), status.message()), (code, message)),
    }
}

#[tokio::test]
async fn the_first_message_comes_at_once_and_each_change_is_pushed() {
    let agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    let (web, db) = (entry("web", &["other.test"]), entry("db", &[]));
    let first = with_svid(&web);
    agent.publish(std::slice::from_ref(&first), &[b"root"]);
    let mut stream = agent.client().await.svids().await.unwrap();

    let message = stream.message().await.unwrap().unwrap();
    assert_eq!(message.svids.len(), 1);
    assert_eq!(message.svids[0].spiffe_id, "spiffe://example.org/web");
    assert_eq!(message.svids[0].x509_svid, first.1.svid.chain().concat());
    assert_eq!(message.svids[0].bundle, b"root");
    assert_eq!(message.federated_bundles, BTreeMap::from([("spiffe://other.test".to_owned(), b"foreign".to_vec())]));

    // Rotated.
    let second = with_svid(&web);
    agent.publish(std::slice::from_ref(&second), &[b"root"]);
    let message = stream.message().await.unwrap().unwrap();
    assert_eq!(message.svids[0].x509_svid, second.1.svid.chain().concat());

    // A second identity: ordered by entry id, so that the default is stable.
    agent.publish(&[second.clone(), with_svid(&db)], &[b"root"]);
    let message = stream.message().await.unwrap().unwrap();
    let ids: Vec<_> = message.svids.iter().map(|svid| svid.spiffe_id.as_str()).collect();
    assert_eq!(ids, ["spiffe://example.org/db", "spiffe://example.org/web"]);

    // Another root.
    agent.publish(std::slice::from_ref(&second), &[b"root", b"next"]);
    assert_eq!(stream.message().await.unwrap().unwrap().svids[0].bundle, b"rootnext");

    // The last identity goes.
    agent.publish(&[], &[b"root"]);
    refused(stream.message().await, Code::PermissionDenied, "no identity issued");
}

#[tokio::test]
async fn bundles_are_sent_again_only_when_they_change() {
    let agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    let web = entry("web", &["other.test"]);
    agent.publish(&[with_svid(&web)], &[b"root"]);
    let mut stream = agent.client().await.bundles().await.unwrap();
    let expected = |own: &[u8]| {
        BTreeMap::from([
            ("spiffe://example.org".to_owned(), own.to_vec()),
            ("spiffe://other.test".to_owned(), b"foreign".to_vec()),
        ])
    };
    assert_eq!(stream.message().await.unwrap().unwrap().bundles, expected(b"root"));
    for _ in 0..3 {
        // A new SVID, and a bundle that was fetched anew with the same content.
        agent.publish(&[with_svid(&web)], &[b"root"]);
        tokio::task::yield_now().await;
    }
    agent.publish(&[with_svid(&web)], &[b"next"]);
    assert_eq!(stream.message().await.unwrap().unwrap().bundles, expected(b"next"));
    agent.publish(&[], &[b"next"]);
    refused(stream.message().await, Code::PermissionDenied, "no identity issued");
}

#[tokio::test]
async fn a_workload_without_an_entry_gets_nothing() {
    let agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    let mut foreign = (*entry("web", &[])).clone();
    foreign.selectors.push(Selector::new("test", "uid:4294967294").unwrap());
    agent.publish(&[with_svid(&Arc::new(foreign))], &[b"root"]);
    let mut client = agent.client().await;
    refused(client.svids().await, Code::PermissionDenied, "no identity issued");
    refused(client.bundles().await, Code::PermissionDenied, "no identity issued");
}

#[tokio::test]
async fn where_the_configuration_says_so_anyone_may_have_the_own_bundle_and_no_other() {
    let agent = Agent::start(BundleAccess::AnyLocalProcess);
    agent.publish(&[], &[b"root"]);
    let mut client = agent.client().await;
    refused(client.svids().await, Code::PermissionDenied, "no identity issued");
    let mut stream = client.bundles().await.unwrap();
    let own = |root: &[u8]| BTreeMap::from([("spiffe://example.org".to_owned(), root.to_vec())]);
    assert_eq!(stream.message().await.unwrap().unwrap().bundles, own(b"root"));
    agent.publish(&[], &[b"next"]);
    assert_eq!(stream.message().await.unwrap().unwrap().bundles, own(b"next"));
    agent.publish(&[with_svid(&entry("web", &["other.test"]))], &[b"next"]);
    assert_eq!(stream.message().await.unwrap().unwrap().bundles.len(), 2);
    agent.publish(&[], &[b"next"]);
    assert_eq!(stream.message().await.unwrap().unwrap().bundles, own(b"next"));
}

#[tokio::test]
async fn every_call_needs_the_security_header_and_health_does_not() {
    let agent = Agent::start(BundleAccess::AnyLocalProcess);
    agent.publish(&[with_svid(&entry("web", &[]))], &[b"root"]);
    let mut client = SpiffeWorkloadApiClient::new(agent.channel().await);
    let text = "security header missing from request";
    for values in [&[][..], &["True"], &["true", "true"]] {
        macro_rules! refused_without_header {
            ($($method:ident($message:expr)),*) => {$(
                let mut request = Request::new($message);
                for value in values {
                    request.metadata_mut().append("workload.spiffe.io", value.parse().unwrap());
                }
                refused(client.$method(request).await, Code::InvalidArgument, text);
            )*};
        }
        refused_without_header!(
            fetch_x509svid(wire::X509svidRequest::default()),
            fetch_x509_bundles(wire::X509BundlesRequest::default()),
            fetch_jwtsvid(wire::JwtsvidRequest::default()),
            fetch_jwt_bundles(wire::JwtBundlesRequest::default()),
            validate_jwtsvid(wire::ValidateJwtsvidRequest::default()),
            fetch_witsvid(wire::WitsvidRequest::default()),
            fetch_wit_bundles(wire::WitBundlesRequest::default())
        );
    }
    let mut health = HealthClient::new(agent.channel().await);
    health.check(HealthCheckRequest { service: String::new() }).await.unwrap();
}

#[tokio::test]
async fn wit_is_unimplemented_in_words_that_say_so() {
    let agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    let mut client = agent.client().await.0;
    let svids = client.fetch_witsvid(with_header(wire::WitsvidRequest::default())).await;
    refused(svids, Code::Unimplemented, "fetching WIT-SVIDs is not implemented");
    let bundles = client.fetch_wit_bundles(with_header(wire::WitBundlesRequest {})).await;
    refused(bundles, Code::Unimplemented, "fetching WIT bundles is not implemented");
}

#[tokio::test]
async fn failed_attestation_is_transient() {
    let agent = Agent::start(BundleAccess::AnyLocalProcess);
    agent.publish(&[with_svid(&entry("web", &[]))], &[b"root"]);
    agent.attestor.fails.store(true, Ordering::SeqCst);
    let mut client = agent.client().await;
    refused(client.svids().await, Code::Unavailable, "workload attestation failed");
    refused(client.bundles().await, Code::Unavailable, "workload attestation failed");
    // Each call attests anew, on the same connection.
    agent.attestor.fails.store(false, Ordering::SeqCst);
    client.svids().await.unwrap();
}

#[tokio::test]
async fn open_streams_end_when_the_agent_stops() {
    let mut agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    agent.publish(&[with_svid(&entry("web", &[]))], &[b"root"]);
    let mut stream = agent.client().await.svids().await.unwrap();
    stream.message().await.unwrap().unwrap();
    agent.stop.take().unwrap().send(()).unwrap();
    refused(stream.message().await, Code::Unavailable, "the agent is shutting down");
    drop(stream);
    agent.task.await.unwrap();
    assert!(!socket_in(agent.dir.path()).exists());
}

#[tokio::test]
async fn healthy_once_there_is_something_to_serve() {
    let agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    let mut health = HealthClient::new(agent.channel().await);
    let status = |response: Result<tonic::Response<tonic_health::pb::HealthCheckResponse>, Status>| {
        response.unwrap().into_inner().status()
    };
    let request = || HealthCheckRequest { service: String::new() };
    assert_eq!(status(health.check(request()).await), ServingStatus::NotServing);
    let mut changes = health.watch(request()).await.unwrap().into_inner();
    agent.publish(&[], &[b"root"]);
    while changes.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    assert_eq!(status(health.check(request()).await), ServingStatus::Serving);

    let one = || HealthCheckRequest { service: "SpiffeWorkloadAPI".to_owned() };
    let text = "per-service health is not supported";
    refused(health.check(one()).await, Code::InvalidArgument, text);
    refused(health.watch(one()).await, Code::InvalidArgument, text);
    drop(agent.stop);
    refused(changes.message().await, Code::Unavailable, "the agent is shutting down");
}

/// What grpcurl asks: version 1, then the older one, both without the security header.
#[tokio::test]
async fn reflection_names_what_is_served_and_describes_it() {
    use tonic_reflection::pb::{v1, v1alpha};
    let agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    let served = [
        "SpiffeWorkloadAPI",
        "envoy.service.secret.v3.SecretDiscoveryService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    macro_rules! holds_for {
        ($version:ident) => {{
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let mut client = $version::server_reflection_client::ServerReflectionClient::new(agent.channel().await);
            let ask = |what: MessageRequest| $version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(what),
            };
            let questions = vec![
                ask(MessageRequest::ListServices(String::new())),
                ask(MessageRequest::FileContainingSymbol("SpiffeWorkloadAPI".to_owned())),
            ];
            let mut answers =
                client.server_reflection_info(futures_util::stream::iter(questions)).await.unwrap().into_inner();
            let listed = answers.message().await.unwrap().unwrap().message_response.unwrap();
            let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
            let mut names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
            names.sort();
            assert_eq!(names, served);
            let file = answers.message().await.unwrap().unwrap().message_response.unwrap();
            assert!(matches!(file, MessageResponse::FileDescriptorResponse(_)), "{file:?}");
        }};
    }
    holds_for!(v1);
    holds_for!(v1alpha);
}

/// Threat 39: any local user may connect, whatever the umask, and nobody else may write beside the socket.
#[tokio::test]
async fn the_socket_is_open_to_everyone_and_its_folder_is_not() {
    let agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let socket = socket_in(agent.dir.path());
    assert_eq!(mode(&socket), 0o777);
    let folder = mode(socket.parent().unwrap());
    assert_eq!(folder & 0o055, 0o055, "{folder:o}");
    assert_eq!(folder & 0o022, 0, "{folder:o}");
}

/// Any local process may send requests, so what one of them can make the agent hold is small.
#[tokio::test]
async fn a_request_that_is_too_large_is_refused_by_both_services() {
    let agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    agent.publish(&[], &[b"root"]);
    let validate = |length: usize| {
        with_header(wire::ValidateJwtsvidRequest { audience: "a".to_owned(), svid: "x".repeat(length) })
    };
    let mut client = agent.client().await;
    let status = client.0.validate_jwtsvid(validate(9 * 1024)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let status = client.0.validate_jwtsvid(validate(4 * 1024)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");

    let mut health = HealthClient::new(agent.channel().await);
    let status = health.check(HealthCheckRequest { service: "x".repeat(2000) }).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

/// More streams than may be begun at once: the others wait for their turn, and all are served.
#[tokio::test]
async fn many_streams_of_one_connection_are_all_served() {
    let agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    let entry = entry("one", &[]);
    agent.publish(&[with_svid(&entry)], &[b"authority"]);
    let client = agent.client().await;
    let mut open = Vec::new();
    for _ in 0..48 {
        let mut stream = Client(client.0.clone()).svids().await.unwrap();
        assert_eq!(stream.message().await.unwrap().unwrap().svids.len(), 1);
        open.push(stream);
    }
}

/// SPIRE's code and words, for the method that has a limit and for no other.
#[tokio::test]
async fn who_calls_too_often_is_told_so_and_only_there() {
    let limits = RateLimits::per_second([(Limited::FetchX509Bundles, 1)]);
    let agent = Agent::start_limited(BundleAccess::AnyLocalProcess, limits);
    agent.publish(&[], &[b"authority"]);
    let mut refused = 0;
    // A second brings one more: of twenty calls at once most are too many.
    let calls = (0..20).map(|_| async { agent.client().await.bundles().await.map(drop) });
    for outcome in futures_util::future::join_all(calls).await {
        let Err(status) = outcome else { continue };
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert_eq!(status.message(), "rate limit exceeded for /SpiffeWorkloadAPI/FetchX509Bundles");
        refused += 1;
    }
    assert!((1..20).contains(&refused), "{refused} of 20");
    let calls = (0..20).map(|_| async { agent.client().await.svids().await.map(drop) });
    for outcome in futures_util::future::join_all(calls).await {
        assert_eq!(outcome.unwrap_err().code(), Code::PermissionDenied);
    }
}
