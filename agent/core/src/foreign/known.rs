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
    name: Option<Option<u64>>,
    number: u64,
}

pub(super) struct Known {
    interval: Duration,
    /// How many questions there were.
    asked: u64,
    domains: BTreeMap<TrustDomain, Domain>,
    /// The server's names of the bundles that it has; `None` where it pushes none.
    pushed: Option<ForeignNames>,
}

struct Domain {
    bundle: Option<Arc<Bundle>>,
    /// The server was asked about it, whatever it said.
    is_known: bool,
    /// What the server had pushed of it when the last answer was asked for; `None` where it had pushed nothing.
    name: Option<Option<u64>>,
    is_wanted: bool,
    /// The question whose answer is awaited. A domain that went and came back awaits none of those before: they may be older than its own.
    under_way: Option<u64>,
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl Known {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, asked: 0, domains: BTreeMap::new(), pushed: None }
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
                under_way: None,
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
        if self.domains.values().filter(|domain| domain.under_way.is_some()).count() >= AT_ONCE {
            return None;
        }
        let pushed = self.pushed.as_ref();
        let (name, domain) = self.domains.iter_mut().find(|(name, domain)| {
            domain.is_due(pushed, name) && domain.not_before.is_none_or(|not_before| not_before <= now)
        })?;
        self.asked = self.asked.wrapping_add(1);
        (domain.is_wanted, domain.under_way, domain.not_before) = (false, Some(self.asked), None);
        let (domain, name) = (name.clone(), pushed.and_then(|pushed| pushed.get(name).copied()));
        Some(Due { domain, name, number: self.asked })
    }

    /// When one that failed is asked about again.
    pub(super) fn next_retry(&self, now: Instant) -> Option<Instant> {
        self.domains.values().filter_map(|domain| domain.not_before).filter(|at| *at > now).min()
    }

    /// Takes over an answer, `None` where there was none; whether workloads may notice it.
    pub(super) fn answered(&mut self, due: Due, answer: Option<Option<Bundle>>, now: Instant) -> bool {
        let Due { domain: name, name: pushed, number } = due;
        let Some(domain) = self.domains.get_mut(&name) else { return false };
        if domain.under_way != Some(number) {
            return false;
        }
        domain.under_way = None;
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
        let is_other = pushed.and_then(|pushed| pushed.get(name)).is_some_and(|pushed| Some(*pushed) != self.name);
        self.under_way.is_none() && (self.is_wanted || is_other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn domain() -> TrustDomain {
        TrustDomain::parse("other.test").unwrap()
    }

    fn bundle(sequence_number: u64) -> Option<Option<Bundle>> {
        Some(Some(Bundle { sequence_number, ..Bundle::empty(domain()) }))
    }

    fn held(known: &Known) -> Option<u64> {
        known.present().bundles.get(&domain()).map(|bundle| bundle.sequence_number)
    }

    #[test]
    fn an_answer_from_before_a_domain_went_does_not_replace_a_later_one() {
        let (mut known, now) = (Known::new(INTERVAL), Instant::now());
        known.need([domain()].into());
        let early = known.next_due(now).unwrap();
        known.need(BTreeSet::new());
        known.need([domain()].into());
        let late = known.next_due(now).unwrap();
        assert!(known.answered(late, bundle(2), now));
        assert!(!known.answered(early, bundle(1), now));
        assert_eq!(held(&known), Some(2));
    }

    #[test]
    fn an_answer_from_before_a_domain_went_does_not_stand_for_the_one_that_is_awaited() {
        let (mut known, now) = (Known::new(INTERVAL), Instant::now());
        known.need([domain()].into());
        let early = known.next_due(now).unwrap();
        known.need(BTreeSet::new());
        known.need([domain()].into());
        let late = known.next_due(now).unwrap();
        assert!(!known.answered(early, bundle(1), now));
        assert!(known.next_due(now).is_none(), "one question at a time");
        assert_eq!(known.present().awaited, [domain()].into());
        assert!(known.answered(late, bundle(2), now));
    }

    /// What was fetched before the first stream is asked for again where the server says that it has none.
    #[test]
    fn a_bundle_that_went_before_anything_was_pushed_goes_here_too() {
        let (mut known, now) = (Known::new(INTERVAL), Instant::now());
        known.need([domain()].into());
        let polled = known.next_due(now).unwrap();
        known.answered(polled, bundle(1), now);
        known.told(true, Some([(domain(), None)].into()));
        let due = known.next_due(now).expect("the server has none, and there is one here");
        assert!(known.answered(due, Some(None), now));
        assert_eq!(held(&known), None);
        assert!(known.next_due(now).is_none());
    }
}
