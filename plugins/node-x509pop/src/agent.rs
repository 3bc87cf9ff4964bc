//! The agent's half: it shows its certificate, and signs. The files are read at each attestation, so a renewed certificate counts
//! from the next one on.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use der::{Decode as _, Encode as _};
use plastron_plugins::node::{AgentAttestError, AgentContext, AgentConversation, AgentNodeAttestor};
use plastron_spiffe::x509::readable;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate;
use zeroize::Zeroizing;

use crate::NAME;
use crate::message::{Challenge, Nonce, Octets, Payload};
use crate::possession::NONCE_LEN;
use crate::signer::{Signer, SignerError};

/// Largest file: a chain of certificates and a key stay far below.
const MAX_FILE: u64 = 1 << 20;

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509PopFiles {
    /// `private_key_path`: PEM.
    pub private_key: PathBuf,
    /// `certificate_path`: PEM, the node's certificate first.
    pub certificate: PathBuf,
    /// `intermediates_path`: PEM, appended to the above.
    pub intermediates: Option<PathBuf>,
}

/// Attests with a certificate.
pub struct X509PopAttestor {
    files: X509PopFiles,
}

impl X509PopAttestor {
    /// With these files.
    pub fn new(files: X509PopFiles) -> Self {
        Self { files }
    }
}

impl AgentNodeAttestor for X509PopAttestor {
    fn name(&self) -> &str {
        NAME
    }

    fn begin(&self, _context: AgentContext) -> Box<dyn AgentConversation> {
        Box::new(Conversation { files: self.files.clone(), signer: None })
    }
}

struct Conversation {
    files: X509PopFiles,
    signer: Option<Signer>,
}

#[async_trait::async_trait]
impl AgentConversation for Conversation {
    async fn payload(&mut self) -> Result<Vec<u8>, AgentAttestError> {
        let files = self.files.clone();
        let read = load(files).map_err(refuse)?;
        let (certificates, signer) = read;
        self.signer = Some(signer);
        serde_json::to_vec(&Payload { certificates }).map_err(refuse)
    }

    async fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, AgentAttestError> {
        let signer = self.signer.as_ref().ok_or_else(|| refuse("a challenge before the payload"))?;
        let challenge: Challenge = serde_json::from_slice(challenge).map_err(refuse)?;
        let nonce = nonce_for(signer, challenge).map_err(refuse)?;
        let mut own = vec![0; NONCE_LEN];
        getrandom::fill(&mut own).map_err(refuse)?;
        let response = signer.respond(&nonce, own).map_err(refuse)?;
        serde_json::to_vec(&response).map_err(refuse)
    }

    async fn admitted(&mut self) -> Result<(), AgentAttestError> {
        Ok(())
    }
}

/// Signs nothing but a challenge of the protocol's own form: the key is used for other things too.
fn nonce_for(signer: &Signer, challenge: Challenge) -> Result<Vec<u8>, FileError> {
    let Challenge { rsa_signature, ecdsa_signature } = challenge;
    let nonce = match (signer.is_rsa(), rsa_signature, ecdsa_signature) {
        (true, Some(nonce), None) | (false, None, Some(nonce)) => nonce,
        (true, _, _) => return Err(FileError::Challenge { expected: "RSA" }),
        (false, _, _) => return Err(FileError::Challenge { expected: "ECDSA" }),
    };
    let Nonce { nonce: Octets(nonce) } = nonce;
    if nonce.len() == NONCE_LEN { Ok(nonce) } else { Err(FileError::Nonce { got: nonce.len() }) }
}

/// Checks, in order: the files parse; the key is the certificate's.
fn load(files: X509PopFiles) -> Result<(Vec<Octets>, Signer), FileError> {
    let X509PopFiles { private_key, certificate, intermediates } = files;
    let mut chain = certificates(&certificate)?;
    if let Some(intermediates) = &intermediates {
        chain.extend(certificates(intermediates)?);
    }
    let malformed = |path: &Path, what| FileError::Pem { path: path.to_owned(), what };
    let pem = read(&private_key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_error| malformed(&private_key, "a private key"))?;
    let signer = Signer::from_der(&key).map_err(|source| FileError::Key { path: private_key.clone(), source })?;
    let leaf = chain.first().ok_or_else(|| malformed(&certificate, "certificates"))?;
    let leaf = Certificate::from_der(&readable(&leaf.0))
        .and_then(|leaf| leaf.tbs_certificate().subject_public_key_info().to_der());
    let leaf = leaf.map_err(|_error| malformed(&certificate, "certificates"))?;
    let own = signer.public_key().map_err(|source| FileError::Key { path: private_key.clone(), source })?;
    if leaf != own {
        return Err(FileError::OtherKey { certificate, private_key });
    }
    Ok((chain, signer))
}

fn certificates(path: &Path) -> Result<Vec<Octets>, FileError> {
    let malformed = || FileError::Pem { path: path.to_owned(), what: "certificates" };
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|_error| malformed())?;
    if certificates.is_empty() {
        return Err(malformed());
    }
    Ok(certificates.into_iter().map(|certificate| Octets(certificate.as_ref().to_vec())).collect())
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let fail = |source| FileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    // The whole capacity at once: growing would leave copies of a key behind.
    let len = file.metadata().map_err(fail)?.len().min(MAX_FILE);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or(0).saturating_add(1)));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

fn refuse(reason: impl std::fmt::Display) -> AgentAttestError {
    AgentAttestError { attestor: NAME.to_owned(), reason: reason.to_string() }
}

/// Why the agent can't attest.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("can't read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not PEM with {what}", path.display())]
    Pem { path: PathBuf, what: &'static str },
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: SignerError },
    #[error("the key in {} is not that of the first certificate in {}", private_key.display(), certificate.display())]
    OtherKey { certificate: PathBuf, private_key: PathBuf },
    #[error("the server sent no {expected} challenge, which our key needs")]
    Challenge { expected: &'static str },
    #[error("the server's nonce has {got} octets, not {NONCE_LEN}")]
    Nonce { got: usize },
}
