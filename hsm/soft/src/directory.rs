//! Keys as files: one JSON file per key with its PKCS#8, mode 0600, in a directory with mode 0700.
//!
//! A file is written beside its place, synced, renamed and its directory synced, so after a crash a key is there whole or not at
//! all; what a crash leaves beside is removed at the next start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plastron_hsm::{KeyId, KeyRecord, KeyStoreError, KeyType};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::pair::KeyPair;
use crate::{Key, MAX_KEYS};

/// An RSA-4096 key takes 3.2 KB; a label may take the rest.
const MAX_FILE_SIZE: u64 = 16 * 1024;
const SUFFIX: &str = "key";
const UNFINISHED: &str = "unfinished";

pub(crate) struct Directory {
    path: PathBuf,
    store: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    version: u32,
    label: String,
    key_type: String,
    pkcs8: String,
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.pkcs8.zeroize();
    }
}

impl Directory {
    pub(crate) fn open(path: &Path) -> Result<Self, KeyStoreError> {
        let directory = Self { path: path.to_owned(), store: path.display().to_string() };
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| directory.cannot("create the directory", &error, "check that its parent is writable"))?;
        let metadata = fs::metadata(path)
            .map_err(|error| directory.cannot("read the directory's permissions", &error, "check its owner"))?;
        directory.assert_private("the directory", &metadata, "0700")?;
        Ok(directory)
    }

    /// Every key. One that does not parse is an error: a server must not start without a key that its journal names.
    pub(crate) fn load_all(&self) -> Result<Vec<Key>, KeyStoreError> {
        let cannot = |error: io::Error| self.cannot("read the directory", &error, "check its owner and permissions");
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
    pub(crate) fn load(&self, id: &KeyId) -> Result<Option<Key>, KeyStoreError> {
        let path = self.file_of(id, SUFFIX);
        match fs::symlink_metadata(&path) {
            Ok(_) => self.load_file(&path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unavailable("look at", &path, &error)),
        }
    }

    pub(crate) fn save(&self, key: &Key) -> Result<(), KeyStoreError> {
        let pkcs8 = key.pair.to_pkcs8().map_err(|reason| self.malformed(&self.path, reason))?;
        let stored = StoredKey {
            version: 1,
            label: key.record.label.clone(),
            key_type: key.record.key_type.as_str().to_owned(),
            pkcs8: STANDARD.encode(&*pkcs8),
        };
        let text = serde_json::to_vec(&stored).map(Zeroizing::new);
        let text = text.map_err(|error| self.malformed(&self.path, error.to_string()))?;
        let (beside, place) = (self.file_of(&key.record.id, UNFINISHED), self.file_of(&key.record.id, SUFFIX));
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
    pub(crate) fn made_at(&self, id: &KeyId) -> Result<Option<u64>, KeyStoreError> {
        let path = self.file_of(id, SUFFIX);
        let written = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
        let written = written.map_err(|error| self.unavailable("look at", &path, &error))?;
        Ok(written.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()))
    }

    pub(crate) fn remove(&self, id: &KeyId) -> Result<(), KeyStoreError> {
        let path = self.file_of(id, SUFFIX);
        fs::remove_file(&path).and_then(|()| self.sync()).map_err(|error| self.unavailable("remove", &path, &error))
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
        self.assert_private(&path.display().to_string(), &metadata, "0600")?;
        let mut text = Zeroizing::new(Vec::new());
        Read::by_ref(&mut file)
            .take(MAX_FILE_SIZE + 1)
            .read_to_end(&mut text)
            .map_err(|error| self.unavailable("read", path, &error))?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MAX_FILE_SIZE) {
            return Err(self.malformed(path, format!("larger than {MAX_FILE_SIZE} bytes")));
        }
        let stored: StoredKey =
            serde_json::from_slice(&text).map_err(|error| self.malformed(path, error.to_string()))?;
        if stored.version != 1 {
            return Err(self.malformed(path, format!("format version {} instead of 1", stored.version)));
        }
        let key_type = KeyType::from_name(&stored.key_type)
            .ok_or_else(|| self.malformed(path, format!("unknown key type {:?}", stored.key_type)))?;
        let pkcs8 = STANDARD.decode(&stored.pkcs8).map(Zeroizing::new);
        let pkcs8 = pkcs8.map_err(|_| self.malformed(path, "the key is not base64"))?;
        let pair = KeyPair::from_pkcs8(key_type, &pkcs8).map_err(|reason| self.malformed(path, reason))?;
        let public_key = pair.public_key().map_err(|reason| self.malformed(path, reason))?;
        let record = KeyRecord { id: KeyId::new(id), label: stored.label.clone(), key_type, public_key };
        Ok(Key { record, pair })
    }

    /// Ours, and closed to everyone else.
    fn assert_private(&self, what: &str, metadata: &fs::Metadata, mode: &str) -> Result<(), KeyStoreError> {
        let (owner, us) = (metadata.uid(), geteuid().as_raw());
        if owner != us {
            let reason = format!("{what} belongs to uid {owner}, and this program runs as uid {us}");
            return Err(self.refused(reason, "give it to the user that runs the program, with chown"));
        }
        let permissions = metadata.permissions().mode() & 0o777;
        if permissions & 0o077 != 0 {
            let reason = format!("others have access to {what}: its mode is {permissions:04o}");
            return Err(self.refused(reason, &format!("find out who has seen the keys, then chmod {mode}")));
        }
        Ok(())
    }

    fn file_of(&self, id: &KeyId, suffix: &str) -> PathBuf {
        self.path.join(format!("{id}.{suffix}"))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn cannot(&self, what: &str, error: &io::Error, remedy: &str) -> KeyStoreError {
        self.refused(format!("can't {what}: {error}"), remedy)
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
