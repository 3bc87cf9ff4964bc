//! Wrapped keys as files: one JSON file per key, mode 0600, in a directory with mode 0700.
//!
//! The blobs are of no use without the TPM; what the permissions protect is that nobody swaps or removes a key. A file is written beside
//! its place, synced, renamed and its directory synced, so after a crash a key is there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use plastron_attestation_appraise::subject_public_key_info;
use plastron_attestation_tcg::TpmtPublic;
use plastron_hsm::{KeyId, KeyRecord, KeyStoreError};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::{Key, MAX_KEYS};
use crate::stored_key::{self, StoredKey};

/// An RSA-4096 key takes 3 KB in hexadecimal digits; a label may take the rest.
const MAX_FILE_SIZE: u64 = 16 * 1024;
const VERSION: u32 = 1;
const SUFFIX: &str = "tpmkey";
const UNFINISHED: &str = "unfinished";

pub(super) struct Directory {
    path: PathBuf,
    store: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    label: String,
    /// Name of the storage root that the key is a child of.
    parent: String,
    public: String,
    private: String,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self, KeyStoreError> {
        let directory = Self { path: path.to_owned(), store: path.display().to_string() };
        let cannot =
            |what: &str, error: &io::Error| directory.refused(format!("can't {what}: {error}"), "check its owner");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| cannot("create the directory", &error))?;
        let metadata = fs::metadata(path).map_err(|error| cannot("read the directory's permissions", &error))?;
        directory.assert_private("the directory", &metadata)?;
        Ok(directory)
    }

    /// Every key. One that does not parse is an error: a program must not start without a key that its journal names.
    pub(super) fn load_all(&self) -> Result<Vec<Key>, KeyStoreError> {
        let cannot = |error: io::Error| self.unavailable("read", &self.path, &error);
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(UNFINISHED) => fs::remove_file(&path).map_err(cannot)?,
                Some(SUFFIX) if keys.len() < MAX_KEYS => keys.push(self.load_file(&path)?),
                Some(SUFFIX) => {
                    let reason = format!("more than {MAX_KEYS} key files");
                    return Err(self.refused(reason, "move those away that nothing refers to"));
                }
                _ => {}
            }
        }
        Ok(keys)
    }

    /// One key, read again.
    pub(super) fn load(&self, id: &KeyId) -> Result<Option<Key>, KeyStoreError> {
        let path = self.file_of(id, SUFFIX);
        match fs::symlink_metadata(&path) {
            Ok(_) => self.load_file(&path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unavailable("look at", &path, &error)),
        }
    }

    pub(super) fn save(&self, key: &Key) -> Result<(), KeyStoreError> {
        let Key { record: KeyRecord { id, label, key_type: _, public_key: _ }, stored } = key;
        let StoredKey { parent, private, public } = stored;
        let document = Document {
            version: VERSION,
            label: label.clone(),
            parent: hex::encode(parent),
            public: hex::encode(public),
            private: hex::encode(private),
        };
        let (beside, place) = (self.file_of(id, UNFINISHED), self.file_of(id, SUFFIX));
        let text = serde_json::to_vec(&document).map_err(|error| self.malformed(&place, error.to_string()))?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MAX_FILE_SIZE) {
            return Err(self.malformed(&place, format!("it would be larger than {MAX_FILE_SIZE} bytes")));
        }
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, &place)?;
            self.sync()
        };
        write().map_err(|error| {
            // The next start removes it too; what matters is that no key is reported that may not survive.
            let _ = fs::remove_file(&beside);
            self.unavailable("write", &place, &error)
        })
    }

    /// When the file of a key was written, Unix seconds.
    pub(super) fn made_at(&self, id: &KeyId) -> Result<Option<u64>, KeyStoreError> {
        let path = self.file_of(id, SUFFIX);
        let written = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
        let written = written.map_err(|error| self.unavailable("look at", &path, &error))?;
        Ok(written.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()))
    }

    pub(super) fn remove(&self, id: &KeyId) -> Result<(), KeyStoreError> {
        let path = self.file_of(id, SUFFIX);
        fs::remove_file(&path).and_then(|()| self.sync()).map_err(|error| self.unavailable("remove", &path, &error))
    }

    /// The record of a key that the TPM made or a file holds: what its public area says, if a store may use it.
    pub(super) fn understand(&self, id: KeyId, label: String, stored: StoredKey) -> Result<Key, KeyStoreError> {
        let malformed = |reason: String| self.malformed(&self.file_of(&id, SUFFIX), reason);
        let public = TpmtPublic::parse(&stored.public).map_err(|error| malformed(error.to_string()))?;
        let key_type = stored_key::judge(&public).map_err(|reason| KeyStoreError::UnsafeKey {
            store: self.store.clone(),
            id: id.clone(),
            reason,
        })?;
        let public_key = subject_public_key_info(&public).map_err(|error| malformed(error.to_string()))?;
        Ok(Key { record: KeyRecord { id, label, key_type, public_key }, stored })
    }

    fn load_file(&self, path: &Path) -> Result<Key, KeyStoreError> {
        let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| hex::decode(stem).ok());
        let id = id.ok_or_else(|| self.malformed(path, "the file name is not a key identifier in hexadecimal"))?;
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(|error| self.unavailable("open", path, &error))?;
        let metadata = file.metadata().map_err(|error| self.unavailable("read the permissions of", path, &error))?;
        self.assert_private(&path.display().to_string(), &metadata)?;
        let mut text = Vec::new();
        let read = Read::by_ref(&mut file).take(MAX_FILE_SIZE + 1).read_to_end(&mut text);
        let length = read.map_err(|error| self.unavailable("read", path, &error))?;
        if u64::try_from(length).is_ok_and(|length| length > MAX_FILE_SIZE) {
            return Err(self.malformed(path, format!("larger than {MAX_FILE_SIZE} bytes")));
        }
        let document = serde_json::from_slice(&text).map_err(|error| self.malformed(path, error.to_string()))?;
        let Document { version, label, parent, public, private } = document;
        if version != VERSION {
            return Err(self.malformed(path, format!("format version {version} instead of {VERSION}")));
        }
        let bytes = |field: &str, digits: &str| {
            hex::decode(digits).map_err(|error| self.malformed(path, format!("{field}: {error}")))
        };
        let stored = StoredKey {
            parent: bytes("parent", &parent)?,
            private: bytes("private", &private)?,
            public: bytes("public", &public)?,
        };
        self.understand(KeyId::new(id), label, stored)
    }

    /// Ours, and closed to everyone else.
    fn assert_private(&self, what: &str, metadata: &fs::Metadata) -> Result<(), KeyStoreError> {
        let (owner, us) = (metadata.uid(), geteuid().as_raw());
        if owner != us {
            let reason = format!("{what} belongs to uid {owner}, and this program runs as uid {us}");
            return Err(self.refused(reason, "give it to the user that runs the program, with chown"));
        }
        let permissions = metadata.permissions().mode() & 0o777;
        if permissions & 0o077 != 0 {
            let reason = format!("others have access to {what}: its mode is {permissions:04o}");
            return Err(
                self.refused(reason, "find out who changed it, then chmod 0700 the directory and 0600 its files")
            );
        }
        Ok(())
    }

    fn file_of(&self, id: &KeyId, suffix: &str) -> PathBuf {
        self.path.join(format!("{id}.{suffix}"))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn refused(&self, reason: String, remedy: &str) -> KeyStoreError {
        KeyStoreError::Open { store: self.store.clone(), reason, remedy: remedy.to_owned() }
    }

    fn unavailable(&self, verb: &str, path: &Path, error: &io::Error) -> KeyStoreError {
        let reason = format!("can't {verb} {}: {error}", path.display());
        KeyStoreError::Unavailable { store: self.store.clone(), reason }
    }

    fn malformed(&self, path: &Path, reason: impl Into<String>) -> KeyStoreError {
        let reason = format!("{}: {}", path.display(), reason.into());
        KeyStoreError::Malformed { store: self.store.clone(), reason }
    }
}
