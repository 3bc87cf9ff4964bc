//! The upstream authority: who signs the server's CA certificate where the server does not sign it itself (SPIRE's UpstreamAuthority).
//!
//! The server keeps its key and asks with a CSR; the upstream's root is what the bundle has. What a plugin answers is not trusted for
//! its shape: `server/core` checks that the certificate is for its key and its trust domain, and that the chain leads to one of the
//! roots, before it publishes a root.

use std::sync::Arc;
use std::time::Duration;

use plastron_spiffe::{Bundle, JwtAuthority};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;

/// Signs CA certificates for this server.
#[async_trait::async_trait]
pub trait UpstreamAuthority: Send + Sync {
    /// The plugin's name (`disk`).
    fn name(&self) -> &str;

    /// Signs the key of a CSR as a CA of the trust domain. An error leaves everything as it was, and the server asks again.
    async fn mint_x509_ca(&self, request: MintX509Ca) -> Result<MintedX509Ca, UpstreamError>;

    /// The upstream's roots, DER, now and whenever they change: they belong into the bundle before anything below them signs. Empty
    /// until the upstream was first reached. Whoever holds the receiver sees later changes for as long as the plugin lives.
    fn roots(&self) -> watch::Receiver<Arc<[Vec<u8>]>>;
}

/// The second, optional ability: an upstream that is itself a server of the trust domain. Its bundle says what is tainted and which JWT
/// keys there are, and it takes JWT keys for everyone below the same root.
#[async_trait::async_trait]
pub trait UpstreamServer: Send + Sync {
    /// The upstream's bundle, now and whenever it changes; `None` until the upstream was first reached.
    fn bundle(&self) -> watch::Receiver<Option<Arc<Bundle>>>;

    /// Publishes a JWT key, and gives all that are published there then.
    async fn publish_jwt_key(&self, key: JwtAuthority) -> Result<Vec<JwtAuthority>, UpstreamError>;
}

/// What the server asks for.
#[derive(Clone, Debug)]
pub struct MintX509Ca {
    /// PKCS#10, DER: the CA key, the subject that configuration says, and the trust domain's ID as the only URI SAN.
    pub csr: Vec<u8>,
    /// The lifetime that the server would like (`ca_ttl`). The upstream may give less.
    pub preferred_ttl: Duration,
    /// Now.
    pub now: UnixTime,
}

/// What the upstream signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintedX509Ca {
    /// DER certificates: the server's CA, then those between it and the root, without the root.
    pub chain: Vec<Vec<u8>>,
    /// The upstream's roots, DER, without those that it is taking out of use.
    pub roots: Vec<Vec<u8>>,
}

/// Why nothing was signed or published. The server goes on with the CA that it has, as long as that lasts, and asks again.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The upstream can't be reached or used now.
    #[error("upstream authority {plugin} can't be used")]
    Unavailable {
        /// The plugin.
        plugin: &'static str,
        /// Why, and what to do about it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The upstream does not do this for this server.
    #[error("upstream authority {plugin} refuses")]
    Refused {
        /// The plugin.
        plugin: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
