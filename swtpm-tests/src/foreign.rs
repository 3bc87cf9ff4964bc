//! Workloads on libraries of other projects (`interop/`), built once for each build directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::{HarnessError, run, scratch_dir, tool};

/// Held while one test builds what others want too.
static BUILDING: Mutex<()> = Mutex::new(());

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop")
}

/// The program on go-spiffe. Go keeps what it has built, so only the first call takes long; it fetches the modules that go.sum names.
pub fn go_workload() -> Result<PathBuf, HarnessError> {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let program = scratch_dir()?.join("go-workload");
    let mut build = Command::new(tool("go")?);
    build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg("./workload").current_dir(sources());
    run(&mut build)?;
    Ok(program)
}

/// A Python that has PyPI's `spiffe`, and the script for it. Made anew where the pinned versions have changed since.
pub fn python_workload() -> Result<(PathBuf, PathBuf), HarnessError> {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let (pinned, directory) = (sources().join("requirements.txt"), scratch_dir()?.join("python"));
    let (python, made_for) = (directory.join("bin/python"), directory.join("made-for.txt"));
    let wanted = fs::read(&pinned).map_err(HarnessError::io(format!("read {}", pinned.display())))?;
    if fs::read(&made_for).is_ok_and(|made| made == wanted) {
        return Ok((python, sources().join("workload.py")));
    }
    run(Command::new(tool("python3")?).args(["-m", "venv", "--clear"]).arg(&directory))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r"]).arg(&pinned);
    run(&mut install)?;
    fs::write(&made_for, wanted).map_err(HarnessError::io(format!("write {}", made_for.display())))?;
    Ok((python, sources().join("workload.py")))
}
