//! What the agent holds at one moment: entries, their SVIDs, bundles. Immutable; a change is a new snapshot that shares the rest.
//!
//! Matching (SPIRE: `pkg/agent/manager/cache`): an entry belongs to a workload that has all of the entry's selectors.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use plastron_spiffe::{Bundle, Selector, TrustDomain};
use tokio::sync::{Notify, watch};

use crate::foreign::Foreign;
use crate::upstream::AuthorizedEntry;
use crate::{Identity, WorkloadIdentities};

/// The writing end of [`WorkloadIdentities`]: the agent's synchronisation publishes here. There is one per agent; when it is dropped,
/// all subscriptions end.
#[derive(Debug)]
pub struct Publisher {
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    wanted: Arc<Notify>,
    cut_off: Arc<AtomicBool>,
}

impl Publisher {
    /// A publisher and what reads from it. Nothing is published yet, so subscriptions wait.
    pub fn new() -> (Self, WorkloadIdentities) {
        let (snapshots, reader) = watch::channel(None);
        let wanted = Arc::new(Notify::new());
        let cut_off = Arc::new(AtomicBool::new(false));
        let publisher = Self { snapshots, wanted: Arc::clone(&wanted), cut_off: Arc::clone(&cut_off) };
        (publisher, WorkloadIdentities::new(reader, wanted, cut_off))
    }

    /// Replaces everything. What is shared with the last call (same `Arc`) counts as unchanged. An identity must carry its entry's
    /// id; entries without selectors match no one.
    pub fn publish(
        &self,
        held: Vec<(Arc<AuthorizedEntry>, Option<Arc<Identity>>)>,
        bundle: Arc<Bundle>,
        federated: BTreeMap<TrustDomain, Arc<Bundle>>,
    ) {
        self.publish_all(held, bundle, Foreign { bundles: federated, awaited: BTreeSet::new() });
    }

    /// As [`Self::publish`], where some foreign bundles may not have been asked for yet.
    pub(crate) fn publish_all(
        &self,
        held: Vec<(Arc<AuthorizedEntry>, Option<Arc<Identity>>)>,
        bundle: Arc<Bundle>,
        foreign: Foreign,
    ) {
        let last = self.snapshots.borrow().clone();
        let entries: BTreeMap<Arc<str>, Arc<HeldEntry>> = held
            .into_iter()
            .map(|(entry, identity)| {
                let before = last.as_ref().and_then(|last| last.entries.get(&entry.id));
                let demand = before.map_or_else(Arc::default, |before| Arc::clone(&before.demand));
                (Arc::clone(&entry.id), Arc::new(HeldEntry { entry, identity, demand }))
            })
            .collect();
        let by_first_selector = last
            .filter(|last| same_entries(&last.entries, &entries))
            .map_or_else(|| Arc::new(Snapshot::index(&entries)), |last| Arc::clone(&last.by_first_selector));
        self.snapshots.send_replace(Some(Arc::new(Snapshot { entries, by_first_selector, bundle, foreign })));
    }

    /// Replaces the bundle of what was published last. Before the first publication there is nothing to replace.
    pub(crate) fn publish_bundle(&self, bundle: Arc<Bundle>) {
        self.snapshots.send_if_modified(|snapshot| {
            let Some(last) = snapshot.as_ref().filter(|last| !Arc::ptr_eq(&last.bundle, &bundle)) else { return false };
            let Snapshot { entries, by_first_selector, bundle: _, foreign } = last.as_ref();
            *snapshot = Some(Arc::new(Snapshot {
                entries: entries.clone(),
                by_first_selector: Arc::clone(by_first_selector),
                bundle,
                foreign: foreign.clone(),
            }));
            true
        });
    }

    /// Replaces the foreign bundles of what was published last.
    pub(crate) fn publish_foreign(&self, foreign: Foreign) {
        self.snapshots.send_if_modified(|snapshot| {
            let Some(last) = snapshot.as_ref() else { return false };
            let Snapshot { entries, by_first_selector, bundle, foreign: _ } = last.as_ref();
            *snapshot = Some(Arc::new(Snapshot {
                entries: entries.clone(),
                by_first_selector: Arc::clone(by_first_selector),
                bundle: Arc::clone(bundle),
                foreign,
            }));
            true
        });
    }

    /// Whether the server has shut this node out.
    pub(crate) fn set_cut_off(&self, cut_off: bool) {
        self.cut_off.store(cut_off, Ordering::Release);
    }

    /// What was published last.
    pub(crate) fn latest(&self) -> Option<Arc<Snapshot>> {
        self.snapshots.borrow().clone()
    }

    /// Resolves when a subscription matched an entry that has no SVID.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

fn same_entries(a: &BTreeMap<Arc<str>, Arc<HeldEntry>>, b: &BTreeMap<Arc<str>, Arc<HeldEntry>>) -> bool {
    a.len() == b.len() && a.values().zip(b.values()).all(|(a, b)| Arc::ptr_eq(&a.entry, &b.entry))
}

/// Entry ids by the first of their selectors: a workload that lacks that one can't match.
pub(crate) type SelectorIndex = HashMap<Selector, Vec<Arc<str>>>;

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) entries: BTreeMap<Arc<str>, Arc<HeldEntry>>,
    pub(crate) by_first_selector: Arc<SelectorIndex>,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) foreign: Foreign,
}

#[derive(Debug)]
pub(crate) struct HeldEntry {
    pub(crate) entry: Arc<AuthorizedEntry>,
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) demand: Arc<Demand>,
}

impl Snapshot {
    /// The entries that a workload with these selectors may have, by rising entry id.
    pub(crate) fn matching(&self, selectors: &BTreeSet<Selector>) -> Vec<&Arc<HeldEntry>> {
        let mut ids: Vec<&Arc<str>> =
            selectors.iter().filter_map(|selector| self.by_first_selector.get(selector)).flatten().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .filter_map(|id| self.entries.get(id))
            .filter(|held| held.entry.selectors.iter().all(|selector| selectors.contains(selector)))
            .collect()
    }

    /// The bundles of the foreign trust domains that these entries federate with, as far as they are held.
    pub(crate) fn federated_of(&self, matching: &[&Arc<HeldEntry>]) -> BTreeMap<TrustDomain, Arc<Bundle>> {
        matching
            .iter()
            .flat_map(|held| &held.entry.federates_with)
            .filter_map(|domain| Some((domain.clone(), Arc::clone(self.foreign.bundles.get(domain)?))))
            .collect()
    }

    /// Whether one of these entries federates with a trust domain that the server was not asked about yet.
    pub(crate) fn awaits_foreign(&self, matching: &[&Arc<HeldEntry>]) -> bool {
        let awaited = &self.foreign.awaited;
        !awaited.is_empty()
            && matching.iter().flat_map(|held| &held.entry.federates_with).any(|domain| awaited.contains(domain))
    }

    /// The index of these entries. An entry without selectors would match everyone and is in no index.
    pub(crate) fn index(entries: &BTreeMap<Arc<str>, Arc<HeldEntry>>) -> SelectorIndex {
        let mut index = SelectorIndex::new();
        for (id, held) in entries {
            if let Some(first) = held.entry.selectors.first() {
                index.entry(first.clone()).or_default().push(Arc::clone(id));
            }
        }
        index
    }
}

/// Who wants an entry's SVID: what must be kept when there are more entries than the cache may hold.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    subscribers: AtomicUsize,
    last_use: AtomicU64,
}

impl Demand {
    /// A live subscription matches the entry.
    pub(crate) fn is_wanted(&self) -> bool {
        self.subscribers.load(Ordering::Relaxed) > 0
    }

    /// Rises with every subscription that matched; 0 for never.
    pub(crate) fn last_use(&self) -> u64 {
        self.last_use.load(Ordering::Relaxed)
    }

    /// Counts a subscriber until the guard is dropped. `now` is a counter, not a time.
    pub(crate) fn hold(self: &Arc<Self>, now: u64) -> DemandGuard {
        self.subscribers.fetch_add(1, Ordering::Relaxed);
        self.last_use.fetch_max(now, Ordering::Relaxed);
        DemandGuard(Arc::clone(self))
    }
}

/// One subscription's interest in one entry.
#[derive(Debug)]
pub(crate) struct DemandGuard(Arc<Demand>);

impl Drop for DemandGuard {
    fn drop(&mut self) {
        self.0.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}
