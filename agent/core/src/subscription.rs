//! What the Workload API asks of the agent: the identities of a set of selectors, and every change of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plastron_spiffe::{Bundle, Selector, TrustDomain};
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant, timeout};

use crate::Identity;
use crate::snapshot::{DemandGuard, Snapshot};
use crate::upstream::AuthorizedEntry;

/// How long the first value waits for the last SVIDs and foreign bundles: several batches of a server that is there, and no long wait for one
/// that is away.
const COMPLETE_WITHIN: Duration = Duration::from_secs(5);

/// The agent's identities, for whoever serves workloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkloadIdentities {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    wanted: Arc<Notify>,
    cut_off: Arc<AtomicBool>,
    uses: Arc<AtomicU64>,
}

/// Whether workloads can be served at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The agent has not attested and synchronised since it was started.
    Starting,
    /// The server denied the node, and refuses to attest it again.
    CutOff,
    /// Workloads are served, perhaps without the server for the moment.
    Ready,
}

impl WorkloadIdentities {
    /// `wanted` is notified when a subscription matches an entry that has no SVID.
    pub(crate) fn new(
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        wanted: Arc<Notify>,
        cut_off: Arc<AtomicBool>,
    ) -> Self {
        Self { snapshots, wanted, cut_off, uses: Arc::new(AtomicU64::new(0)) }
    }

    /// Whether workloads can be served now.
    pub fn readiness(&self) -> Readiness {
        if self.cut_off.load(Ordering::Acquire) {
            Readiness::CutOff
        } else if self.snapshots.borrow().is_none() {
            Readiness::Starting
        } else {
            Readiness::Ready
        }
    }

    /// Waits for the first synchronisation. False if the agent ended before.
    pub async fn synchronised(&self) -> bool {
        self.snapshots.clone().wait_for(Option::is_some).await.is_ok()
    }

    /// What was published last.
    pub(crate) fn latest(&self) -> Option<Arc<Snapshot>> {
        self.snapshots.borrow().clone()
    }

    /// Everything that is published from now on.
    pub(crate) fn snapshots(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.snapshots.clone()
    }

    /// The bundles that a workload with these selectors may verify its peers against: the own one for everybody, and those of the
    /// trust domains that its entries federate with. Waits for the first synchronisation; `None` if the agent ended before.
    pub async fn bundles(&self, selectors: &BTreeSet<Selector>) -> Option<BundleSet> {
        let mut snapshots = self.snapshots.clone();
        snapshots.wait_for(Option::is_some).await.ok()?;
        let complete = snapshots.wait_for(|snapshot| {
            snapshot.as_ref().is_some_and(|snapshot| !snapshot.awaits_foreign(&snapshot.matching(selectors)))
        });
        // Whatever is there by then is better than nothing.
        let _complete_or_late = timeout(COMPLETE_WITHIN, complete).await.map(drop);
        let snapshot = self.latest()?;
        let matching = snapshot.matching(selectors);
        Some(BundleSet { bundle: Arc::clone(&snapshot.bundle), federated_bundles: snapshot.federated_of(&matching) })
    }

    /// The entries that a workload with these selectors may have SVIDs of at this moment, by rising entry id, signed already or not.
    /// None before the first synchronisation, and where the server shut this node out.
    pub fn entries(&self, selectors: &BTreeSet<Selector>) -> Vec<Arc<AuthorizedEntry>> {
        if self.readiness() != Readiness::Ready {
            return Vec::new();
        }
        let Some(snapshot) = self.latest() else { return Vec::new() };
        snapshot.matching(selectors).into_iter().map(|held| Arc::clone(&held.entry)).collect()
    }

    /// Tells whenever anything is published, whomever it concerns: for who has to look again at what it decided by.
    pub fn publications(&self) -> Publications {
        Publications(self.snapshots.clone())
    }

    /// What a workload with these selectors may have, now and after every change.
    pub fn subscribe(&self, selectors: BTreeSet<Selector>) -> Subscription {
        Subscription { source: self.clone(), selectors, holds: Vec::new(), delivered: None, incomplete_from: None }
    }

    /// All bundles that the agent holds, now and after every change: for callers that need no identity.
    pub fn subscribe_bundles(&self) -> BundleSubscription {
        BundleSubscription { snapshots: self.snapshots.clone(), delivered: None }
    }
}

/// Publications of the agent, by no more than that they happen.
#[derive(Debug)]
pub struct Publications(watch::Receiver<Option<Arc<Snapshot>>>);

impl Publications {
    /// Waits for the next one; several may count as one. False when the agent shuts down. Cancel-safe.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// What a workload may have at this moment.
#[derive(Clone, Debug)]
pub enum WorkloadState {
    /// No registration entry matches. A later value may have identities.
    NoIdentity,
    /// At least one entry matches and has an SVID.
    Identities(WorkloadUpdate),
}

/// The identities of a workload, and what they verify their peers against.
#[derive(Clone, Debug)]
pub struct WorkloadUpdate {
    /// By rising entry id; never empty.
    pub identities: Vec<Arc<Identity>>,
    /// The agent's own trust domain's bundle.
    pub bundle: Arc<Bundle>,
    /// Bundles of the foreign trust domains that the matching entries federate with. Never the own trust domain's.
    pub federated_bundles: BTreeMap<TrustDomain, Arc<Bundle>>,
}

/// All bundles that the agent holds.
#[derive(Clone, Debug)]
pub struct BundleSet {
    /// The agent's own trust domain's bundle.
    pub bundle: Arc<Bundle>,
    /// Bundles of foreign trust domains.
    pub federated_bundles: BTreeMap<TrustDomain, Arc<Bundle>>,
}

/// One workload's view. While it lives, the SVIDs that it matches are kept fresh before all others.
#[derive(Debug)]
pub struct Subscription {
    source: WorkloadIdentities,
    selectors: BTreeSet<Selector>,
    holds: Vec<DemandGuard>,
    delivered: Option<WorkloadState>,
    /// When a first value with fewer SVIDs than entries is better than none.
    incomplete_from: Option<Instant>,
}

impl Subscription {
    /// The first value at once, then one for each change that this workload can see: an SVID rotated, an entry added or removed, a
    /// bundle changed. Intermediate values may be skipped, the last one never is. `None` when the agent shuts down.
    ///
    /// Waits while the agent has not yet synchronised with its server, and while entries match but none of them has an SVID yet. The
    /// first value waits a while for the SVIDs and foreign bundles of all of them: a workload that asks once must not miss those beyond the
    /// cache's size.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<WorkloadState> {
        loop {
            let snapshot = self.source.snapshots.borrow_and_update().clone();
            if let Some(state) = snapshot.and_then(|snapshot| self.look(&snapshot)) {
                return Some(state);
            }
            match self.incomplete_from {
                Some(from) if from > Instant::now() => tokio::select! {
                    changed = self.source.snapshots.changed() => changed.ok()?,
                    () = tokio::time::sleep_until(from) => {}
                },
                _ => self.source.snapshots.changed().await.ok()?,
            }
        }
    }

    /// Whether it is too early for a first value that lacks SVIDs or foreign bundles.
    fn waits_for_all(&mut self) -> bool {
        let from = *self.incomplete_from.get_or_insert_with(|| Instant::now() + COMPLETE_WITHIN);
        self.delivered.is_none() && Instant::now() < from
    }

    /// The state in this snapshot, if it is to be delivered.
    fn look(&mut self, snapshot: &Snapshot) -> Option<WorkloadState> {
        let matching = snapshot.matching(&self.selectors);
        let now = self.source.uses.fetch_add(1, Ordering::Relaxed) + 1;
        self.holds = matching.iter().map(|held| held.demand.hold(now)).collect();

        let identities: Vec<Arc<Identity>> = matching.iter().filter_map(|held| held.identity.clone()).collect();
        if identities.len() < matching.len() {
            self.source.wanted.notify_one();
        }
        let is_complete = identities.len() == matching.len() && !snapshot.awaits_foreign(&matching);
        let state = if matching.is_empty() {
            WorkloadState::NoIdentity
        } else if identities.is_empty() || (!is_complete && self.waits_for_all()) {
            return None;
        } else {
            let federated_bundles = snapshot.federated_of(&matching);
            WorkloadState::Identities(WorkloadUpdate {
                identities,
                bundle: Arc::clone(&snapshot.bundle),
                federated_bundles,
            })
        };
        if self.delivered.as_ref().is_some_and(|delivered| delivered.is_same(&state)) {
            return None;
        }
        self.delivered = Some(state.clone());
        Some(state)
    }
}

impl WorkloadState {
    /// Whether both hold the very same SVIDs and bundles. A snapshot shares what did not change, so pointers tell.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NoIdentity, Self::NoIdentity) => true,
            (Self::Identities(a), Self::Identities(b)) => {
                let WorkloadUpdate { identities, bundle, federated_bundles } = a;
                identities.len() == b.identities.len()
                    && identities.iter().zip(&b.identities).all(|(a, b)| Arc::ptr_eq(a, b))
                    && Arc::ptr_eq(bundle, &b.bundle)
                    && same_bundles(federated_bundles, &b.federated_bundles)
            }
            _ => false,
        }
    }
}

/// A view of the bundles alone.
#[derive(Debug)]
pub struct BundleSubscription {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    delivered: Option<BundleSet>,
}

impl BundleSubscription {
    /// The first value at once (after the first synchronisation), then one for each change. `None` when the agent shuts down.
    pub async fn next(&mut self) -> Option<BundleSet> {
        loop {
            let snapshot = self.snapshots.borrow_and_update().clone();
            if let Some(snapshot) = snapshot {
                let set = BundleSet {
                    bundle: Arc::clone(&snapshot.bundle),
                    federated_bundles: snapshot.foreign.bundles.clone(),
                };
                let same = self.delivered.as_ref().is_some_and(|delivered| {
                    Arc::ptr_eq(&delivered.bundle, &set.bundle)
                        && same_bundles(&delivered.federated_bundles, &set.federated_bundles)
                });
                if !same {
                    self.delivered = Some(set.clone());
                    return Some(set);
                }
            }
            self.snapshots.changed().await.ok()?;
        }
    }
}

fn same_bundles(a: &BTreeMap<TrustDomain, Arc<Bundle>>, b: &BTreeMap<TrustDomain, Arc<Bundle>>) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((ka, va), (kb, vb))| ka == kb && Arc::ptr_eq(va, vb))
}
