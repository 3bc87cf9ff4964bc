//! `NodeAttestor "x509pop"`: SPIRE's keys (`doc/plugin_server_nodeattestor_x509pop.md`), read into a policy.
//!
//! ```hcl
//! NodeAttestor "x509pop" {
//!   plugin_data {
//!     ca_bundle_path      = "/etc/plastron/node-ca.pem"          # or ca_bundle_paths = [...]; or mode = "spiffe"
//!     agent_path_template = "/x509pop/cn/{{ .Subject.CommonName }}"
//!     max_intermediates   = 4
//!     max_rsa_key_size    = 8192
//!     verify_client_ip    = false
//!   }
//! }
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use plastron_daemon::config::{LoadError, Strictness};
use plastron_daemon::plugins::Plugin;
use plastron_hcl1::{Located, Notice};
use plastron_plugins::node::TrustBundle;
use plastron_plugins_node_x509pop::{
    CaBundle, CaBundleError, ChainLimits, ClientAddress, Mode, PathTemplate, X509PopNodeAttestor, X509PopPolicy,
};
use serde::Deserialize;

use super::files::{FileError, Loaded};

/// SPIRE's `spiffe_prefix`, which its documentation calls `svid_prefix`.
const DEFAULT_PREFIX: &str = "/spire-exchange";
/// More than a chain on the public web has; SPIRE's default is 4.
const MAX_INTERMEDIATES: usize = 8;
/// What is verified at all.
const MAX_RSA_BITS: usize = 8192;

#[derive(Deserialize)]
struct Raw {
    mode: Option<Located<String>>,
    spiffe_prefix: Option<Located<String>>,
    svid_prefix: Option<Located<String>>,
    ca_bundle_path: Option<PathBuf>,
    ca_bundle_paths: Option<Vec<PathBuf>>,
    agent_path_template: Option<Located<String>>,
    max_intermediates: Option<Located<usize>>,
    max_rsa_key_size: Option<Located<usize>>,
    #[serde(default)]
    verify_client_ip: bool,
}

/// What the configuration says.
#[derive(Debug)]
pub(super) struct X509Pop {
    trust: Trust,
    agent_path: PathTemplate,
    limits: ChainLimits,
    client_address: ClientAddress,
}

#[derive(Debug)]
enum Trust {
    Files(Vec<PathBuf>),
    OwnBundle { prefix: String },
}

/// Why the CAs can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaFilesError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("ca_bundle_path")]
    Bundle(#[from] CaBundleError),
}

impl X509Pop {
    pub(super) fn read(plugin: &Plugin, strictness: &Strictness<'_>) -> Result<(Self, Vec<Notice>), LoadError> {
        let (raw, notices) = plugin.decode::<Raw>(strictness)?;
        let refuse = |problem: &str| LoadError::from(plugin.place.refuse(problem));
        let prefix = match (raw.spiffe_prefix, raw.svid_prefix) {
            (Some(_), Some(other)) => {
                return Err(other.refuse("only one of spiffe_prefix and svid_prefix can be configured").into());
            }
            (prefix, None) | (None, prefix) => prefix,
        };
        let paths = match (raw.ca_bundle_path, raw.ca_bundle_paths) {
            (Some(_), Some(paths)) if !paths.is_empty() => {
                return Err(refuse("only one of ca_bundle_path and ca_bundle_paths can be configured"));
            }
            (Some(path), _) => vec![path],
            (None, paths) => paths.unwrap_or_default(),
        };
        let (trust, default) = match raw.mode.as_ref().map_or("external_pki", |mode| mode.value.as_str()) {
            "external_pki" if paths.is_empty() => {
                return Err(refuse("one of ca_bundle_path and ca_bundle_paths must be configured"));
            }
            "external_pki" => (Trust::Files(paths), PathTemplate::by_fingerprint()),
            "spiffe" if !paths.is_empty() => {
                return Err(refuse("mode \"spiffe\" takes this server's own bundle; remove ca_bundle_path"));
            }
            "spiffe" => (Trust::OwnBundle { prefix: read_prefix(prefix)? }, PathTemplate::by_svid_path()),
            other => {
                let problem = format!("mode {other:?} is neither \"external_pki\" nor \"spiffe\"");
                return Err(raw.mode.map_or_else(|| refuse(&problem), |mode| mode.refuse(&problem).into()));
            }
        };
        let agent_path = match raw.agent_path_template {
            None => default,
            Some(template) => PathTemplate::parse(&template.value).map_err(|error| template.refuse(error))?,
        };
        let limits = ChainLimits {
            intermediates: within(raw.max_intermediates, MAX_INTERMEDIATES, ChainLimits::DEFAULT.intermediates)?,
            rsa_bits: within(raw.max_rsa_key_size, MAX_RSA_BITS, ChainLimits::DEFAULT.rsa_bits)?,
        };
        let client_address =
            if raw.verify_client_ip { ClientAddress::InCertificate } else { ClientAddress::NotCompared };
        Ok((Self { trust, agent_path, limits, client_address }, notices))
    }

    /// Whether the CAs can be used.
    pub(super) fn check(&self) -> Result<(), CaFilesError> {
        match &self.trust {
            Trust::Files(paths) => load(paths).map(|_roots| ()),
            Trust::OwnBundle { .. } => Ok(()),
        }
    }

    /// Reads the CAs.
    pub(super) fn open(&self, bundle: &Arc<dyn TrustBundle>) -> Result<X509PopNodeAttestor, CaFilesError> {
        let mode = match &self.trust {
            Trust::Files(paths) => Mode::ExternalPki { roots: load(paths)? },
            Trust::OwnBundle { prefix } => Mode::Spiffe { bundle: Arc::clone(bundle), prefix: prefix.clone() },
        };
        let Self { trust: _, agent_path, limits, client_address } = self;
        let (agent_path, limits, client_address) = (agent_path.clone(), *limits, *client_address);
        Ok(X509PopNodeAttestor::new(X509PopPolicy { mode, agent_path, limits, client_address }))
    }
}

fn load(paths: &[PathBuf]) -> Result<CaBundle, CaFilesError> {
    Ok(CaBundle::new(Loaded::certificates(paths)?.der)?)
}

/// The prefix ends with `/`, so that `/spire-exchange` does not let `/spire-exchangeable` in.
fn read_prefix(prefix: Option<Located<String>>) -> Result<String, LoadError> {
    let Some(prefix) = prefix else { return Ok(format!("{DEFAULT_PREFIX}/")) };
    if !prefix.value.is_empty() && !prefix.value.starts_with('/') {
        return Err(prefix.refuse("the prefix begins with /").into());
    }
    if prefix.value.ends_with('/') { Ok(prefix.value) } else { Ok(format!("{}/", prefix.value)) }
}

fn within(value: Option<Located<usize>>, most: usize, default: usize) -> Result<usize, LoadError> {
    match value {
        None => Ok(default),
        Some(value) if (1..=most).contains(&value.value) => Ok(value.value),
        Some(value) => Err(value.refuse(format_args!("{} is not from 1 to {most}", value.value)).into()),
    }
}
