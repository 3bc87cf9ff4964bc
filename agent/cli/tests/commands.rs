//! The commands against a Workload API of the test's own on a real Unix socket.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "verbs/svids.rs"]
mod svids;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command as Tool;
use std::sync::{Arc, Mutex};

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use plastron_agent_cli::{
    CliError, Command, Context, EXIT_DENIED, EXIT_FAILURE, EXIT_UNTRUSTED, EXIT_USAGE, Environment, run,
};
use plastron_proto::workload as wire;
use plastron_proto::workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::svids::{authority, jwt_svid, svid};

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
    /// One after the other.
    Sequence(Arc<Mutex<VecDeque<Answer>>>),
    /// Tokens, and what is said of a token.
    Jwt(Vec<wire::Jwtsvid>, Result<wire::ValidateJwtsvidResponse, Status>),
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
        let answer = match self.0.clone() {
            Answer::Sequence(answers) => answers.lock().unwrap().pop_front().unwrap(),
            answer => answer,
        };
        match answer {
            Answer::Messages(messages) => Ok(Response::new(Box::pin(tokio_stream::iter(messages).map(Ok)))),
            Answer::Refusal(status) => Err(status),
            Answer::Silence => std::future::pending().await,
            Answer::Sequence(_) | Answer::Jwt(..) => Err(Status::unimplemented("")),
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
        request: Request<wire::JwtsvidRequest>,
    ) -> Result<Response<wire::JwtsvidResponse>, Status> {
        let wire::JwtsvidRequest { audience, spiffe_id } = request.into_inner();
        assert!(!audience.is_empty());
        match self.0.clone() {
            Answer::Jwt(svids, _) => {
                let wanted = svids.into_iter().filter(|svid| spiffe_id.is_empty() || svid.spiffe_id == spiffe_id);
                Ok(Response::new(wire::JwtsvidResponse { svids: wanted.collect() }))
            }
            Answer::Refusal(status) => Err(status),
            _ => std::future::pending().await,
        }
    }

    async fn fetch_jwt_bundles(
        &self,
        _request: Request<wire::JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let bundles = [("spiffe://example.org".to_owned(), b"{\n    \"keys\": []\n}".to_vec())].into();
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(wire::JwtBundlesResponse { bundles })]))))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<wire::ValidateJwtsvidRequest>,
    ) -> Result<Response<wire::ValidateJwtsvidResponse>, Status> {
        let wire::ValidateJwtsvidRequest { audience, svid } = request.into_inner();
        assert_eq!((audience.as_str(), svid.as_str()), ("x", "a.b.c"));
        match self.0.clone() {
            Answer::Jwt(_, valid) => valid.map(Response::new),
            _ => std::future::pending().await,
        }
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
    let (outcome, out, _) = call_with_errors(socket, arguments).await;
    (outcome, out)
}

/// With what went to standard error meanwhile.
async fn call_with_errors(socket: &Path, arguments: &[&str]) -> (Result<(), CliError>, String, String) {
    let line = ["program"].iter().chain(arguments).map(OsString::from);
    let program = Program::command().args_override_self(true);
    let line = plastron_daemon::go_flags::normalise(line, &program);
    let Program { command } = Program::from_arg_matches(&program.try_get_matches_from(line).unwrap()).unwrap();
    let environment =
        Environment { spiffe_endpoint_socket: Some(format!("unix://{}", socket.display())), ..Environment::default() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let input = &mut std::io::empty();
    let context = Context { environment: &environment, tpm: None, input, out: &mut out, err: &mut err };
    let outcome = run(command, context).await;
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
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
    assert!(error.to_string().starts_with("rpc error: code = PermissionDenied desc = no identity issued\n"), "{error}");

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
async fn watch_prints_every_update_and_comes_back_until_it_is_told_that_it_is_wrong() {
    let ca = authority("example.org");
    let one = wire::X509svidResponse {
        svids: vec![svid(&ca, "spiffe://example.org/web", "")],
        ..wire::X509svidResponse::default()
    };
    let answers = [
        Answer::Messages(vec![one.clone(), one.clone()]),
        Answer::Messages(vec![one]),
        Answer::Refusal(Status::invalid_argument("security header missing from request")),
    ];
    let agent = Agent::with(Answer::Sequence(Arc::new(Mutex::new(answers.into()))));
    let (outcome, text, errors) = call_with_errors(&agent.socket(), &["api", "watch"]).await;
    assert!(matches!(outcome, Err(CliError::Refused(_))), "{outcome:?}");
    assert_eq!(text.matches("Received 1 svid after ").count(), 3, "{text}");
    assert_eq!(errors.matches("the agent closed the stream").count(), 2, "{errors}");
}

#[tokio::test]
async fn fetch_jwt_prints_what_spire_prints() {
    let (web, db) = ("spiffe://example.org/web", "spiffe://example.org/db");
    let svids = vec![jwt_svid(db, &["x", "y"], "int\x1b"), jwt_svid(web, &["x", "y"], "")];
    let agent = Agent::with(Answer::Jwt(svids.clone(), Err(Status::unimplemented(""))));
    let (outcome, text) = call(&agent.socket(), &["api", "fetch", "jwt", "-audience", "x,y"]).await;
    outcome.unwrap();
    let expected = format!(
        "token({db}):\n\t{}\nhint({db}):\n\tint\\u{{1b}}\ntoken({web}):\n\t{}\nbundle(spiffe://example.org):\n\t{{\n    \"keys\": []\n}}\n",
        svids[0].svid, svids[1].svid
    );
    assert_eq!(text, expected);

    let line = ["api", "fetch", "jwt", "-audience", "z", "-audience", "x,y", "-spiffeID", web, "-output", "json"];
    let (outcome, text) = call(&agent.socket(), &line).await;
    outcome.unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json.pointer("/0/svids/0/svid").unwrap(), &svids[1].svid);
    assert_eq!(json.pointer("/0/svids").unwrap().as_array().unwrap().len(), 1);
    assert!(json.pointer("/1/bundles/spiffe:~1~1example.org").unwrap().as_str().unwrap().starts_with("ewog"), "{json}");
}

#[tokio::test]
async fn fetch_jwt_prints_no_token_that_is_not_what_was_asked_for() {
    let web = "spiffe://example.org/web";
    let good = jwt_svid(web, &["x"], "");
    for (name, svid) in [
        ("another ID", wire::Jwtsvid { spiffe_id: "spiffe://example.org/db".to_owned(), ..good.clone() }),
        ("no ID", wire::Jwtsvid { spiffe_id: "web".to_owned(), ..good.clone() }),
        ("another audience", jwt_svid(web, &["y"], "")),
        ("no token", wire::Jwtsvid { svid: "token\x1b[2J".to_owned(), ..good.clone() }),
    ] {
        let agent = Agent::with(Answer::Jwt(vec![svid], Err(Status::unimplemented(""))));
        let (outcome, text) = call(&agent.socket(), &["api", "fetch", "jwt", "-audience", "x"]).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.exit_code(), EXIT_UNTRUSTED, "{name}: {error}");
        assert_eq!(text, "", "{name}");
    }
    let agent = Agent::with(Answer::Refusal(Status::permission_denied("no identity issued")));
    let (outcome, text) = call(&agent.socket(), &["api", "fetch", "jwt", "-audience", "x"]).await;
    assert_eq!((outcome.unwrap_err().exit_code(), text.as_str()), (EXIT_DENIED, ""));
    for line in [&["api", "fetch", "jwt"][..], &["api", "fetch", "jwt", "-audience", ""]] {
        let error = call(&agent.socket(), line).await.0.unwrap_err();
        assert_eq!(error.exit_code(), EXIT_USAGE, "{error}");
        assert_eq!(error.to_string(), "audience must be specified");
    }
    let agent = Agent::with(Answer::Silence);
    let error =
        call(&agent.socket(), &["api", "fetch", "jwt", "-audience", "x", "-timeout", "50ms"]).await.0.unwrap_err();
    assert!(matches!(error, CliError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn validate_jwt_prints_what_spire_prints() {
    let number = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(1_800_000_300.0)) };
    let claims = prost_types::Struct { fields: [("exp".to_owned(), number)].into() };
    let valid =
        wire::ValidateJwtsvidResponse { spiffe_id: "spiffe://example.org/web".to_owned(), claims: Some(claims) };
    let agent = Agent::with(Answer::Jwt(Vec::new(), Ok(valid)));
    let line = ["api", "validate", "jwt", "-audience", "x", "-svid", "a.b.c"];
    let (outcome, text) = call(&agent.socket(), &line).await;
    outcome.unwrap();
    assert_eq!(text, "SVID is valid.\nSPIFFE ID : spiffe://example.org/web\nClaims    : {\"exp\":1800000300}\n");
    let (outcome, text) = call(&agent.socket(), &[&line[..], &["-output", "json"]].concat()).await;
    outcome.unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json, serde_json::json!({"spiffe_id": "spiffe://example.org/web", "claims": {"exp": 1_800_000_300}}));

    let agent = Agent::with(Answer::Jwt(Vec::new(), Err(Status::invalid_argument("token has expired\x1b"))));
    let (outcome, text) = call(&agent.socket(), &line).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), r"SVID is not valid: token has expired\u{1b}");
    assert_eq!((error.exit_code(), text.as_str()), (EXIT_UNTRUSTED, ""));
    let agent = Agent::with(Answer::Jwt(Vec::new(), Err(Status::unavailable("workload attestation failed"))));
    assert_eq!(call(&agent.socket(), &line).await.0.unwrap_err().exit_code(), EXIT_FAILURE);
    for (line, message) in [
        (&["api", "validate", "jwt", "-svid", "a.b.c"][..], "audience must be specified"),
        (&["api", "validate", "jwt", "-audience", "x"], "svid must be specified"),
    ] {
        let error = call(&agent.socket(), line).await.0.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), (message, EXIT_USAGE));
    }
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
    assert_eq!(text, "Checking agent health...\nAgent is healthy.\n");
    let error = call(Path::new("/nonexistent"), &["healthcheck"]).await.0.unwrap_err();
    assert!(error.to_string().starts_with("Agent is unhealthy: unable to determine health"), "{error}");
    assert_eq!(error.exit_code(), EXIT_FAILURE);
}
