//! What `cargo metadata` says about the workspace's packages and what they name as dependencies.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::TidyError;

/// A package of the workspace.
#[derive(Debug)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// Its folder, relative to the root: `attestation/tcg`.
    pub(super) folder: String,
    /// What a program links through it, and what builds it.
    pub(super) dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct Raw {
    packages: Vec<RawPackage>,
}

#[derive(Deserialize)]
struct RawPackage {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<RawDependency>,
}

#[derive(Deserialize)]
struct RawDependency {
    name: String,
    /// `None` for a normal dependency.
    kind: Option<String>,
}

/// The members of the workspace. Nothing is resolved or downloaded.
pub(super) fn packages(root: &Path) -> Result<Vec<Package>, TidyError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .map_err(|error| TidyError::Cargo { stderr: error.to_string() })?;
    if !output.status.success() {
        return Err(TidyError::Cargo { stderr: String::from_utf8_lossy(&output.stderr).into_owned() });
    }
    let raw: Raw = serde_json::from_slice(&output.stdout)?;
    let root = root.canonicalize().map_err(|source| TidyError::Read { path: root.to_owned(), source })?;
    raw.packages.into_iter().map(|package| package_of(package, &root)).collect()
}

fn package_of(raw: RawPackage, root: &Path) -> Result<Package, TidyError> {
    let outside = || TidyError::Read { path: raw.manifest_path.clone(), source: io::ErrorKind::NotFound.into() };
    let folder = raw.manifest_path.parent().and_then(|folder| folder.strip_prefix(root).ok()).ok_or_else(outside)?;
    let folder = folder.to_string_lossy().into_owned();
    // Dev-dependencies may go anywhere: no program links them.
    let linked = raw.dependencies.into_iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
    Ok(Package { name: raw.name, folder, dependencies: linked.map(|dependency| dependency.name).collect() })
}

/// Packages by name.
pub(super) fn by_name(packages: &[Package]) -> HashMap<&str, &Package> {
    packages.iter().map(|package| (package.name.as_str(), package)).collect()
}
