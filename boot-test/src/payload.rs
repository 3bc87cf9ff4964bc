//! What the guest runs: `plastron-agent` as it was built, with the libraries that it loads, its configuration and the server's bundle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use plastron_swtpm_tests::{TRUST_DOMAIN, TestServer, program, run, tool};

use crate::BootTestError;
use crate::machine::SERVER_ADDRESS;

/// The TSS opens the device through this library, by name, when it runs.
const DEVICE_TCTI: &str = "libtss2-tcti-device.so.0";

/// Where the guest unpacks it (`guest/init`) and keeps the agent's state (`guest/attest`).
const STATE: &str = "/run/plastron";

/// Fills `folder`, which is emptied first, for an agent of that server. `scripts` is the folder of `guest/`.
pub(crate) fn fill(folder: &Path, scripts: &Path, server: &TestServer) -> Result<(), BootTestError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(BootTestError::io(format!("empty {}", folder.display())))?;
    }
    let libraries = folder.join("lib");
    fs::create_dir_all(&libraries).map_err(BootTestError::io(format!("create {}", libraries.display())))?;
    // Without its symbols it is a tenth of the size, and the emulated machine has to unpack it.
    let agent = folder.join("plastron-agent");
    run(Command::new(tool("strip")?).arg("-o").arg(&agent).arg(program("plastron-agent")?))?;
    let mut loaded = libraries_of(&agent)?;
    let tcti = beside(&loaded, DEVICE_TCTI)?;
    loaded.extend(libraries_of(&tcti)?);
    loaded.push(tcti);
    for library in loaded {
        copy(&library, &libraries.join(library.file_name().unwrap_or_default()))?;
    }
    copy(&scripts.join("attest"), &folder.join("attest"))?;
    copy(&server.bundle_file(), &folder.join("bundle.pem"))?;
    let path = folder.join("agent.conf");
    fs::write(&path, configuration(server.port())).map_err(BootTestError::io(format!("write {}", path.display())))
}

/// What the dynamic loader finds for a program, the loader itself included.
fn libraries_of(file: &Path) -> Result<Vec<PathBuf>, BootTestError> {
    let output = run(Command::new(tool("ldd")?).arg(file))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}

/// A library in the folder of one that was found.
fn beside(found: &[PathBuf], name: &'static str) -> Result<PathBuf, BootTestError> {
    let mut candidates = found.iter().filter_map(|path| Some(path.parent()?.join(name)));
    let missing = || BootTestError::Malformed { path: "the folder of the TSS".to_owned(), expected: DEVICE_TCTI };
    candidates.find(|path| path.exists()).ok_or_else(missing)
}

fn copy(from: &Path, to: &Path) -> Result<(), BootTestError> {
    fs::copy(from, to).map_err(BootTestError::io(format!("copy {} to {}", from.display(), to.display())))?;
    Ok(())
}

fn configuration(port: u16) -> String {
    format!(
        "agent {{
  trust_domain = \"{TRUST_DOMAIN}\"
  data_dir = \"{STATE}/data\"
  server_address = \"{SERVER_ADDRESS}\"
  server_port = {port}
  socket_path = \"{STATE}/agent.sock\"
  trust_bundle_path = \"/payload/bundle.pem\"
  log_level = \"DEBUG\"
}}
plugins {{
  NodeAttestor \"tpm\" {{ plugin_data {{ device = \"/dev/tpmrm0\" }} }}
  KeyManager \"disk\" {{ plugin_data {{ directory = \"{STATE}/keys\" }} }}
  WorkloadAttestor \"unix\" {{ plugin_data {{}} }}
}}
"
    )
}
