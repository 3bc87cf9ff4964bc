//! The back ends that an agent can have, and the configuration of each. The only place that names them.

use std::path::PathBuf;
use std::sync::Arc;

use plastron_agent_core::{KeyCustody, WorkloadAttestation};
use plastron_daemon::config::{LoadError, Strictness};
use plastron_daemon::plugins::Plugin;
use plastron_hcl1::{ConfigError, Notice};
use plastron_plugins::node::{AgentNodeAttestor, HoldsSvidKey};
use plastron_plugins::workload::WorkloadAttestor;
use plastron_plugins_node_join_token::{JoinTokenAttestor, TokenSource};
use plastron_plugins_node_x509pop::{X509PopAttestor, X509PopFiles};
use plastron_plugins_workload_unix::{ProgramDiscovery, UnixWorkloadAttestor};
use serde::Deserialize;

use crate::config::{Config, JoinToken};
use crate::tpm;

/// The plugins of the configuration, understood and not yet opened.
#[derive(Debug)]
pub(crate) struct Catalog {
    keys: KeyCustody,
    node: NodeAttestor,
    workload: Vec<ProgramDiscovery>,
}

/// The node attestor, and the key of the SVID where its hardware holds that.
pub(crate) struct OpenAttestor {
    pub(crate) attestor: Arc<dyn AgentNodeAttestor>,
    pub(crate) held_keys: Option<Arc<dyn HoldsSvidKey>>,
}

#[derive(Debug)]
enum NodeAttestor {
    JoinToken,
    Tpm(tpm::Settings),
    X509Pop(X509PopFiles),
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Disk {
    directory: PathBuf,
}

#[derive(Deserialize)]
struct X509Pop {
    private_key_path: PathBuf,
    certificate_path: PathBuf,
    intermediates_path: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Unix {
    discover_workload_path: bool,
    workload_size_limit: i64,
}

impl Catalog {
    /// Understands the `plugins` block: one KeyManager, one NodeAttestor, at least one WorkloadAttestor.
    pub(crate) fn read(plugins: &[Plugin], strictness: &Strictness<'_>) -> Result<(Self, Vec<Notice>), CatalogProblem> {
        let (mut keys, mut node, mut workload) = (Vec::new(), Vec::new(), Vec::new());
        let (mut notices, mut key_in_tpm) = (Vec::new(), None);
        for plugin in plugins {
            if plugin.command.is_some() {
                return Err(refuse(plugin, "plugins in another process are not supported yet"));
            }
            match (plugin.kind.as_str(), plugin.name.as_str()) {
                ("KeyManager", "memory") => {
                    let Nothing {} = decode(plugin, strictness, &mut notices)?;
                    keys.push(KeyCustody::Memory);
                }
                ("KeyManager", "disk") => {
                    let Disk { directory } = decode(plugin, strictness, &mut notices)?;
                    keys.push(KeyCustody::Disk(directory));
                }
                ("KeyManager", "tpm") => {
                    let Nothing {} = decode(plugin, strictness, &mut notices)?;
                    keys.push(KeyCustody::Tpm);
                    key_in_tpm = Some(plugin);
                }
                ("NodeAttestor", plastron_plugins_node_join_token::NAME) => {
                    let Nothing {} = decode(plugin, strictness, &mut notices)?;
                    node.push(NodeAttestor::JoinToken);
                }
                ("NodeAttestor", plastron_plugins_node_x509pop::NAME) => {
                    let X509Pop { private_key_path, certificate_path, intermediates_path } =
                        decode(plugin, strictness, &mut notices)?;
                    let intermediates = intermediates_path.filter(|path| !path.as_os_str().is_empty());
                    let (private_key, certificate) = (private_key_path, certificate_path);
                    node.push(NodeAttestor::X509Pop(X509PopFiles { private_key, certificate, intermediates }));
                }
                ("NodeAttestor", tpm::NAME) => {
                    let raw = decode(plugin, strictness, &mut notices)?;
                    let settings = tpm::Settings::read(raw).map_err(CatalogProblem::Plugin)?;
                    if !tpm::BUILT_IN {
                        return Err(refuse(plugin, tpm::NOT_BUILT_IN));
                    }
                    node.push(NodeAttestor::Tpm(settings));
                }
                ("WorkloadAttestor", plastron_plugins_workload_unix::NAME) => {
                    let Unix { discover_workload_path, workload_size_limit } =
                        decode(plugin, strictness, &mut notices)?;
                    workload.push(ProgramDiscovery::from_settings(discover_workload_path, workload_size_limit));
                }
                ("KeyManager", _) => {
                    return Err(refuse(plugin, "there are KeyManager \"memory\", \"disk\" and \"tpm\""));
                }
                ("NodeAttestor", _) => {
                    return Err(refuse(plugin, "there are NodeAttestor \"tpm\", \"x509pop\" and \"join_token\""));
                }
                ("WorkloadAttestor", _) => return Err(refuse(plugin, "there is WorkloadAttestor \"unix\"")),
                _ => return Err(refuse(plugin, "there are KeyManager, NodeAttestor and WorkloadAttestor")),
            }
        }
        if workload.is_empty() {
            return Err(CatalogProblem::NoWorkloadAttestor);
        }
        let catalog =
            Self { keys: exactly_one("KeyManager", keys)?, node: exactly_one("NodeAttestor", node)?, workload };
        match (key_in_tpm, &catalog.node) {
            (Some(plugin), NodeAttestor::JoinToken | NodeAttestor::X509Pop(_)) => {
                Err(refuse(plugin, "the key is in the TPM of NodeAttestor \"tpm\", which is not configured"))
            }
            (_, NodeAttestor::JoinToken | NodeAttestor::X509Pop(_) | NodeAttestor::Tpm(_)) => Ok((catalog, notices)),
        }
    }

    /// Where the agent's own key lives.
    pub(crate) fn keys(&self) -> KeyCustody {
        self.keys.clone()
    }

    /// Opens the node attestor.
    pub(crate) fn node_attestor(&self, config: &Config) -> Result<OpenAttestor, tpm::OpenError> {
        match &self.node {
            NodeAttestor::JoinToken => {
                let source = match &config.join_token {
                    JoinToken::Literal(token) => TokenSource::Literal(token.clone()),
                    JoinToken::File(path) => TokenSource::File(path.clone()),
                    JoinToken::Absent => TokenSource::Absent,
                };
                Ok(OpenAttestor { attestor: Arc::new(JoinTokenAttestor::new(source)), held_keys: None })
            }
            NodeAttestor::X509Pop(files) => {
                Ok(OpenAttestor { attestor: Arc::new(X509PopAttestor::new(files.clone())), held_keys: None })
            }
            NodeAttestor::Tpm(settings) => {
                let OpenAttestor { attestor, held_keys } = settings.open(&config.data_dir)?;
                Ok(OpenAttestor { attestor, held_keys: held_keys.filter(|_| self.keys == KeyCustody::Tpm) })
            }
        }
    }

    /// Opens the workload attestors.
    pub(crate) fn workload_attestation(&self) -> WorkloadAttestation {
        let unix =
            |discovery: &ProgramDiscovery| Arc::new(UnixWorkloadAttestor::new(*discovery)) as Arc<dyn WorkloadAttestor>;
        WorkloadAttestation::new(self.workload.iter().map(unix).collect())
    }
}

fn decode<T: serde::de::DeserializeOwned>(
    plugin: &Plugin,
    strictness: &Strictness<'_>,
    notices: &mut Vec<Notice>,
) -> Result<T, CatalogProblem> {
    let (settings, more) = plugin.decode(strictness)?;
    notices.extend(more);
    Ok(settings)
}

fn exactly_one<T>(kind: &'static str, mut found: Vec<T>) -> Result<T, CatalogProblem> {
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (_, others) => Err(CatalogProblem::NotExactlyOne { kind, got: if others == 0 { 0 } else { others + 1 } }),
    }
}

fn refuse(plugin: &Plugin, problem: &str) -> CatalogProblem {
    CatalogProblem::Plugin(plugin.place.refuse(problem))
}

/// Why the plugins of a configuration are no agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogProblem {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Plugin(ConfigError),
    #[error("exactly one {kind} is needed in plugins, not {got}")]
    NotExactlyOne { kind: &'static str, got: usize },
    #[error(
        "at least one WorkloadAttestor is needed in plugins; the usual one is WorkloadAttestor \"unix\" {{ plugin_data {{}} }}"
    )]
    NoWorkloadAttestor,
}

#[cfg(test)]
mod tests;
