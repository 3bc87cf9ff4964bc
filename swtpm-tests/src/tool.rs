//! Finding and running the tools of other projects.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::HarnessError;

/// The Debian package of each tool that the harness runs.
const PACKAGES: &[(&str, &str)] = &[
    ("swtpm", "swtpm"),
    ("swtpm_setup", "swtpm-tools"),
    ("swtpm_ioctl", "swtpm-tools"),
    ("swtpm_localca", "swtpm-tools"),
    ("tpm2", "tpm2-tools"),
    ("tpm2-abrmd", "tpm2-abrmd"),
    ("dbus-daemon", "dbus-daemon"),
    ("softhsm2-util", "softhsm2"),
    ("pkcs11-tool", "opensc"),
    ("openssl", "openssl"),
    ("go", "golang-go in version 1.26 or newer, or what https://go.dev/dl has"),
    ("python3", "python3-venv"),
    ("java", "default-jdk-headless"),
    ("javac", "default-jdk-headless"),
    ("mvn", "maven"),
    ("g++", "g++"),
    ("make", "make"),
    ("pkg-config", "pkg-config"),
    ("protoc", "protobuf-compiler"),
    ("grpc_cpp_plugin", "protobuf-compiler-grpc"),
    ("node", "nodejs"),
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("npm", "npm"),
    ("setpriv", "util-linux"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("ldd", "libc-bin"),
    ("strip", "binutils"),
    ("tar", "tar"),
];

/// The path of a tool, or the package that would bring it.
pub fn tool(name: &str) -> Result<PathBuf, HarnessError> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps some tools in sbin, which is not on every user's path.
    let places = env::split_paths(&path).chain(["/usr/sbin", "/usr/bin", "/sbin"].map(PathBuf::from));
    for directory in places {
        let candidate = directory.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    let package = PACKAGES.iter().find(|(tool, _)| *tool == name).map_or("that holds it", |(_, package)| package);
    Err(HarnessError::MissingTool { tool: name.to_owned(), package })
}

/// Runs a command to its end; anything but success is an error with all that it printed.
pub fn run(command: &mut Command) -> Result<Output, HarnessError> {
    let line = format!("{command:?}");
    let output = command.output().map_err(HarnessError::io(format!("run {line}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(HarnessError::Failed { command: line, status: output.status.to_string(), output: text })
}
