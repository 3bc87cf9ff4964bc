//! The calls for JWT-SVIDs that are under way, and who waits for each: one call for all who want the same.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::cache::Key;
use super::{JwtSvidError, JwtToken};
use crate::upstream::AuthorizedEntry;

/// Calls under way at once, of one entry and of all: each holds a request and its waiters for up to 30 s, and a workload can ask for as
/// many audiences as it likes. One entry leaves room for others.
const MAX_FLIGHTS_PER_ENTRY: usize = 64;
const MAX_FLIGHTS: usize = 1024;

/// What one who waits gets.
pub(super) type Outcome = Result<Arc<JwtToken>, Arc<JwtSvidError>>;

/// The calls under way, and who waits for each.
#[derive(Default)]
pub(super) struct Flights {
    next: u64,
    running: HashMap<u64, Flight>,
    by_key: HashMap<Key, u64>,
    per_entry: HashMap<Arc<str>, usize>,
}

pub(super) struct Flight {
    pub(super) key: Key,
    pub(super) entry: Arc<AuthorizedEntry>,
    pub(super) shared: bool,
    pub(super) waiters: Vec<oneshot::Sender<Outcome>>,
}

impl Flight {
    /// Before the list grows, those who went away make room: who calls and hangs up over and over takes no memory for it.
    pub(super) fn join(&mut self, waiter: oneshot::Sender<Outcome>) {
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
    pub(super) fn of(&mut self, key: &Key, entry: &AuthorizedEntry) -> Option<&mut Flight> {
        let flight = self.by_key.get(key)?;
        self.running.get_mut(flight).filter(|flight| *flight.entry == *entry)
    }

    /// Gives the waiter back where there are too many already.
    pub(super) fn begin(
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

    pub(super) fn end(&mut self, flight: u64) -> Option<Flight> {
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

    use super::super::Audience;
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
