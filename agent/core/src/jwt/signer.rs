//! Has JWT-SVIDs issued: one call to the server for all who want the same token at the same time.
//!
//! It runs as a part of the agent. A request that nobody waits for any more goes on, for those who come next; a failure is told to all who
//! waited, and the next who asks begins anew. Retries are SPIRE's (`pkg/agent/client`, `NewJWTSVID`), as long as the entry stays.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::cache::{Key, Lookup, TokenCache};
use super::flights::{Flight, Flights, Outcome};
use super::issued::check_jwt_svid;
use super::{Audience, JwtSvidError};
use crate::WorkloadIdentities;
use crate::agent::Parts;
use crate::report::Chain;
use crate::schedule::Backoff;
use crate::standing::Standing;
use crate::upstream::{AgentDenial, AuthorizedEntry, UpstreamError};

/// How long the server is asked for a token: SPIRE's limit for all attempts together.
const SIGNING_TIMEOUT: Duration = Duration::from_secs(30);
/// Delay after the first failed attempt (SPIRE's), and the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// A token that somebody waits for.
pub(super) struct Request {
    pub(super) entry: Arc<AuthorizedEntry>,
    pub(super) audience: Audience,
    pub(super) patience: Patience,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// Whether the one who asks has a token to fall back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// None: all the time that there is.
    Full,
    /// A valid one: as long as the configuration says.
    FallsBack,
}

/// The working half of [`super::JwtSvids`].
pub struct JwtSigner {
    requests: mpsc::Receiver<Request>,
    cache: Arc<Mutex<TokenCache>>,
    identities: WorkloadIdentities,
    flights: Flights,
}

impl JwtSigner {
    pub(super) fn new(
        requests: mpsc::Receiver<Request>,
        cache: Arc<Mutex<TokenCache>>,
        identities: WorkloadIdentities,
    ) -> Self {
        Self { requests, cache, identities, flights: Flights::default() }
    }

    /// Runs for ever.
    pub(crate) async fn run(mut self, parts: &Parts, standing: &Standing) -> Infallible {
        let identities = self.identities.clone();
        let mut snapshots = identities.snapshots();
        let mut running = FuturesUnordered::new();
        let mut open = true;
        loop {
            tokio::select! {
                request = self.requests.recv(), if open => match request {
                    Some(request) => {
                        if let Some((flight, request)) = self.admit(request, parts) {
                            running.push(fly(flight, request, parts, standing, &identities));
                        }
                    }
                    None => open = false,
                },
                Some((flight, outcome)) = running.next(), if !running.is_empty() => self.landed(flight, outcome, parts),
                // A withdrawn token leaves memory at once and not when somebody asks for it.
                Ok(()) = snapshots.changed() => {
                    snapshots.mark_unchanged();
                    let mut cache = self.cache();
                    if let Some(snapshot) = self.identities.latest() {
                        cache.follow(&snapshot);
                    }
                }
                else => std::future::pending::<()>().await,
            }
        }
    }

    /// A new flight for this request, unless one for the same token is under way, or has just landed.
    fn admit(&mut self, request: Request, parts: &Parts) -> Option<(u64, Wanted)> {
        let Request { entry, audience, patience, reply } = request;
        let shared = !entry.jwt_svid_include_jti;
        let key = Key { entry_id: Arc::clone(&entry.id), audience };
        if shared {
            if let Lookup::Serve(token) = self.cache().get(&key, &entry, parts.clock.now().as_secs()) {
                let _gone = reply.send(Ok(token));
                return None;
            }
            if let Some(flight) = self.flights.of(&key, &entry) {
                flight.join(reply);
                return None;
            }
        }
        match self.flights.begin(key.clone(), Arc::clone(&entry), shared, reply) {
            Ok(flight) => Some((flight, Wanted { entry, audience: key.audience, patience })),
            Err(reply) => {
                tracing::warn!(entry = %entry.id, spiffe_id = %entry.spiffe_id, "Too many JWT-SVIDs are asked for at once");
                let _gone = reply.send(Err(Arc::new(JwtSvidError::Busy)));
                None
            }
        }
    }

    /// Checks what came of a flight against what holds now, keeps it, and tells everybody.
    fn landed(&mut self, flight: u64, outcome: Landed, parts: &Parts) {
        let Some(Flight { key, entry: _, shared, waiters }) = self.flights.end(flight) else { return };
        let Landed { wanted: Wanted { entry, audience, patience: _ }, reply } = outcome;
        let outcome = reply.and_then(|reply| {
            let mut cache = self.cache();
            // Under the lock, so that nobody goes back to an older state.
            let snapshot = self.identities.latest().ok_or(JwtSvidError::EntryGone)?;
            cache.follow(&snapshot);
            if snapshot.entries.get(&entry.id).is_none_or(|held| held.entry != entry) {
                return Err(JwtSvidError::EntryGone);
            }
            let token = Arc::new(check_jwt_svid(reply, &entry, &audience, &snapshot.bundle, parts.clock.now())?);
            tracing::debug!(
                entry = %entry.id, spiffe_id = %entry.spiffe_id, expires_at = token.expires_at, "JWT-SVID updated"
            );
            if shared {
                cache.put(key, Arc::clone(&entry), Arc::clone(&token));
            }
            Ok(token)
        });
        let outcome = outcome.map_err(|error| {
            tracing::error!(
                entry = %entry.id, spiffe_id = %entry.spiffe_id, error = %Chain(&error), "Failed to fetch JWT SVID"
            );
            Arc::new(error)
        });
        for waiter in waiters {
            let _gone = waiter.send(outcome.clone());
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, TokenCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Wanted {
    entry: Arc<AuthorizedEntry>,
    audience: Audience,
    patience: Patience,
}

struct Landed {
    wanted: Wanted,
    reply: Result<crate::upstream::JwtSvidReply, JwtSvidError>,
}

async fn fly(
    flight: u64,
    wanted: Wanted,
    parts: &Parts,
    standing: &Standing,
    identities: &WorkloadIdentities,
) -> (u64, Landed) {
    let reply = ask(&wanted, parts, standing, identities).await;
    // Cut off while the call was under way: what came of it is not handed out.
    let reply = if standing.is_cut_off() { Err(JwtSvidError::CutOff) } else { reply };
    (flight, Landed { wanted, reply })
}

/// Asks until there is an answer, an error that asking again does not heal, or no time left.
async fn ask(
    wanted: &Wanted,
    parts: &Parts,
    standing: &Standing,
    identities: &WorkloadIdentities,
) -> Result<crate::upstream::JwtSvidReply, JwtSvidError> {
    let Wanted { entry, audience, patience } = wanted;
    let patience = match patience {
        Patience::Full => SIGNING_TIMEOUT,
        Patience::FallsBack => parts.settings.jwt_svid_cache_hit_timeout.min(SIGNING_TIMEOUT),
    };
    let deadline = Instant::now() + patience;
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    loop {
        if standing.is_cut_off() {
            return Err(JwtSvidError::CutOff);
        }
        // An entry that went or changed is refused or of no use: those who wait hear of it now and not when the time is over.
        let snapshot = identities.latest();
        let held = snapshot.as_ref().and_then(|snapshot| snapshot.entries.get(&entry.id));
        if held.is_none_or(|held| held.entry != *entry) {
            return Err(JwtSvidError::EntryGone);
        }
        // Each attempt is made with the SVID of its time: a rotation may be what heals it.
        let caller = standing.caller();
        let attempt = parts.upstream.new_jwt_svid(&caller, &entry.id, audience.values());
        let error = match tokio::time::timeout_at(deadline, attempt).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) => error,
            Err(_elapsed) => UpstreamError::DeadlineExceeded { rpc: "NewJWTSVID", seconds: patience.as_secs() },
        };
        if let UpstreamError::AgentDenied { reason, .. } = &error {
            standing.denied(*reason, Arc::clone(&caller.svid));
        }
        let delay = backoff.next();
        if !may_heal(&error) || Instant::now() + delay >= deadline {
            return Err(error.into());
        }
        tracing::debug!(entry = %entry.id, error = %Chain(&error), "Failed to fetch JWT SVID; retrying");
        tokio::time::sleep(delay).await;
    }
}

/// SPIRE's rule: Unknown, Canceled, DeadlineExceeded, InvalidArgument and Unimplemented are final, and so is a reply that breaks the
/// contract. A ban is final as well: the agent ends.
fn may_heal(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::AgentDenied { reason, .. } => *reason != AgentDenial::Banned,
        UpstreamError::PermissionDenied { .. }
        | UpstreamError::Unavailable { .. }
        | UpstreamError::UntrustedServer { .. }
        | UpstreamError::ResourceExhausted { .. } => true,
        UpstreamError::Status { code, .. } => !matches!(code.as_str(), "Unknown" | "Cancelled" | "DeadlineExceeded"),
        UpstreamError::InvalidArgument { .. }
        | UpstreamError::OwnIdentity { .. }
        | UpstreamError::DeadlineExceeded { .. }
        | UpstreamError::MalformedReply { .. }
        | UpstreamError::Unimplemented { .. }
        | UpstreamError::Attestor(_) => false,
    }
}
