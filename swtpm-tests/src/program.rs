//! Plastron's own programs, and a place in the build directory for what tests share.

use std::env;
use std::path::{Path, PathBuf};

use crate::HarnessError;

/// The path of one of our programs (`plastron-server`, `plastron-agent`), beside the test that runs. Building it is the
/// caller's business: a test can't run cargo without fighting for its lock.
pub fn program(name: &str) -> Result<PathBuf, HarnessError> {
    let path = profile_dir()?.join(name);
    if path.is_file() { Ok(path) } else { Err(HarnessError::MissingProgram { path: path.display().to_string() }) }
}

/// A directory under the build directory that outlives the test, for what is made once and shared; made if it is not there.
pub fn scratch_dir() -> Result<PathBuf, HarnessError> {
    let directory = profile_dir()?.join("testbed");
    std::fs::create_dir_all(&directory).map_err(HarnessError::io(format!("create {}", directory.display())))?;
    Ok(directory)
}

/// `target/debug` or `target/release`: test executables lie in `deps` below it, programs and examples in or below it.
fn profile_dir() -> Result<PathBuf, HarnessError> {
    let executable = env::current_exe().map_err(HarnessError::io("find the running executable"))?;
    let parent = executable.parent().unwrap_or(Path::new("/"));
    let is_below = parent.ends_with("deps") || parent.ends_with("examples");
    Ok(if is_below { parent.parent().unwrap_or(parent) } else { parent }.to_owned())
}
