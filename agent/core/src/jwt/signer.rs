//! Has JWT-SVIDs issued: one call to the server for all who want the same token at the same time.
//!
//! It runs as a part of the agent. A request that nobody waits for any more goes on, for those who come next; a failure is told to all who
//! waited, and the next who asks begins anew. Retries are SPIRE's (`pkg/agent/client`, `NewJWTSVID`), as long as the entry stays.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::cache::{Key, Lookup, TokenCache};
use super::issued::check_jwt_svid;
use super::{Audience, JwtSvidError, JwtToken};
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
/// Calls under way at once, of one entry and of all: each holds a request and its waiters for up to 30 s, and a workload can ask for as
/// many audiences as it likes. One entry leaves room for others.
const MAX_FLIGHTS_PER_ENTRY: usize = 64;
const MAX_FLIGHTS: usize = 1024;

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

pub(super) type Outcome = Result<Arc<JwtToken>, Arc<JwtSvidError>>;

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

/// The calls under way, and who waits for each.
#[derive(Default)]
struct Flights {
    next: u64,
    running: HashMap<u64, Flight>,
    by_key: HashMap<Key, u64>,
    per_entry: HashMap<Arc<str>, usize>,
}

struct Flight {
    key: Key,
    entry: Arc<AuthorizedEntry>,
    shared: bool,
    waiters: Vec<oneshot::Sender<Outcome>>,
}

impl Flight {
    /// Before the list grows, those who went away make room: who calls and hangs up over and over takes no memory for it.
    fn join(&mut self, waiter: oneshot::Sender<Outcome>) {
        if self.waiters.len() == self.waiters.capacity() {
            self.waiters.retain(|waiter| !waiter.is_closed());
            // Half of the room stays free, so that a list of those who stay is not gone through for each who comes.
            self.waiters.reserve(self.waiters.len().max(1));
        }
        self.waiters.push(waiter);
    }
}

impl Flights {
    /// The one to share: of this entry as it is now. What it was before brings those who come with it now nothing but a refusal.
    fn of(&mut self, key: &Key, entry: &AuthorizedEntry) -> Option<&mut Flight> {
        let flight = self.by_key.get(key)?;
        self.running.get_mut(flight).filter(|flight| *flight.entry == *entry)
    }

    /// Gives the waiter back where there are too many already.
    fn begin(
        &mut self,
        key: Key,
        entry: Arc<AuthorizedEntry>,
        shared: bool,
        waiter: oneshot::Sender<Outcome>,
    ) -> Result<u64, oneshot::Sender<Outcome>> {
        let of_entry = self.per_entry.get(&key.entry_id).copied().unwrap_or_default();
        if of_entry >= MAX_FLIGHTS_PER_ENTRY || self.running.len() >= MAX_FLIGHTS {
            return Err(waiter);
        }
        self.per_entry.insert(Arc::clone(&key.entry_id), of_entry + 1);
        self.next += 1;
        if shared {
            self.by_key.insert(key.clone(), self.next);
        }
        self.running.insert(self.next, Flight { key, entry, shared, waiters: vec![waiter] });
        Ok(self.next)
    }

    fn end(&mut self, flight: u64) -> Option<Flight> {
        let ended = self.running.remove(&flight)?;
        // A flight of the changed entry may have taken its place.
        if self.by_key.get(&ended.key) == Some(&flight) {
            self.by_key.remove(&ended.key);
        }
        if let Some(count) = self.per_entry.get_mut(&ended.key.entry_id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_entry.remove(&ended.key.entry_id);
            }
        }
        Some(ended)
    }
}

#[cfg(test)]
mod tests {
    use plastron_spiffe::{Selector, SpiffeId};

    use super::*;

    fn entry(id: &str) -> Arc<AuthorizedEntry> {
        Arc::new(AuthorizedEntry {
            id: id.into(),
            spiffe_id: SpiffeId::parse("spiffe://example.org/web").unwrap(),
            selectors: vec![Selector::parse("unix:uid:1").unwrap()],
            federates_with: Vec::new(),
            hint: String::new(),
            revision: 0,
            created_at: 1,
            admin: false,
            downstream: false,
            store_svid: false,
            disable_x509_svid_prefetch: false,
            jwt_svid_include_jti: false,
        })
    }

    fn key(id: &str, audience: &str) -> Key {
        Key { entry_id: id.into(), audience: Audience::parse([audience.to_owned()]).unwrap() }
    }

    /// Threat 30: a process that calls and hangs up for as long as the server hangs fills no memory, and those who stay stay.
    #[test]
    fn who_hangs_up_leaves_nothing_in_a_flight() {
        let (mut flights, e) = (Flights::default(), entry("e"));
        let (first, mut stays) = oneshot::channel();
        flights.begin(key("e", "a"), Arc::clone(&e), true, first).unwrap();
        for _ in 0..10_000 {
            flights.of(&key("e", "a"), &e).unwrap().join(oneshot::channel().0);
        }
        let flight = flights.end(1).unwrap();
        assert!(flight.waiters.capacity() < 64, "{}", flight.waiters.capacity());
        for waiter in flight.waiters {
            let _gone = waiter.send(Err(Arc::new(JwtSvidError::Busy)));
        }
        assert!(matches!(*stays.try_recv().unwrap().unwrap_err(), JwtSvidError::Busy));
    }

    #[test]
    fn the_end_of_an_old_entrys_flight_leaves_that_of_the_new_one_to_be_joined() {
        let (mut flights, before) = (Flights::default(), entry("e"));
        let after = Arc::new(AuthorizedEntry { revision: 1, ..(*before).clone() });
        let old = flights.begin(key("e", "a"), Arc::clone(&before), true, oneshot::channel().0).unwrap();
        let new = flights.begin(key("e", "a"), Arc::clone(&after), true, oneshot::channel().0).unwrap();
        flights.end(old).unwrap();
        assert!(flights.of(&key("e", "a"), &before).is_none());
        assert!(flights.of(&key("e", "a"), &after).is_some());
        flights.end(new).unwrap();
        assert!(flights.by_key.is_empty() && flights.per_entry.is_empty());
    }

    #[test]
    fn a_refused_flight_leaves_nothing() {
        let mut flights = Flights::default();
        for n in 0..MAX_FLIGHTS {
            let id = (n / MAX_FLIGHTS_PER_ENTRY).to_string();
            flights.begin(key(&id, &n.to_string()), entry(&id), true, oneshot::channel().0).unwrap();
        }
        let known = flights.per_entry.len();
        flights.begin(key("late", "a"), entry("late"), true, oneshot::channel().0).unwrap_err();
        assert_eq!(flights.per_entry.len(), known);
    }

    /// Threat 59: what ended leaves nothing behind, shared or not.
    #[test]
    fn a_call_that_ended_is_forgotten() {
        let mut flights = Flights::default();
        for (audience, shared) in [("a", true), ("b", false)] {
            let flight = flights.begin(key("e", audience), entry("e"), shared, oneshot::channel().0).unwrap();
            assert_eq!(flights.of(&key("e", audience), &entry("e")).is_some(), shared);
            assert!(flights.end(flight).is_some() && flights.end(flight).is_none());
        }
        let Flights { next: _, running, by_key, per_entry } = flights;
        assert!(running.is_empty() && by_key.is_empty() && per_entry.is_empty());
    }
}
