//! How much one source may ask for: a token bucket per address, in which callers wait (SPIRE's limits; spire-server does the same).
//!
//! A caller that would have to wait too long is told so at once instead, and the table of addresses has a fixed size: whoever sends from
//! many addresses pays with the rate of one that all newcomers share.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use plastron_transport::Rate;
use tokio::time::Instant;

/// Longest wait for a turn. Longer, and the caller's own deadline would pass while it still held a stream here.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// A site's IPv6 prefix: within it addresses cost nothing.
const IPV6_PREFIX_BITS: u32 = 64;

/// A rate per source address. Callers without an address (Unix sockets) are not limited.
pub(crate) struct PerAddress(Rate<IpAddr>);

/// Why a caller got no turn: ResourceExhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RateLimited {
    /// One call asks for more than a bucket holds.
    #[error("rate ({count}) exceeds burst size ({burst})")]
    Burst {
        /// How much was asked for.
        count: u32,
        /// How much a bucket holds.
        burst: u32,
    },
    /// Its turn would come too late.
    #[error("too many requests from this address: retry in {} s", .wait.as_secs().max(1))]
    Wait {
        /// When its turn would come.
        wait: Duration,
    },
}

impl PerAddress {
    /// So many a second, and as many at once.
    pub(crate) fn per_second(rate: u32) -> Self {
        Self(Rate::per_second(rate))
    }

    /// Waits until it is the caller's turn.
    pub(crate) async fn acquire(&self, address: Option<IpAddr>, count: usize) -> Result<(), RateLimited> {
        let Some(address) = address else { return Ok(()) };
        let wait = self.reserve(source(address), u32::try_from(count).unwrap_or(u32::MAX), Instant::now())?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    fn reserve(&self, source: IpAddr, count: u32, now: Instant) -> Result<Duration, RateLimited> {
        let burst = self.0.burst();
        if count > burst {
            return Err(RateLimited::Burst { count, burst });
        }
        self.0.take(source, count, now, MAX_WAIT).map_err(|wait| RateLimited::Wait { wait })
    }
}

/// Who answers for an address.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let prefix = u128::from(v6) >> (128 - IPV6_PREFIX_BITS) << (128 - IPV6_PREFIX_BITS);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use plastron_transport::MAX_RATED;

    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Threat 29
    #[tokio::test(start_paused = true)]
    async fn a_source_waits_for_its_turn_and_others_do_not() {
        let limit = PerAddress::per_second(2);
        let start = Instant::now();
        for _ in 0..4 {
            limit.acquire(address("192.0.2.1"), 1).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1), "two at once, then one every half second");
        let start = Instant::now();
        limit.acquire(address("192.0.2.2"), 2).await.unwrap();
        limit.acquire(None, 1_000).await.unwrap();
        assert!(start.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_bucket_and_more_than_a_minute_are_refused() {
        let limit = PerAddress::per_second(1);
        let (burst, count) = (1, 2);
        assert_eq!(limit.acquire(address("192.0.2.1"), 2).await, Err(RateLimited::Burst { count, burst }));
        let now = Instant::now();
        let source = source(address("192.0.2.1").unwrap());
        for _ in 0..61 {
            limit.reserve(source, 1, now).unwrap();
        }
        assert!(matches!(limit.reserve(source, 1, now), Err(RateLimited::Wait { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_site_with_endless_addresses_is_one_source_and_memory_is_bounded() {
        assert_eq!(source(address("2001:db8::1").unwrap()), source(address("2001:db8::ffff").unwrap()));
        assert_eq!(source(address("::ffff:192.0.2.1").unwrap()), address("192.0.2.1").unwrap());
        let limit = PerAddress::per_second(1);
        let now = Instant::now();
        for n in 0..u32::try_from(MAX_RATED + 50).unwrap() {
            limit.reserve(IpAddr::V4(n.into()), 1, now).unwrap();
        }
        assert_eq!(limit.0.rated(), MAX_RATED + 1);
    }
}
