//! `keys.json` of KeyManager `disk`: the agent's present key and the one that is to follow it, in SPIRE's two slots.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::PersistError;
use crate::key::{KeyPair, PrivateKey};
use crate::private_file::{read, replace, set_aside};

const KEYS_FILE: &str = "keys.json";
/// SPIRE's names.
const SLOTS: [&str; 2] = ["agent-svid-A", "agent-svid-B"];

#[derive(Serialize, Deserialize, Default)]
struct KeysDocument {
    keys: BTreeMap<String, KeyText>,
}

/// PKCS#8 in base64, wiped when dropped.
struct KeyText(Zeroizing<String>);

impl Serialize for KeyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl KeyText {
    fn encode(key: &PrivateKey) -> Self {
        Self(Zeroizing::new(STANDARD.encode(key.reveal_pkcs8())))
    }

    fn decode(&self) -> Result<KeyPair, String> {
        let pkcs8 = STANDARD.decode(self.0.as_bytes()).map_err(|error| error.to_string())?;
        KeyPair::p256_from_pkcs8(Zeroizing::new(pkcs8)).map_err(|error| error.to_string())
    }
}

/// The private key that goes with this SubjectPublicKeyInfo, if the file has it.
pub(crate) fn find(dir: &Path, public_key: &[u8]) -> Result<Option<Arc<PrivateKey>>, PersistError> {
    let pairs = load(dir)?;
    Ok(pairs.values().find(|pair| pair.public_key() == public_key).map(|pair| Arc::clone(pair.private_key())))
}

/// Writes a new key into the slot that `current` does not use, and keeps the other.
pub(crate) fn stage(dir: &Path, key: &KeyPair, current: Option<&[u8]>) -> Result<(), PersistError> {
    let pairs = load(dir)?;
    let [a, b] = SLOTS;
    let a_is_in_use = current.is_some_and(|current| pairs.get(a).is_some_and(|pair| pair.public_key() == current));
    let (free, other) = if a_is_in_use { (b, a) } else { (a, b) };
    let mut document = KeysDocument::default();
    if let Some(kept) = pairs.get(other) {
        document.keys.insert(other.to_owned(), KeyText::encode(kept.private_key()));
    }
    document.keys.insert(free.to_owned(), KeyText::encode(key.private_key()));
    replace(dir, KEYS_FILE, &Zeroizing::new(serde_json::to_vec_pretty(&document).map_err(PersistError::Encode)?))
}

fn load(dir: &Path) -> Result<BTreeMap<String, KeyPair>, PersistError> {
    let path = dir.join(KEYS_FILE);
    let Some(bytes) = read(&path)? else {
        return Ok(BTreeMap::new());
    };
    match parse(&bytes) {
        Ok(pairs) => Ok(pairs),
        Err(reason) => {
            let kept = set_aside(&path)?;
            tracing::error!(
                path = %path.display(), kept_as = %kept.display(), reason,
                "Stored agent keys can't be used; the file was set aside and the node attests again"
            );
            Ok(BTreeMap::new())
        }
    }
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<String, KeyPair>, String> {
    let document: KeysDocument = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    document
        .keys
        .into_iter()
        .map(|(slot, text)| {
            let pair = text.decode().map_err(|reason| format!("key {slot:?}: {reason}"))?;
            Ok((slot, pair))
        })
        .collect()
}
