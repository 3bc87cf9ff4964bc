//! What is known of each foreign trust domain, and which of them is asked about next. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use plastron_spiffe::{Bundle, TrustDomain};
use tokio::time::Instant;

use super::Foreign;
use crate::schedule::Backoff;
use crate::sync::LONGEST_BACKOFF;
use crate::upstream::ForeignNames;

/// Foreign bundles asked for at once (SPIRE's number).
const AT_ONCE: usize = 10;

/// A question to the server.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) domain: TrustDomain,
    /// What the server had pushed of the domain by then: where it pushes something else later, it is asked again.
    name: Option<u64>,
}

pub(super) struct Known {
    interval: Duration,
    domains: BTreeMap<TrustDomain, Domain>,
    /// The server's names of the bundles that it has; `None` where it pushes none.
    pushed: Option<ForeignNames>,
}

struct Domain {
    bundle: Option<Arc<Bundle>>,
    /// The server was asked about it, whatever it said.
    is_known: bool,
    /// The name of the bundle as of the last answer.
    name: Option<u64>,
    is_wanted: bool,
    is_under_way: bool,
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl Known {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, domains: BTreeMap::new(), pushed: None }
    }

    /// Takes over which domains are needed; whether that is news.
    pub(super) fn need(&mut self, needed: BTreeSet<TrustDomain>) -> bool {
        if self.domains.keys().eq(&needed) {
            return false;
        }
        self.domains.retain(|domain, _| needed.contains(domain));
        for domain in needed {
            self.domains.entry(domain).or_insert_with(|| Domain {
                bundle: None,
                is_known: false,
                name: None,
                is_wanted: true,
                is_under_way: false,
                not_before: None,
                backoff: Backoff::new(self.interval, LONGEST_BACKOFF),
            });
        }
        true
    }

    pub(super) fn told(&mut self, first: bool, names: Option<ForeignNames>) {
        match (&mut self.pushed, names) {
            (pushed, names) if first => *pushed = names,
            (Some(pushed), Some(names)) => pushed.extend(names),
            _ => {}
        }
    }

    /// Whether the server pushes which bundles it has.
    pub(super) fn is_told(&self) -> bool {
        self.pushed.is_some()
    }

    /// All are to be asked about.
    pub(super) fn ask_all(&mut self) {
        for domain in self.domains.values_mut() {
            domain.is_wanted = true;
        }
    }

    /// One more domain to ask about; it counts as under way until [`Self::answered`].
    pub(super) fn next_due(&mut self, now: Instant) -> Option<Due> {
        if self.domains.values().filter(|domain| domain.is_under_way).count() >= AT_ONCE {
            return None;
        }
        let pushed = self.pushed.as_ref();
        let (name, domain) = self.domains.iter_mut().find(|(name, domain)| {
            domain.is_due(pushed, name) && domain.not_before.is_none_or(|not_before| not_before <= now)
        })?;
        (domain.is_wanted, domain.is_under_way, domain.not_before) = (false, true, None);
        Some(Due { domain: name.clone(), name: pushed.and_then(|pushed| pushed.get(name).copied().flatten()) })
    }

    /// When one that failed is asked about again.
    pub(super) fn next_retry(&self, now: Instant) -> Option<Instant> {
        self.domains.values().filter_map(|domain| domain.not_before).filter(|at| *at > now).min()
    }

    /// Takes over an answer, `None` where there was none; whether workloads may notice it.
    pub(super) fn answered(&mut self, due: Due, answer: Option<Option<Bundle>>, now: Instant) -> bool {
        let Due { domain: name, name: pushed } = due;
        let Some(domain) = self.domains.get_mut(&name) else { return false };
        domain.is_under_way = false;
        let was_known = std::mem::replace(&mut domain.is_known, true);
        let answer = match answer {
            Some(Some(bundle)) if bundle.trust_domain != name => {
                tracing::error!(domain = %name, got = %bundle.trust_domain, "The server sent the bundle of another trust domain");
                None
            }
            answer => answer,
        };
        let Some(bundle) = answer else {
            domain.is_wanted = true;
            domain.not_before = Some(now + domain.backoff.next());
            return !was_known;
        };
        domain.backoff.reset();
        domain.name = pushed;
        let is_same = domain.bundle.as_deref() == bundle.as_ref();
        if !is_same {
            domain.bundle = bundle.map(Arc::new);
        }
        !is_same || !was_known
    }

    pub(super) fn present(&self) -> Foreign {
        let bundles = self.domains.iter().filter_map(|(name, domain)| Some((name.clone(), domain.bundle.clone()?)));
        let awaited = self.domains.iter().filter(|(_, domain)| !domain.is_known);
        Foreign { bundles: bundles.collect(), awaited: awaited.map(|(name, _)| name.clone()).collect() }
    }
}

impl Domain {
    fn is_due(&self, pushed: Option<&ForeignNames>, name: &TrustDomain) -> bool {
        let is_other = pushed.and_then(|pushed| pushed.get(name)).is_some_and(|pushed| *pushed != self.name);
        !self.is_under_way && (self.is_wanted || is_other)
    }
}
