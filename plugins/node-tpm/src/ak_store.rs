//! Where the agent keeps its AK between conversations: one file of its data directory, mode 0600, replaced atomically.
//!
//! The private part is wrapped by the TPM and useless elsewhere; what the file protects is the node's continuity.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use plastron_attestation::{AkBlob, EkTemplate};
use serde::{Deserialize, Serialize};

/// Name of the file.
const FILE_NAME: &str = "tpm_ak.json";

/// Version of the document.
const VERSION: u32 = 1;

/// Longest file: an RSA-2048 AK takes under 2 KiB of hexadecimal digits.
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

    /// The AK under this template's EK, if one is kept.
    pub fn load(&self, template: EkTemplate) -> Result<Option<AkBlob>, AkStoreError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io("open", source)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes).map_err(|source| self.io("read", source))?;
        let malformed = |reason: String| AkStoreError::Malformed { path: self.path.clone(), reason };
        if bytes.len() as u64 > MAX_FILE_LEN {
            return Err(malformed(format!("longer than {MAX_FILE_LEN} bytes")));
        }
        let document: Document = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        let Document { version, ek_template, public, private } = document;
        if version != VERSION {
            return Err(malformed(format!("version {version}, this program reads version {VERSION}")));
        }
        if ek_template != template.name() {
            return Ok(None);
        }
        let bytes = |field, text| hex::decode(text).map_err(|error| malformed(format!("{field}: {error}")));
        Ok(Some(AkBlob { private: bytes("private", private)?, public: bytes("public", public)? }))
    }

    /// Keeps this AK in place of what was there; after this returns it outlives a crash.
    pub fn save(&self, template: EkTemplate, blob: &AkBlob) -> Result<(), AkStoreError> {
        let document = Document {
            version: VERSION,
            ek_template: template.name().to_owned(),
            public: hex::encode(&blob.public),
            private: hex::encode(&blob.private),
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
