//! When an authority is good to sign, when the next one is prepared, and when that one takes over. These are SPIRE's points, and this is
//! the one place that knows them.

use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::store::JournalEntry;

/// Seconds.
const DAY: u64 = 24 * 3600;
/// The next one is prepared when half of the life is left, at the latest thirty days before the end.
const PREPARE_SHARE: u64 = 2;
const PREPARE_AT_MOST: u64 = 30 * DAY;
/// The next one takes over when a sixth of the life is left, at the latest seven days before the end.
const ACTIVATE_SHARE: u64 = 6;
const ACTIVATE_AT_MOST: u64 = 7 * DAY;

/// The longest that an SVID can live without being cut short by the end of its authority, whenever in that authority's life it is signed.
pub fn guaranteed_svid_ttl(authority_ttl: Duration) -> Duration {
    Duration::from_secs((authority_ttl.as_secs() / ACTIVATE_SHARE).min(ACTIVATE_AT_MOST))
}

/// Whether it may sign at this moment. One that begins in the future was made when the clock was ahead: nobody else would accept it.
pub(crate) fn is_valid(entry: &JournalEntry, now: UnixTime) -> bool {
    (entry.not_before..=entry.not_after).contains(&now.as_secs())
}

/// Whether it is time to prepare the next one.
pub(crate) fn is_past_half(entry: &JournalEntry, now: UnixTime) -> bool {
    remaining(entry, now) < (lifetime(entry) / PREPARE_SHARE).min(PREPARE_AT_MOST)
}

/// Whether it is time for the next one to sign.
pub(crate) fn is_near_end(entry: &JournalEntry, now: UnixTime) -> bool {
    remaining(entry, now) < (lifetime(entry) / ACTIVATE_SHARE).min(ACTIVATE_AT_MOST)
}

/// Whether one that signs nothing yet is worth waiting for.
pub(crate) fn is_fit_to_follow(entry: &JournalEntry, now: UnixTime) -> bool {
    is_valid(entry, now) && !is_near_end(entry, now)
}

fn lifetime(entry: &JournalEntry) -> u64 {
    entry.not_after.saturating_sub(entry.not_before)
}

fn remaining(entry: &JournalEntry, now: UnixTime) -> u64 {
    entry.not_after.saturating_sub(now.as_secs())
}
