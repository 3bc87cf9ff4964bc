//! Where the agent keeps its AK, and the key of its SVID where that is in the TPM too, between conversations: one file of its data directory, mode 0600, replaced atomically.
//!
//! The private parts are wrapped by the TPM and useless elsewhere; what the file protects is the node's continuity.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use plastron_attestation::{AkBlob, EkTemplate, SvidKeyBlob};
use serde::{Deserialize, Serialize};

/// Name of the file.
const FILE_NAME: &str = "tpm_ak.json";

/// Version of the document.
const VERSION: u32 = 1;

/// Longest file: an RSA-2048 AK takes under 2 KiB of hexadecimal digits, the key of an SVID under 1 KiB.
const MAX_FILE_LEN: u64 = 16 * 1024;

/// Keeps the wrapped AK in one file of the agent's data directory, mode 0600, replaced atomically.
#[derive(Clone, Debug)]
pub struct AkStore {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    /// Name of the EK template that the AK is a child of.
    ek_template: String,
    public: String,
    private: String,
    /// The key of the SVID, where it is in the TPM: a child of the same EK, kept as long as the AK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    svid_key: Option<KeyDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyDocument {
    public: String,
    private: String,
}

/// The keys of one enrolment: the SVID's is kept for the AK's life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptKeys {
    /// The AK; `None` where none is enrolled.
    pub ak: Option<AkBlob>,
    /// The key of the SVID, where it is in the TPM.
    pub svid_key: Option<SvidKeyBlob>,
}

impl AkStore {
    /// At `<data_dir>/tpm_ak.json`. The directory is the agent's, and exists.
    pub fn in_data_dir(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE_NAME) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys under this template's EK, as far as they are kept.
    pub fn load(&self, template: EkTemplate) -> Result<KeptKeys, AkStoreError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(KeptKeys::default()),
            Err(source) => return Err(self.io("open", source)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes).map_err(|source| self.io("read", source))?;
        let malformed = |reason: String| AkStoreError::Malformed { path: self.path.clone(), reason };
        if bytes.len() as u64 > MAX_FILE_LEN {
            return Err(malformed(format!("longer than {MAX_FILE_LEN} bytes")));
        }
        let document: Document = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        let Document { version, ek_template, public, private, svid_key } = document;
        if version != VERSION {
            return Err(malformed(format!("version {version}, this program reads version {VERSION}")));
        }
        if ek_template != template.name() {
            return Ok(KeptKeys::default());
        }
        let bytes = |field, text| hex::decode(text).map_err(|error| malformed(format!("{field}: {error}")));
        let svid_key = match svid_key {
            None => None,
            Some(KeyDocument { public, private }) => Some(SvidKeyBlob {
                private: bytes("svid_key.private", private)?,
                public: bytes("svid_key.public", public)?,
            }),
        };
        let ak = AkBlob { private: bytes("private", private)?, public: bytes("public", public)? };
        Ok(KeptKeys { ak: Some(ak), svid_key })
    }

    /// Keeps these keys in place of what was there; after this returns they outlive a crash. Without an AK nothing is kept.
    pub fn save(&self, template: EkTemplate, keys: &KeptKeys) -> Result<(), AkStoreError> {
        let KeptKeys { ak, svid_key } = keys;
        let Some(blob) = ak else { return Ok(()) };
        let document = Document {
            version: VERSION,
            ek_template: template.name().to_owned(),
            public: hex::encode(&blob.public),
            private: hex::encode(&blob.private),
            svid_key: svid_key
                .as_ref()
                .map(|key| KeyDocument { public: hex::encode(&key.public), private: hex::encode(&key.private) }),
        };
        let malformed =
            |error: serde_json::Error| AkStoreError::Malformed { path: self.path.clone(), reason: error.to_string() };
        let bytes = serde_json::to_vec(&document).map_err(malformed)?;
        let temporary = self.path.with_extension("json.new");
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.io("replace", error)),
            _ => {}
        }
        let write = || {
            // Never an existing file: neither a link nor one with wider permissions is followed.
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &self.path)?;
            self.sync_directory()
        };
        write().map_err(|source| self.io("write", source))
    }

    /// Puts the file aside, for an operator to look at: its AK is of no use in this TPM any more.
    pub fn set_aside(&self) -> Result<PathBuf, AkStoreError> {
        let aside = self.path.with_extension("json.unusable");
        match std::fs::rename(&self.path, &aside) {
            Ok(()) => Ok(aside),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(aside),
            Err(source) => Err(self.io("set aside", source)),
        }
    }

    fn sync_directory(&self) -> std::io::Result<()> {
        match self.path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
            _ => Ok(()),
        }
    }

    fn io(&self, verb: &'static str, source: std::io::Error) -> AkStoreError {
        AkStoreError::Io { verb, path: self.path.clone(), source }
    }
}

/// Why the AK can't be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum AkStoreError {
    /// The file system refuses.
    #[error("can't {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what was written.
    #[error("{} is not a kept AK: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
