//! The push to agents: which are connected, what each of them was told and has acknowledged, and what changed since.
//!
//! One task follows the ledger's revisions. A new bundle goes out at once. Everything else is looked at in rounds that are coalesced: a
//! round asks, for each connected agent, whether its node's record is another one (then its stream asks the authorisation table again) and,
//! only where some entry changed, whether the name of its set of entries is another one, and where the bundle of some foreign trust domain
//! did, whether that is one of those that its entries federate with. Nothing is queued: a stream that is late finds the
//! latest state and none in between. No database is read.
//!
//! What it does not do: it decides about no caller (the authorisation table does, whenever a stream is to be sent something), and it knows only
//! the agents of this server, not those that other servers of the same store have.

mod acknowledged;
mod authorized;
mod dependent;
mod seat;
mod subscription;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plastron_spiffe::{Bundle, SpiffeId, TrustDomain};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::authorization::{Permit, rpc};
use crate::clock::{Clock, unix_seconds};
use crate::ledger::Ledger;

pub use acknowledged::Acknowledged;
pub use authorized::ForeignNames;
pub(crate) use authorized::{Authorized, Changes};
pub use dependent::Dependent;
use seat::Seat;
pub use subscription::{Ended, Subscription, Update};

/// Shortest time between two rounds: a batch of entries that an operator makes one by one becomes some rounds, and no agent is told later than that.
const SHORTEST_SPACING: Duration = Duration::from_millis(50);
/// Longest time between two rounds: what is told late is told within a second all the same.
const LONGEST_SPACING: Duration = Duration::from_secs(1);
/// Between two rounds passes this many times the length of the last one: rounds take at most a twentieth of one core, however many agents there are.
const REST: u32 = 20;
/// Agents whose entries changed are told one after another, this far apart: an entry that thousands share would have them all ask at once, and a
/// core answers about a thousand synchronisations a second.
const PACE: Duration = Duration::from_millis(1);
/// Agents that a round looks at before it lets others run.
const AGENTS_AT_ONCE: usize = 64;
/// An agent counts as connected this long after its last stream ended: streams end in order every minute, and the next one follows at once.
const LINGER: Duration = Duration::from_secs(5);
/// Pause between two looks at who has acknowledged.
const LOOK: Duration = Duration::from_millis(20);

/// All push streams of this server.
pub struct Watchers {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    bundle: watch::Sender<Arc<Bundle>>,
    seats: Mutex<HashMap<SpiffeId, Arc<Seat>>>,
    /// Changes when an agent acknowledges something.
    acknowledgements: Arc<watch::Sender<()>>,
    stopped: CancellationToken,
}

impl Watchers {
    /// Of no agent yet.
    pub fn new(ledger: Arc<Ledger>, clock: Arc<dyn Clock>, trust_domain: &TrustDomain) -> Arc<Self> {
        let bundle = ledger.state().bundle().unwrap_or_else(|| Arc::new(Bundle::empty(trust_domain.clone())));
        Arc::new(Self {
            ledger,
            clock,
            bundle: watch::Sender::new(bundle),
            seats: Mutex::default(),
            acknowledgements: Arc::new(watch::Sender::new(())),
            stopped: CancellationToken::new(),
        })
    }

    /// A stream of this agent, which says that its workloads have the bundle of sequence number `has`.
    pub fn subscribe(&self, permit: &Permit<rpc::WatchSubscribe>, has: u64) -> Subscription {
        self.publish_bundle();
        let id = permit.caller().id();
        // The seat is there before its entries are looked at: a change from now on is found by the next round, one before is found here.
        let (seat, stream) = {
            let mut seats = self.lock();
            let seat = seats.entry(id.clone()).or_insert_with(|| Arc::new(Seat::new(permit.caller().svid()))).clone();
            let stream = seat.open(permit.caller().svid());
            (seat, stream)
        };
        let state = self.ledger.state();
        seat.note(state.node(id), state.name_authorized(id, self.now()), Instant::now());
        let subscription = Subscription::new(
            seat,
            stream,
            self.bundle.subscribe(),
            Arc::clone(&self.acknowledgements),
            self.stopped.clone(),
        );
        subscription.acknowledge(has);
        subscription
    }

    /// Tells agents what changes, until cancelled; then all streams end.
    pub async fn follow(&self, cancelled: CancellationToken) {
        let mut revisions = self.ledger.revisions();
        revisions.mark_changed();
        let (mut next_round, mut changed, mut seen) = (Instant::now(), false, Changes::default());
        loop {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => break,
                told = revisions.changed() => {
                    if told.is_err() {
                        break;
                    }
                    self.publish_bundle();
                    changed = true;
                }
                () = sleep_until(next_round), if changed => {
                    changed = false;
                    let began = Instant::now();
                    seen = self.round(seen).await;
                    let took = began.elapsed();
                    next_round = Instant::now() + (took * REST).clamp(SHORTEST_SPACING, LONGEST_SPACING);
                }
            }
        }
        self.stopped.cancel();
    }

    /// Waits until the workloads of all connected agents have the bundle of this sequence number, or a later one, but no longer than `limit`.
    /// Agents that only poll are not connected, and are not waited for.
    pub async fn wait_acknowledged(&self, sequence: u64, limit: Duration) -> Acknowledged {
        let deadline = Instant::now() + limit;
        let mut acknowledgements = self.acknowledgements.subscribe();
        loop {
            let acknowledged = self.acknowledged(sequence);
            if acknowledged.missing.is_empty() || Instant::now() >= deadline {
                return acknowledged;
            }
            // Whoever lingers is forgotten without a word, so this looks again now and then.
            let _woken = timeout_at(deadline.min(Instant::now() + LINGER), acknowledgements.changed()).await;
            sleep_until(deadline.min(Instant::now() + LOOK)).await;
        }
    }

    /// How many agents are connected, and which of them lack the bundle of this sequence number.
    pub fn acknowledged(&self, sequence: u64) -> Acknowledged {
        let seats = self.connected();
        let mut missing: Vec<SpiffeId> =
            seats.iter().filter(|seat| seat.acknowledged() < sequence).map(|seat| seat.id().clone()).collect();
        missing.sort();
        Acknowledged { of: seats.len(), missing }
    }

    /// Which connected agents present an SVID that verifies by these authorities: they are cut off when those leave the bundle.
    pub async fn dependent(&self, authorities: Bundle) -> Dependent {
        let seats = self.connected();
        Dependent::find(seats.iter().map(|seat| seat.svid()).collect(), authorities, self.clock.now()).await
    }

    fn publish_bundle(&self) {
        self.bundle.send_if_modified(|current| {
            // Looked up under the lock: whoever comes second does not put back what the first one replaced.
            match self.ledger.state().bundle() {
                Some(bundle) if !Arc::ptr_eq(current, &bundle) => {
                    *current = bundle;
                    true
                }
                _ => false,
            }
        });
    }

    /// Looks at every connected agent. `seen`: what the last round saw; the result is what this one saw.
    async fn round(&self, seen: Changes) -> Changes {
        let state = self.ledger.state();
        let changes = state.changes();
        let seats = self.connected();
        let (now, mut due) = (self.now(), Instant::now());
        for (index, seat) in seats.iter().enumerate() {
            if index % AGENTS_AT_ONCE == AGENTS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let node = state.node(seat.id());
            let authorized = if !seat.has_node(node.as_ref()) || changes.entries != seen.entries {
                state.name_authorized(seat.id(), now)
            } else if changes.foreign != seen.foreign {
                // The same entries federate with the same trust domains.
                let held = seat.authorized();
                Authorized { foreign: Arc::new(state.name_foreign(held.foreign.keys())), ..held }
            } else {
                continue;
            };
            if seat.note(node, authorized, due) {
                due += PACE;
            }
        }
        changes
    }

    /// Those who are, or were a moment ago. The others are forgotten here.
    fn connected(&self) -> Vec<Arc<Seat>> {
        let (mut seats, now) = (self.lock(), Instant::now());
        seats.retain(|_, seat| !seat.is_gone(now, LINGER));
        seats.values().cloned().collect()
    }

    fn now(&self) -> i64 {
        unix_seconds(self.clock.now())
    }

    // What the lock guards is whole after a panic too: it is only inserted into and removed from.
    fn lock(&self) -> MutexGuard<'_, HashMap<SpiffeId, Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
