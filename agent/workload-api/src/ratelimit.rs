//! How often workloads may call (SPIRE's `experimental.ratelimit`): for each method, and for each set of selectors, because a process is
//! whatever its selectors say. Those without selectors are one. A stream counts when it is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use plastron_spiffe::Selector;
use plastron_telemetry::Counter;
use plastron_transport::Rate;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::refusal::Refusal;

/// A method that can have a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limited {
    /// `fetch_jwt_bundles`.
    FetchJwtBundles,
    /// `fetch_jwt_svid`.
    FetchJwtSvid,
    /// `fetch_secrets`, of Envoy's SDS.
    FetchSecrets,
    /// `fetch_x509_bundles`.
    FetchX509Bundles,
    /// `fetch_x509_svid`.
    FetchX509Svid,
    /// `stream_secrets`, of Envoy's SDS.
    StreamSecrets,
}

impl Limited {
    /// Without its service.
    pub(crate) fn name(self) -> &'static str {
        self.path().rsplit('/').next().unwrap_or_default()
    }

    /// As gRPC calls it.
    pub fn path(self) -> &'static str {
        match self {
            Self::FetchJwtBundles => "/SpiffeWorkloadAPI/FetchJWTBundles",
            Self::FetchJwtSvid => "/SpiffeWorkloadAPI/FetchJWTSVID",
            Self::FetchSecrets => "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets",
            Self::FetchX509Bundles => "/SpiffeWorkloadAPI/FetchX509Bundles",
            Self::FetchX509Svid => "/SpiffeWorkloadAPI/FetchX509SVID",
            Self::StreamSecrets => "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
        }
    }
}

/// The limits; none by default. Cheap to clone: clones count together.
#[derive(Clone, Debug, Default)]
pub struct RateLimits(Arc<BTreeMap<Limited, Of>>);

struct Of {
    rate: Rate<[u8; 32]>,
    exceeded: Counter,
}

impl fmt::Debug for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} a second", self.rate.burst())
    }
}

impl RateLimits {
    /// So many calls a second.
    pub fn per_second(limits: impl IntoIterator<Item = (Limited, u32)>) -> Self {
        let of = |(method, limit): (Limited, u32)| {
            let exceeded = Counter::new("workload_api.rate_limit_exceeded").label("method", method.path());
            (method, Of { rate: Rate::per_second(limit), exceeded })
        };
        Self(Arc::new(limits.into_iter().map(of).collect()))
    }

    /// Counts a call of whoever has these selectors.
    pub(crate) fn take(&self, method: Limited, selectors: &BTreeSet<Selector>) -> Result<(), Refusal> {
        let Some(Of { rate, exceeded }) = self.0.get(&method) else { return Ok(()) };
        let taken = rate.take(digest(selectors), 1, Instant::now(), Duration::ZERO);
        taken.map(drop).map_err(|_wait| {
            exceeded.increment();
            Refusal::TooOften { method: method.path() }
        })
    }
}

/// Stands for a set of selectors. Each part goes in with its length, so that no two sets are one.
fn digest(selectors: &BTreeSet<Selector>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for selector in selectors {
        for part in [selector.kind(), selector.value()] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(selectors: &[&str]) -> BTreeSet<Selector> {
        selectors.iter().map(|text| Selector::parse(text).unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn those_of_one_set_of_selectors_share_a_bucket_and_others_do_not() {
        let limits = RateLimits::per_second([(Limited::FetchX509Svid, 2)]);
        let (web, db) = (set(&["unix:uid:1", "unix:gid:1"]), set(&["unix:uid:1"]));
        let take = |method, selectors: &BTreeSet<Selector>| limits.clone().take(method, selectors).is_ok();
        assert!(take(Limited::FetchX509Svid, &web) && take(Limited::FetchX509Svid, &web));
        assert!(!take(Limited::FetchX509Svid, &web), "a third within the second");
        assert!(take(Limited::FetchX509Svid, &db), "others pay for it");
        assert!(take(Limited::FetchX509Svid, &set(&[])), "those without selectors pay for it");
        assert!(take(Limited::FetchJwtSvid, &web), "a method without a limit has one");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(take(Limited::FetchX509Svid, &web));
        assert!(!take(Limited::FetchX509Svid, &web), "half a second brings one");
    }

    #[test]
    fn different_sets_are_never_one() {
        let sets = [set(&[]), set(&["a:b"]), set(&["a:b", "a:c"]), set(&["a:b:c"]), set(&["a:c"])];
        let digests: BTreeSet<_> = sets.iter().map(digest).collect();
        assert_eq!(digests.len(), sets.len());
    }
}
