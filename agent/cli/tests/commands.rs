//! The commands against a Workload API of the test's own on a real Unix socket.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command as Tool;

use clap::Parser;
use plastron_agent_cli::{
    CliError, Command, Context, EXIT_DENIED, EXIT_FAILURE, EXIT_UNTRUSTED, EXIT_USAGE, Environment, normalise, run,
};
use plastron_proto::workload as wire;
use plastron_proto::workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

/// What the test's Workload API does when SVIDs are fetched.
#[derive(Clone)]
enum Answer {
    Messages(Vec<wire::X509svidResponse>),
    Refusal(Status),
    Silence,
}

#[derive(Clone)]
struct Api(Answer);

type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Api {
    type FetchX509SVIDStream = Messages<wire::X509svidResponse>;
    type FetchX509BundlesStream = Messages<wire::X509BundlesResponse>;
    type FetchJWTBundlesStream = Messages<wire::JwtBundlesResponse>;
    type FetchWITSVIDStream = Messages<wire::WitsvidResponse>;
    type FetchWITBundlesStream = Messages<wire::WitBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<wire::X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let values: Vec<_> = request.metadata().get_all("workload.spiffe.io").iter().collect();
        if values != ["true"] {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        match self.0.clone() {
            Answer::Messages(messages) => Ok(Response::new(Box::pin(tokio_stream::iter(messages).map(Ok)))),
            Answer::Refusal(status) => Err(status),
            Answer::Silence => std::future::pending().await,
        }
    }

    async fn fetch_x509_bundles(
        &self,
        _request: Request<wire::X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fetch_jwtsvid(
        &self,
        _request: Request<wire::JwtsvidRequest>,
    ) -> Result<Response<wire::JwtsvidResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fetch_jwt_bundles(
        &self,
        _request: Request<wire::JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn validate_jwtsvid(
        &self,
        _request: Request<wire::ValidateJwtsvidRequest>,
    ) -> Result<Response<wire::ValidateJwtsvidResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fetch_witsvid(
        &self,
        _request: Request<wire::WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fetch_wit_bundles(
        &self,
        _request: Request<wire::WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A socket with that answer behind it; gone with the value.
struct Agent {
    dir: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    fn with(answer: Answer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("api.sock")).unwrap();
        let (_reporter, health) = tonic_health::server::health_reporter();
        let server = tonic::transport::Server::builder()
            .add_service(health)
            .add_service(SpiffeWorkloadApiServer::new(Api(answer)))
            .serve_with_incoming(UnixListenerStream::new(listener));
        Self { dir, task: tokio::spawn(async move { server.await.unwrap() }) }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a command line as a program would, with this socket in the standard's variable.
async fn call(socket: &Path, arguments: &[&str]) -> (Result<(), CliError>, String) {
    let line = ["program"].iter().chain(arguments).map(OsString::from);
    let Program { command } = Program::try_parse_from(normalise(line)).unwrap();
    let environment =
        Environment { spiffe_endpoint_socket: Some(format!("unix://{}", socket.display())), ..Environment::default() };
    let mut out = Vec::new();
    let outcome =
        run(command, Context { environment: &environment, tpm: None, input: &mut std::io::empty(), out: &mut out })
            .await;
    (outcome, String::from_utf8(out).unwrap())
}

fn authority(trust_domain: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into().unwrap())];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn svid(issuer: &CertifiedIssuer<'static, KeyPair>, id: &str, hint: &str) -> wire::X509svid {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    wire::X509svid {
        spiffe_id: id.to_owned(),
        x509_svid: certificate.der().to_vec(),
        x509_svid_key: key.serialize_der(),
        bundle: issuer.der().to_vec(),
        hint: hint.to_owned(),
    }
}

fn answer(svids: Vec<wire::X509svid>) -> Answer {
    let federated_bundles = [("spiffe://other.test".to_owned(), authority("other.test").der().to_vec())].into();
    Answer::Messages(vec![wire::X509svidResponse { svids, crl: Vec::new(), federated_bundles }])
}

#[tokio::test]
async fn fetch_prints_what_spire_prints() {
    let ca = authority("example.org");
    let agent = Agent::with(answer(vec![svid(&ca, "spiffe://example.org/web", "ext\x1b[2Jernal")]));
    for verb in [&["api", "fetch"][..], &["api", "fetch", "x509"], &["api", "fetch", "x509", "-timeout", "9s"]] {
        let (outcome, text) = call(&agent.socket(), verb).await;
        outcome.unwrap();
        assert!(text.starts_with("Received 1 svid after "), "{text}");
        for line in [
            "SPIFFE ID:\t\tspiffe://example.org/web\n",
            "SVID Valid After:\t",
            "SVID Valid Until:\t",
            "CA #1 Valid After:\t",
            "[spiffe://other.test] CA #1 Valid Until:\t",
            " +0000 UTC\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        // Threat 41: what an entry's author wrote does not drive the terminal.
        assert!(!text.contains('\x1b') && text.contains(r"ext\u{1b}[2Jernal"), "{text}");
    }
}

#[tokio::test]
async fn fetch_prints_json_with_the_names_of_the_proto() {
    let ca = authority("example.org");
    let agent = Agent::with(answer(vec![svid(&ca, "spiffe://example.org/web", "")]));
    let (outcome, text) = call(&agent.socket(), &["api", "fetch", "x509", "-output", "json"]).await;
    outcome.unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json.pointer("/svids/0/spiffe_id").unwrap(), "spiffe://example.org/web");
    assert!(json.pointer("/svids/0/x509_svid").unwrap().as_str().unwrap().starts_with("MII"));
    assert_eq!(json.pointer("/svids/0/hint").unwrap(), "");
    assert!(json.pointer("/federated_bundles/spiffe:~1~1other.test").is_some());
}

#[tokio::test]
async fn written_files_are_what_openssl_takes() {
    let ca = authority("example.org");
    let agent = Agent::with(answer(vec![
        svid(&ca, "spiffe://example.org/web", ""),
        svid(&ca, "spiffe://example.org/db", "db"),
    ]));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let (outcome, text) = call(&agent.socket(), &["api", "fetch", "x509", "-write", path]).await;
    outcome.unwrap();
    assert!(text.starts_with("Received 2 svids after "), "{text}");
    assert!(text.contains(&format!("Writing SVID #0 to file {path}/svid.0.pem.\n")), "{text}");
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "bundle.0.pem",
            "bundle.1.pem",
            "federated_bundle.0.0.pem",
            "federated_bundle.1.0.pem",
            "svid.0.key",
            "svid.0.pem",
            "svid.1.key",
            "svid.1.pem",
        ]
    );
    let key = dir.path().join("svid.0.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let openssl = |arguments: &[&str]| {
        let output = Tool::new("openssl").args(arguments).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output.stdout
    };
    openssl(&["verify", "-CAfile", "bundle.0.pem", "svid.0.pem"]);
    let certified = openssl(&["x509", "-in", "svid.0.pem", "-noout", "-pubkey"]);
    assert_eq!(certified, openssl(&["pkey", "-in", "svid.0.key", "-pubout"]));

    let (outcome, text) = call(&agent.socket(), &["api", "fetch", "-write", path, "-silent"]).await;
    outcome.unwrap();
    assert_eq!(text, "");
}

#[tokio::test]
async fn what_does_not_verify_is_neither_printed_nor_written() {
    let (ca, stranger) = (authority("example.org"), authority("example.org"));
    let good = svid(&ca, "spiffe://example.org/web", "");
    let cases = [
        ("no svids", Vec::new()),
        ("another CA's bundle", vec![wire::X509svid { bundle: stranger.der().to_vec(), ..good.clone() }]),
        ("no bundle", vec![wire::X509svid { bundle: Vec::new(), ..good.clone() }]),
        ("another ID", vec![wire::X509svid { spiffe_id: "spiffe://example.org/root".to_owned(), ..good.clone() }]),
        ("no ID", vec![wire::X509svid { spiffe_id: "web".to_owned(), ..good.clone() }]),
        ("no key", vec![wire::X509svid { x509_svid_key: Vec::new(), ..good.clone() }]),
        ("a key that is no DER", vec![wire::X509svid { x509_svid_key: b"-----BEGIN".to_vec(), ..good.clone() }]),
        ("half a chain", vec![wire::X509svid { x509_svid: good.x509_svid[..40].to_vec(), ..good.clone() }]),
        ("one good, one bad", vec![good.clone(), wire::X509svid { x509_svid: vec![0x30, 0x80], ..good.clone() }]),
    ];
    for (name, svids) in cases {
        let agent = Agent::with(answer(svids));
        let dir = tempfile::tempdir().unwrap();
        for output in ["pretty", "json"] {
            let line = ["api", "fetch", "-output", output, "-write", dir.path().to_str().unwrap()];
            let (outcome, text) = call(&agent.socket(), &line).await;
            let error = outcome.unwrap_err();
            assert_eq!(error.exit_code(), EXIT_UNTRUSTED, "{name}: {error}");
            assert_eq!(text, "", "{name}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{name}");
    }
}

#[tokio::test]
async fn refusals_have_their_own_exit_codes() {
    let agent = Agent::with(Answer::Refusal(Status::permission_denied("no identity issued")));
    let error = call(&agent.socket(), &["api", "fetch", "x509"]).await.0.unwrap_err();
    assert_eq!(error.exit_code(), EXIT_DENIED);
    assert!(error.to_string().starts_with("PermissionDenied: no identity issued"), "{error}");

    let agent = Agent::with(Answer::Refusal(Status::unavailable("workload attestation\u{1b}[0m failed")));
    let error = call(&agent.socket(), &["api", "fetch"]).await.0.unwrap_err();
    assert_eq!(error.exit_code(), EXIT_FAILURE);
    assert!(!error.to_string().contains('\u{1b}'), "{error}");

    let agent = Agent::with(Answer::Silence);
    let error = call(&agent.socket(), &["api", "fetch", "-timeout", "50ms"]).await.0.unwrap_err();
    assert!(matches!(error, CliError::TimedOut { .. }), "{error}");

    let error = call(Path::new("/nonexistent/api.sock"), &["api", "fetch"]).await.0.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/api.sock"), "{error}");
    assert!(error.to_string().contains("No such file"), "{error}");
    assert_eq!(error.exit_code(), EXIT_FAILURE);

    let error = call(Path::new("relative.sock"), &["api", "fetch"]).await.0.unwrap_err();
    assert_eq!(error.exit_code(), EXIT_USAGE, "{error}");

    let error = call(Path::new("/x"), &["tpm", "info"]).await.0.unwrap_err();
    assert!(matches!(error, CliError::NoTpm), "{error}");
}

#[tokio::test]
async fn watch_prints_every_update_until_the_stream_ends() {
    let ca = authority("example.org");
    let one = wire::X509svidResponse {
        svids: vec![svid(&ca, "spiffe://example.org/web", "")],
        ..wire::X509svidResponse::default()
    };
    let agent = Agent::with(Answer::Messages(vec![one.clone(), one]));
    let (outcome, text) = call(&agent.socket(), &["api", "watch"]).await;
    assert!(matches!(outcome, Err(CliError::NoAnswer)), "{outcome:?}");
    assert_eq!(text.matches("Received 1 svid after ").count(), 2, "{text}");
}

#[tokio::test]
async fn healthcheck_says_what_spire_says() {
    let agent = Agent::with(Answer::Silence);
    let socket = agent.socket();
    for line in [&["healthcheck"][..], &["health", "-shallow"], &["healthcheck", "-verbose=false"]] {
        let (outcome, text) = call(&socket, line).await;
        outcome.unwrap();
        assert_eq!(text, "Agent is healthy.\n");
    }
    let (outcome, text) = call(&socket, &["healthcheck", "-verbose"]).await;
    outcome.unwrap();
    assert!(text.starts_with("Checking agent health"), "{text}");
    let error = call(Path::new("/nonexistent"), &["healthcheck"]).await.0.unwrap_err();
    assert!(error.to_string().starts_with("Agent is unhealthy: unable to determine health"), "{error}");
    assert_eq!(error.exit_code(), EXIT_FAILURE);
}
