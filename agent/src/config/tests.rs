//! Files that SPIRE takes, and what is refused with its place.

use std::path::Path;

use plastron_agent_bootstrap::{BundleFormat, Endpoint};

use super::*;

const MINIMAL: &str = r#"
agent {
    server_address = "127.0.0.1"
    server_port = "8081"
    trust_domain = "example.org"
    trust_bundle_path = "conf/agent/bundle.pem"
}
plugins {
    NodeAttestor "join_token" { plugin_data {} }
    KeyManager "disk" { plugin_data { directory = "data" } }
    WorkloadAttestor "unix" { plugin_data {} }
}
"#;

fn load_text(text: &str, change: impl FnOnce(&mut Overrides)) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.conf");
    std::fs::write(&path, text).unwrap();
    let mut overrides = Overrides { config: path, ..Overrides::default() };
    change(&mut overrides);
    Config::load(&overrides).map_err(|problem| {
        plastron_daemon::config::explain(&problem).replace(&format!("{}/", dir.path().display()), "")
    })
}

fn refused(text: &str) -> String {
    load_text(text, |_| {}).unwrap_err()
}

#[test]
fn defaults_are_spires() {
    let config = load_text(MINIMAL, |_| {}).unwrap();
    assert_eq!(config.data_dir, Path::new("."));
    assert_eq!(config.socket_path, Path::new("/tmp/spire-agent/public/api.sock"));
    assert_eq!(config.server_port, 8081);
    assert_eq!(config.sync_interval, Duration::from_secs(5));
    assert_eq!(config.x509_svid_cache_max_size, 1000);
    assert_eq!(config.jwt_svid_cache_max_size, 1000);
    assert_eq!(config.jwt_svid_cache_hit_timeout, Duration::from_secs(5));
    assert!(config.allowed_foreign_jwt_claims.is_empty() && !config.allow_unauthenticated_verifiers);
    assert_eq!(config.workload_key_type, SvidKeyType::EcP256);
    let path = PathBuf::from("conf/agent/bundle.pem");
    assert_eq!(config.bootstrap, BundleSource::File { path, format: BundleFormat::Pem });
    assert_eq!(config.plugins.len(), 3);
    assert!(!config.health.listener_enabled);
    assert!(config.warnings.is_empty());
}

#[test]
fn every_key_is_read() {
    let config = load_text(
        r#"
agent {
    data_dir = "/var/lib/agent"
    log_level = "DEBUG"
    log_format = "json"
    log_file = "/var/log/agent"
    log_source_location = true
    server_address = "[::1]"
    server_port = 8443
    socket_path = "/run/agent/api.sock"
    trust_bundle_path = "b.json"
    trust_bundle_format = "spiffe"
    join_token_file = "token"
    trust_domain = "spiffe://example.org"
    workload_x509_svid_key_type = "rsa-2048"
    x509_svid_cache_max_size = 5
    jwt_svid_cache_max_size = 7
    allowed_foreign_jwt_claims = ["iss", "role"]
    allow_unauthenticated_verifiers = true
    admin_socket_path = "/run/agent-admin/admin.sock"
    authorized_delegates = ["spiffe://example.org/one", "spiffe://example.org/two"]
    availability_target = "36h"
    experimental {
        sync_interval = "1m30s"
        jwt_svid_cache_hit_timeout = "29s"
    }
}
health_checks { listener_enabled = true bind_port = "8080" }
"#,
        |_| {},
    )
    .unwrap();
    assert_eq!(config.server_address, "::1");
    assert_eq!(config.trust_domain.as_str(), "example.org");
    assert_eq!(config.sync_interval, Duration::from_secs(90));
    assert_eq!((config.x509_svid_cache_max_size, config.jwt_svid_cache_max_size), (5, 7));
    assert_eq!(config.jwt_svid_cache_hit_timeout, Duration::from_secs(29));
    assert_eq!(config.allowed_foreign_jwt_claims, ["iss", "role"]);
    assert_eq!(config.workload_key_type, SvidKeyType::Rsa2048);
    assert_eq!(config.availability_target, Some(Duration::from_secs(36 * 3600)));
    let admin = config.admin.unwrap();
    assert_eq!(admin.socket_path, Path::new("/run/agent-admin/admin.sock"));
    let delegates: Vec<_> = admin.delegates.iter().map(|id| id.as_str()).collect();
    assert_eq!(delegates, ["spiffe://example.org/one", "spiffe://example.org/two"]);
    assert!(matches!(config.join_token, JoinToken::File(_)));
    assert!(config.health.listener_enabled && config.allow_unauthenticated_verifiers);
}

#[test]
fn the_admin_socket_is_not_where_everybody_may_look() {
    let with = |keys: &str| load_text(&MINIMAL.replacen("agent {", &format!("agent {{\n{keys}"), 1), |_| {});
    for place in
        ["/run/public/admin.sock", "/run/public/below/admin.sock", "/run/other/../public/./admin.sock", "/run/public"]
    {
        let error =
            with(&format!("socket_path = \"/run/public/api.sock\"\nadmin_socket_path = \"{place}\"")).unwrap_err();
        assert!(error.contains("admin socket cannot be in the same directory"), "{place}: {error}");
        assert!(error.contains("agent.conf:"), "{place}: {error}");
    }
    let config =
        with("socket_path = \"/run/public/api.sock\"\nadmin_socket_path = \"/run/public-admin/admin.sock\"").unwrap();
    assert_eq!(config.admin.unwrap().socket_path, Path::new("/run/public-admin/admin.sock"));
    assert_eq!(with("admin_socket_path = \"\"").unwrap().admin, None);
}

#[test]
fn a_link_does_not_lead_the_admin_socket_to_where_everybody_may_look() {
    let dir = tempfile::tempdir().unwrap();
    let (run, link) = (dir.path().join("run"), dir.path().join("var-run"));
    std::fs::create_dir(&run).unwrap();
    std::os::unix::fs::symlink(&run, &link).unwrap();
    let load = |workloads: &Path, admin: &Path| {
        let sockets = format!("agent {{\nsocket_path = {workloads:?}\nadmin_socket_path = {admin:?}");
        load_text(&MINIMAL.replacen("agent {", &sockets, 1), |_| {})
    };
    for (workloads, admin) in [
        ("run/api.sock", "var-run/admin.sock"),
        ("run/public/api.sock", "var-run/public/admin.sock"),
        ("var-run/public/api.sock", "run/public/below/admin.sock"),
    ] {
        let error = load(&dir.path().join(workloads), &dir.path().join(admin)).unwrap_err();
        assert!(error.contains("admin socket cannot be in the same directory"), "{admin}: {error}");
    }
    let admin = link.join("private/admin.sock");
    let config = load(&run.join("public/api.sock"), &admin).unwrap();
    assert_eq!(config.admin.unwrap().socket_path, admin);
}

#[test]
fn a_delegate_is_an_id_of_our_own_trust_domain() {
    let with = |list: &str| {
        let keys = format!("agent {{\nadmin_socket_path = \"/run/a/b.sock\"\nauthorized_delegates = [{list}]");
        load_text(&MINIMAL.replacen("agent {", &keys, 1), |_| {})
    };
    assert!(with("\"spiffe://other.example/x\"").unwrap_err().contains("a delegate is of trust domain example.org"));
    assert!(with("\"web\"").is_err());
    assert!(with("").unwrap().admin.unwrap().delegates.is_empty());
}

#[test]
fn an_availability_target_below_a_day_is_refused() {
    let with = |target: &str| {
        load_text(&MINIMAL.replacen("agent {", &format!("agent {{\navailability_target = \"{target}\""), 1), |_| {})
    };
    assert!(with("23h59m").unwrap_err().contains("must be at least 24h"));
    assert!(with("soon").is_err());
    assert_eq!(with("24h").unwrap().availability_target, Some(Duration::from_secs(86_400)));
}

#[test]
fn flags_win_over_the_file() {
    let config = load_text(MINIMAL, |flags| {
        flags.trust_domain = Some("other.example".to_owned());
        flags.server_port = Some(1);
        flags.join_token = Some("secret".to_owned());
        flags.log_level = Some("warn".to_owned());
        flags.data_dir = Some("elsewhere".into());
        flags.allow_unauthenticated_verifiers = true;
    })
    .unwrap();
    assert_eq!(config.trust_domain.as_str(), "other.example");
    assert_eq!(config.server_port, 1);
    assert_eq!(config.data_dir, Path::new("elsewhere"));
    assert!(config.allow_unauthenticated_verifiers);
    assert!(matches!(&config.join_token, JoinToken::Literal(token) if token.as_str() == "secret"));
    assert!(!format!("{config:?}").contains("secret"));
    let refused = load_text(MINIMAL, |flags| flags.trust_domain = Some("Not A Domain".to_owned())).unwrap_err();
    assert!(refused.starts_with("-trustDomain: "), "{refused}");
}

#[test]
fn unknown_keys_are_refused_with_their_places() {
    let text = MINIMAL.replace("trust_domain =", "trust_domian = \"x\"\n    trust_domain =");
    assert_eq!(refused(&text), "agent.conf:5:5: unknown key agent.trust_domian");
    let text = format!("{MINIMAL}\nbogus {{ }}\n");
    assert!(refused(&text).ends_with("unknown key bogus"), "{}", refused(&text));
}

#[test]
fn bad_values_are_refused_with_their_places() {
    for (from, to, expected) in [
        ("\"example.org\"", "\"Example Org\"", "agent.conf:5:20: agent.trust_domain: "),
        ("\"8081\"", "\"0\"", "agent.server_port is missing"),
        ("\"8081\"", "\"70000\"", "agent.conf:4:19: agent.server_port: "),
        ("\"127.0.0.1\"", "\"host:8081\"", "agent.conf:3:22: agent.server_address: must be a host name"),
        ("trust_domain =", "log_level = \"loud\"\n trust_domain =", "agent.conf:5:17: agent.log_level: "),
        (
            "trust_domain =",
            "x509_svid_cache_max_size = -1\n trust_domain =",
            "agent.conf:5:32: agent.x509_svid_cache_max_size: ",
        ),
        (
            "trust_domain =",
            "jwt_svid_cache_max_size = -1\n trust_domain =",
            "agent.conf:5:31: agent.jwt_svid_cache_max_size: ",
        ),
        (
            "trust_domain =",
            "experimental { jwt_svid_cache_hit_timeout = \"4s\" }\n trust_domain =",
            "agent.conf:5:49: agent.experimental.jwt_svid_cache_hit_timeout: must be at least 5s",
        ),
        (
            "trust_domain =",
            "experimental { jwt_svid_cache_hit_timeout = \"30s\" }\n trust_domain =",
            "agent.conf:5:49: agent.experimental.jwt_svid_cache_hit_timeout: must be at least 5s",
        ),
        (
            "trust_domain =",
            "workload_x509_svid_key_type = \"dsa\"\n trust_domain =",
            "agent.conf:5:35: agent.workload_x509_svid_key_type: use ",
        ),
        (
            "trust_domain =",
            "experimental { sync_interval = \"0s\" }\n trust_domain =",
            "agent.conf:5:36: agent.experimental.sync_interval: must be ",
        ),
        (
            "trust_domain =",
            "trust_bundle_format = \"der\"\n trust_domain =",
            "agent.conf:5:27: agent.trust_bundle_format: use ",
        ),
        (
            "trust_domain =",
            "join_token = \"a\"\n join_token_file = \"b\"\n trust_domain =",
            "agent.conf:6:20: agent.join_token_file: join_token is given too",
        ),
    ] {
        let text = MINIMAL.replace(from, to);
        let refused = refused(&text);
        assert!(refused.starts_with(expected), "{refused}\n{expected}");
    }
}

#[test]
fn there_is_no_trust_by_default() {
    let without = MINIMAL.replace("trust_bundle_path", "# trust_bundle_path");
    assert!(refused(&without).starts_with("agent.trust_bundle_path is missing"));
    let insecure = without.replace("trust_domain =", "insecure_bootstrap = true\n trust_domain =");
    assert!(
        refused(&insecure).starts_with("agent.conf:5:26: agent.insecure_bootstrap: is not supported"),
        "{}",
        refused(&insecure)
    );
    let flag = load_text(MINIMAL, |flags| flags.insecure_bootstrap = true).unwrap_err();
    assert!(flag.starts_with("-insecureBootstrap: is not supported"), "{flag}");
    load_text(&MINIMAL.replace("trust_domain =", "insecure_bootstrap = false\n trust_domain ="), |_| {}).unwrap();
    for key in ["trust_domain", "server_address", "server_port"] {
        let missing = refused(&MINIMAL.replace(&format!("{key} ="), &format!("# {key} =")));
        assert_eq!(missing, format!("agent.{key} is missing"));
    }
}

#[test]
fn what_is_empty_is_not_set() {
    let empty = "trust_domain =";
    let text = MINIMAL.replace(
        empty,
        "data_dir = \"\" socket_path = \"\" log_level = \"\" log_file = \"\" join_token = \"\" join_token_file = \"\"
         admin_socket_path = \"\" trust_bundle_url = \"\" x509_svid_cache_max_size = 0 jwt_svid_cache_max_size = 0
         experimental { sync_interval = \"\" }
         trust_domain =",
    );
    let config = load_text(&text, |_| {}).unwrap();
    assert_eq!((config.data_dir.as_path(), config.log.file), (Path::new("."), None));
    assert_eq!(config.socket_path, Path::new("/tmp/spire-agent/public/api.sock"));
    assert_eq!((config.x509_svid_cache_max_size, config.jwt_svid_cache_max_size), (1000, 1000));
    assert!(matches!(config.join_token, JoinToken::Absent));
    let refused = refused(&MINIMAL.replace("\"example.org\"", "\"\""));
    assert_eq!(refused, "agent.trust_domain is missing");
}

fn with(lines: &str) -> String {
    MINIMAL.replace("trust_domain =", &format!("{lines}\n trust_domain ="))
}

/// SPIRE's rules: one source and no more, `https` without a socket and `http` with one.
///
/// Threat 63
#[test]
fn there_is_one_source_of_the_bundle_to_begin_with() {
    let without = |lines: &str| with(lines).replace("trust_bundle_path", "# trust_bundle_path");
    let source = |lines: &str| load_text(&without(lines), |_| {}).map(|config| config.bootstrap);
    let url = |text: &str| plastron_spiffe::BundleEndpointUrl::parse(text).unwrap();
    assert_eq!(
        source("trust_bundle_url = \"https://b.example/\" trust_bundle_format = \"spiffe\""),
        Ok(BundleSource::Url { url: url("https://b.example/"), format: BundleFormat::Spiffe })
    );
    assert_eq!(
        source("trust_bundle_spiffe_workload_api = \"unix:///run/agent.sock\""),
        Ok(BundleSource::WorkloadApi(Endpoint::Unix("/run/agent.sock".into())))
    );
    let local = source("trust_bundle_url = \"http://localhost/b\" trust_bundle_unix_socket = \"/run/b.sock\"");
    assert!(matches!(local, Ok(BundleSource::Local { .. })), "{local:?}");
    let flags = load_text(&without(""), |flags| {
        flags.trust_bundle_url = Some("https://b.example/".to_owned());
        flags.trust_bundle_format = Some("spiffe".to_owned());
    });
    let expected = BundleSource::Url { url: url("https://b.example/"), format: BundleFormat::Spiffe };
    assert_eq!(flags.unwrap().bootstrap, expected);

    for (lines, words) in [
        ("trust_bundle_url = \"http://b.example/\"", "must start with https://"),
        ("trust_bundle_url = \"https://u:p@b.example/\"", "user info"),
        ("trust_bundle_unix_socket = \"/run/b.sock\"", "so must be trust_bundle_url"),
        (
            "trust_bundle_unix_socket = \"/run/b.sock\" trust_bundle_url = \"https://localhost/\"",
            "must start with http:// when used with trust bundle unix socket",
        ),
        (
            "trust_bundle_unix_socket = \"/run/b.sock\" trust_bundle_url = \"http://localhost/?spire-x=1\"",
            "can not start with spire-",
        ),
        ("trust_bundle_spiffe_workload_api = \"/run/agent.sock\"", "not a valid SPIFFE Workload API endpoint address"),
        (
            "trust_bundle_spiffe_workload_api = \"unix:///a\" trust_bundle_unix_socket = \"/b\"",
            "can't be used with trust_bundle_spiffe_workload_api",
        ),
        ("trust_bundle_spiffe_workload_api = \"unix:///a\" trust_bundle_url = \"https://b/\"", "only one of"),
    ] {
        let refused = source(lines).unwrap_err();
        assert!(refused.starts_with("agent.conf:5:") && refused.contains(words), "{lines}: {refused}");
    }
    for lines in ["trust_bundle_url = \"https://b/\"", "trust_bundle_spiffe_workload_api = \"unix:///a\""] {
        assert!(refused(&with(lines)).contains("only one of"), "{}", refused(&with(lines)));
    }
    let flag = load_text(&without(""), |flags| flags.trust_bundle_url = Some("ftp://b/".to_owned())).unwrap_err();
    assert!(flag.starts_with("-trustBundleUrl: ") && flag.contains("https://"), "{flag}");
}

#[test]
fn rebootstrapping_is_as_spires_keys_say() {
    use plastron_agent_core::RebootstrapMode;
    let read =
        |lines: &str| load_text(&with(lines), |_| {}).map(|config| (config.rebootstrap.mode, config.rebootstrap.delay));
    let minutes = |count: u64| Duration::from_secs(60 * count);
    assert_eq!(read(""), Ok((RebootstrapMode::Never, minutes(10))));
    let auto = "rebootstrap_mode = \"auto\" rebootstrap_delay = \"1m\"";
    assert_eq!(read(auto), Ok((RebootstrapMode::Auto, minutes(1))));
    let flags = load_text(&with(auto), |flags| {
        flags.rebootstrap_mode = Some("always".to_owned());
        flags.rebootstrap_delay = Some("2m".to_owned());
    });
    let Rebootstrap { mode, delay } = flags.unwrap().rebootstrap;
    assert_eq!((mode, delay), (RebootstrapMode::Always, minutes(2)));
    let unknown = read("rebootstrap_mode = \"maybe\"").unwrap_err();
    assert!(unknown.contains("unknown rebootstrap mode specified"), "{unknown}");
    assert!(read("rebootstrap_delay = \"soon\"").is_err());
}

#[test]
fn rate_limits_are_numbers_and_none_is_the_default() {
    let read = |lines: &str| load_text(&with(lines), |_| {}).map(|config| config.rate_limits);
    assert_eq!(read(""), Ok(Vec::new()));
    let some = read("experimental { ratelimit { fetch_x509_svid = 100 fetch_jwt_svid = 0 stream_secrets = 5 } }");
    assert_eq!(some, Ok(vec![(Limited::FetchX509Svid, 100), (Limited::StreamSecrets, 5)]));
    for (key, value) in [
        ("fetch_jwt_bundles", "-1"),
        ("fetch_jwt_svid", "-1"),
        ("fetch_secrets", "-1"),
        ("fetch_x509_bundles", "-1"),
        ("fetch_x509_svid", "4294967296"),
        ("stream_secrets", "-1"),
    ] {
        let refused = read(&format!("experimental {{ ratelimit {{ {key} = {value} }} }}")).unwrap_err();
        assert!(refused.contains(&format!("experimental.ratelimit.{key}: must be a number")), "{refused}");
    }
    let chosen = load_text(&with("log_selectors = [\"unix:user\"]"), |_| {}).unwrap().log_selectors;
    assert_eq!(chosen, ["unix:user"]);
    assert!(
        load_text(MINIMAL, |flags| flags.allow_unauthenticated_verifiers = true)
            .unwrap()
            .allow_unauthenticated_verifiers
    );
}
