//! The `plugins` block.

use serde::Deserialize;

use super::*;
use crate::config::explain;

const USUAL: Strictness<'_> = Strictness::Usual { tolerant: &[], strict: &[] };

#[derive(Debug, Deserialize)]
struct Tpm {
    device: Option<String>,
}

fn block(text: &str) -> Subtree {
    #[derive(Deserialize)]
    struct File {
        plugins: Subtree,
    }
    let (file, _) = plastron_hcl1::from_str::<File>(text, "f").unwrap();
    file.plugins
}

#[test]
fn plugins_keep_the_order_of_the_file_and_disabled_ones_are_left_out() {
    let text = "plugins {
        WorkloadAttestor \"unix\" {}
        NodeAttestor \"tpm\" { plugin_data { device = \"/dev/tpmrm0\" } }
        NodeAttestor \"join_token\" { enabled = false }
        KeyManager \"hsm\" { plugin_cmd = \"/bin/hsm\" plugin_args = [\"-v\"] plugin_checksum = \"ab\" }
    }
    plugins { KeyManager \"memory\" { plugin_data = {} } }";
    let (plugins, warnings) = read(&block(text), &USUAL).unwrap();
    assert!(warnings.is_empty());
    let names: Vec<_> = plugins.iter().map(|plugin| (plugin.kind.as_str(), plugin.name.as_str())).collect();
    assert_eq!(
        names,
        [("WorkloadAttestor", "unix"), ("NodeAttestor", "tpm"), ("KeyManager", "hsm"), ("KeyManager", "memory")]
    );
    let (tpm, _) = plugins[1].decode::<Tpm>(&USUAL).unwrap();
    assert_eq!(tpm.device.as_deref(), Some("/dev/tpmrm0"));
    assert!(plugins[0].decode::<Tpm>(&USUAL).unwrap().0.device.is_none());
    assert_eq!(plugins[2].command.as_ref().unwrap().args, ["-v"]);
}

#[test]
fn the_same_plugin_twice_is_refused() {
    let text = "plugins {\n  KeyManager \"a\" {}\n  KeyManager \"a\" {}\n}";
    let error = read(&block(text), &USUAL).unwrap_err();
    assert_eq!(explain(&error), "f:3:14: plugins.KeyManager.a: \"KeyManager\" \"a\" is configured at 2:14 already");
}

#[test]
fn unknown_keys_of_a_plugin_are_refused_with_their_places() {
    let text = "plugins { NodeAttestor \"tpm\" {\n  plugin_dta {}\n} }";
    let error = read(&block(text), &USUAL).unwrap_err();
    assert_eq!(explain(&error), "f:2:3: unknown key plugins.NodeAttestor.tpm.plugin_dta");

    let text = "plugins { NodeAttestor \"tpm\" { plugin_data {\n  devise = 1\n} } }";
    let (plugins, _) = read(&block(text), &USUAL).unwrap();
    let error = plugins[0].decode::<Tpm>(&USUAL).unwrap_err();
    assert_eq!(explain(&error), "f:2:3: unknown key plugins.NodeAttestor.tpm.plugin_data.devise");
}

#[test]
fn a_plugin_can_have_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tpm.conf");
    std::fs::write(&path, "\ndevice = true").unwrap();
    let shown = path.display();
    let text = format!("plugins {{ NodeAttestor \"tpm\" {{ plugin_data_file = \"{shown}\" }} }}");
    let (plugins, _) = read(&block(&text), &USUAL).unwrap();
    let error = plugins[0].decode::<Tpm>(&USUAL).unwrap_err();
    assert_eq!(explain(&error), format!("{shown}:2:10: device: expected a string, got a bool"));

    let gone = folder.path().join("gone.conf");
    let text = format!("plugins {{ NodeAttestor \"tpm\" {{ plugin_data_file = \"{}\" }} }}", gone.display());
    let (plugins, _) = read(&block(&text), &USUAL).unwrap();
    let error = explain(&plugins[0].decode::<Tpm>(&USUAL).unwrap_err());
    let words = format!("failed to read plugin configuration: open {}: no such file or directory", gone.display());
    assert!(error.starts_with("f:1:") && error.ends_with(&words), "{error}");

    let text = format!("plugins {{ NodeAttestor \"tpm\" {{ plugin_data {{}} plugin_data_file = \"{shown}\" }} }}");
    assert!(explain(&read(&block(&text), &USUAL).unwrap_err()).ends_with("plugin_data is given too; choose one"));
}
