//! Envoys that have their certificates, and what they verify peers by, from an agent's socket.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use plastron_swtpm_tests::{Process, envoy};
use serde_json::{Value, json};

use crate::workloads::testbed::eventually;

/// Where a proxy finds what it verifies its peers by, and what it says of itself.
#[derive(Clone, Copy)]
pub(crate) struct Trust {
    /// The name of the bundle.
    pub(crate) bundle: &'static str,
    /// Whether it asks for plain roots.
    pub(crate) without_validator: bool,
}

/// One Envoy. Its listener is a Unix socket in its own directory, so that no two tests meet.
pub(crate) struct Envoy {
    process: Process,
    socket: PathBuf,
    admin: PathBuf,
}

/// The program of one workload: `unix:path` tells it from the others. A hundred megabytes, so linked where that is possible.
pub(crate) fn program(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    let original = envoy().unwrap();
    if fs::hard_link(&original, &path).is_err() {
        fs::copy(&original, &path).unwrap();
    }
    path
}

impl Envoy {
    /// Takes TLS connections of the workload with this ID, and answers with both sides' IDs.
    pub(crate) fn serving(program: &Path, agent: &Path, trust: Trust, client: &str) -> Self {
        let tls = json!({
            "@type": format!("{TLS}.DownstreamTlsContext"),
            "require_client_certificate": true,
            "disable_stateless_session_resumption": true,
            "disable_stateful_session_resumption": true,
            "common_tls_context": common_tls(trust, client),
        });
        let route = json!({
            "match": { "prefix": "/" },
            "direct_response": { "status": 200, "body": { "inline_string": "served" } },
            "response_headers_to_add": [
                header("x-client", "%DOWNSTREAM_PEER_URI_SAN%"),
                header("x-client-serial", "%DOWNSTREAM_PEER_SERIAL%"),
                header("x-server", "%DOWNSTREAM_LOCAL_URI_SAN%"),
            ],
        });
        let transport = json!({ "name": "envoy.transport_sockets.tls", "typed_config": tls });
        Self::start(program, agent, trust, route, Some(transport), Vec::new())
    }

    /// Takes plain requests, and forwards each over a TLS connection of its own to the workload with this ID.
    pub(crate) fn calling(program: &Path, agent: &Path, trust: Trust, backend: &Self, server: &str) -> Self {
        let tls = json!({
            "@type": format!("{TLS}.UpstreamTlsContext"),
            "max_session_keys": 0,
            "common_tls_context": common_tls(trust, server),
        });
        let cluster = json!({
            "name": "backend",
            "connect_timeout": "5s",
            "load_assignment": endpoint("backend", &backend.socket),
            "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
            "typed_extension_protocol_options": { HTTP_OPTIONS_KEY: {
                "@type": format!("type.googleapis.com/{HTTP_OPTIONS_KEY}"),
                "common_http_protocol_options": { "max_requests_per_connection": 1 },
                "explicit_http_config": { "http_protocol_options": {} },
            }},
        });
        let route = json!({
            "match": { "prefix": "/" },
            "route": { "cluster": "backend" },
            "response_headers_to_add": [header("x-server-certificate", "%UPSTREAM_PEER_CERT%")],
        });
        Self::start(program, agent, trust, route, None, vec![cluster])
    }

    fn start(
        program: &Path,
        agent: &Path,
        trust: Trust,
        route: Value,
        transport: Option<Value>,
        mut clusters: Vec<Value>,
    ) -> Self {
        let (socket, admin) = (program.with_extension("sock"), program.with_extension("admin"));
        clusters.push(agent_cluster(agent));
        let mut chain = json!({ "filters": [{ "name": "http", "typed_config": connection_manager(route) }] });
        if let Some(transport) = transport {
            chain["transport_socket"] = transport;
        }
        let config = json!({
            "node": {
                "id": "test", "cluster": "test",
                "metadata": { "disable_spiffe_cert_validation": trust.without_validator },
            },
            "admin": { "address": pipe(&admin) },
            "static_resources": {
                "listeners": [{ "name": "in", "address": pipe(&socket), "filter_chains": [chain] }],
                "clusters": clusters,
            },
        });
        let file = program.with_extension("json");
        fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).args(["--disable-hot-restart", "--concurrency", "1", "-l", "info"]);
        let process = Process::spawn("envoy", &command).unwrap();
        let proxy = Self { process, socket, admin };
        eventually("Envoy to listen", || UnixStream::connect(&proxy.socket).ok());
        proxy
    }

    /// Whether it still is the process that was started.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// One plain request; the answer with its headers.
    pub(crate) fn get(&self) -> Answer {
        Answer(exchange(&self.socket, "/"))
    }

    /// A counter or gauge whose name ends so; 0 where there is none.
    pub(crate) fn stat(&self, suffix: &str) -> u64 {
        let stats = exchange(&self.admin, "/stats");
        let values = stats.lines().filter_map(|line| line.split_once(": "));
        let matching = values.filter(|(name, _)| name.ends_with(suffix));
        matching.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).sum()
    }

    /// How many certificates the secret of this name has: what it believes its peers by.
    pub(crate) fn authorities(&self, name: &str) -> usize {
        let dump = exchange(&self.admin, "/config_dump?resource=dynamic_active_secrets");
        let body = body(&dump);
        let dump: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        let secrets = dump["configs"].as_array().unwrap_or_else(|| panic!("{dump}"));
        let secret = secrets.iter().find(|secret| secret["name"] == name).unwrap_or_else(|| panic!("{name} in {dump}"));
        inline_bytes(secret).iter().map(|pem| pem.matches("BEGIN CERTIFICATE").count()).sum()
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}

/// What came back.
pub(crate) struct Answer(pub(crate) String);

impl Answer {
    /// Whether the request reached the backend.
    pub(crate) fn is_served(&self) -> bool {
        self.0.starts_with("HTTP/1.1 200 ") && self.0.contains("served")
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let lines = self.0.lines().take_while(|line| !line.is_empty());
        lines.filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    }
}

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const HTTP_OPTIONS_KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn exchange(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn common_tls(trust: Trust, peer: &str) -> Value {
    json!({
        "tls_certificate_sds_secret_configs": [{ "name": "default", "sds_config": from_agent() }],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": peer } }],
            },
            "validation_context_sds_secret_config": { "name": trust.bundle, "sds_config": from_agent() },
        },
    })
}

fn from_agent() -> Value {
    let services = json!([{ "envoy_grpc": { "cluster_name": "agent" } }]);
    let source = json!({ "api_type": "GRPC", "transport_api_version": "V3", "grpc_services": services });
    json!({ "resource_api_version": "V3", "api_config_source": source })
}

fn agent_cluster(agent: &Path) -> Value {
    json!({
        "name": "agent",
        "connect_timeout": "5s",
        "load_assignment": endpoint("agent", agent),
        "typed_extension_protocol_options": { HTTP_OPTIONS_KEY: {
            "@type": format!("type.googleapis.com/{HTTP_OPTIONS_KEY}"),
            "explicit_http_config": { "http2_protocol_options": {} },
        }},
    })
}

fn endpoint(cluster: &str, socket: &Path) -> Value {
    json!({ "cluster_name": cluster, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": pipe(socket) } }] }] })
}

fn pipe(path: &Path) -> Value {
    json!({ "pipe": { "path": path } })
}

fn connection_manager(route: Value) -> Value {
    let router = json!({ "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" });
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": router }],
    })
}

fn header(name: &str, value: &str) -> Value {
    json!({ "header": { "key": name, "value": value }, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD" })
}

/// What comes after the headers, without the lengths of chunks in between.
fn body(answer: &str) -> String {
    let (headers, mut rest) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    if !headers.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return rest.to_owned();
    }
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let (chunk, after) = after.split_at(usize::from_str_radix(length, 16).unwrap());
        body.push_str(chunk);
        rest = after.trim_start_matches("\r\n");
    }
    body
}

/// All texts of `inline_bytes` in a value.
fn inline_bytes(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let decoded = fields.get("inline_bytes").and_then(Value::as_str).map(|text| {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
                String::from_utf8(bytes).unwrap()
            });
            fields.values().flat_map(inline_bytes).chain(decoded).collect()
        }
        Value::Array(values) => values.iter().flat_map(inline_bytes).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}
