//! Registration entries by identifier, by parent, as aliases of nodes, and by what they permit.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use plastron_spiffe::{RegistrationEntry, Selector, SpiffeId};

use super::is_sorted_subset;

/// Path of the server's own ID: the parent of node aliases.
const SERVER_PATH: &str = "/spire/server";

/// An entry in a set that is ordered by identifier.
struct ById(Arc<RegistrationEntry>);

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        &self.0.id
    }
}

/// All entries.
#[derive(Default)]
pub(crate) struct EntryIndex {
    all: BTreeSet<ById>,
    /// Those of agents, aliases and other entries; not those of the server.
    by_parent: HashMap<SpiffeId, BTreeSet<ById>>,
    /// Node aliases (parent is the server) by the least of their selectors: a node that has all of them has that one.
    aliases: HashMap<Selector, BTreeSet<ById>>,
    /// Entries that make their ID an administrator or a downstream server.
    privileged: HashMap<SpiffeId, BTreeSet<ById>>,
}

impl EntryIndex {
    pub(crate) fn build(entries: Vec<RegistrationEntry>) -> Self {
        let mut index = Self::default();
        for mut entry in entries {
            // Many entries have one parent: they share its text.
            if let Some((parent, _)) = index.by_parent.get_key_value(&entry.parent_id) {
                entry.parent_id = parent.clone();
            }
            index.set(Arc::new(entry));
        }
        index
    }

    pub(crate) fn set(&mut self, entry: Arc<RegistrationEntry>) {
        self.remove(&entry.id);
        match alias_key(&entry) {
            Some(selector) => {
                self.aliases.entry(selector.clone()).or_default().insert(ById(Arc::clone(&entry)));
            }
            None => {
                self.by_parent.entry(entry.parent_id.clone()).or_default().insert(ById(Arc::clone(&entry)));
            }
        }
        if entry.admin || entry.downstream {
            self.privileged.entry(entry.spiffe_id.clone()).or_default().insert(ById(Arc::clone(&entry)));
        }
        self.all.insert(ById(entry));
    }

    pub(crate) fn remove(&mut self, id: &str) {
        let Some(ById(entry)) = self.all.take(id) else { return };
        match alias_key(&entry) {
            Some(selector) => remove_from(&mut self.aliases, selector, id),
            None => remove_from(&mut self.by_parent, &entry.parent_id, id),
        }
        remove_from(&mut self.privileged, &entry.spiffe_id, id);
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<RegistrationEntry>> {
        self.all.get(id).map(|ById(entry)| Arc::clone(entry))
    }

    pub(crate) fn after(&self, id: Option<&str>) -> impl Iterator<Item = &Arc<RegistrationEntry>> {
        let start = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.all.range::<str, _>((start, Bound::Unbounded)).map(|ById(entry)| entry)
    }

    pub(crate) fn privileged(&self, id: &SpiffeId, now: i64) -> impl Iterator<Item = &Arc<RegistrationEntry>> {
        self.privileged.get(id).into_iter().flatten().map(|ById(entry)| entry).filter(move |entry| is_live(entry, now))
    }

    pub(crate) fn authorized(
        &self,
        agent: &SpiffeId,
        node_selectors: &[Selector],
        now: i64,
    ) -> Vec<Arc<RegistrationEntry>> {
        let mut entries: Vec<_> = self.authorized_refs(agent, node_selectors, now).cloned().collect();
        entries.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        entries
    }

    /// Follows parents downwards from the agent and its aliases. Every parent is visited once, so a cycle ends.
    pub(crate) fn authorized_refs<'a>(
        &'a self,
        agent: &'a SpiffeId,
        node_selectors: &'a [Selector],
        now: i64,
    ) -> impl Iterator<Item = &'a Arc<RegistrationEntry>> {
        let mut waiting = vec![agent];
        waiting.extend(self.aliases(node_selectors, now).map(|alias| &alias.spiffe_id));
        let mut seen: HashSet<&SpiffeId> = HashSet::new();
        let mut found = Vec::new();
        while let Some(parent) = waiting.pop() {
            if !seen.insert(parent) {
                continue;
            }
            for ById(entry) in self.by_parent.get(parent).into_iter().flatten() {
                if !is_live(entry, now) {
                    continue;
                }
                found.push(entry);
                // Most entries are workloads, with nothing below them.
                if self.by_parent.contains_key(&entry.spiffe_id) {
                    waiting.push(&entry.spiffe_id);
                }
            }
        }
        found.into_iter()
    }

    fn aliases(&self, node_selectors: &[Selector], now: i64) -> impl Iterator<Item = &RegistrationEntry> {
        node_selectors
            .iter()
            .filter_map(|selector| self.aliases.get(selector))
            .flatten()
            .map(|ById(entry)| entry.as_ref())
            .filter(move |entry| is_live(entry, now) && is_sorted_subset(&entry.selectors, node_selectors))
    }
}

fn is_live(entry: &RegistrationEntry, now: i64) -> bool {
    entry.expires_at == 0 || entry.expires_at > now
}

/// The least selector of a node alias; `None` for other entries.
fn alias_key(entry: &RegistrationEntry) -> Option<&Selector> {
    if entry.parent_id.path() == SERVER_PATH { entry.selectors.first() } else { None }
}

fn remove_from<K: std::hash::Hash + Eq>(sets: &mut HashMap<K, BTreeSet<ById>>, key: &K, id: &str) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(id);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
