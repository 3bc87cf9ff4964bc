//! What the agent keeps in its data directory (SPIRE: `pkg/agent/storage`, `agent-data.json`, and KeyManager `disk`, `keys.json`).
//!
//! Every file is replaced as a whole (written beside, synced, renamed, directory synced) and is private to the agent's user. A key is
//! written before its SVID is asked for, and the SVID's file names no key: the key is found by the public key in the leaf. So a crash
//! between any two writes leaves a pair that fits, or the one before. What can't be read is set aside under another name, never lost.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plastron_plugins::node::HeldKey;
use plastron_spiffe::bundle::BundleError;
use plastron_spiffe::x509::{SvidError, X509Svid};
use plastron_spiffe::{Bundle, TrustDomain};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use x509_cert::der::pem::{LineEnding, encode_string};

use crate::key::KeyPair;
use crate::private_file::{make_dir, read, replace, set_aside};
use crate::{AgentSvid, SvidKey, key_file};

const DATA_FILE: &str = "agent-data.json";
const LOCK_FILE: &str = "agent.lock";
/// Where the agent's own private key lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyCustody {
    /// KeyManager `memory`: gone with the process, so that every start attests.
    Memory,
    /// KeyManager `disk`: `keys.json` in this directory.
    Disk(PathBuf),
    /// KeyManager `tpm`: the node attestor's TPM holds it, and nothing of it is written here.
    Tpm,
}

/// The data directory, held by this process alone.
#[derive(Debug)]
pub struct DataDir {
    dir: PathBuf,
    keys: KeyCustody,
    _lock: File,
}

/// What a data directory had to say at start.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) svid: Option<AgentSvid>,
    pub(crate) bundle: Option<Bundle>,
}

#[derive(Serialize, Deserialize)]
struct DataDocument {
    trust_domain: String,
    svid: String,
    bundle: String,
    reattestable: bool,
}

impl DataDir {
    /// Makes the directory where it is missing and takes it for this process.
    pub fn open(dir: &Path, keys: KeyCustody) -> Result<Self, PersistError> {
        make_dir(dir)?;
        if let KeyCustody::Disk(keys_dir) = &keys {
            make_dir(keys_dir)?;
        }
        let path = dir.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| PersistError::Write { path: path.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), keys, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(PersistError::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(PersistError::Write { path, source }),
        }
    }

    /// What was saved last. A file that can't be used is set aside and logged: then the node attests again.
    /// `held` is the key that hardware holds, where that is so.
    pub(crate) fn load(
        &self,
        trust_domain: &TrustDomain,
        held: Option<&Arc<dyn HeldKey>>,
    ) -> Result<Remembered, PersistError> {
        let nothing = Remembered { svid: None, bundle: None };
        let path = self.dir.join(DATA_FILE);
        let Some(bytes) = read(&path)? else {
            return Ok(nothing);
        };
        let stored = match StoredData::parse(&bytes, trust_domain) {
            Ok(stored) => stored,
            Err(reason) => {
                let kept = set_aside(&path)?;
                tracing::error!(
                    path = %path.display(), kept_as = %kept.display(), %reason,
                    "Stored agent state can't be used; it was set aside and the node attests again"
                );
                return Ok(nothing);
            }
        };
        let StoredData { svid, bundle, reattestable } = stored;
        let svid = match svid {
            Some(svid) => self.find_key(svid.public_key(), held)?.map(|key| AgentSvid { svid, key, reattestable }),
            None => None,
        };
        Ok(Remembered { svid, bundle: Some(bundle) })
    }

    fn find_key(&self, public_key: &[u8], held: Option<&Arc<dyn HeldKey>>) -> Result<Option<SvidKey>, PersistError> {
        match &self.keys {
            KeyCustody::Memory => Ok(None),
            KeyCustody::Disk(dir) => Ok(key_file::find(dir, public_key)?.map(SvidKey::Own)),
            KeyCustody::Tpm => {
                let held = held.filter(|held| held.public_key() == public_key);
                Ok(held.map(|held| SvidKey::Held(Arc::clone(held))))
            }
        }
    }

    /// Writes a key whose SVID is about to be asked for. `current`, the public key of the SVID in use, keeps its own slot.
    pub(crate) fn stage_key(&self, key: &KeyPair, current: Option<&[u8]>) -> Result<(), PersistError> {
        match &self.keys {
            KeyCustody::Memory | KeyCustody::Tpm => Ok(()),
            KeyCustody::Disk(dir) => key_file::stage(dir, key, current),
        }
    }

    /// Saves what the next start needs.
    pub(crate) fn save(&self, svid: Option<&AgentSvid>, bundle: &Bundle) -> Result<(), PersistError> {
        let chain = svid.map(|svid| svid.svid.chain()).unwrap_or_default();
        let document = DataDocument {
            trust_domain: bundle.trust_domain.to_string(),
            svid: pem(chain)?,
            bundle: bundle.to_pem(),
            reattestable: svid.is_some_and(|svid| svid.reattestable),
        };
        replace(&self.dir, DATA_FILE, &serde_json::to_vec_pretty(&document).map_err(PersistError::Encode)?)
    }
}

struct StoredData {
    svid: Option<X509Svid>,
    bundle: Bundle,
    reattestable: bool,
}

impl StoredData {
    fn parse(bytes: &[u8], trust_domain: &TrustDomain) -> Result<Self, Unusable> {
        let DataDocument { trust_domain: stored, svid, bundle, reattestable } = serde_json::from_slice(bytes)?;
        if stored != trust_domain.as_str() {
            return Err(Unusable::TrustDomain { stored, configured: trust_domain.clone() });
        }
        let bundle = Bundle::from_pem(trust_domain.clone(), bundle.as_bytes())?;
        let chain = certificates(&svid, "svid")?;
        let svid = if chain.is_empty() { None } else { Some(X509Svid::parse(chain)?) };
        Ok(Self { svid, bundle, reattestable })
    }
}

fn certificates(pem: &str, field: &'static str) -> Result<Vec<Vec<u8>>, Unusable> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|error| Unusable::Pem { field, reason: error.to_string() })
}

fn pem(certificates: &[Vec<u8>]) -> Result<String, PersistError> {
    certificates
        .iter()
        .map(|der| encode_string("CERTIFICATE", LineEnding::LF, der).map_err(|_| PersistError::Pem))
        .collect()
}

/// Why a stored file is of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("not the JSON that this agent writes: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is of trust domain {stored:?}, the configuration says {configured}")]
    TrustDomain { stored: String, configured: TrustDomain },
    #[error("malformed PEM in {field:?}: {reason}")]
    Pem { field: &'static str, reason: String },
    #[error("its bundle is malformed: {0}")]
    Bundle(#[from] BundleError),
    #[error("its SVID is malformed: {0}")]
    Svid(#[from] SvidError),
}

/// The data directory does not work.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// Another agent has it.
    #[error("another agent uses the data directory {}; give each agent its own data_dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Its owner could replace what the agent keeps.
    #[error("the data directory {} belongs to user {uid}; give it to the agent's user with chown, or set another data_dir", path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Others could replace what the agent keeps.
    #[error(
        "the data directory {} has mode {mode:o}, so that others may write in it; take that away with chmod go-w, or set another \
         data_dir",
        path.display()
    )]
    OthersWrite {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory can't be written.
    #[error("can't write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// State can't be encoded.
    #[error("can't encode the agent's state")]
    Encode(#[source] serde_json::Error),
    /// A certificate can't be encoded.
    #[error("can't encode a certificate as PEM")]
    Pem,
}
