//! Rules for single files: their size, their first line, their name, and words that do not belong in them.

use std::fs;
use std::path::Path;

use super::{Fault, TidyError};

/// A text file of the repository.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the root, with `/`.
    pub(super) path: String,
    /// What it holds.
    pub(super) text: String,
}

/// One idea fits in less; a reader loses the thread beyond.
const MAX_LINES: usize = 400;

/// A folder's README is read before its code.
const MAX_README_LINES: usize = 60;

/// Names that say nothing. The packages of the wire (`spire.api.types`) have the names that the wire gives them.
const EMPTY_NAMES: &[&str] = &["base", "common", "helper", "helpers", "misc", "prelude", "types", "util", "utils"];

/// Folders that are not ours to judge.
const SKIPPED: &[&str] = &[".git", "target", "corpus", "artifacts", "node_modules"];

/// Folders with a workspace of their own, whose versions and lints are their own business.
const OWN_WORKSPACES: &[&str] = &["fault-proxy/", "fuzz/"];

/// Endings of the text files that are judged; the others are scripts without an ending.
const TEXT_ENDINGS: &[&str] = &["rs", "md", "toml", "hcl", "conf", "sh", "sql", "proto"];
const SCRIPTS: &[&str] = &["dev", ".ci/run"];

/// Reads every text file below `root`.
pub(super) fn read(root: &Path) -> Result<Vec<File>, TidyError> {
    let mut files = Vec::new();
    collect(root, root, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) -> Result<(), TidyError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| TidyError::Read { path, source }
    };
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) && !name.starts_with("target-") {
                collect(root, &path, files)?;
            }
            continue;
        }
        let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if TEXT_ENDINGS.contains(&ending.as_str()) || SCRIPTS.contains(&relative.as_str()) {
            let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
            files.push(File { path: relative, text });
        }
    }
    Ok(())
}

/// The files' faults.
pub(super) fn faults(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    faults.extend(purity_faults(files));
    for file in files.iter().filter(|file| !is_generated(&file.path)) {
        faults.extend(word_faults(file));
        if file.path.ends_with(".rs") {
            faults.extend(name_fault(file));
            faults.extend(rust_faults(file));
        } else if file.path.ends_with("/README.md") && file.text.lines().count() > MAX_README_LINES {
            faults.push(Fault::new(&file.path, format_args!("is longer than {MAX_README_LINES} lines")));
        } else if file.path.ends_with("Cargo.toml") {
            faults.extend(manifest_faults(file));
        }
    }
    faults
}

/// Clippy takes the nearest `clippy.toml` only, so each pure folder has one, and they must not drift apart.
fn purity_faults(files: &[File]) -> Vec<Fault> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let Some(first) = text("attestation/clippy.toml") else { return Vec::new() };
    let differs = ["spiffe/clippy.toml", "hcl1/clippy.toml"].into_iter().filter(|path| text(path) != Some(first));
    differs.map(|path| Fault::new(path, "is not the same as attestation/clippy.toml")).collect()
}

fn is_generated(path: &str) -> bool {
    path.starts_with("proto/src/gen/")
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn rust_faults(file: &File) -> Vec<Fault> {
    let mut faults = Vec::new();
    let lines = lines_without_tests(&file.text);
    if !is_test(&file.path) && lines > MAX_LINES {
        faults.push(Fault::new(&file.path, format_args!("has {lines} lines without tests, more than {MAX_LINES}")));
    }
    if !opens_with_doc(&file.text) {
        faults.push(Fault::new(&file.path, "does not open with //! that says what it is"));
    }
    // Which lints generated code offends depends on what is generated.
    let wraps_generated = file.path == "proto/src/lib.rs";
    for (number, line) in file.text.lines().enumerate().filter(|_| !wraps_generated) {
        if line.trim_start().starts_with("#[allow(") || line.trim_start().starts_with("#![allow(") {
            let place = format!("{}:{}", file.path, number + 1);
            faults.push(Fault::new(place, "an exception is #[expect(…, reason = \"…\")]"));
        }
    }
    faults
}

/// Lines before the inline test module.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let test_module = lines.windows(2).position(|pair| match pair {
        [attribute, module] => *attribute == "#[cfg(test)]" && module.starts_with("mod ") && module.ends_with('{'),
        _ => false,
    });
    test_module.unwrap_or(lines.len())
}

fn opens_with_doc(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#![cfg"));
    first.is_some_and(|line| line.starts_with("//!") || line.starts_with("#![doc = include_str!("))
}

fn name_fault(file: &File) -> Option<Fault> {
    let stem = |part: &str| part.split('.').next().unwrap_or_default().to_owned();
    let empty = file.path.split('/').map(stem).find(|part| EMPTY_NAMES.contains(&part.as_str()))?;
    Some(Fault::new(&file.path, format_args!("{empty:?} says nothing about what is in it")))
}

fn word_faults(file: &File) -> Vec<Fault> {
    // Put together here, so that this file does not break its own rule.
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["X", "XX"].concat()];
    let mut faults = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let mut tokens = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(word) = tokens.find(|token| words.iter().any(|word| word == token)) {
            let place = format!("{}:{}", file.path, number + 1);
            faults.push(Fault::new(place, format_args!("{word}: do it, or open an issue")));
        }
    }
    faults
}

/// Versions stand in the root's manifest, and the workspace's lints hold everywhere.
fn manifest_faults(file: &File) -> Vec<Fault> {
    if file.path == "Cargo.toml" || OWN_WORKSPACES.iter().any(|folder| file.path.starts_with(folder)) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    if !file.text.contains("[lints]\nworkspace = true\n") {
        faults.push(Fault::new(&file.path, "does not take the workspace's lints"));
    }
    let mut in_dependencies = false;
    for (number, line) in file.text.lines().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            in_dependencies = section.contains("dependencies");
        } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
            let place = format!("{}:{}", file.path, number + 1);
            faults.push(Fault::new(place, "the version belongs in the root's [workspace.dependencies]"));
        }
    }
    faults
}
