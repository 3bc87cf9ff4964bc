//! Where an authorisation value of the TPM comes from: a file or a systemd credential, never the configuration itself, a command line
//! or the environment.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use plastron_hsm_tpm::AuthValue;
use zeroize::Zeroizing;

use super::AuthSource;

/// Longest file: the value itself has at most 64 bytes (the largest digest of a TPM), and a line end may follow.
const MAX_FILE_LEN: u64 = 66;

/// The value; without a source there is none. `credentials` is the directory that systemd passed, if it did.
pub(super) fn read(source: Option<&AuthSource>, credentials: Option<&OsStr>) -> Result<AuthValue, AuthError> {
    let Some(source) = source else { return Ok(AuthValue::unset()) };
    let path = match source {
        AuthSource::File(path) => path.clone(),
        AuthSource::Credential(name) => match credentials {
            Some(directory) => Path::new(directory).join(name),
            None => return Err(AuthError::NoCredentials { name: name.clone() }),
        },
    };
    let value = read_file(&path, source)?;
    let too_long = || AuthError::TooLong { path: path.clone() };
    AuthValue::new(value, source.to_string()).ok_or_else(too_long)
}

fn read_file(path: &Path, source: &AuthSource) -> Result<Zeroizing<Vec<u8>>, AuthError> {
    let failed = |source| AuthError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    // systemd itself guards the directory of credentials.
    if matches!(source, AuthSource::File(_)) && mode & 0o007 != 0 {
        return Err(AuthError::Open { path: path.to_owned(), mode });
    }
    // The whole capacity at once: growing would leave copies behind.
    let mut value = Zeroizing::new(Vec::with_capacity(256));
    file.take(MAX_FILE_LEN + 1).read_to_end(&mut value).map_err(failed)?;
    // One line end, which editors add.
    if value.ends_with(b"\n") {
        value.pop();
        if value.ends_with(b"\r") {
            value.pop();
        }
    }
    if value.is_empty() { Err(AuthError::Empty { path: path.to_owned() }) } else { Ok(value) }
}

impl fmt::Display for AuthSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Credential(name) => write!(f, "the credential {name}"),
        }
    }
}

/// Why there is no authorisation value. The value itself is in none of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("can't read the authorisation value in {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("everyone has access to the authorisation value in {}: its mode is {mode:04o}; chmod 0600", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("the authorisation value in {} is empty; a hierarchy without a value needs no file", path.display())]
    Empty { path: PathBuf },
    #[error("the authorisation value in {} is longer than the 64 bytes that a TPM takes", path.display())]
    TooLong { path: PathBuf },
    #[error(
        "the authorisation value is to come from the credential {name:?}, and systemd passed none; add LoadCredential="
    )]
    NoCredentials { name: String },
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{AuthError, AuthSource, read, read_file};

    fn written(content: &[u8], mode: u32) -> (tempfile::TempDir, AuthSource) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, AuthSource::File(path))
    }

    #[test]
    fn a_value_comes_without_its_line_end_and_is_never_shown() {
        for content in [&b"hunter2"[..], b"hunter2\n", b"hunter2\r\n"] {
            let (_directory, source) = written(content, 0o600);
            let AuthSource::File(path) = &source else { panic!("no file") };
            assert_eq!(read_file(path, &source).unwrap().as_slice(), b"hunter2");
            let value = read(Some(&source), None).unwrap();
            assert!(!format!("{value:?}").contains("hunter2") && format!("{value:?}").contains("auth"));
        }
        let (_directory, source) = written(&[7; 64], 0o640);
        read(Some(&source), None).unwrap();
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let cases = [(&b""[..], 0o600), (b"\n", 0o600), (&[7; 65], 0o600), (&[7; 6000], 0o600), (b"hunter2", 0o604)];
        for (content, mode) in cases {
            let (_directory, source) = written(content, mode);
            let error = read(Some(&source), None).unwrap_err();
            let AuthSource::File(path) = &source else { panic!("no file") };
            let text = error.to_string();
            assert!(text.contains(&path.display().to_string()) && !text.contains("hunter2"), "{text}");
        }
        let missing = AuthSource::File("/no/such/file".into());
        assert!(matches!(read(Some(&missing), None), Err(AuthError::Read { .. })));
    }

    #[test]
    fn a_credential_is_a_file_of_the_directory_that_systemd_passed() {
        let (directory, _) = written(b"hunter2", 0o644);
        let source = AuthSource::Credential("auth".to_owned());
        read(Some(&source), Some(directory.path().as_os_str())).unwrap();
        assert!(matches!(read(Some(&source), None), Err(AuthError::NoCredentials { .. })));
    }
}
