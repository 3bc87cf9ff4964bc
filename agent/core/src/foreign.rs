//! Bundles of foreign trust domains: they are asked for beside the synchronisation, so that nothing of our own trust domain waits for what is
//! foreign (SPIRE fetches them in the midst of it).
//!
//! Where the server pushes which bundles it has, a bundle is asked for once it is another one; else, and as a safety net, all are asked for now
//! and then. A foreign bundle that can't be had leaves the one that is held.

mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use plastron_spiffe::{Bundle, TrustDomain};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::agent::Parts;
use crate::foreign::known::{Due, Known};
use crate::report::Chain;
use crate::schedule::{jittered, random_below};
use crate::snapshot::Publisher;
use crate::standing::Standing;
use crate::sync::SAFETY_NET;
use crate::upstream::ForeignNames;

/// What workloads verify foreign peers against.
#[derive(Clone, Debug, Default)]
pub(crate) struct Foreign {
    /// The bundles that are held.
    pub(crate) bundles: BTreeMap<TrustDomain, Arc<Bundle>>,
    /// Trust domains that entries federate with and that the server was not asked about yet.
    pub(crate) awaited: BTreeSet<TrustDomain>,
}

pub(crate) struct ForeignBundles<'a> {
    parts: &'a Parts,
    standing: &'a Standing,
    publisher: &'a Publisher,
    known: Mutex<Known>,
    woken: Notify,
}

impl<'a> ForeignBundles<'a> {
    pub(crate) fn new(parts: &'a Parts, standing: &'a Standing, publisher: &'a Publisher) -> Self {
        let known = Mutex::new(Known::new(parts.settings.sync_interval));
        Self { parts, standing, publisher, known, woken: Notify::new() }
    }

    /// From now on entries federate with these trust domains and no other. Whether that is news.
    pub(crate) fn need(&self, domains: BTreeSet<TrustDomain>) -> bool {
        let news = self.known().need(domains);
        if news {
            self.woken.notify_one();
        }
        news
    }

    /// What a push stream says: all in its `first` message, there `None` where the server pushes no foreign bundles; then what is new.
    pub(crate) fn told(&self, first: bool, names: Option<ForeignNames>) {
        self.known().told(first, names);
        self.woken.notify_one();
    }

    /// The push stream ended.
    pub(crate) fn untold(&self) {
        self.woken.notify_one();
    }

    /// What is held at this moment.
    pub(crate) fn present(&self) -> Foreign {
        self.known().present()
    }

    /// Runs for ever.
    pub(crate) async fn run(&self) -> Infallible {
        let interval = self.parts.settings.sync_interval;
        let (mut polled, mut pause) = (Instant::now(), jittered(interval));
        let (mut was_told, mut not_before) = (false, polled);
        let mut asked = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            let is_told = self.standing.is_followed() && self.known().is_told();
            if was_told && !is_told {
                // All agents of a server that ends notice it at the same moment.
                not_before = now + random_below(interval);
            }
            was_told = is_told;
            let poll_at = if is_told { polled + pause * SAFETY_NET } else { (polled + pause).max(not_before) };
            if poll_at <= now {
                (polled, pause) = (now, jittered(interval));
                self.known().ask_all();
                continue;
            }
            while let Some(due) = self.next_due(now) {
                asked.push(self.ask(due));
            }
            let wake_at = self.known().next_retry(now).map_or(poll_at, |retry| retry.min(poll_at));
            tokio::select! {
                Some(()) = asked.next() => {}
                () = self.woken.notified() => {}
                () = sleep_until(wake_at) => {}
            }
        }
    }

    fn next_due(&self, now: Instant) -> Option<Due> {
        self.known().next_due(now)
    }

    async fn ask(&self, due: Due) {
        let caller = self.standing.caller();
        let answer = self.parts.upstream.federated_bundle(&caller, &due.domain).await;
        if let Err(error) = &answer {
            tracing::error!(domain = %due.domain, error = %Chain(error), "Failed to fetch federated bundle");
        }
        let changed = self.known().answered(due, answer.ok(), Instant::now());
        if changed {
            self.publisher.publish_foreign(self.present());
        }
    }

    // What the lock guards is whole after a panic too.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
