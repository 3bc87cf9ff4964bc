//! The certificate and key files of an `https_web` endpoint, read anew when they change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plastron_transport::{CertificateSlot, ServedCertificate, ServedCertificateError};
use tokio_util::sync::CancellationToken;

/// How soon files are looked at again that did not belong together: whoever renews them replaces one after the other.
const RETRY: Duration = Duration::from_secs(5);

/// Where the files are, and how often they are looked at (`serving_cert_file`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, PEM, leaf first.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// The time between two looks.
    pub interval: Duration,
}

/// Certificate files that were read, and what is served of them.
pub struct FollowedFiles {
    files: CertificateFiles,
    read: Contents,
    slot: Arc<CertificateSlot>,
}

#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
}

impl CertificateFiles {
    /// Reads them. Also tells whether a configuration can be used.
    pub fn open(self) -> Result<FollowedFiles, CertificateFilesError> {
        let read = self.read()?;
        let slot = CertificateSlot::new(self.parse(&read)?);
        Ok(FollowedFiles { files: self, read, slot })
    }

    fn read(&self) -> Result<Contents, CertificateFilesError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| CertificateFilesError::Read { path: path.to_owned(), source })
        };
        Ok(Contents { certificate: read(&self.certificate)?, key: read(&self.key)?.into() })
    }

    fn parse(&self, Contents { certificate, key }: &Contents) -> Result<ServedCertificate, CertificateFilesError> {
        ServedCertificate::from_pem(certificate, key).map_err(|source| CertificateFilesError::Certificate {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })
    }
}

impl FollowedFiles {
    /// What is served: for the listener.
    pub fn slot(&self) -> Arc<CertificateSlot> {
        Arc::clone(&self.slot)
    }

    /// Takes what changed, until cancelled. What can't be used is logged once and leaves what is served.
    pub async fn follow(mut self, ended: CancellationToken) {
        let (mut pause, mut failing) = (self.files.interval, false);
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let looked = self.look().await;
            if let Err(error) = &looked
                && !failing
            {
                tracing::error!(reason = crate::explain(error), "Failed to load certificate");
            }
            failing = looked.is_err();
            pause = if failing { RETRY.min(self.files.interval) } else { self.files.interval };
        }
    }

    async fn look(&mut self) -> Result<(), CertificateFilesError> {
        let files = self.files.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || files.read()).await else { return Ok(()) };
        let read = read?;
        if read != self.read {
            let certificate = self.files.parse(&read)?;
            self.slot.replace(certificate);
            self.read = read;
            tracing::info!("Loaded provided certificate with success");
        }
        Ok(())
    }
}

/// Why certificate files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFilesError {
    /// A file.
    #[error("can't read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in them.
    #[error("can't use {certificate:?} with {key:?}")]
    Certificate {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Why.
        source: ServedCertificateError,
    },
}
