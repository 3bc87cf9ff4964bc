//! The upstream's files: read whole, bounded, and proven to fit together before anything of them is used.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use plastron_spiffe::x509::{CertificateFacts, VerifiedAuthority, verify_authority};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use zeroize::Zeroizing;

use crate::key::{KeyFault, UpstreamKey};
use crate::{DiskConfig, DiskError};

/// Longest file that is read: a hundred certificates of the largest keys.
const MAX_FILE_LEN: u64 = 1 << 20;
/// The server's CA stands below the upstream's.
const CAS_BELOW: usize = 1;

/// An upstream whose files fit together.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// DER.
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: UpstreamKey,
    pub(crate) authority: VerifiedAuthority,
    /// DER.
    pub(crate) roots: Vec<Vec<u8>>,
    /// The earliest end on the way to the root, Unix seconds.
    pub(crate) not_after: u64,
}

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error("can't read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Longer than any that makes sense.
    #[error("{} is longer than {MAX_FILE_LEN} bytes", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Whoever is on this machine can use the key.
    #[error(
        "everyone has access to the key file {}: its mode is {mode:04o}; find out who has seen the key, then chmod 0600",
        .path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Whoever is on this machine can say what the trust domain trusts.
    #[error(
        "everyone can write {}: its mode is {mode:04o}; see that its certificates are the right ones, then chmod 0644",
        .path.display()
    )]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// No PEM, or something else than what belongs there.
    #[error("{} has to hold {expected} as PEM: {reason}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What belongs there.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A key of the wrong kind.
    #[error("the key in {} can't be used", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: KeyFault,
    },
}

impl Upstream {
    /// Checks, in order: the key file is not open to everyone; one key, of a kind that is supported; files of certificates are not for
    /// everyone to write; one certificate or more; key and
    /// certificate are a pair; the roots; the certificate is a CA with room for another, and leads to a root (`verify_authority`).
    pub(crate) fn read(config: &DiskConfig, now: UnixTime) -> Result<Self, DiskError> {
        let DiskConfig { cert_file, key_file, bundle_file } = config;
        let key = read_key(key_file)?;
        let chain = read_certificates(cert_file)?;
        let roots = match bundle_file {
            Some(path) => read_certificates(path)?,
            None if chain.len() == 1 => chain.clone(),
            None => return Err(DiskError::NoBundle { certificate: cert_file.clone(), got: chain.len() }),
        };
        let Some(certificate) = chain.first().cloned() else {
            return Err(DiskError::NoBundle { certificate: cert_file.clone(), got: 0 });
        };
        let malformed = |source| DiskError::from((config, source));
        let own = CertificateFacts::read(&certificate).map_err(malformed)?;
        let public_key = key.public_key().map_err(|source| FileError::Key { path: key_file.clone(), source })?;
        if own.public_key != public_key {
            return Err(DiskError::Mismatch { key: key_file.clone(), certificate: cert_file.clone() });
        }
        let authority = verify_authority(chain, &roots, CAS_BELOW, now).map_err(malformed)?;
        let mut not_after = own.not_after;
        for certificate in authority.chain().iter().map(Vec::as_slice).chain([authority.root()]) {
            not_after = not_after.min(CertificateFacts::read(certificate).map_err(malformed)?.not_after);
        }
        Ok(Self { certificate, key, authority, roots, not_after })
    }
}

fn read_key(path: &Path) -> Result<UpstreamKey, FileError> {
    let mut file = open(path)?;
    let mode = mode(path, &file)?;
    // As with the PIN of a token: who deploys the file may need a group for it, and nobody needs everyone.
    if mode & 0o007 != 0 {
        return Err(FileError::Open { path: path.to_owned(), mode });
    }
    let bytes = Zeroizing::new(read(path, &mut file)?);
    let malformed = |reason: String| FileError::Pem { path: path.to_owned(), expected: "one private key", reason };
    let mut keys = PrivateKeyDer::pem_slice_iter(&bytes);
    let key = match keys.next() {
        None => return Err(malformed("there is none; an encrypted key can't be used".to_owned())),
        Some(key) => key.map_err(|error| malformed(error.to_string()))?,
    };
    if keys.next().is_some() {
        return Err(malformed("there is more than one".to_owned()));
    }
    UpstreamKey::parse(&key).map_err(|source| FileError::Key { path: path.to_owned(), source })
}

fn read_certificates(path: &Path) -> Result<Vec<Vec<u8>>, FileError> {
    let mut file = open(path)?;
    let mode = mode(path, &file)?;
    // What stands in it as a root comes into the bundle.
    if mode & 0o002 != 0 {
        return Err(FileError::Writable { path: path.to_owned(), mode });
    }
    let bytes = read(path, &mut file)?;
    let malformed = |reason: String| FileError::Pem { path: path.to_owned(), expected: "certificates", reason };
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        certificates.push(certificate.map_err(|error| malformed(error.to_string()))?.to_vec());
    }
    if certificates.is_empty() {
        return Err(malformed("there is none".to_owned()));
    }
    Ok(certificates)
}

fn mode(path: &Path, file: &File) -> Result<u32, FileError> {
    Ok(file.metadata().map_err(|source| failed(path, source))?.permissions().mode() & 0o777)
}

fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|source| failed(path, source))
}

fn read(path: &Path, file: &mut File) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes).map_err(|source| failed(path, source))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_LEN {
        return Err(FileError::TooLong { path: path.to_owned() });
    }
    Ok(bytes)
}

fn failed(path: &Path, source: io::Error) -> FileError {
    FileError::Read { path: path.to_owned(), source }
}
