//! Hints are unique in an answer (SPIFFE_Workload_API.md, sections 5.2.1 and 6.2.1).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use plastron_agent_core::Identity;
use plastron_agent_core::upstream::AuthorizedEntry;

/// Something that comes from one registration entry and carries its hint.
pub(crate) trait Hinted {
    fn entry_id(&self) -> &str;
    fn hint(&self) -> &str;
    /// Unix seconds.
    fn created_at(&self) -> i64;
}

impl Hinted for Identity {
    fn entry_id(&self) -> &str {
        &self.entry_id
    }

    fn hint(&self) -> &str {
        &self.hint
    }

    fn created_at(&self) -> i64 {
        self.entry_created_at
    }
}

impl Hinted for AuthorizedEntry {
    fn entry_id(&self) -> &str {
        &self.id
    }

    fn hint(&self) -> &str {
        &self.hint
    }

    fn created_at(&self) -> i64 {
        self.created_at
    }
}

/// Of several with the same hint the oldest entry's stays, then the one with the lowest id; SPIRE drops the others. The order stays.
pub(crate) fn with_unique_hints<T: Hinted>(items: &[Arc<T>]) -> Vec<&Arc<T>> {
    let mut oldest: HashMap<&str, &T> = HashMap::new();
    for item in items.iter().filter(|item| !item.hint().is_empty()) {
        let kept = oldest.entry(item.hint()).or_insert(item);
        if age(&**item) < age(*kept) {
            *kept = item;
        }
    }
    let kept: HashSet<&str> = oldest.values().map(|item| item.entry_id()).collect();
    let stays = |item: &&Arc<T>| {
        let stays = item.hint().is_empty() || kept.contains(item.entry_id());
        if !stays {
            tracing::warn!(
                entry_id = item.entry_id(), hint = ?item.hint(),
                "Identity left out: an older entry of this workload has the same hint"
            );
        }
        stays
    };
    items.iter().filter(stays).collect()
}

fn age<T: Hinted>(item: &T) -> (i64, &str) {
    (item.created_at(), item.entry_id())
}
