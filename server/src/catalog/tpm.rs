//! `NodeAttestor "tpm"`: pools of endorsement keys. No pool, no trust.
//!
//! ```hcl
//! NodeAttestor "tpm" {
//!   plugin_data {
//!     pool "racks" {
//!       require               = "certificate"            # certificate, pin, certificate-and-pin or certificate-or-pin
//!       ek_ca_paths           = ["roots.pem"]            # manufacturers' roots, PEM or DER
//!       ek_intermediate_paths = ["intermediates.pem"]
//!       ek_crl_paths          = ["ca.crl"]               # revocation lists, PEM or DER
//!       ek_crl_max_age        = "720h"
//!       ek_pins               = ["<64 hex digits>"]      # EK fingerprints: plastron-agent tpm fingerprint
//!       ek_pins_paths         = ["pins.csv"]
//!       ek_template           = "rsa2048"                # L-1; see conf/server/server.conf for the others
//!       golden_pcrs "sha256" { "7" = ["<hex>"] }
//!     }
//!     denied_ek "<64 hex digits>" { reason = "stolen" }
//!   }
//! }
//! ```
//! Reading the configuration opens none of these files: `open` does.

mod boot;
mod deny;
mod pins;
mod pool;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;

use plastron_daemon::config::{LoadError, Strictness};
use plastron_daemon::plugins::Plugin;
use plastron_hcl1::{Located, Notice, Place};
use plastron_plugins_node_tpm::{AppraiseError, DenyList, EkFingerprint, Pool, PoolError};
use serde::Deserialize;

pub(crate) use super::files::FileError;
use deny::{Denied, RawDenied, RawDeniedCertificate, RawDeniedModel};
use pool::Configured;

/// The pools as configured, in the order of the file.
#[derive(Debug)]
pub(super) struct Pools {
    pools: Vec<Configured>,
    deny: Denied,
}

/// Why pools can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolsError {
    /// A file that can't be read, or is no such file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate.
    #[error("{place}: {which} certificate in {path:?}")]
    Certificate { place: Box<Place>, which: &'static str, path: PathBuf, source: Box<AppraiseError> },
    /// A revocation list.
    #[error("{place}: revocation list in {path:?}")]
    Crl { place: Box<Place>, path: PathBuf, source: Box<AppraiseError> },
    /// A file of pins of another kind.
    #[error("{path:?} is neither .csv nor .json: pins are read from these")]
    PinsForm { path: PathBuf },
    /// A pin.
    #[error("{path:?}:{line}:{column}: {problem}")]
    Pins { path: PathBuf, line: usize, column: usize, problem: String },
    /// Two pins of one key.
    #[error("EK {fingerprint} is pinned twice in one pool: {first}, and {second}; keep one of them")]
    DuplicatePin { fingerprint: EkFingerprint, first: String, second: String },
    /// The certificate of a denied certificate's issuer.
    #[error("{place}: the issuer's certificate")]
    Denied { place: Box<Place>, source: Box<AppraiseError> },
    /// A pool.
    #[error("{place}")]
    Pool { place: Box<Place>, source: Box<PoolError> },
}

#[derive(Deserialize)]
struct RawPlugin {
    #[serde(default)]
    pool: Option<plastron_hcl1::Subtree>,
    #[serde(default)]
    denied_ek: BTreeMap<String, Located<RawDenied>>,
    #[serde(default)]
    denied_certificate: BTreeMap<String, Located<RawDeniedCertificate>>,
    #[serde(default)]
    denied_model: BTreeMap<String, Located<RawDeniedModel>>,
}

impl Pools {
    pub(super) fn read(plugin: &Plugin, strictness: &Strictness<'_>) -> Result<(Self, Vec<Notice>), LoadError> {
        let (RawPlugin { pool, denied_ek, denied_certificate, denied_model }, mut notices) =
            plugin.decode(strictness)?;
        let mut pools: Vec<Configured> = Vec::new();
        let blocks = pool.map(|pool| pool.blocks()).transpose()?.unwrap_or_default();
        for block in blocks {
            if pools.iter().any(|pool| pool.name() == block.key) {
                return Err(block.place.refuse(format_args!("pool {:?} is configured already", block.key)).into());
            }
            let (raw, more) = block.subtree.decode()?;
            notices.extend(strictness.judge(more)?);
            pools.push(Configured::read(block.key, block.place, raw)?);
        }
        if pools.is_empty() {
            return Err(plugin.place.refuse("a pool must be configured: without one no TPM is trusted").into());
        }
        let deny = Denied::read(denied_ek, denied_certificate, denied_model)?;
        Ok((Self { pools, deny }, notices))
    }

    /// Reads the files that the pools and the deny list point to.
    pub(super) fn open(&self) -> Result<(Vec<Pool>, DenyList), PoolsError> {
        let pools = self.pools.iter().map(Configured::open).collect::<Result<_, _>>()?;
        Ok((pools, self.deny.open()?))
    }
}
