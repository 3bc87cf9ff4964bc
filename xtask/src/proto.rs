//! `cargo xtask proto`: turns `proto/proto/**/*.proto` into the checked-in `proto/src/gen`.
//!
//! Generated code is checked in so that a build needs no `protoc`. With `--check` nothing is written: the command fails, naming
//! the first file, when what is checked in differs from what the .proto files say. It deliberately knows no other project layout.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Whether `generate` writes or compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Replace the checked-in code.
    Write,
    /// Compare with it.
    Check,
}

/// Why code was not generated, or is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtoError {
    /// A file or folder can't be read or written.
    #[error("can't {action} {path}")]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `protoc` is missing or refuses a .proto file.
    #[error("protoc failed; is the package protobuf-compiler installed?")]
    Protoc {
        /// What it said.
        source: io::Error,
    },
    /// `--check` found a difference.
    #[error("{path} is not what the .proto files say: run `cargo xtask proto`")]
    Stale {
        /// The first file that differs.
        path: PathBuf,
    },
}

/// Generates the code of crate `proto` below the workspace's root folder, or compares it with what is checked in.
pub(crate) fn generate(root: &Path, mode: Mode) -> Result<(), ProtoError> {
    let sources = root.join("proto/proto");
    let checked_in = root.join("proto/src/gen");
    let fresh = root.join("target/xtask-proto");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(io_error("empty", &fresh))?;
    }
    fs::create_dir_all(&fresh).map_err(io_error("create", &fresh))?;

    let mut protos = Vec::new();
    collect(&sources, "proto", &mut protos)?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names().type_name_domain(["."], "type.googleapis.com");
    // One bundle goes to thousands of streams: they share its bytes.
    config.bytes([".plastron.server.watch.v1"]);
    tonic_prost_build::configure()
        .out_dir(&fresh)
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .file_descriptor_set_path(fresh.join("descriptor_set.binpb"))
        .compile_with_config(config, &protos, &[sources])
        .map_err(|source| ProtoError::Protoc { source })?;

    let names = same_names(&fresh, &checked_in, mode)?;
    for name in names {
        let (new, old) = (fresh.join(&name), checked_in.join(&name));
        let bytes = fs::read(&new).map_err(io_error("read", &new))?;
        match mode {
            Mode::Write => fs::write(&old, bytes).map_err(io_error("write", &old))?,
            Mode::Check if fs::read(&old).ok() == Some(bytes) => {}
            Mode::Check => return Err(ProtoError::Stale { path: old }),
        }
    }
    Ok(())
}

/// The generated files' names; checked-in files that no .proto makes any more are removed, or refused.
fn same_names(fresh: &Path, checked_in: &Path, mode: Mode) -> Result<Vec<PathBuf>, ProtoError> {
    let names = file_names(fresh)?;
    fs::create_dir_all(checked_in).map_err(io_error("create", checked_in))?;
    for name in file_names(checked_in)? {
        if names.contains(&name) {
            continue;
        }
        let path = checked_in.join(&name);
        match mode {
            Mode::Write => fs::remove_file(&path).map_err(io_error("remove", &path))?,
            Mode::Check => return Err(ProtoError::Stale { path }),
        }
    }
    Ok(names)
}

fn file_names(folder: &Path) -> Result<Vec<PathBuf>, ProtoError> {
    let mut names = Vec::new();
    for item in fs::read_dir(folder).map_err(io_error("list", folder))? {
        names.push(PathBuf::from(item.map_err(io_error("list", folder))?.file_name()));
    }
    names.sort();
    Ok(names)
}

fn collect(folder: &Path, extension: &str, into: &mut Vec<PathBuf>) -> Result<(), ProtoError> {
    for name in file_names(folder)? {
        let path = folder.join(name);
        if path.is_dir() {
            collect(&path, extension, into)?;
        } else if path.extension().is_some_and(|e| e == extension) {
            into.push(path);
        }
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProtoError {
    let path = path.to_owned();
    move |source| ProtoError::Io { action, path, source }
}
