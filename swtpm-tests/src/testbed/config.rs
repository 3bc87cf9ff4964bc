//! The configurations of the programs that a testbed runs.

use std::path::Path;

use super::{Attestor, ServerOptions, Upstream};
use crate::{EkKind, FaultProxy, HarnessError, SoftHsm};

fn template(kind: EkKind) -> &'static str {
    match kind {
        EkKind::Rsa2048 => "rsa2048",
        EkKind::P384 => "p384",
    }
}

pub(super) fn server_config(directory: &Path, port: u16, options: &ServerOptions) -> Result<String, HarnessError> {
    let directory = directory.display();
    let keys = match &options.token {
        None => format!("KeyManager \"disk\" {{ plugin_data {{ directory = \"{directory}/keys\" }} }}"),
        Some(token) => format!(
            "KeyManager \"pkcs11\" {{\n plugin_data {{\n module = \"{}\"\n token_label = \"{}\"\n pin_file = \"{}\"\n {}\n }}\n }}",
            if options.faults { FaultProxy::module()? } else { SoftHsm::module()? }.display(),
            token.label(),
            token.pin_file().display(),
            options.key_lines
        ),
    };
    let tpms = match &options.tpms {
        None => String::new(),
        Some((manufacturer, kind)) => format!(
            "NodeAttestor \"tpm\" {{\n plugin_data {{\n pool \"metal\" {{\n ek_ca_paths = [\"{}\"]\n ek_intermediate_paths = [\"{}\"]\n ek_template = \"{}\"\n {}\n }}\n }}\n }}",
            manufacturer.root_pem_file().display(),
            manufacturer.intermediate_pem_file().display(),
            template(*kind),
            options.pool_lines
        ),
    };
    let (lines, plugins, blocks) = (&options.server_lines, &options.plugin_lines, &options.blocks);
    Ok(format!(
        "server {{
  trust_domain = \"{}\"
  data_dir = \"{directory}\"
  bind_address = \"127.0.0.1\"
  bind_port = {port}
  socket_path = \"{directory}/server.sock\"
  log_level = \"DEBUG\"
  {lines}
}}
plugins {{
  DataStore \"sql\" {{
    plugin_data {{
      database_type = \"sqlite3\"
      connection_string = \"{directory}/datastore.sqlite3\"
    }}
  }}
  {keys}
  NodeAttestor \"join_token\" {{ plugin_data {{}} }}
  {tpms}
  {plugins}
}}
{blocks}
",
        options.trust_domain
    ))
}

pub(super) fn agent_config(directory: &Path, upstream: &Upstream<'_>, attestor: &Attestor<'_>) -> String {
    let Upstream { port, bundle_file, trust_domain, lines } = upstream;
    let directory = directory.display();
    let bundle = bundle_line(bundle_file);
    let keys = match attestor {
        Attestor::TpmWithKey(..) => "KeyManager \"tpm\" { plugin_data {} }".to_owned(),
        Attestor::Tpm(..) | Attestor::TpmAt { .. } | Attestor::Certificate(_) | Attestor::JoinToken(_) => {
            format!("KeyManager \"disk\" {{ plugin_data {{ directory = \"{directory}/keys\" }} }}")
        }
    };
    let attestor = match attestor {
        Attestor::JoinToken(_) => "NodeAttestor \"join_token\" { plugin_data {} }".to_owned(),
        Attestor::Certificate(files) => {
            let files = files.display();
            format!(
                "NodeAttestor \"x509pop\" {{\n plugin_data {{\n private_key_path = \"{files}/node.key.pem\"\n certificate_path = \"{files}/node.crt.pem\"\n }}\n }}"
            )
        }
        Attestor::Tpm(tpm, kind) | Attestor::TpmWithKey(tpm, kind) => {
            tpm_attestor(&tpm.tcti(), *kind, &tpm.event_log_file(), "")
        }
        Attestor::TpmAt { tcti, kind, event_log, lines } => tpm_attestor(tcti, *kind, event_log, lines),
    };
    format!(
        "agent {{
  trust_domain = \"{trust_domain}\"
  data_dir = \"{directory}/data\"
  server_address = \"127.0.0.1\"
  server_port = {port}
  socket_path = \"{directory}/agent.sock\"
  {bundle}
  log_level = \"DEBUG\"
  experimental {{ sync_interval = \"1s\" }}
  {lines}
}}
plugins {{
  {attestor}
  {keys}
  WorkloadAttestor \"unix\" {{ plugin_data {{ discover_workload_path = true workload_size_limit = -1 }} }}
}}
"
    )
}

/// Where the bundle to begin with is, unless further lines say that.
pub(crate) fn bundle_line(bundle_file: &Path) -> String {
    match bundle_file.as_os_str().is_empty() {
        true => String::new(),
        false => format!("trust_bundle_path = \"{}\"", bundle_file.display()),
    }
}

fn tpm_attestor(tcti: &str, kind: EkKind, event_log: &Path, lines: &str) -> String {
    format!(
        "NodeAttestor \"tpm\" {{\n plugin_data {{\n tcti = \"{tcti}\"\n ek_template = \"{}\"\n event_log_path = \"{}\"\n {lines}\n }}\n }}",
        template(kind),
        event_log.display()
    )
}
