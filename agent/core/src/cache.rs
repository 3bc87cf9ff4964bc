//! Which entries the agent may serve, which of them have an SVID, and which need one next. Bookkeeping only: no I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plastron_spiffe::x509::X509Svid;

use crate::Identity;
use crate::meters;
use crate::upstream::{AuthorizedEntry, EntryRevision, EntrySync, KnownEntries};

/// First and longest delay after the server refused an SVID for one entry, in seconds.
const FIRST_REFUSAL_DELAY: u64 = 5;
const LONGEST_REFUSAL_DELAY: u64 = 300;

/// How much an entry is wanted by workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// A live subscription matches it.
    pub(crate) now: bool,
    /// Larger for what matched more recently; 0 for never.
    pub(crate) last: u64,
}

#[derive(Debug)]
pub(crate) struct Cache {
    entries: BTreeMap<Arc<str>, Held>,
    capacity: usize,
}

#[derive(Debug)]
struct Held {
    entry: Arc<AuthorizedEntry>,
    identity: Option<Arc<Identity>>,
    /// Unix seconds; meaningful with an identity.
    renew_at: u64,
    /// The identity was issued before the entry changed.
    outdated: bool,
    refusals: u32,
    /// Unix seconds.
    retry_at: u64,
}

impl Held {
    fn new(entry: AuthorizedEntry) -> Self {
        Self { entry: Arc::new(entry), identity: None, renew_at: 0, outdated: false, refusals: 0, retry_at: 0 }
    }

    fn is_due(&self, now: u64) -> bool {
        let needs = self.identity.is_none() || self.outdated || self.renew_at <= now || self.is_early(now);
        // A retry that is further away than any delay was set before the clock went back.
        needs && (self.retry_at <= now || self.retry_at > now.saturating_add(LONGEST_REFUSAL_DELAY))
    }

    /// The clock was set back: what it has is not valid yet.
    fn is_early(&self, now: u64) -> bool {
        self.identity.as_ref().is_some_and(|identity| now < identity.svid.not_before())
    }
}

impl Cache {
    /// `capacity`: most SVIDs held beyond those that workloads want at this moment.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: BTreeMap::new(), capacity }
    }

    /// How many entries there are, and how many of them have an SVID.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.entries.len(), self.entries.values().filter(|held| held.identity.is_some()).count())
    }

    pub(crate) fn known(&self) -> KnownEntries {
        self.entries
            .iter()
            .map(|(id, held)| {
                let AuthorizedEntry { revision, created_at, .. } = *held.entry;
                (Arc::clone(id), EntryRevision { revision, created_at })
            })
            .collect()
    }

    /// Takes over what the server authorises; whether anything changed.
    pub(crate) fn apply(&mut self, sync: EntrySync) -> bool {
        let EntrySync { authorized, entries } = sync;
        let before = self.entries.len();
        self.entries.retain(|id, held| {
            let stays = authorized.contains(id);
            if !stays {
                meters::ENTRY_REMOVE.increment();
                tracing::debug!(entry = %id, spiffe_id = %held.entry.spiffe_id, "Entry removed");
            }
            stays
        });
        let mut synced = meters::Synced { dropped: before - self.entries.len(), ..meters::Synced::default() };
        for entry in entries {
            let is_known = self.entries.contains_key(&entry.id);
            if self.put(entry) {
                *(if is_known { &mut synced.stale } else { &mut synced.missing }) += 1;
            }
        }
        synced.total = self.entries.len();
        meters::synced(synced);
        synced.dropped + synced.missing + synced.stale > 0
    }

    fn put(&mut self, entry: AuthorizedEntry) -> bool {
        let Some(held) = self.entries.get_mut(&entry.id) else {
            meters::ENTRY_ADD.increment();
            tracing::debug!(entry = %entry.id, spiffe_id = %entry.spiffe_id, "Entry created");
            self.entries.insert(Arc::clone(&entry.id), Held::new(entry));
            return true;
        };
        if *held.entry == entry {
            return false;
        }
        meters::ENTRY_UPDATE.increment();
        tracing::debug!(entry = %entry.id, spiffe_id = %entry.spiffe_id, "Entry updated");
        let same_subject = held.entry.spiffe_id == entry.spiffe_id && held.entry.created_at == entry.created_at;
        let identity = held.identity.take().filter(|_| same_subject).map(|identity| {
            if identity.hint == entry.hint && identity.is_delegable == entry.is_delegable() {
                return identity;
            }
            Arc::new(Identity::new(&entry, Arc::clone(&identity.svid), Arc::clone(&identity.private_key)))
        });
        let outdated = identity.is_some() && (held.outdated || held.entry.revision != entry.revision);
        *held = Held { identity, outdated, renew_at: held.renew_at, ..Held::new(entry) };
        true
    }

    /// Forgets everything; whether there was anything.
    pub(crate) fn clear(&mut self) -> bool {
        let had = !self.entries.is_empty();
        self.entries.clear();
        had
    }

    /// Drops SVIDs that expired; whether there were any.
    pub(crate) fn drop_expired(&mut self, now: u64) -> bool {
        self.drop_identities(|held, identity| {
            let expired = identity.svid.not_after() <= now;
            if expired {
                tracing::warn!(entry = %held.id, spiffe_id = %held.spiffe_id, "X509-SVID expired before it could be renewed");
            }
            expired
        })
    }

    fn drop_identities(&mut self, mut goes: impl FnMut(&AuthorizedEntry, &Identity) -> bool) -> bool {
        let mut dropped = false;
        for held in self.entries.values_mut() {
            if held.identity.as_ref().is_some_and(|identity| goes(&held.entry, identity)) {
                held.identity = None;
                held.outdated = false;
                dropped = true;
            }
        }
        dropped
    }

    /// Entries that need an SVID now, most urgent first: what workloads wait for, then by remaining life.
    pub(crate) fn due(&self, now: u64, wanted: &dyn Fn(&str) -> Wanted) -> Vec<Arc<AuthorizedEntry>> {
        let kept = self.kept(wanted);
        let mut due: Vec<&Held> = self
            .entries
            .iter()
            .filter(|(id, held)| held.is_due(now) && kept.contains(*id))
            .map(|(_, held)| held)
            .collect();
        due.sort_by_cached_key(|held| {
            let expires_at = held.identity.as_ref().map_or(0, |identity| identity.svid.not_after());
            let waits = held.identity.is_none() && wanted(&held.entry.id).now;
            (!waits, held.identity.is_none(), expires_at)
        });
        due.into_iter().map(|held| Arc::clone(&held.entry)).collect()
    }

    /// Of these entries, how many have an SVID that is renewed for its age, and how many one that the entry has outgrown.
    pub(crate) fn worn(&self, entries: &[Arc<AuthorizedEntry>], now: u64) -> (usize, usize) {
        let held =
            entries.iter().filter_map(|entry| self.entries.get(&entry.id)).filter(|held| held.identity.is_some());
        let (expiring, others): (Vec<&Held>, Vec<&Held>) = held.partition(|held| held.renew_at <= now);
        (expiring.len(), others.into_iter().filter(|held| held.outdated).count())
    }

    /// Drops the SVIDs that no one has wanted for longest where there are too many; whether there were any.
    pub(crate) fn evict(&mut self, wanted: &dyn Fn(&str) -> Wanted) -> bool {
        let kept = self.kept(wanted);
        self.drop_identities(|entry, _| !kept.contains(&entry.id))
    }

    /// Entries whose SVIDs are to be held: all that workloads want now, then the most recently wanted ones up to the capacity.
    fn kept(&self, wanted: &dyn Fn(&str) -> Wanted) -> BTreeSet<Arc<str>> {
        let mut kept = BTreeSet::new();
        let mut others = Vec::new();
        for (id, held) in self.entries.iter().filter(|(_, held)| !held.entry.store_svid) {
            let wanted = wanted(id);
            if wanted.now {
                kept.insert(Arc::clone(id));
            } else if !held.entry.disable_x509_svid_prefetch {
                others.push((wanted.last, held.identity.is_some(), id));
            }
        }
        let room = self.capacity.saturating_sub(kept.len());
        if others.len() > room {
            others.sort_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)).then_with(|| a.2.cmp(b.2)));
        }
        kept.extend(others.into_iter().take(room).map(|(_, _, id)| Arc::clone(id)));
        kept
    }

    /// An SVID came in; it is renewed at `renew_at`, in Unix seconds.
    pub(crate) fn issued(&mut self, identity: Identity, renew_at: u64) {
        if let Some(held) = self.entries.get_mut(&identity.entry_id) {
            held.identity = Some(Arc::new(identity));
            held.renew_at = renew_at;
            held.outdated = false;
            held.refusals = 0;
            held.retry_at = 0;
        }
    }

    /// The SVIDs that are held, by entry id, with their chains.
    pub(crate) fn svids(&self) -> Vec<(Arc<str>, Arc<X509Svid>)> {
        let svid = |(id, held): (&Arc<str>, &Held)| Some((Arc::clone(id), Arc::clone(&held.identity.as_ref()?.svid)));
        self.entries.iter().filter_map(svid).collect()
    }

    /// The SVID of this entry is to be replaced at `at`, Unix seconds, if that is before its time. The present one stays until then.
    pub(crate) fn replace_early(&mut self, id: &str, svid: &Arc<X509Svid>, at: u64) {
        if let Some(held) = self.entries.get_mut(id)
            && held.identity.as_ref().is_some_and(|identity| Arc::ptr_eq(&identity.svid, svid))
        {
            held.renew_at = held.renew_at.min(at);
        }
    }

    /// The server issues none for this entry: ask again later. The present SVID stays until it expires.
    pub(crate) fn refused(&mut self, id: &str, now: u64) {
        if let Some(held) = self.entries.get_mut(id) {
            let delay = FIRST_REFUSAL_DELAY.saturating_mul(1 << held.refusals.min(16)).min(LONGEST_REFUSAL_DELAY);
            held.refusals = held.refusals.saturating_add(1);
            held.retry_at = now.saturating_add(delay);
        }
    }

    /// When the next renewal is due, in Unix seconds.
    pub(crate) fn next_renewal(&self) -> Option<u64> {
        self.entries.values().filter(|held| held.identity.is_some()).map(|held| held.renew_at.max(held.retry_at)).min()
    }

    /// What workloads may be given.
    pub(crate) fn served(&self) -> Vec<(Arc<AuthorizedEntry>, Option<Arc<Identity>>)> {
        self.entries
            .values()
            .filter(|held| !held.entry.store_svid)
            .map(|held| (Arc::clone(&held.entry), held.identity.clone()))
            .collect()
    }

    /// Foreign trust domains whose bundles workloads need.
    pub(crate) fn federated(&self) -> BTreeSet<plastron_spiffe::TrustDomain> {
        self.entries.values().flat_map(|held| held.entry.federates_with.iter().cloned()).collect()
    }
}
