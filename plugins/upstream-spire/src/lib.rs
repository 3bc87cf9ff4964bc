//! The `spire` upstream authority: a server of the same trust domain above this one, ours or SPIRE's, with SPIRE's options
//! (UpstreamAuthority "spire").
//!
//! This server is a workload of an agent of the server above: the Workload API gives it an X.509-SVID whose entry says `downstream`, and
//! with that it calls NewDownstreamX509CA, GetBundle and PublishJWTAuthority there. Whoever answers must show exactly
//! `spiffe://<trust domain>/spire/server`, by the bundle that came with the SVID. The bundle above is fetched every five seconds.
//! What it does not do: it judges no certificate and no key, `server/core` does.

mod answer;
mod calls;
mod error;
mod identity;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plastron_plugins::upstream::{MintX509Ca, MintedX509Ca, UpstreamAuthority, UpstreamError, UpstreamServer};
use plastron_spiffe::{Bundle, JwtAuthority, SpiffeId, SpiffeIdError, TrustDomain};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

pub use error::SpireError;

use calls::Server;
use identity::{Identity, Source};

/// The plugin's name.
pub const NAME: &str = "spire";
/// How often the bundle above is fetched (SPIRE: 5 s).
const POLL_PERIOD: Duration = Duration::from_secs(5);
/// How long a request waits for an SVID: an entry that was just made takes an agent some seconds. With the calls it stays below the time
/// that the server gives an upstream.
const IDENTITY_TAKES: Duration = Duration::from_secs(12);

/// Where the server above is, and who gives this one its SVID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpireConfig {
    /// `server_address`: a name or an address.
    pub server_address: String,
    /// `server_port`.
    pub server_port: u16,
    /// `workload_api_socket`.
    pub workload_api_socket: PathBuf,
}

/// A server above this one.
pub struct SpireUpstream {
    above: Arc<Above>,
    /// Ends with it.
    _tasks: JoinSet<()>,
}

struct Above {
    trust_domain: TrustDomain,
    socket: PathBuf,
    server: Server,
    identity: watch::Receiver<Identity>,
    /// One exchange at a time: a bundle that was asked for before a key was published must not arrive after it.
    turn: Mutex<()>,
    bundle: watch::Sender<Option<Arc<Bundle>>>,
    roots: watch::Sender<Arc<[Vec<u8>]>>,
}

impl SpireUpstream {
    /// Follows the Workload API and the bundle above from now on. Connects to nothing before it returns. Must be called within a Tokio
    /// runtime.
    pub fn start(config: SpireConfig, trust_domain: TrustDomain) -> Result<Arc<Self>, SpiffeIdError> {
        let SpireConfig { server_address: host, server_port: port, workload_api_socket: socket } = config;
        let id: SpiffeId = trust_domain.with_path("/spire/server")?;
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let source =
            Source { socket: socket.clone(), trust_domain: trust_domain.clone(), server: id, address: address.clone() };
        let mut tasks = JoinSet::new();
        let (identities, identity) = watch::channel(Identity::none_yet());
        tasks.spawn(source.follow(identities));
        let above = Arc::new(Above {
            trust_domain,
            socket,
            server: Server::new(address),
            identity,
            turn: Mutex::new(()),
            bundle: watch::channel(None).0,
            roots: watch::channel(Arc::from([])).0,
        });
        tasks.spawn(Arc::clone(&above).poll());
        Ok(Arc::new(Self { above, _tasks: tasks }))
    }
}

impl Above {
    /// The SVID and the connection that it makes. Waits for the first one.
    async fn identity(&self) -> Result<Arc<identity::Connected>, SpireError> {
        let mut identity = self.identity.clone();
        let ready = identity.wait_for(|identity| identity.connected().is_some());
        let _in_time = tokio::time::timeout(IDENTITY_TAKES, ready).await;
        let last = self.identity.borrow();
        last.connected()
            .ok_or_else(|| SpireError::NoIdentity { socket: self.socket.clone(), reason: last.reason().to_owned() })
    }

    async fn mint(&self, request: MintX509Ca) -> Result<MintedX509Ca, SpireError> {
        let MintX509Ca { csr, preferred_ttl, now: _ } = request;
        let identity = self.identity().await?;
        let _turn = self.turn.lock().await;
        let chain = self.server.new_downstream_ca(&identity, csr, preferred_ttl).await?;
        // The answer has the roots too, without saying which of them are tainted.
        let bundle = self.fetch(&identity).await?;
        Ok(MintedX509Ca { chain, roots: untainted(&bundle) })
    }

    async fn publish(&self, key: JwtAuthority) -> Result<Vec<JwtAuthority>, SpireError> {
        let identity = self.identity().await?;
        let _turn = self.turn.lock().await;
        let keys = self.server.publish(&identity, key).await?;
        // It is published whether the bundle shows it now or at the next look.
        if let Err(error) = self.fetch(&identity).await {
            tracing::debug!(plugin = NAME, error = explain(&error), "The bundle above can't be fetched");
        }
        Ok(keys)
    }

    /// Fetches the bundle above and shows it.
    async fn fetch(&self, identity: &identity::Connected) -> Result<Arc<Bundle>, SpireError> {
        let bundle = Arc::new(self.server.bundle(identity, &self.trust_domain).await?);
        let roots = untainted(&bundle);
        self.roots.send_if_modified(|seen| {
            let changed = seen.as_ref() != roots.as_slice();
            if changed {
                *seen = Arc::from(roots);
            }
            changed
        });
        self.bundle.send_if_modified(|seen| {
            let changed = seen.as_ref() != Some(&bundle);
            if changed {
                *seen = Some(Arc::clone(&bundle));
            }
            changed
        });
        Ok(bundle)
    }

    async fn poll(self: Arc<Self>) {
        let mut failing = false;
        loop {
            let identity = self.identity.borrow().connected();
            if let Some(identity) = identity {
                let fetched = {
                    let _turn = self.turn.lock().await;
                    self.fetch(&identity).await
                };
                match &fetched {
                    Ok(_bundle) if failing => tracing::info!(plugin = NAME, "The bundle above is followed again"),
                    Ok(_bundle) => {}
                    Err(error) if failing => {
                        tracing::debug!(plugin = NAME, error = explain(error), "The bundle above can't be fetched");
                    }
                    Err(error) => tracing::warn!(
                        plugin = NAME,
                        error = explain(error),
                        "The bundle above can't be fetched; what it had stays in use, and it is tried again"
                    ),
                }
                failing = fetched.is_err();
            }
            let mut changed = self.identity.clone();
            tokio::select! {
                () = tokio::time::sleep(POLL_PERIOD) => {}
                // The first SVID is not to wait for the next look.
                Ok(_first) = changed.wait_for(|now| now.connected().is_some()), if self.bundle.borrow().is_none() && !failing => {}
            }
        }
    }
}

#[async_trait::async_trait]
impl UpstreamAuthority for SpireUpstream {
    fn name(&self) -> &str {
        NAME
    }

    async fn mint_x509_ca(&self, request: MintX509Ca) -> Result<MintedX509Ca, UpstreamError> {
        self.above.mint(request).await.map_err(sorted)
    }

    fn roots(&self) -> watch::Receiver<Arc<[Vec<u8>]>> {
        self.above.roots.subscribe()
    }
}

#[async_trait::async_trait]
impl UpstreamServer for SpireUpstream {
    fn bundle(&self) -> watch::Receiver<Option<Arc<Bundle>>> {
        self.above.bundle.subscribe()
    }

    async fn publish_jwt_key(&self, key: JwtAuthority) -> Result<Vec<JwtAuthority>, UpstreamError> {
        self.above.publish(key).await.map_err(sorted)
    }
}

fn sorted(error: SpireError) -> UpstreamError {
    let refused = error.is_refusal();
    let source = Box::new(error);
    if refused {
        UpstreamError::Refused { plugin: NAME, source }
    } else {
        UpstreamError::Unavailable { plugin: NAME, source }
    }
}

fn untainted(bundle: &Bundle) -> Vec<Vec<u8>> {
    bundle.x509_authorities.iter().filter(|it| !it.tainted).map(|it| it.certificate.clone()).collect()
}

/// An error and its causes in one line.
fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
