//! So many a second for each of those who are told apart: a token bucket per key, in a table of a fixed size. Who comes under many keys pays
//! with the rate of one that all newcomers share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Keys that are told apart: 16,384 entries of an address or a digest are about 1 MiB.
pub const MAX_RATED: usize = 16_384;

/// A rate per key, and as much at once as a second brings.
#[derive(Debug)]
pub struct Rate<K> {
    interval: Duration,
    burst: u32,
    /// When each bucket will be full again; `None` is the one that newcomers share.
    full_at: Mutex<HashMap<Option<K>, Instant>>,
}

impl<K: Eq + Hash> Rate<K> {
    /// At least one a second.
    pub fn per_second(rate: u32) -> Self {
        let rate = rate.max(1);
        Self { interval: Duration::from_secs(1) / rate, burst: rate, full_at: Mutex::default() }
    }

    /// The most that one may take at once.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Takes `count`, which is at most [`Self::burst`], and says after what time they may be used. Where that is longer than `patience`,
    /// nothing is taken, and the error is the time.
    pub fn take(&self, key: K, count: u32, now: Instant, patience: Duration) -> Result<Duration, Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = Some(key);
        if full_at.len() >= MAX_RATED && !full_at.contains_key(&key) {
            full_at.retain(|_key, at| *at > now);
            if full_at.len() >= MAX_RATED {
                key = None;
            }
        }
        let at = full_at.get(&key).copied().unwrap_or(now).max(now) + self.interval * count;
        let wait = at.duration_since(now).saturating_sub(self.interval * self.burst);
        if wait > patience {
            return Err(wait);
        }
        full_at.insert(key, at);
        Ok(wait)
    }

    /// How many keys are told apart at this moment.
    pub fn rated(&self) -> usize {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
