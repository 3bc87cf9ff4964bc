//! Files that `mint` writes. Each is written under another name and renamed, so that a reader never sees half of it, and a link that
//! someone put in its place is replaced and not followed (Threats 39 and 40).

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::CliError;

/// Certificates are public.
pub(crate) const PUBLIC: u32 = 0o644;
/// Keys and tokens are the owner's alone.
pub(crate) const PRIVATE: u32 = 0o600;

/// RFC 7468. The buffers that a key passes through are wiped.
pub(crate) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(base64.len() + base64.len() / 64 + 128));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for (at, letter) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Certificates, one block after the other.
pub(crate) fn certificates(ders: &[Vec<u8>]) -> String {
    ders.iter().map(|der| pem("CERTIFICATE", der).as_str().to_owned()).collect()
}

/// Puts `content` in the file's place.
pub(crate) fn replace(path: &Path, mode: u32, content: &[u8]) -> Result<(), CliError> {
    let attempt = || -> io::Result<()> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}.tmp", u64::from_be_bytes(random)));
        let temporary = Temporary(path.with_file_name(name));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&temporary.0)?;
        // Whatever the umask is: the server's own commands restrict it.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary.0, path)?;
        std::mem::forget(temporary);
        Ok(())
    };
    attempt().map_err(|source| CliError::WriteFile { path: path.to_owned(), source })
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
    use std::os::unix::fs::symlink;

    use super::*;

    /// Threat 39: whatever was there before, nobody else reads a key.
    #[test]
    fn a_key_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        std::fs::write(&path, b"old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        replace(&path, PRIVATE, b"secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"secret");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// Threat 40: a link in the file's place is replaced, not followed.
    #[test]
    fn a_planted_link_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (target, path) = (dir.path().join("target"), dir.path().join("svid.pem"));
        std::fs::write(&target, b"precious").unwrap();
        symlink(&target, &path).unwrap();
        replace(&path, PUBLIC, b"svid").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        assert!(!std::fs::symlink_metadata(&path).unwrap().is_symlink());
        replace(&dir.path().join("absent/svid.pem"), PUBLIC, b"svid").unwrap_err();
    }

    #[test]
    fn pem_has_lines_of_64() {
        let text = pem("PRIVATE KEY", &[0xff; 49]);
        let line = "/".repeat(64);
        assert_eq!(*text, format!("-----BEGIN PRIVATE KEY-----\n{line}\n/w==\n-----END PRIVATE KEY-----\n"));
        assert_eq!(pem("X", &[0; 48]).lines().count(), 3);
    }
}
