//! The back ends of this server: the only place that names them.
//!
//! | type | names |
//! |---|---|
//! | DataStore | `sql` (SQLite) |
//! | KeyManager | `memory`, `disk`, `pkcs11` |
//! | NodeAttestor | `join_token`, `tpm`, `x509pop` |
//! | UpstreamAuthority | `disk`, `spire` |
//!
//! Reading the configuration opens nothing but the files of `tpm`'s pools, `x509pop`'s CAs and the upstream authority, and those only in
//! [`Catalog::check`], [`Catalog::node_attestors`] and [`Catalog::upstream`].

mod files;
mod keys;
mod store;
mod tpm;
mod upstream;
mod x509pop;

use std::sync::Arc;

use plastron_daemon::config::{LoadError, Strictness};
use plastron_daemon::plugins::{self, Plugin};
use plastron_hcl1::{Notice, Subtree};
use plastron_hsm::KeyStoreError;
use plastron_plugins::node::{EnrolledTpms, JudgesEnrolled, KeptEventLogs, NodeAttestor, TrustBundle};
use plastron_plugins_node_join_token::JoinTokenNodeAttestor;
use plastron_plugins_node_tpm::TpmNodeAttestor;
use plastron_plugins_upstream_disk::DiskError;
use plastron_server_core::store::StoreError;
use plastron_server_store::SqliteStore;
use plastron_spiffe::{SpiffeIdError, TrustDomain};

use keys::KeyManager;
pub(crate) use keys::OpenedKeys;
use store::DataStore;
use tpm::{Pools, PoolsError};
pub(crate) use upstream::OpenedUpstream;
use upstream::Upstream;
use x509pop::{CaFilesError, X509Pop};

/// What the configuration chose.
#[derive(Debug)]
pub(crate) struct Catalog {
    data_store: DataStore,
    key_manager: KeyManager,
    tpm: Option<Pools>,
    x509pop: Option<X509Pop>,
    upstream: Option<Upstream>,
}

impl Catalog {
    /// Reads the `plugins` block. Exactly one DataStore and one KeyManager; an unknown plugin is refused by name. What is wrong with
    /// plugins is told of all of them at once.
    pub(crate) fn read(block: &Subtree, strictness: &Strictness<'_>) -> Result<(Self, Vec<Notice>), LoadError> {
        let (configured, mut notices) = plugins::read(block, strictness)?;
        let (mut chosen, mut problems) = (Chosen::default(), Vec::new());
        for plugin in &configured {
            match chosen.read(plugin, strictness) {
                Ok(more) => notices.extend(more),
                Err(problem) => problems.push(problem),
            }
        }
        LoadError::of_parts(problems)?;
        let Chosen { data_store, key_manager, tpm, x509pop, upstream } = chosen;
        let missing = |what: &str| LoadError::from(block.place().refuse(format_args!("a {what} must be configured")));
        let catalog = Self {
            data_store: data_store.ok_or_else(|| missing("DataStore"))?,
            key_manager: key_manager.ok_or_else(|| missing("KeyManager"))?,
            tpm,
            x509pop,
            upstream,
        };
        Ok((catalog, notices))
    }

    /// Whether what the plugins' configuration points to can be used, as far as that shows without opening a store or a token.
    pub(crate) fn check(&self) -> Result<(), CheckError> {
        let attestors = || -> Result<(), AttestorsError> {
            self.tpm.as_ref().map_or(Ok(()), |pools| pools.open().map(|_policy| ()))?;
            Ok(self.x509pop.as_ref().map_or(Ok(()), X509Pop::check)?)
        };
        attestors()?;
        Ok(self.upstream.as_ref().map_or(Ok(()), Upstream::check)?)
    }

    /// The upstream authority, where there is one. Reads its files, or begins to call it; within a Tokio runtime.
    pub(crate) fn upstream(&self, trust_domain: &TrustDomain) -> Result<Option<OpenedUpstream>, SpiffeIdError> {
        self.upstream.as_ref().map(|upstream| upstream.open(trust_domain.clone())).transpose()
    }

    /// Opens the database.
    pub(crate) async fn store(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.data_store.path).await
    }

    /// Opens the key store. Blocks.
    pub(crate) fn key_store(&self) -> Result<OpenedKeys, KeyStoreError> {
        self.key_manager.open()
    }

    /// The node attestors; `known` is where enrolled TPMs are looked up, `logs` where their event logs are kept, `bundle` the trust
    /// domain's own. Reads the certificates of pools and CAs.
    pub(crate) fn node_attestors(
        &self,
        known: &Arc<dyn EnrolledTpms>,
        logs: &Arc<dyn KeptEventLogs>,
        bundle: &Arc<dyn TrustBundle>,
    ) -> Result<NodeAttestors, AttestorsError> {
        // SPIRE's server takes join tokens whether the plugin is configured or not: an administrator makes each of them.
        let mut attestors = NodeAttestors { all: vec![Arc::new(JoinTokenNodeAttestor)], judge: None };
        if let Some(x509pop) = &self.x509pop {
            attestors.all.push(Arc::new(x509pop.open(bundle)?));
        }
        if let Some(pools) = &self.tpm {
            let (pools, deny) = pools.open()?;
            let tpm = Arc::new(TpmNodeAttestor::new(pools, deny, Arc::clone(known), Arc::clone(logs)));
            attestors.all.push(Arc::clone(&tpm) as Arc<dyn NodeAttestor>);
            attestors.judge = Some(tpm);
        }
        Ok(attestors)
    }
}

/// What was read so far.
#[derive(Default)]
struct Chosen {
    data_store: Option<DataStore>,
    key_manager: Option<KeyManager>,
    tpm: Option<Pools>,
    x509pop: Option<X509Pop>,
    upstream: Option<Upstream>,
}

impl Chosen {
    fn read(&mut self, plugin: &Plugin, strictness: &Strictness<'_>) -> Result<Vec<Notice>, LoadError> {
        if plugin.command.is_some() {
            return Err(refuse(plugin, "plugins in other processes (plugin_cmd) are not supported by this server yet"));
        }
        match (plugin.kind.as_str(), plugin.name.as_str()) {
            ("DataStore", "sql") => set(&mut self.data_store, plugin, DataStore::read(plugin, strictness)?),
            ("KeyManager", name @ ("memory" | "disk" | "pkcs11")) => {
                set(&mut self.key_manager, plugin, KeyManager::read(name, plugin, strictness)?)
            }
            ("NodeAttestor", "join_token") => Ok(plugin.decode::<NoKeys>(strictness)?.1),
            ("NodeAttestor", "tpm") => set(&mut self.tpm, plugin, Pools::read(plugin, strictness)?),
            ("NodeAttestor", "x509pop") => set(&mut self.x509pop, plugin, X509Pop::read(plugin, strictness)?),
            ("UpstreamAuthority", "disk") => set(&mut self.upstream, plugin, Upstream::read_disk(plugin, strictness)?),
            ("UpstreamAuthority", "spire") => {
                set(&mut self.upstream, plugin, Upstream::read_spire(plugin, strictness)?)
            }
            (kind, name) => Err(refuse(plugin, format_args!("this server has no {kind} {name:?}; {}", have(kind)))),
        }
    }
}

/// The node attestors of a configuration.
pub(crate) struct NodeAttestors {
    /// All of them.
    pub(crate) all: Vec<Arc<dyn NodeAttestor>>,
    /// The one that can judge enrolled nodes.
    pub(crate) judge: Option<Arc<dyn JudgesEnrolled>>,
}

/// What a node attestor points to can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestorsError {
    #[error("can't use the pools of node attestor tpm")]
    Pools(#[from] PoolsError),
    #[error("can't use the CAs of node attestor x509pop")]
    CaFiles(#[from] CaFilesError),
}

/// What the configuration points to can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error(transparent)]
    Attestors(#[from] AttestorsError),
    #[error("can't use upstream authority disk")]
    Upstream(#[from] DiskError),
}

/// The configuration of a plugin that has none.
#[derive(serde::Deserialize)]
struct NoKeys {}

fn set<T>(slot: &mut Option<T>, plugin: &Plugin, (value, notices): (T, Vec<Notice>)) -> Result<Vec<Notice>, LoadError> {
    match slot.replace(value) {
        None => Ok(notices),
        Some(_) => Err(refuse(plugin, format_args!("a {} is configured already; there can be one", plugin.kind))),
    }
}

fn refuse(plugin: &Plugin, problem: impl std::fmt::Display) -> LoadError {
    plugin.place.refuse(problem).into()
}

fn have(kind: &str) -> &'static str {
    match kind {
        "DataStore" => "it has sql",
        "KeyManager" => "it has memory, disk and pkcs11",
        "NodeAttestor" => "it has join_token, tpm and x509pop",
        "UpstreamAuthority" => "it has disk and spire",
        _ => "it has plugins of the types DataStore, KeyManager, NodeAttestor and UpstreamAuthority",
    }
}
