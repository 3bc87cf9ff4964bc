//! `-write DIR`: `svid.N.pem`, `svid.N.key`, `bundle.N.pem`, `federated_bundle.N.M.pem`.
//!
//! Each file is written under another name and renamed, so that a reader never sees half of it, and a link that someone put in its
//! place is replaced and not followed (Threats 39 and 40).

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::svid::FetchedSvids;

/// Certificates are public.
const PUBLIC: u32 = 0o644;
/// Keys are the owner's alone.
const PRIVATE: u32 = 0o600;

/// Writes everything; `report` is told each file before it is written, in SPIRE's words.
pub(crate) fn write(
    directory: &Path,
    fetched: &FetchedSvids,
    report: &mut dyn FnMut(String) -> io::Result<()>,
) -> Result<(), CliError> {
    for (number, svid) in fetched.svids.iter().enumerate() {
        let path = directory.join(format!("svid.{number}.pem"));
        report(format!("Writing SVID #{number} to file {}.", path.display()))?;
        replace(&path, PUBLIC, &certificates(&svid.chain))?;

        let path = directory.join(format!("svid.{number}.key"));
        report(format!("Writing key #{number} to file {}.", path.display()))?;
        replace(&path, PRIVATE, &Zeroizing::new(pem("PRIVATE KEY", &svid.key)))?;

        let path = directory.join(format!("bundle.{number}.pem"));
        report(format!("Writing bundle #{number} to file {}.", path.display()))?;
        replace(&path, PUBLIC, &certificates(&svid.bundle))?;

        for (foreign, (domain, bundle)) in fetched.federated.iter().enumerate() {
            let path = directory.join(format!("federated_bundle.{number}.{foreign}.pem"));
            report(format!(
                "Writing federated bundle #{foreign} for trust domain {} to file {}.",
                domain.id(),
                path.display()
            ))?;
            replace(&path, PUBLIC, &certificates(bundle))?;
        }
    }
    Ok(())
}

fn certificates(ders: &[Vec<u8>]) -> Vec<u8> {
    ders.iter().flat_map(|der| pem("CERTIFICATE", der)).collect()
}

/// RFC 7468. The key passes through buffers that are wiped by the caller or here.
fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let mut text = Vec::with_capacity(base64.len() + base64.len() / 64 + 128);
    text.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in base64.as_bytes().chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    text
}

fn replace(path: &Path, mode: u32, content: &[u8]) -> Result<(), CliError> {
    let attempt = || -> io::Result<()> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", hex::encode(random)));
        let temporary = Temporary(path.with_file_name(name));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary.0)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary.0, path)?;
        std::mem::forget(temporary);
        Ok(())
    };
    attempt().map_err(|source| CliError::Write { path: path.to_owned(), source })
}

/// Removed unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Threat 39: whatever the umask, nobody else reads a key.
    #[test]
    fn a_key_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("svid.0.key");
        std::fs::write(&path, b"old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        replace(&path, PRIVATE, b"secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"secret");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// Threat 40: a link in the file's place is replaced, not followed.
    #[test]
    fn a_planted_link_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("svid.0.pem"), dir.path().join("victim"));
        std::fs::write(&victim, b"precious").unwrap();
        symlink(&victim, &path).unwrap();
        replace(&path, PUBLIC, b"pem").unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = replace(Path::new("/nonexistent/svid.0.pem"), PUBLIC, b"").unwrap_err();
        assert!(error.to_string().contains("/nonexistent/svid.0.pem"), "{error}");
    }

    #[test]
    fn lines_have_64_characters() {
        let text = String::from_utf8(pem("X", &[0; 49])).unwrap();
        assert_eq!(text, format!("-----BEGIN X-----\n{}\nAA==\n-----END X-----\n", "A".repeat(64)));
    }
}
