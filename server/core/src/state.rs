//! What the server knows, in memory: built from a snapshot, changed by the committed changes that follow it.
//!
//! Everything that is answered often is answered from here. Locks are held for lookups in maps and never across an await.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use plastron_attestation_appraise::EkFingerprint;
use plastron_attestation_tcg::Name;
use plastron_plugins::node::{EnrolledTpms, KnownTpm, Standing as TpmStanding, TrustBundle};
use plastron_spiffe::{Bundle, FederationRelationship, RegistrationEntry, SpiffeId, TrustDomain};

use crate::index::{EntryIndex, Federated, NodeIndex};
use crate::store::{Change, Event, JournalEntry, Node, ServerId, SlotName, Snapshot, Standing};
use crate::watch::{Authorized, Changes, ForeignNames};

/// The state as of one revision.
pub struct State {
    current: RwLock<Current>,
}

struct Current {
    revision: u64,
    /// Counts what changed entries; not a position in the log.
    entry_changes: u64,
    /// Counts what changed bundles of foreign trust domains.
    foreign_changes: u64,
    entries: EntryIndex,
    nodes: NodeIndex,
    bundle: Option<Arc<Bundle>>,
    federated: Federated,
    journal: BTreeMap<(ServerId, SlotName), Arc<JournalEntry>>,
}

impl Current {
    fn new(snapshot: Snapshot) -> Self {
        let Snapshot { revision, entries, nodes, bundle, federated_bundles, relationships, journal } = snapshot;
        Self {
            revision,
            entry_changes: 0,
            foreign_changes: 0,
            entries: EntryIndex::build(entries),
            nodes: NodeIndex::build(nodes),
            bundle: bundle.map(Arc::new),
            federated: Federated::build(federated_bundles, relationships),
            journal: journal.into_iter().map(|entry| ((entry.server, entry.slot), Arc::new(entry))).collect(),
        }
    }

    fn set(&mut self, event: &Event) {
        if matches!(event, Event::Entry(_) | Event::EntryDeleted { .. }) {
            self.entry_changes += 1;
        }
        if matches!(event, Event::FederatedBundle(_) | Event::FederatedBundleDeleted { .. }) {
            self.foreign_changes += 1;
        }
        match event {
            Event::Entry(entry) => self.entries.set(Arc::clone(entry)),
            Event::EntryDeleted { id } => self.entries.remove(id),
            Event::Node(node) => self.nodes.set(Arc::clone(node)),
            Event::NodeDeleted { id } => self.nodes.remove(id),
            Event::JoinTokenCreated | Event::JoinTokenDeleted | Event::PendingTpm { .. } => {}
            Event::Bundle(bundle) => self.bundle = Some(Arc::clone(bundle)),
            Event::FederatedBundle(_)
            | Event::FederatedBundleDeleted { .. }
            | Event::Relationship(_)
            | Event::RelationshipDeleted { .. } => self.federated.set(event),
            Event::Journal(entry) => {
                self.journal.insert((entry.server, entry.slot), Arc::clone(entry));
            }
            Event::JournalDeleted { server, slot } => {
                self.journal.remove(&(*server, *slot));
            }
        }
    }
}

impl State {
    /// Indexes a snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        Self { current: RwLock::new(Current::new(snapshot)) }
    }

    /// Puts a later snapshot in the place of everything.
    pub(crate) fn replace(&self, snapshot: Snapshot) {
        let next = Current::new(snapshot);
        let mut current = self.write();
        let (entry_changes, foreign_changes) = (current.entry_changes + 1, current.foreign_changes + 1);
        *current = Current { entry_changes, foreign_changes, ..next };
    }

    /// Applies committed changes, in order. Changes that the state already has are passed over.
    pub(crate) fn apply(&self, changes: &[Change]) {
        let mut current = self.write();
        for Change { sequence, event } in changes {
            if *sequence <= current.revision {
                continue;
            }
            current.set(event);
            current.revision = *sequence;
        }
    }

    /// Applies committed changes before those that precede them in the log. The revision stays, so that those, and these again,
    /// are applied when the log is followed; what follows the log brings present values, which are none older than these.
    pub(crate) fn apply_ahead(&self, changes: &[Change]) {
        let mut current = self.write();
        for change in changes {
            current.set(&change.event);
        }
    }

    /// Sequence number of the last change in it.
    pub fn revision(&self) -> u64 {
        self.read().revision
    }

    /// What rises whenever something that agents are told of may have changed.
    pub(crate) fn changes(&self) -> Changes {
        let current = self.read();
        Changes { entries: current.entry_changes, foreign: current.foreign_changes }
    }

    /// The bundle of the server's own trust domain; `None` before the first authority.
    pub fn bundle(&self) -> Option<Arc<Bundle>> {
        self.read().bundle.clone()
    }

    /// The bundle of a foreign trust domain.
    pub fn federated_bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        self.read().federated.bundle(trust_domain)
    }

    /// The bundles of foreign trust domains whose names come after `after`, in order, up to `limit`.
    pub(crate) fn federated_bundles_after(&self, after: Option<&TrustDomain>, limit: usize) -> Vec<Arc<Bundle>> {
        self.read().federated.bundles_after(after).take(limit).cloned().collect()
    }

    /// How many foreign trust domains have a bundle here.
    pub(crate) fn count_federated_bundles(&self) -> usize {
        self.read().federated.bundles_after(None).count()
    }

    /// How the bundle of this trust domain is fetched, if it is.
    pub fn relationship(&self, trust_domain: &TrustDomain) -> Option<Arc<FederationRelationship>> {
        self.read().federated.relationship(trust_domain)
    }

    /// The relationships with trust domains whose names come after `after`, in order, up to `limit`.
    pub(crate) fn relationships_after(
        &self,
        after: Option<&TrustDomain>,
        limit: usize,
    ) -> Vec<Arc<FederationRelationship>> {
        self.read().federated.relationships_after(after).take(limit).cloned().collect()
    }

    /// What the journal says about a server's slot.
    pub fn journal(&self, server: ServerId, slot: SlotName) -> Option<Arc<JournalEntry>> {
        self.read().journal.get(&(server, slot)).cloned()
    }

    /// The slots of all servers on this store, those of one server together.
    pub fn journals(&self) -> Vec<Arc<JournalEntry>> {
        self.read().journal.values().cloned().collect()
    }

    /// The node with this SPIFFE ID.
    pub fn node(&self, id: &SpiffeId) -> Option<Arc<Node>> {
        self.read().nodes.get(id)
    }

    /// The node that has the AK of this Name, or had it.
    pub fn node_by_ak_name(&self, ak_name: &[u8]) -> Option<Arc<Node>> {
        self.read().nodes.by_ak_name(ak_name)
    }

    /// The node with this EK.
    pub fn node_by_ek(&self, fingerprint: &EkFingerprint) -> Option<Arc<Node>> {
        self.read().nodes.by_ek(fingerprint)
    }

    /// The nodes whose SPIFFE IDs come after `after`, in order, as far as `wanted` wants them and up to `limit`.
    pub(crate) fn nodes_after(
        &self,
        after: Option<&SpiffeId>,
        limit: usize,
        wanted: impl Fn(&Node) -> bool,
    ) -> Vec<Arc<Node>> {
        self.read().nodes.after(after).filter(|node| wanted(node)).take(limit).cloned().collect()
    }

    /// How many nodes `wanted` wants.
    pub(crate) fn count_nodes(&self, wanted: impl Fn(&Node) -> bool) -> usize {
        self.read().nodes.after(None).filter(|node| wanted(node)).count()
    }

    /// The entry with this identifier.
    pub fn entry(&self, id: &str) -> Option<Arc<RegistrationEntry>> {
        self.read().entries.get(id)
    }

    /// The entries whose identifiers come after `after`, in order, as far as `wanted` wants them and up to `limit`.
    pub(crate) fn entries_after(
        &self,
        after: Option<&str>,
        limit: usize,
        wanted: impl Fn(&RegistrationEntry) -> bool,
    ) -> Vec<Arc<RegistrationEntry>> {
        self.read().entries.after(after).filter(|entry| wanted(entry)).take(limit).cloned().collect()
    }

    /// How many entries `wanted` wants.
    pub(crate) fn count_entries(&self, wanted: impl Fn(&RegistrationEntry) -> bool) -> usize {
        self.read().entries.after(None).filter(|entry| wanted(entry)).count()
    }

    /// The entries that this agent may serve, by identifier, at `now` in Unix seconds: those below it, below the aliases that its
    /// node selectors give it, and below those. Each once; an entry that has expired gives nothing.
    pub fn authorized_entries(&self, agent: &SpiffeId, now: i64) -> Vec<Arc<RegistrationEntry>> {
        let current = self.read();
        let selectors = current.nodes.selectors(agent);
        current.entries.authorized(agent, selectors, now)
    }

    /// What this agent may serve, by names. That of the set of its entries tells states of an entry apart as far as identifier, revision and
    /// creation do; the same set has the same name in every process of one build, in whichever order it came about.
    pub(crate) fn name_authorized(&self, agent: &SpiffeId, now: i64) -> Authorized {
        let current = self.read();
        let (mut sum, mut domains) = (0_u64, BTreeSet::new());
        for entry in current.entries.authorized_refs(agent, current.nodes.selectors(agent), now) {
            let mut hasher = DefaultHasher::new();
            (&entry.id, entry.revision_number, entry.created_at).hash(&mut hasher);
            sum = sum.wrapping_add(hasher.finish());
            domains.extend(&entry.federates_with);
        }
        Authorized { entries: sum, foreign: Arc::new(current.federated.names(domains.into_iter())) }
    }

    /// The present names of the bundles of these trust domains.
    pub(crate) fn name_foreign<'a>(&self, domains: impl Iterator<Item = &'a TrustDomain>) -> ForeignNames {
        self.read().federated.names(domains)
    }

    /// Of the entries with these identifiers, those that this agent may serve.
    pub fn find_authorized_entries<'a>(
        &self,
        agent: &SpiffeId,
        ids: impl IntoIterator<Item = &'a str>,
        now: i64,
    ) -> HashMap<&'a str, Arc<RegistrationEntry>> {
        let wanted: HashSet<&'a str> = ids.into_iter().collect();
        let current = self.read();
        let authorized = current.entries.authorized_refs(agent, current.nodes.selectors(agent), now);
        authorized.filter_map(|entry| Some((*wanted.get(entry.id.as_str())?, Arc::clone(entry)))).collect()
    }

    /// Whether an entry makes the holder of this ID an administrator.
    pub fn is_admin(&self, id: &SpiffeId, now: i64) -> bool {
        self.read().entries.privileged(id, now).any(|entry| entry.admin)
    }

    /// Whether an entry makes the holder of this ID a downstream server.
    pub fn is_downstream(&self, id: &SpiffeId, now: i64) -> bool {
        self.read().entries.privileged(id, now).any(|entry| entry.downstream)
    }

    // A panic under the lock can only be one of the maps' own; what they hold is whole, so a poisoned lock is used on.
    fn read(&self) -> RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Current> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrustBundle for State {
    fn trust_bundle(&self) -> Option<Arc<Bundle>> {
        self.bundle()
    }
}

impl EnrolledTpms for State {
    fn by_ak_name(&self, ak_name: &Name) -> Option<KnownTpm> {
        self.node_by_ak_name(ak_name.as_bytes()).as_deref().and_then(known_tpm)
    }

    fn by_ek(&self, fingerprint: &EkFingerprint) -> Option<KnownTpm> {
        self.node_by_ek(fingerprint).as_deref().and_then(known_tpm)
    }
}

fn known_tpm(node: &Node) -> Option<KnownTpm> {
    let standing = match &node.standing {
        Standing::Active { .. } | Standing::CutOff { .. } => TpmStanding::Enrolled,
        Standing::Quarantined { reason, .. } => TpmStanding::Quarantined { reason: reason.clone() },
        Standing::Banned { .. } => TpmStanding::Banned { reason: "by an operator".to_owned() },
    };
    Some(KnownTpm { enrolled: Arc::clone(node.tpm.as_ref()?), standing })
}

#[cfg(test)]
mod tests;
