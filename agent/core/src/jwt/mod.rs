//! JWT-SVIDs for workloads: issued on demand, checked, kept until half of their life, shared by all who want the same.
//!
//! [`JwtSvids`] is what the Workload API asks; [`JwtSigner`] is the half that runs with the agent. While the server is away a token is
//! handed out until it expires. A node that the server shut out issues nothing.

mod audience;
mod cache;
mod flights;
mod issued;
mod signer;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use plastron_spiffe::Selector;
use tokio::sync::{mpsc, oneshot};

pub use self::audience::{Audience, AudienceError, MAX_AUDIENCE_BYTES, MAX_AUDIENCES};
pub use self::cache::JwtToken;
pub use self::issued::IssuedJwtError;
pub use self::signer::JwtSigner;

use self::cache::{Key, Lookup, TokenCache};
use self::signer::{Patience, Request};
use crate::report::Chain;
use crate::upstream::{AgentDenial, AuthorizedEntry, UpstreamError};
use crate::{Clock, Readiness, WorkloadIdentities};

/// Requests that wait for the signer's attention, which it gives at once; more callers wait for a place.
const QUEUE: usize = 64;

/// For how long after a failed renewal the old token is handed out without trying again, in seconds: callers should not wait for a server
/// that is away one after the other.
const RENEWAL_PAUSE: u64 = 5;

/// The agent's JWT-SVIDs, for whoever serves workloads. Cheap to clone.
#[derive(Clone)]
pub struct JwtSvids {
    identities: WorkloadIdentities,
    cache: Arc<Mutex<TokenCache>>,
    requests: mpsc::Sender<Request>,
    clock: Arc<dyn Clock>,
}

impl JwtSvids {
    /// For the entries of these identities, keeping at most `capacity` tokens. Nothing is issued until the second value runs.
    pub fn new(identities: WorkloadIdentities, clock: Arc<dyn Clock>, capacity: usize) -> (Self, JwtSigner) {
        let (requests, receiver) = mpsc::channel(QUEUE);
        let cache = Arc::new(Mutex::new(TokenCache::new(capacity)));
        let signer = JwtSigner::new(receiver, Arc::clone(&cache), identities.clone());
        (Self { identities, cache, requests, clock }, signer)
    }

    /// The entries that a workload with these selectors may have tokens of, by rising entry id. Waits for the first synchronisation;
    /// empty where the agent ended before, and where the server shut this node out.
    pub async fn entries(&self, selectors: &BTreeSet<Selector>) -> Vec<Arc<AuthorizedEntry>> {
        if self.identities.synchronised().await { self.identities.entries(selectors) } else { Vec::new() }
    }

    /// A token of this entry for this audience. Cancel-safe: a caller that goes away takes nothing from the others.
    pub async fn fetch(
        &self,
        entry: &Arc<AuthorizedEntry>,
        audience: &Audience,
    ) -> Result<Arc<JwtToken>, Arc<JwtSvidError>> {
        let key = Key { entry_id: Arc::clone(&entry.id), audience: audience.clone() };
        let patience = match self.look(entry, &key)? {
            Lookup::Serve(token) => return Ok(token),
            Lookup::Renew(_) => Patience::FallsBack,
            Lookup::Missing => Patience::Full,
        };
        let error = match self.ask(entry, audience, patience).await {
            Ok(token) => return Ok(token),
            Err(error) => error,
        };
        // Looked up again: it may have been withdrawn in the meantime.
        match self.look(entry, &key)? {
            Lookup::Serve(token) | Lookup::Renew(token) if error.leaves_the_old_token() => {
                tracing::warn!(
                    entry = %entry.id, spiffe_id = %entry.spiffe_id, error = %Chain(&*error), "Unable to renew JWT; returning cached copy"
                );
                let retry_at = self.clock.now().as_secs().saturating_add(RENEWAL_PAUSE);
                self.cache().retry_at(&key, retry_at);
                Ok(token)
            }
            _ => Err(error),
        }
    }

    /// How many tokens are held.
    pub(crate) fn held(&self) -> usize {
        self.cache().len()
    }

    /// What is held, by what holds at this moment.
    fn look(&self, entry: &AuthorizedEntry, key: &Key) -> Result<Lookup, Arc<JwtSvidError>> {
        if self.identities.readiness() == Readiness::CutOff {
            return Err(Arc::new(JwtSvidError::CutOff));
        }
        let mut cache = self.cache();
        // Under the lock, so that nobody goes back to an older state.
        let snapshot = self.identities.latest().ok_or(JwtSvidError::EntryGone)?;
        cache.follow(&snapshot);
        if snapshot.entries.get(&entry.id).is_none_or(|held| *held.entry != *entry) {
            return Err(Arc::new(JwtSvidError::EntryGone));
        }
        Ok(cache.get(key, entry, self.clock.now().as_secs()))
    }

    async fn ask(
        &self,
        entry: &Arc<AuthorizedEntry>,
        audience: &Audience,
        patience: Patience,
    ) -> Result<Arc<JwtToken>, Arc<JwtSvidError>> {
        let (reply, outcome) = oneshot::channel();
        let request = Request { entry: Arc::clone(entry), audience: audience.clone(), patience, reply };
        let ended = || Arc::new(JwtSvidError::ShuttingDown);
        self.requests.send(request).await.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, TokenCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no JWT-SVID.
#[derive(Debug, thiserror::Error)]
pub enum JwtSvidError {
    /// The server denied the node, and refuses to attest it again.
    #[error("the server denies this node")]
    CutOff,
    /// The entry was removed or changed while the token was asked for.
    #[error("the registration entry was removed or changed")]
    EntryGone,
    /// Too many calls are under way.
    #[error("too many JWT-SVIDs are asked for at once")]
    Busy,
    /// The agent ends.
    #[error("the agent is shutting down")]
    ShuttingDown,
    /// The server issued none.
    #[error("the server issued no JWT-SVID")]
    Upstream(#[from] UpstreamError),
    /// The server issued one that is not what was asked for.
    #[error("the server issued an unacceptable JWT-SVID")]
    Issued(#[from] IssuedJwtError),
}

impl JwtSvidError {
    /// Whether a token that is still valid may be handed out in place of a new one.
    fn leaves_the_old_token(&self) -> bool {
        match self {
            Self::Upstream(UpstreamError::AgentDenied { reason, .. }) => *reason != AgentDenial::Banned,
            Self::Upstream(_) | Self::Issued(_) | Self::Busy => true,
            Self::CutOff | Self::EntryGone | Self::ShuttingDown => false,
        }
    }
}
