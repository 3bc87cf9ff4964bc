//! A bounded number of places, in all and for each holder, so that no one takes them all from the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts who holds how many.
#[derive(Debug)]
pub struct Places<K: Eq + Hash> {
    total: usize,
    each: usize,
    taken: Mutex<Taken<K>>,
    full: AtomicBool,
}

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    by_holder: HashMap<K, usize>,
}

impl<K: Copy + Eq + Hash> Places<K> {
    /// At most `total` places, at most `each` of them for one holder.
    pub fn new(total: usize, each: usize) -> Arc<Self> {
        let taken = Mutex::new(Taken { all: 0, by_holder: HashMap::new() });
        Arc::new(Self { total, each, taken, full: AtomicBool::new(false) })
    }

    /// A place until it is dropped, if there is one for this holder.
    pub fn take(self: &Arc<Self>, holder: K) -> Option<Place<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_holder.get(&holder).copied().unwrap_or_default();
        if taken.all >= self.total || own >= self.each {
            return None;
        }
        taken.all += 1;
        taken.by_holder.insert(holder, own + 1);
        self.full.store(false, Ordering::Relaxed);
        Some(Place { places: Arc::clone(self), holder })
    }

    /// True once each time that places run out, so that a flood does not flood the log.
    pub(crate) fn is_news(&self) -> bool {
        !self.full.swap(true, Ordering::Relaxed)
    }
}

/// One place.
#[derive(Debug)]
pub struct Place<K: Copy + Eq + Hash> {
    places: Arc<Places<K>>,
    holder: K,
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        match taken.by_holder.get(&self.holder) {
            Some(1) | None => drop(taken.by_holder.remove(&self.holder)),
            Some(own) => {
                let left = own - 1;
                taken.by_holder.insert(self.holder, left);
            }
        }
    }
}

/// Who holds the places of an address: whoever has one IPv6 address has the 2^64 of its network.
pub fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_one_takes_all_places_and_freed_ones_come_back() {
        let places = Places::new(6, 3);
        let mut held = Vec::new();
        for holder in [1, 2] {
            held.extend((0..3).map(|_| places.take(holder).unwrap()));
            assert!(places.take(holder).is_none(), "{holder} has all that one may have");
        }
        assert!(places.take(9).is_none(), "there are no more for anyone");
        assert!(places.is_news());
        assert!(!places.is_news());
        held.pop();
        held.push(places.take(9).unwrap());
        assert!(places.is_news(), "there were places in between");
        held.clear();
        let taken = places.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by_holder.len()), (0, 0));
    }

    /// Threat 45: whoever has one address of a network of IPv6 has all of them.
    #[test]
    fn a_network_of_ipv6_is_one_holder_and_an_address_of_ipv4_is_one() {
        let places = Places::new(100, 3);
        let take = |address: &str| places.take(holder(address.parse().unwrap()));
        let held: Vec<_> = ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff:ffff:ffff:ffff"].map(take).into();
        assert!(held.iter().all(Option::is_some));
        assert!(take("2001:db8:1:2:3::").is_none(), "the same /64");
        assert!(take("2001:db8:1:3::1").is_some(), "another /64");
        let mapped: Vec<_> = ["::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"].map(take).into();
        assert!(mapped.iter().all(Option::is_some));
        assert!(take("192.0.2.1").is_none(), "however it is written");
        assert!(take("::ffff:192.0.2.2").is_some() && take("192.0.2.3").is_some());
    }
}
