//! `KeyManager "memory"|"disk"|"pkcs11"`

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use plastron_daemon::config::{LoadError, Strictness};
use plastron_daemon::plugins::Plugin;
use plastron_hcl1::{Located, Notice};
use plastron_hsm::{KeyDevice, KeyInventory, KeyStoreError};
use plastron_hsm_pkcs11::{PinSource, Pkcs11Config, Pkcs11Store, TokenSelector};
use plastron_hsm_soft::SoftStore;
use serde::Deserialize;

use super::NoKeys;

/// Servers that share a token need names of their own; one server needs none.
const DEFAULT_INSTANCE: &str = "plastron";

#[derive(Debug)]
pub(super) enum KeyManager {
    Memory,
    Disk(PathBuf),
    Pkcs11(Pkcs11Config),
}

/// A key store that was opened.
pub(crate) struct OpenedKeys {
    /// The keys.
    pub(crate) store: Arc<dyn KeyInventory>,
    /// The device behind them, where there is one.
    pub(crate) device: Option<Arc<dyn KeyDevice>>,
}

#[derive(Deserialize)]
struct RawDisk {
    directory: Option<PathBuf>,
    keys_path: Option<Located<PathBuf>>,
}

#[derive(Deserialize)]
struct RawPkcs11 {
    module: Option<PathBuf>,
    token_label: Option<String>,
    token_serial: Option<String>,
    slot: Option<u64>,
    pin_file: Option<PathBuf>,
    pin_env: Option<String>,
    pin_credential: Option<String>,
    instance: Option<String>,
    sessions: Option<NonZeroUsize>,
    deadline: Option<Located<String>>,
}

impl KeyManager {
    pub(super) fn read(
        name: &str,
        plugin: &Plugin,
        strictness: &Strictness<'_>,
    ) -> Result<(Self, Vec<Notice>), LoadError> {
        match name {
            "disk" => disk(plugin, strictness),
            "pkcs11" => pkcs11(plugin, strictness),
            _memory => Ok((Self::Memory, plugin.decode::<NoKeys>(strictness)?.1)),
        }
    }

    pub(super) fn open(&self) -> Result<OpenedKeys, KeyStoreError> {
        Ok(match self {
            Self::Memory => OpenedKeys { store: Arc::new(SoftStore::in_memory("memory")), device: None },
            Self::Disk(directory) => OpenedKeys { store: Arc::new(SoftStore::on_disk(directory)?), device: None },
            Self::Pkcs11(config) => {
                let store = Arc::new(Pkcs11Store::open(config)?);
                OpenedKeys { device: Some(Arc::clone(&store) as _), store }
            }
        })
    }
}

fn disk(plugin: &Plugin, strictness: &Strictness<'_>) -> Result<(KeyManager, Vec<Notice>), LoadError> {
    let (RawDisk { directory, keys_path }, notices) = plugin.decode(strictness)?;
    let directory = match (directory, keys_path) {
        (Some(directory), None) => directory,
        (None, Some(keys_path)) => beside_spires_keys(&keys_path)?,
        (Some(_), Some(keys_path)) => return Err(keys_path.refuse("directory is given too; choose one").into()),
        (None, None) => return Err(plugin.place.refuse("directory must be configured").into()),
    };
    Ok((KeyManager::Disk(directory), notices))
}

/// SPIRE's setting names a file that holds all keys; ours have a file each, in a folder that is named after it. Keys of SPIRE's that lie
/// there would be lost sight of, and every agent would have to be given the new bundle: that is not for a default to decide.
fn beside_spires_keys(keys_path: &Located<PathBuf>) -> Result<PathBuf, LoadError> {
    if keys_path.value.is_file() {
        let problem = "is a file of SPIRE's keys, which this server does not read: move it away, and give agents this server's bundle";
        return Err(keys_path.refuse(problem).into());
    }
    let mut directory = keys_path.value.clone().into_os_string();
    directory.push(".d");
    Ok(directory.into())
}

fn pkcs11(plugin: &Plugin, strictness: &Strictness<'_>) -> Result<(KeyManager, Vec<Notice>), LoadError> {
    let (raw, notices) = plugin.decode::<RawPkcs11>(strictness)?;
    let refuse = |problem: &str| LoadError::from(plugin.place.refuse(problem));
    let module = raw.module.ok_or_else(|| refuse("module must be configured"))?;
    if !module.is_absolute() {
        return Err(refuse("module must be an absolute path"));
    }
    let token = match (raw.token_label, raw.token_serial, raw.slot) {
        (Some(label), None, None) => TokenSelector::Label(label),
        (None, Some(serial), None) => TokenSelector::Serial(serial),
        (None, None, Some(slot)) => TokenSelector::Slot(slot),
        _ => return Err(refuse("exactly one of token_label, token_serial and slot must be configured")),
    };
    let pin = match (raw.pin_file, raw.pin_env, raw.pin_credential) {
        (Some(path), None, None) => PinSource::File(path),
        (None, Some(name), None) => PinSource::Environment(name),
        (None, None, Some(name)) => PinSource::Credential(name),
        _ => return Err(refuse("exactly one of pin_file, pin_env and pin_credential must be configured")),
    };
    let deadline = match raw.deadline {
        None => Pkcs11Config::DEFAULT_DEADLINE,
        Some(text) => plastron_server_cli::go_duration(&text.value).map_err(|problem| text.refuse(problem))?,
    };
    let instance = raw.instance.unwrap_or_else(|| DEFAULT_INSTANCE.to_owned());
    let config = Pkcs11Config { module, token, pin, instance, sessions: raw.sessions, deadline };
    Ok((KeyManager::Pkcs11(config), notices))
}
