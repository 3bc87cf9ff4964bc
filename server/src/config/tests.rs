//! Files of SPIRE and of ours, and what is refused with its place.

use std::fmt::Write as _;
use std::fs;

use plastron_daemon::config::explain;

use super::*;

pub(super) const PLUGINS: &str = r#"
plugins {
    DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "./.data/datastore.sqlite3" } }
    NodeAttestor "join_token" { plugin_data { } }
    KeyManager "memory" { plugin_data = {} }
}
"#;

/// A pool that trusts some key.
const POOL: &str = "pool \"p\" { ek_pins = [\"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\"] }";

pub(super) fn load_text(text: &str, change: impl FnOnce(&mut Flags)) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.conf");
    std::fs::write(&path, text).unwrap();
    let mut flags = Flags { config: path.clone(), ..Flags::default() };
    change(&mut flags);
    load(&flags).map_err(|error| explain(&error).replace(&format!("{}", path.display()), "server.conf"))
}

pub(super) fn with(server: &str, plugins: &str) -> String {
    format!("server {{\n    trust_domain = \"example.org\"\n    data_dir = \"./.data\"\n{server}\n}}\n{plugins}")
}

#[test]
fn spires_quick_start_runs_with_spires_defaults() {
    let settings =
        load_text(&with("bind_address = \"127.0.0.1\"\nbind_port = \"8081\"\nlog_level = \"DEBUG\"", PLUGINS), |_| {});
    let settings = settings.unwrap();
    assert_eq!((settings.bind_address.as_str(), settings.bind_port), ("127.0.0.1", 8081));
    assert_eq!(settings.socket_path, Path::new("/tmp/spire-server/private/api.sock"));
    assert_eq!(settings.services.ca.ttl, Duration::from_secs(86_400));
    assert_eq!(settings.services.ca.key_type, KeyType::EcP256);
    assert_eq!(settings.services.agent_ttl, Duration::from_secs(3600));
    assert_eq!(settings.rate_limits, RateLimits::default());
    assert_eq!(settings.log.level, plastron_daemon::logging::Level::Debug);
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
}

/// As SPIRE's `validate` does it, so that a file is mended in one go.
#[test]
fn what_is_wrong_with_several_plugins_is_told_at_once_in_spires_words() {
    let plugins = format!(
        "{}\n    NodeAttestor \"x509pop\" {{ plugin_data_file = \"no/such/x509pop.conf\" }}\n    {}\n}}\n",
        PLUGINS.trim_end().trim_end_matches('}'),
        "UpstreamAuthority \"disk\" { plugin_data { } }",
    );
    let error = load_text(&with("", &plugins), |_| {}).unwrap_err();
    let expected = [
        "server.conf:12:49: plugins.NodeAttestor.x509pop.plugin_data_file: failed to read plugin configuration: \
         open no/such/x509pop.conf: no such file or directory",
        "server.conf:13:23: plugins.UpstreamAuthority.disk: 'cert_file_path' and 'key_file_path' must be set and not empty",
    ];
    assert_eq!(error.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn flags_win_over_the_file_and_agents_follow_the_default_ttl() {
    let text = with("bind_port = 1\ndefault_x509_svid_ttl = \"30m\"\nratelimit { attestation = false }", PLUGINS);
    let settings = load_text(&text, |flags| {
        flags.server_port = Some(2);
        flags.trust_domain = Some("other.org".into());
        flags.socket_path = Some("api.sock".into());
    });
    let settings = settings.unwrap();
    assert_eq!((settings.bind_port, settings.services.ca.trust_domain.as_str()), (2, "other.org"));
    assert_eq!(settings.services.agent_ttl, Duration::from_secs(1800));
    assert!(settings.socket_path.is_absolute());
    assert_eq!(settings.rate_limits, RateLimits { attestation: false, signing: true });
    let refused = load_text(&text, |flags| flags.log_level = Some("loud".into())).unwrap_err();
    assert!(refused.starts_with("flag -logLevel: \"loud\""), "{refused}");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let tpm = |data: &str| {
        format!(
            "plugins {{\nDataStore \"sql\" {{ plugin_data {{ database_type = \"sqlite3\" connection_string = \"d\" }} }}\nKeyManager \"memory\" {{ plugin_data {{}} }}\nNodeAttestor \"tpm\" {{ plugin_data {{ {data} }} }}\n}}"
        )
    };
    let plugins = |block: &str| PLUGINS.replacen("plugins {", &format!("plugins {{\n{block}"), 1);
    let cases = [
        ("server { trust_domain = \"td\" }".to_owned(), "the plugins section must be configured"),
        (PLUGINS.to_owned(), "the server section must be configured"),
        (format!("server {{ trust_domain = \"td\" }}\n{PLUGINS}"), "data_dir must be configured"),
        (with("bogus = 1", PLUGINS), "server.conf:4:1: unknown key server.bogus"),
        (with("trust_domain = \"UPPER\"", PLUGINS), "server.conf:4:16: server.trust_domain: "),
        (with("ca_ttl = \"soon\"", PLUGINS), "server.conf:4:10: server.ca_ttl: expected a duration"),
        (with("ca_key_type = \"dsa\"", PLUGINS), "server.conf:4:15: server.ca_key_type: key type \"dsa\" is unknown"),
        (
            with("jwt_key_type = \"hs256\"", PLUGINS),
            "server.conf:4:16: server.jwt_key_type: key type \"hs256\" is unknown",
        ),
        (with("default_jwt_svid_ttl = \"soon\"", PLUGINS), "server.default_jwt_svid_ttl: expected a duration"),
        (with("admin_ids = [\"nobody\"]", PLUGINS), "server.conf:4:14: server.admin_ids"),
        (
            with("proxy_protocol_trusted_cidrs = [\"10.0.0.0/8\", \"10.0.0.1\"]", PLUGINS),
            "server.proxy_protocol_trusted_cidrs: \"10.0.0.1\" is no network in CIDR notation, as 10.0.0.0/8 is",
        ),
        (
            with("experimental { require_pq_kem = true }", PLUGINS),
            "server.experimental.require_pq_kem: this server has no setting for post-quantum key exchange alone yet",
        ),
        (
            with("", &format!("telemetry {{ Prometheus {{ port = 1 tls {{ cert_file = \"c\" }} }} }}\n{PLUGINS}")),
            "telemetry.Prometheus.tls: cert_file and key_file must both be configured unless use_spire_svid is enabled",
        ),
        (
            with("", &format!("telemetry {{ M3 = [{{ address = \"localhost:9000\" }}] }}\n{PLUGINS}")),
            "telemetry.M3: this server has no metrics for M3 yet",
        ),
        (
            with("", &plugins("UpstreamAuthority \"vault\" { plugin_data {} }")),
            "this server has no UpstreamAuthority \"vault\"; it has disk and spire",
        ),
        (
            with("", &plugins("UpstreamAuthority \"disk\" { plugin_data { key_file_path = \"k\" } }")),
            "'cert_file_path' and 'key_file_path' must be set and not empty",
        ),
        (
            with(
                "",
                &plugins("UpstreamAuthority \"disk\" { plugin_data { cert_file_path = \"c\" key_file_path = \"\" } }"),
            ),
            "'cert_file_path' and 'key_file_path' must be set and not empty",
        ),
        (
            with("", &plugins("UpstreamAuthority \"disk\" { plugin_data { ttl = \"1h\" } }")),
            "the lifetime is that of ca_ttl: take it out",
        ),
        (
            with(
                "",
                &plugins(
                    &"UpstreamAuthority \"disk\" { plugin_data { cert_file_path = \"c\" key_file_path = \"k\" } }\n"
                        .repeat(2),
                ),
            ),
            "\"UpstreamAuthority\" \"disk\" is configured at 8:19 already",
        ),
        (
            with(
                "",
                &plugins(
                    "UpstreamAuthority \"spire\" { plugin_data { server_port = \"1\" workload_api_socket = \"/s\" } }",
                ),
            ),
            "server_address must be configured",
        ),
        (
            with(
                "",
                &plugins(
                    "UpstreamAuthority \"spire\" { plugin_data { server_address = \"a\" workload_api_socket = \"/s\" } }",
                ),
            ),
            "server_port must be configured",
        ),
        (
            with(
                "",
                &plugins("UpstreamAuthority \"spire\" { plugin_data { server_address = \"a\" server_port = \"1\" } }"),
            ),
            "workload_api_socket must be configured",
        ),
        (
            with(
                "",
                &plugins(
                    "UpstreamAuthority \"spire\" { plugin_data { server_address = \"a\" server_port = \"x\" workload_api_socket = \"/s\" } }",
                ),
            ),
            "server_port must be a number from 1 to 65535",
        ),
        (
            with(
                "",
                &plugins(
                    "UpstreamAuthority \"spire\" { plugin_data { server_address = \"a\" server_port = 0 workload_api_socket = \"/s\" } }",
                ),
            ),
            "server_port must be a number from 1 to 65535",
        ),
        (
            with(
                "",
                &plugins(
                    "UpstreamAuthority \"spire\" { plugin_data { server_address = \"a\" server_port = 1 workload_api_socket = \"/s\" experimental { require_pq_kem = true } } }",
                ),
            ),
            "this server has no setting for post-quantum key exchange alone yet",
        ),
        (
            with(
                "",
                &plugins(
                    "UpstreamAuthority \"spire\" { plugin_data { server_address = \"a\" server_port = 1 workload_api_socket = \"/s\" experimental { workload_api_named_pipe_name = \"p\" } } }",
                ),
            ),
            "this server has no named pipes yet",
        ),
        (
            with("", &plugins("NodeAttestor \"aws_iid\" { plugin_data {} }")),
            "no NodeAttestor \"aws_iid\"; it has join_token, tpm and x509pop",
        ),
        (with("", &plugins("NodeAttestor \"aws\" { plugin_cmd = \"/bin/true\" }")), "plugin_cmd) are not supported"),
        (
            with("", &plugins("KeyManager \"disk\" { plugin_data { directory = \"k\" } }")),
            "KeyManager is configured already",
        ),
        (with("", &PLUGINS.replace("sqlite3\"", "mysql\"")), "no database type \"mysql\"; it has sqlite3"),
        (
            with(
                "",
                &PLUGINS.replace(
                    "\"memory\" { plugin_data = {} }",
                    "\"disk\" { plugin_data { keys_path = \"k.json\" directory = \"d\" } }",
                ),
            ),
            "keys_path: directory is given too",
        ),
        (
            with("", &PLUGINS.replace("\"memory\" { plugin_data = {} }", "\"disk\" { plugin_data { } }")),
            "directory must be configured",
        ),
        (with("prune_attested_nodes_expired_for = \"soon\"", PLUGINS), "server.prune_attested_nodes_expired_for: "),
        (with("max_attested_node_info_staleness = \"soon\"", PLUGINS), "server.max_attested_node_info_staleness: "),
        (
            with(
                "",
                &PLUGINS.replace(
                    "\"memory\" { plugin_data = {} }",
                    "\"pkcs11\" { plugin_data { module = \"/m\" token_label = \"a\" slot = 1 } }",
                ),
            ),
            "exactly one of token_label",
        ),
        (with("", &tpm("")), "a pool must be configured"),
        (with("", &tpm("pool \"p\" { }")), "ek_ca_paths or ek_pins must be configured"),
        (with("", &tpm("pool \"p\" { ek_pins = [\"ab\"] }")), "is no EK fingerprint"),
        (with("", &tpm("pool \"p\" { ek_ca_paths = [\"a\"] require = \"pin\" }")), "makes no use of ek_ca_paths"),
        (with("", &tpm("pool \"p\" { ek_ca_paths = [\"a\"] bogus = 1 }")), "unknown key"),
        (with("", &tpm("pool \"p\" { ek_ca_paths = [\"a\"] ek_template = \"rsa1024\" }")), "is no EK template"),
        (with("", &tpm("pool \"p\" { ek_ca_paths = [\"a\"] ek_crl_paths = [\"c\"] }")), "needs ek_crl_max_age"),
        (with("", &tpm("pool \"p\" { ek_ca_paths = [\"a\"] ek_crl_max_age = \"1h\" }")), "without ek_crl_paths"),
        (
            with("", &tpm("pool \"p\" { ek_ca_paths = [\"a\"] ek_crl_paths = [\"c\"] ek_crl_max_age = \"500ms\" }")),
            "must be a second or more",
        ),
        (
            with("", &tpm("pool \"p\" { ek_pins_paths = [\"a.csv\"] ek_crl_paths = [\"c\"] ek_crl_max_age = \"1h\" }")),
            "of no use without ek_ca_paths",
        ),
        (with("", &tpm(&format!("{POOL} denied_certificate \"01\" {{ }}"))), "issuer_paths must name"),
        (
            with("", &tpm(&format!("{POOL} denied_certificate \"1\" {{ issuer_paths = [\"a\"] }}"))),
            "is no serial number",
        ),
        (with("", &tpm(&format!("{POOL} denied_model \"SLB9665\" {{ }}"))), "manufacturer must be configured"),
        (with("", &tpm(&format!("{POOL} denied_model \" \" {{ manufacturer = \"IFX\" }}"))), "a model must be named"),
        (
            with("", &tpm(&format!("{POOL} denied_model \"SLB9665\" {{ manufacturer = \"Infineon\" }}"))),
            "is no TPM manufacturer",
        ),
        (
            with(
                "",
                &tpm(&format!(
                    "{POOL} denied_model \"SLB9665\" {{ manufacturer = \"IFX\" firmware_versions = [\"7.61\"] }}"
                )),
            ),
            "is no firmware version",
        ),
        (with("", "plugins { KeyManager \"memory\" { plugin_data {} } }"), "a DataStore must be configured"),
    ];
    let mut wrong = String::new();
    for (text, expected) in cases {
        match load_text(&text, |_| {}) {
            Ok(_) => writeln!(wrong, "accepted, although: {expected}").unwrap(),
            Err(error) if !error.contains(expected) => writeln!(wrong, "expected {expected:?} in {error:?}").unwrap(),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_server_above_is_configured_as_for_spire() {
    for port in ["\"8081\"", "8081"] {
        let spire = format!(
            "plugins {{ UpstreamAuthority \"spire\" {{ plugin_data {{ server_address = \"above\" server_port = {port} \
             workload_api_socket = \"/run/agent.sock\" experimental {{ require_pq_kem = false }} }} }}"
        );
        let settings = load_text(&with("", &PLUGINS.replacen("plugins {", &spire, 1)), |_| {}).unwrap();
        assert_eq!(settings.warnings, Vec::<String>::new());
        let shown = format!("{:?}", settings.catalog);
        assert!(shown.contains("server_address: \"above\", server_port: 8081"), "{shown}");
    }
}

#[test]
fn what_is_wrong_with_x509pop_is_named_with_its_place() {
    let cases = [
        ("", "one of ca_bundle_path and ca_bundle_paths must be configured"),
        ("ca_bundle_path = \"a\" ca_bundle_paths = [\"b\"]", "only one of ca_bundle_path and ca_bundle_paths"),
        ("mode = \"any\"", "neither \"external_pki\" nor \"spiffe\""),
        ("mode = \"spiffe\" ca_bundle_path = \"a\"", "takes this server's own bundle"),
        ("mode = \"spiffe\" svid_prefix = \"x\"", "the prefix begins with /"),
        ("mode = \"spiffe\" svid_prefix = \"/x\" spiffe_prefix = \"/y\"", "only one of spiffe_prefix and svid_prefix"),
        ("ca_bundle_path = \"a\" agent_path_template = \"{{ .Raw }}\"", "\".Raw\" is not understood"),
        ("ca_bundle_path = \"a\" max_intermediates = 0", "0 is not from 1 to 8"),
        ("ca_bundle_path = \"a\" max_rsa_key_size = 16384", "16384 is not from 1 to 8192"),
        ("ca_bundle_path = \"a\" ca_path = \"b\"", "ca_path"),
    ];
    let with_data = |data: &str| {
        let plugin = format!("\"x509pop\" {{ plugin_data {{ {data} }} }}");
        load_text(&with("", &PLUGINS.replace("\"join_token\" { plugin_data { } }", &plugin)), |flags| {
            flags.strict = true
        })
    };
    for (data, expected) in cases {
        let error = with_data(data).unwrap_err();
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
    let missing = with_data("ca_bundle_path = \"/no/such.pem\"").unwrap().catalog.check().unwrap_err();
    assert!(explain(&missing).contains("/no/such.pem"), "{missing}");
    with_data("mode = \"spiffe\"").unwrap().catalog.check().unwrap();
}

#[test]
fn a_pool_with_pins_and_golden_values_is_taken_whole() {
    let pin = "ab".repeat(32);
    let data = format!(
        "pool \"racks\" {{ ek_pins = [\"{pin}\"] ek_template = \"p384\" banks = [\"sha256\", \"sha384\"] \
         golden_pcrs \"sha256\" {{ \"7\" = [\"{pin}\"] }} }} denied_ek \"{pin}\" {{ reason = \"stolen\" }}"
    );
    let plugins =
        PLUGINS.replace("\"join_token\" { plugin_data { } }", &format!("\"tpm\" {{ plugin_data {{ {data} }} }}"));
    load_text(&with("", &plugins), |_| {}).unwrap().catalog.check().unwrap();

    let missing = PLUGINS.replace(
        "\"join_token\" { plugin_data { } }",
        "\"tpm\" { plugin_data { pool \"p\" { ek_ca_paths = [\"/no/such.pem\"] } } }",
    );
    let refused = load_text(&with("", &missing), |_| {}).unwrap().catalog.check().unwrap_err();
    assert!(explain(&refused).contains("/no/such.pem"), "{refused}");
}

/// What only shows when the files are read: each error names its file, and the pool where that is not clear.
#[test]
fn files_of_pools_that_cannot_be_used_are_named() {
    let pin = "ab".repeat(32);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let header = "fingerprint,added_by,added_at,reason,obtained\n";
    let row = |byte: &str| format!("{},alice,2026-01-31T12:00:00Z,ticket,console\n", byte.repeat(32));
    let good = file("good.csv", &format!("{header}{}", row("cd")));
    let again = file("again.csv", &format!("{header}{}", row("ab")));
    let (broken, garbage) = (file("broken.csv", &format!("{header}x,,,,\n")), file("garbage.crl", "no list"));
    let der = file("der.crl", "0\u{1}\u{1}");
    let check = |data: &str| {
        let text =
            PLUGINS.replace("\"join_token\" { plugin_data { } }", &format!("\"tpm\" {{ plugin_data {{ {data} }} }}"));
        let loaded = load_text(&with("", &text), |_| {}).unwrap();
        loaded.catalog.check().map_err(|error| explain(&error))
    };
    check(&format!(
        "pool \"p\" {{ ek_pins_paths = [\"{good}\"] ek_pins = [\"{pin}\"] }} \
         denied_model \"SLB9665\" {{ manufacturer = \"IFX\" firmware_versions = [\"0x0007003d0000ab12\"] }}"
    ))
    .unwrap();
    let roots = "ek_ca_paths = [\"/no/roots.pem\"] ek_crl_max_age = \"24h\"";
    for (data, expected) in [
        (format!("pool \"p\" {{ ek_pins_paths = [\"{again}\"] ek_pins = [\"{pin}\"] }}"), "again.csv:2; keep one"),
        (format!("pool \"p\" {{ ek_pins_paths = [\"{broken}\"] }}"), "broken.csv\":2:1: \"x\" is no EK fingerprint"),
        ("pool \"p\" { ek_pins_paths = [\"/no/such.csv\"] }".to_owned(), "can't read the pins in \"/no/such.csv\""),
        (format!("pool \"p\" {{ {roots} ek_crl_paths = [\"{garbage}\"] }}"), "can't read the certificates"),
        (
            format!("{POOL} denied_certificate \"01\" {{ issuer_paths = [\"{der}\"] }}"),
            "plugin_data.denied_certificate.01: the issuer's certificate",
        ),
    ] {
        let refused = check(&data).unwrap_err();
        assert!(refused.contains(expected), "{refused}\n{expected}");
    }
}

#[test]
fn keys_without_effect_are_warned_of() {
    let text = with(
        "default_jwt_svid_ttl = \"21m\"\nexperimental { cache_reload_interval = \"1s\" }\nca_ttl = \"2h\"",
        PLUGINS,
    );
    let warnings = load_text(&text, |_| {}).unwrap().warnings;
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(warnings[0].contains("server.experimental.cache_reload_interval: has no effect"), "{warnings:?}");
    assert!(warnings[3].contains("default_jwt_svid_ttl is more than a sixth of ca_ttl"), "{warnings:?}");
}

#[test]
fn what_a_database_on_a_server_needs_is_refused_and_what_tunes_one_is_warned_of() {
    let sql = |more: &str| with("", &PLUGINS.replace("database_type", &format!("{more} database_type")));
    let tuned =
        "max_open_conns = 5 max_idle_conns = 2 conn_max_lifetime = \"1h\" disable_migration = true log_sql = true";
    let warnings = load_text(&sql(tuned), |_| {}).unwrap().warnings;
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    assert!(warnings[0].ends_with("plugins.DataStore.sql.plugin_data.max_open_conns has no effect"), "{warnings:?}");
    for key in ["ro_connection_string", "root_ca_path", "client_cert_path", "client_key_path"] {
        let refused = load_text(&sql(&format!("{key} = \"x\"")), |_| {}).unwrap_err();
        assert!(
            refused.ends_with(&format!("{key}: is for databases on servers, which this server does not have")),
            "{refused}"
        );
        assert!(load_text(&sql(&format!("{key} = \"\"")), |_| {}).is_ok(), "{key}");
    }
}

#[test]
fn jwt_keys_follow_ca_keys_and_all_four_types_are_taken() {
    for (name, key_type) in [
        ("rsa-2048", KeyType::Rsa2048),
        ("rsa-4096", KeyType::Rsa4096),
        ("ec-p256", KeyType::EcP256),
        ("EC-P384", KeyType::EcP384),
    ] {
        let ca = load_text(&with(&format!("ca_key_type = \"{name}\""), PLUGINS), |_| {}).unwrap().services.ca;
        assert_eq!((ca.key_type, ca.jwt_key_type), (key_type, key_type));
        let text = format!("ca_key_type = \"ec-p256\"\njwt_key_type = \"{name}\"");
        let ca = load_text(&with(&text, PLUGINS), |_| {}).unwrap().services.ca;
        assert_eq!((ca.key_type, ca.jwt_key_type), (KeyType::EcP256, key_type));
    }
    let text = "jwt_issuer = \"https://issuer.example\"\ndisable_jwt_svids = true";
    let services = load_text(&with(text, PLUGINS), |_| {}).unwrap().services;
    assert_eq!(services.ca.jwt_issuer.as_deref(), Some("https://issuer.example"));
    assert!(services.ca.disable_jwt_svids);
    assert_eq!(services.default_jwt_svid_ttl, Duration::from_secs(300));
    let services = load_text(&with("jwt_issuer = \"\"", PLUGINS), |_| {}).unwrap().services;
    assert_eq!((services.ca.jwt_issuer, services.ca.disable_jwt_svids), (None, false), "SPIRE's defaults");
}

#[test]
fn nodes_are_pruned_by_spires_keys() {
    let rule = |text: &str| load_text(&with(text, PLUGINS), |_| {}).unwrap().node_pruning;
    assert_eq!(rule("prune_tofu_nodes = true\nprune_attested_nodes_batch_size = 7"), None, "as in SPIRE");
    let expired_for = Duration::from_secs(720 * 3600);
    let usual = NodePruning { expired_for, batch: 1000, not_reattestable: false };
    assert_eq!(rule("prune_attested_nodes_expired_for = \"720h\""), Some(usual));
    let text =
        "prune_attested_nodes_expired_for = \"720h\"\nprune_tofu_nodes = true\nprune_attested_nodes_batch_size = 7";
    assert_eq!(rule(text), Some(NodePruning { batch: 7, not_reattestable: true, ..usual }));
    assert_eq!(
        rule("prune_attested_nodes_expired_for = \"1h\"\nprune_attested_nodes_batch_size = 0").unwrap().batch,
        1000
    );
    let warnings = load_text(&with("max_attested_node_info_staleness = \"0s\"", PLUGINS), |_| {}).unwrap().warnings;
    assert!(warnings.is_empty(), "{warnings:?}");
}

/// SPIRE's quick start names a file; ours is a folder beside it, and SPIRE's keys are not passed over in silence.
#[test]
fn spires_setting_for_keys_is_taken_and_spires_keys_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.json");
    let disk = format!("\"disk\" {{ plugin_data {{ keys_path = {:?} }} }}", keys.display().to_string());
    let text = with("", &PLUGINS.replace("\"memory\" { plugin_data = {} }", &disk));
    let opened = load_text(&text, |_| {}).unwrap().catalog.key_store().unwrap();
    assert_eq!(opened.store.identity().kind, "disk");
    assert!(folder.path().join("keys.json.d").is_dir() && !keys.exists());
    fs::write(&keys, "{}").unwrap();
    let refused = load_text(&text, |_| {}).unwrap_err();
    assert!(refused.contains("plugin_data.keys_path: is a file of SPIRE's keys"), "{refused}");
}

#[test]
fn what_is_empty_is_not_set() {
    let text = "bind_address = \"\"\nsocket_path = \"\"\nca_ttl = \"\"\nagent_ttl = \"\"\nca_key_type = \"\"\n\
                jwt_key_type = \"\"\nlog_level = \"\"\nlog_format = \"\"\nlog_file = \"\"\nexperimental { named_pipe_name = \"\" }";
    let settings = load_text(&with(text, PLUGINS), |_| {}).unwrap();
    assert_eq!((settings.bind_address.as_str(), settings.bind_port), ("0.0.0.0", 8081));
    assert_eq!(settings.socket_path, Path::new("/tmp/spire-server/private/api.sock"));
    assert_eq!(settings.services.ca.ttl, Duration::from_secs(86_400));
    assert_eq!(settings.log.file, None);
    let refused = load_text(&format!("server {{ trust_domain = \"\" data_dir = \"d\" }}\n{PLUGINS}"), |_| {});
    assert_eq!(refused.unwrap_err(), "trust_domain must be configured");
}
