//! The seam to where an agent learns whom to believe before its server has told it, and where SPIRE's `rebootstrap_mode` asks again
//! (SPIRE: `pkg/agent/trustbundlesources`).

use std::error::Error;
use std::fmt;
use std::time::Duration;

use plastron_spiffe::Bundle;
use rustls_pki_types::UnixTime;

/// SPIRE's default of `rebootstrap_delay`.
pub const DEFAULT_REBOOTSTRAP_DELAY: Duration = Duration::from_secs(600);

/// A source of the bundle to begin with. It is asked anew for each attestation that begins without a bundle of the server's.
#[async_trait::async_trait]
pub trait BootstrapSource: fmt::Debug + Send + Sync {
    /// The bundle as it is now, within a bounded time.
    async fn bundle(&self, attempt: BootstrapAttempt) -> Result<Bundle, BootstrapError>;
}

/// A bundle that never changes.
#[async_trait::async_trait]
impl BootstrapSource for Bundle {
    async fn bundle(&self, _attempt: BootstrapAttempt) -> Result<Bundle, BootstrapError> {
        Ok(self.clone())
    }
}

/// What a source may tell whoever it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootstrapAttempt {
    /// Why it asks.
    pub reason: BootstrapReason,
    /// 1 for the first since the agent needed a bundle.
    pub number: u64,
    /// When it began to need one.
    pub since: UnixTime,
}

/// Why a source is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapReason {
    /// The agent has no bundle of its server's, or none that has not expired.
    Bootstrap,
    /// The server is no longer one that the agent's bundle leads to.
    Rebootstrap,
}

impl BootstrapReason {
    /// SPIRE's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Rebootstrap => "rebootstrap",
        }
    }
}

/// A source gave no bundle.
#[derive(Debug, thiserror::Error)]
#[error("can't get the bundle to begin with")]
pub struct BootstrapError(#[source] pub Box<dyn Error + Send + Sync>);

/// Whether an agent leaves what its server told it for what its source says (`rebootstrap_mode`, `rebootstrap_delay`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebootstrap {
    /// When at all.
    pub mode: RebootstrapMode,
    /// How long its server must have been one that its bundle does not lead to.
    pub delay: Duration,
}

impl Default for Rebootstrap {
    fn default() -> Self {
        Self { mode: RebootstrapMode::Never, delay: DEFAULT_REBOOTSTRAP_DELAY }
    }
}

/// `rebootstrap_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RebootstrapMode {
    /// A person has to help.
    #[default]
    Never,
    /// Where the node can attest again by itself.
    Auto,
    /// The agent ends where the node can't attest again by itself.
    Always,
}
