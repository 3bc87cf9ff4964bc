//! The JWT-SVIDs that the agent holds, by entry and audience. Bookkeeping only: no I/O, no clock.
//!
//! A hard limit: the one that was wanted longest ago makes room. A token goes with its entry, with a change of its entry, and with the
//! authority that signed it: when that is tainted, or leaves the bundle.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use plastron_spiffe::Bundle;

use super::Audience;
use crate::meters;
use crate::snapshot::Snapshot;
use crate::upstream::AuthorizedEntry;

/// A JWT-SVID that was checked. It is a bearer credential: it appears in no log.
pub struct JwtToken {
    /// Compact serialisation.
    pub(crate) token: String,
    /// `kid`.
    pub(crate) key_id: String,
    /// Unix seconds.
    pub(crate) issued_at: u64,
    /// Unix seconds.
    pub(crate) expires_at: u64,
    /// From then on a new one is asked for: half of what was left of its life when it came. Unix seconds.
    pub(crate) renew_at: u64,
}

impl JwtToken {
    /// The token, for the workload that it belongs to.
    pub fn reveal(&self) -> &str {
        &self.token
    }

    /// Unix seconds.
    pub fn issued_at(&self) -> u64 {
        self.issued_at
    }

    /// Unix seconds.
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

impl fmt::Debug for JwtToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token: _, key_id, issued_at, expires_at, renew_at } = self;
        f.debug_struct("JwtToken")
            .field("key_id", key_id)
            .field("issued_at", issued_at)
            .field("expires_at", expires_at)
            .field("renew_at", renew_at)
            .finish_non_exhaustive()
    }
}

/// Whose token, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) entry_id: Arc<str>,
    pub(super) audience: Audience,
}

/// What the cache has for a request.
#[derive(Debug)]
pub(super) enum Lookup {
    /// In the first half of its life, or a new one was just tried for in vain.
    Serve(Arc<JwtToken>),
    /// Valid, in the second half of its life.
    Renew(Arc<JwtToken>),
    Missing,
}

#[derive(Debug)]
pub(super) struct TokenCache {
    held: HashMap<Key, Held>,
    /// From the one that was wanted longest ago.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    capacity: usize,
    followed: Option<Arc<Snapshot>>,
}

#[derive(Debug)]
struct Held {
    token: Arc<JwtToken>,
    entry: Arc<AuthorizedEntry>,
    last_use: u64,
    /// No renewal is tried before. Unix seconds.
    retry_at: u64,
}

impl TokenCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { held: HashMap::new(), by_use: BTreeMap::new(), uses: 0, capacity, followed: None }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// For the entry as the caller knows it: a token of what it was before, or is by now, is another workload's.
    pub(super) fn get(&mut self, key: &Key, entry: &AuthorizedEntry, now: u64) -> Lookup {
        let Some(held) = self.held.get_mut(key).filter(|held| *held.entry == *entry) else { return Lookup::Missing };
        if held.token.expires_at <= now {
            self.remove(key);
            return Lookup::Missing;
        }
        self.uses += 1;
        if let Some(key) = self.by_use.remove(&held.last_use) {
            self.by_use.insert(self.uses, key);
        }
        held.last_use = self.uses;
        let token = Arc::clone(&held.token);
        if now < held.token.renew_at.max(held.retry_at) { Lookup::Serve(token) } else { Lookup::Renew(token) }
    }

    pub(super) fn put(&mut self, key: Key, entry: Arc<AuthorizedEntry>, token: Arc<JwtToken>) {
        self.remove(&key);
        while self.held.len() >= self.capacity {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.held.remove(&oldest);
        }
        if self.held.len() < self.capacity {
            self.uses += 1;
            self.by_use.insert(self.uses, key.clone());
            self.held.insert(key, Held { token, entry, last_use: self.uses, retry_at: 0 });
        }
        meters::JWT_SVIDS.set(meters::gauge(self.held.len()));
    }

    /// No new token was to be had: the present one is served without trying again until then, in Unix seconds.
    pub(super) fn retry_at(&mut self, key: &Key, retry_at: u64) {
        if let Some(held) = self.held.get_mut(key) {
            held.retry_at = retry_at;
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(held) = self.held.remove(key) {
            self.by_use.remove(&held.last_use);
        }
    }

    /// Drops what the agent's present entries and bundle no longer allow. Does nothing for a snapshot that it has seen.
    pub(super) fn follow(&mut self, snapshot: &Arc<Snapshot>) {
        let last = self.followed.replace(Arc::clone(snapshot));
        if last.as_ref().is_some_and(|last| Arc::ptr_eq(last, snapshot)) {
            return;
        }
        let new_bundle = last.is_none_or(|last| !Arc::ptr_eq(&last.bundle, &snapshot.bundle));
        let mut by_authority: BTreeMap<String, (Withdrawal, usize)> = BTreeMap::new();
        self.held.retain(|key, held| {
            let entry_stays = snapshot.entries.get(&key.entry_id).is_some_and(|now| now.entry == held.entry);
            let withdrawn = if new_bundle { withdrawn(&snapshot.bundle, &held.token.key_id) } else { None };
            if let Some(reason) = withdrawn {
                by_authority.entry(held.token.key_id.clone()).or_insert((reason, 0)).1 += 1;
            }
            entry_stays && withdrawn.is_none()
        });
        let held = &self.held;
        self.by_use.retain(|_, key| held.contains_key(key));
        meters::JWT_SVIDS.set(meters::gauge(self.held.len()));
        for (key_id, (reason, count)) in by_authority {
            match reason {
                Withdrawal::Tainted => tracing::info!(
                    jwt_authority_key_ids = key_id,
                    tainted_jwt_svids = count,
                    "JWT-SVIDs were removed from the JWT cache because they were issued by a tainted authority"
                ),
                Withdrawal::NotInBundle => tracing::info!(
                    jwt_authority_key_ids = key_id,
                    jwt_svids = count,
                    "JWT-SVIDs were removed from the JWT cache because the bundle does not hold their authority"
                ),
            }
        }
    }
}

/// Why tokens of an authority are not handed out any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Withdrawal {
    Tainted,
    /// Revoked. A token whose authority reached the server's bundle after ours was fetched is dropped too, which costs one signature.
    NotInBundle,
}

fn withdrawn(bundle: &Bundle, key_id: &str) -> Option<Withdrawal> {
    match bundle.jwt_authorities.iter().find(|authority| authority.key_id == key_id) {
        None => Some(Withdrawal::NotInBundle),
        Some(authority) => authority.tainted.then_some(Withdrawal::Tainted),
    }
}

#[cfg(test)]
mod tests;
