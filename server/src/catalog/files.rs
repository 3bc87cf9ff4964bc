//! The files that node attestors point to, read within limits: certificates and revocation lists, PEM or DER, and text.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

/// Largest file: every TPM manufacturer's certificates together, the largest revocation list, and 50,000 pins stay below.
const MAX_FILE: u64 = 16 << 20;

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("can't read the {what} in {path:?}")]
    Read { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{path:?} has more than {MAX_FILE} bytes; split it")]
    TooLarge { path: PathBuf },
    #[error("{path:?} is neither PEM with {what} nor DER of one")]
    Der { what: &'static str, path: PathBuf },
    #[error("{path:?} is not text in UTF-8: byte {offset}; save it as UTF-8")]
    Text { path: PathBuf, offset: usize },
}

/// DER values with the file that each came from.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) der: Vec<Vec<u8>>,
    pub(super) paths: Vec<PathBuf>,
}

impl Loaded {
    /// The certificates in these files.
    pub(super) fn certificates(paths: &[PathBuf]) -> Result<Self, FileError> {
        Self::read::<CertificateDer<'_>>("certificates", paths)
    }

    /// The revocation lists in these files.
    pub(super) fn revocation_lists(paths: &[PathBuf]) -> Result<Self, FileError> {
        Self::read::<CertificateRevocationListDer<'_>>("certificate revocation lists", paths)
    }

    fn read<T: PemObject + AsRef<[u8]>>(what: &'static str, paths: &[PathBuf]) -> Result<Self, FileError> {
        let mut loaded = Self::default();
        for path in paths {
            let bytes = bytes(what, path)?;
            let before = loaded.der.len();
            // DER is a SEQUENCE; what it holds is checked where the pool is made.
            if bytes.first() == Some(&0x30) {
                loaded.der.push(bytes);
            } else {
                for value in T::pem_slice_iter(&bytes) {
                    let value = value.map_err(|_not_pem| FileError::Der { what, path: path.clone() })?;
                    loaded.der.push(value.as_ref().to_vec());
                }
            }
            if loaded.der.len() == before {
                return Err(FileError::Der { what, path: path.clone() });
            }
            loaded.paths.resize(loaded.der.len(), path.clone());
        }
        Ok(loaded)
    }

    /// The file of a value, for an error about it.
    pub(super) fn path(&self, index: usize) -> PathBuf {
        self.paths.get(index).cloned().unwrap_or_default()
    }
}

/// A file of text.
pub(super) fn text(what: &'static str, path: &Path) -> Result<String, FileError> {
    String::from_utf8(bytes(what, path)?)
        .map_err(|error| FileError::Text { path: path.to_owned(), offset: error.utf8_error().valid_up_to() })
}

fn bytes(what: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|source| FileError::Read { what, path: path.to_owned(), source })?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= MAX_FILE) {
        Ok(bytes)
    } else {
        Err(FileError::TooLarge { path: path.to_owned() })
    }
}
