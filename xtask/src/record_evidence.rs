//! `cargo xtask record-evidence [DIR] [--scene NAME]`: has real TPMs (swtpm) talk to the verifier and writes down what they said.
//!
//! The recorder is an example of `swtpm-tests`, so that this crate links no TPM. It replaces what it recorded before, or one scene of it;
//! a review shows what changed.

use std::path::Path;
use std::process::Command;

/// Where the tests look for it.
const FOLDER: &str = "attestation/tests/evidence";

/// Why nothing, or not everything, was recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Cargo can't be run.
    #[error("can't run cargo")]
    Cargo(#[from] std::io::Error),
    /// The recorder failed, and said why.
    #[error(
        "the recorder stopped; what it wrote into {folder} is incomplete: run it again, or `git checkout` the folder"
    )]
    Recorder {
        /// Where it wrote.
        folder: String,
    },
}

/// Records into `folder`, or where the tests look; everything, or one scene.
pub(crate) fn record(root: &Path, folder: Option<&Path>, scene: Option<&str>) -> Result<(), RecordError> {
    let folder = match folder {
        Some(folder) => std::env::current_dir()?.join(folder),
        None => root.join(FOLDER),
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["run", "--locked", "--quiet", "--package", "plastron-swtpm-tests"]);
    cargo.args(["--example", "record_evidence", "--"]).arg(&folder).args(scene);
    if cargo.status()?.success() {
        return Ok(());
    }
    Err(RecordError::Recorder { folder: folder.display().to_string() })
}
