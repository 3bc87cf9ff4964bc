//! Which plugins make an agent.

use super::*;
use crate::arguments::Overrides;
use crate::config::Config;

const AGENT: &str = r#"agent { server_address = "a" server_port = 1 trust_domain = "td" trust_bundle_path = "b" }"#;

fn read(plugins: &str) -> Result<Catalog, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.conf");
    std::fs::write(&path, format!("{AGENT}\nplugins {{\n{plugins}\n}}\n")).unwrap();
    let config = Config::load(&Overrides { config: path, ..Overrides::default() }).unwrap();
    let strictness = Strictness::Usual { tolerant: &[], strict: &[] };
    Catalog::read(&config.plugins, &strictness)
        .map(|(catalog, _)| catalog)
        .map_err(|problem| problem.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

const KEYS: &str = r#"KeyManager "memory" { plugin_data {} }"#;
const JOIN: &str = r#"NodeAttestor "join_token" { plugin_data {} }"#;
const UNIX: &str = r#"WorkloadAttestor "unix" { plugin_data {} }"#;

#[test]
fn a_usual_agent() {
    let catalog = read(&format!("{KEYS}\n{JOIN}\n{UNIX}")).unwrap();
    assert_eq!(catalog.keys(), KeyCustody::Memory);
    assert!(matches!(catalog.node, NodeAttestor::JoinToken));
    assert_eq!(catalog.workload.len(), 1);
    let disk = r#"KeyManager "disk" { plugin_data { directory = "keys" } }"#;
    assert_eq!(read(&format!("{disk}\n{JOIN}\n{UNIX}")).unwrap().keys(), KeyCustody::Disk("keys".into()));
}

#[test]
fn what_is_no_agent_is_refused_with_its_place() {
    for (plugins, expected) in [
        (format!("{JOIN}\n{UNIX}"), "exactly one KeyManager is needed in plugins, not 0"),
        (format!("{KEYS}\n{UNIX}"), "exactly one NodeAttestor"),
        (format!("{KEYS}\n{JOIN}"), "at least one WorkloadAttestor"),
        (
            format!("{KEYS}\nKeyManager \"disk\" {{ plugin_data {{ directory = \"k\" }} }}\n{JOIN}\n{UNIX}"),
            "exactly one KeyManager is needed in plugins, not 2",
        ),
        (format!("{KEYS}\n{UNIX}\nNodeAttestor \"aws_iid\" {{}}"), "agent.conf:5:"),
        (format!("{KEYS}\n{JOIN}\n{UNIX}\nSVIDStore \"x\" {{}}"), "agent.conf:6:"),
        (
            format!("{KEYS}\n{JOIN}\nWorkloadAttestor \"unix\" {{ plugin_data {{ bogus = 1 }} }}"),
            "agent.conf:5:41: unknown key",
        ),
        (format!("{KEYS}\n{JOIN}\n{UNIX}\nWorkloadAttestor \"k8s\" {{ plugin_cmd = \"/bin/k8s\" }}"), "agent.conf:6:"),
    ] {
        let refused = read(&plugins).unwrap_err();
        assert!(refused.starts_with(expected), "{refused}\n{expected}");
    }
}

#[test]
fn a_tpm_by_device_or_tcti() {
    let read = |data: &str| read(&format!("{KEYS}\n{UNIX}\nNodeAttestor \"tpm\" {{ plugin_data {{ {data} }} }}"));
    if !tpm::BUILT_IN {
        assert!(read("").unwrap_err().contains("built without TPM support"));
        return;
    }
    for (data, tcti) in [
        ("", "device:/dev/tpmrm0"),
        ("device = \"/dev/tpm7\"", "device:/dev/tpm7"),
        ("tcti = \"swtpm:path=/run/tpm.sock\" ek_template = \"p384\"", "swtpm:path=/run/tpm.sock"),
    ] {
        match read(data).unwrap().node {
            NodeAttestor::Tpm(settings) => assert_eq!(settings.tcti, tcti),
            NodeAttestor::JoinToken | NodeAttestor::X509Pop(_) => panic!("{data}"),
        }
    }
}

#[test]
fn a_tpm_that_is_misnamed_is_refused() {
    for (data, expected) in [
        ("device = \"tpm0\"", "tpm.plugin_data.device: a device is an absolute path"),
        ("device = \"/dev/tpm0\" tcti = \"mssim\"", "tpm.plugin_data.tcti: device is given too"),
        (
            "ek_template = \"dsa\"",
            "tpm.plugin_data.ek_template: use one of rsa2048, p256, rsa2048-high, p256-high, p384, rsa3072",
        ),
        ("bogus = 1", "unknown key plugins.NodeAttestor.tpm.plugin_data.bogus"),
    ] {
        let refused =
            read(&format!("{KEYS}\n{UNIX}\nNodeAttestor \"tpm\" {{ plugin_data {{ {data} }} }}")).unwrap_err();
        assert!(refused.starts_with("agent.conf:5:") && refused.contains(expected), "{refused}\n{expected}");
    }
}

#[test]
fn the_documented_configuration_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf/agent/agent.conf");
    let overrides = Overrides { config: path.into(), strict: true, ..Overrides::default() };
    let config = Config::load(&overrides).unwrap();
    let catalog = Catalog::read(&config.plugins, &Strictness::Strict);
    assert_eq!(catalog.is_ok(), tpm::BUILT_IN, "{catalog:?}");
}
