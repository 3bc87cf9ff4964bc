//! The synchronisation with the server: bundles, entries, workload SVIDs (SPIRE: `pkg/agent/manager/sync.go`).
//!
//! One loop, so that nothing is asked for twice at once. While the server is away, workloads keep what they have until it expires.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use plastron_spiffe::{Bundle, TrustDomain};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::agent::Parts;
use crate::cache::{Cache, Wanted};
use crate::enrol::millis;
use crate::issued::{IssuedError, check_bundle};
use crate::persist::PersistError;
use crate::report::Chain;
use crate::schedule::{Backoff, jittered};
use crate::sign::{SignError, sign};
use crate::snapshot::Publisher;
use crate::standing::Standing;
use crate::upstream::{Caller, MAX_SVIDS_PER_CALL, UpstreamError};

/// Longest delay between attempts while the server is away. SPIRE waits up to 8 minutes; most of a one-hour SVID's second half is
/// needed for the outage itself, not for noticing its end.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// Shortest time between two synchronisations, however short-lived the SVIDs are.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// Federated bundles fetched at once (SPIRE's number).
const PARALLEL_BUNDLES: usize = 10;

pub(crate) struct Synchroniser<'a> {
    parts: &'a Parts,
    standing: &'a Standing,
    publisher: Publisher,
    cache: Cache,
    federated: BTreeMap<TrustDomain, Arc<Bundle>>,
    /// What was published last is not what is held now. True at first: the first synchronisation always publishes.
    changed: bool,
}

impl<'a> Synchroniser<'a> {
    pub(crate) fn new(parts: &'a Parts, standing: &'a Standing, publisher: Publisher) -> Self {
        let cache = Cache::new(parts.settings.x509_svid_cache_max_size);
        Self { parts, standing, publisher, cache, federated: BTreeMap::new(), changed: true }
    }

    /// Runs for ever.
    pub(crate) async fn run(mut self) -> Infallible {
        let version = &self.parts.settings.version;
        if let Err(error) = self.parts.upstream.post_status(&self.standing.caller(), version).await {
            tracing::debug!(error = %Chain(&error), "The server did not take the agent's status");
        }
        let mut backoff = Backoff::new(self.parts.settings.sync_interval, LONGEST_BACKOFF);
        loop {
            match self.synchronise().await {
                Ok(()) => {
                    backoff.reset();
                    self.rest(self.until_next()).await;
                }
                Err(error) => {
                    let delay = backoff.next();
                    tracing::error!(error = %Chain(&error), retry_in_ms = millis(delay), "Synchronize failed");
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = self.standing.sync_now() => {}
                    }
                }
            }
        }
    }

    /// Waits for the next synchronisation, and meanwhile signs what workloads ask for.
    async fn rest(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = self.standing.sync_now() => return,
                () = self.publisher.wanted() => {}
            }
            if let Err(error) = self.sign_due().await {
                tracing::error!(error = %Chain(&error), "Failed to fetch X509-SVIDs for a workload");
                return;
            }
        }
    }

    fn until_next(&self) -> Duration {
        let interval = jittered(self.parts.settings.sync_interval);
        let renewal = self.cache.next_renewal().map(|at| Duration::from_secs(at.saturating_sub(self.now())));
        renewal.map_or(interval, |renewal| interval.min(renewal.max(SHORTEST_WAIT)))
    }

    async fn synchronise(&mut self) -> Result<(), SyncError> {
        if self.cache.drop_expired(self.now()) {
            self.changed = true;
            self.publish();
        }
        let cut_off = self.standing.is_cut_off();
        self.publisher.set_cut_off(cut_off);
        if cut_off {
            if self.cache.clear() {
                tracing::warn!("The server refuses this node: workloads lose their identities until it attests again");
                self.changed = true;
                self.publish();
            }
            return Ok(());
        }
        self.fetch_bundle().await?;
        self.fetch_entries().await?;
        self.fetch_federated_bundles().await;
        self.publish();
        self.sign_due().await
    }

    async fn fetch_bundle(&mut self) -> Result<(), SyncError> {
        let caller = self.standing.caller();
        let bundle = self
            .parts
            .upstream
            .bundle(&caller)
            .await
            .map_err(|error| self.failed(&caller, error, SyncError::Bundle))?;
        check_bundle(&bundle, &self.parts.settings.trust_domain)?;
        if bundle != *caller.bundle {
            tracing::debug!(authorities = bundle.x509_authorities.len(), "Bundle updated");
            let bundle = Arc::new(bundle);
            self.parts.data.save(Some(&caller.svid), &bundle)?;
            self.standing.set_bundle(bundle);
            self.changed = true;
        }
        Ok(())
    }

    async fn fetch_entries(&mut self) -> Result<(), SyncError> {
        let caller = self.standing.caller();
        let sync = self
            .parts
            .upstream
            .sync_entries(&caller, &self.cache.known())
            .await
            .map_err(|error| self.failed(&caller, error, SyncError::Entries))?;
        self.changed |= self.cache.apply(sync);
        Ok(())
    }

    /// A foreign bundle that can't be fetched leaves the one held before: it must not stop our own workloads.
    async fn fetch_federated_bundles(&mut self) {
        let own = &self.parts.settings.trust_domain;
        let needed: Vec<TrustDomain> = self.cache.federated().into_iter().filter(|domain| domain != own).collect();
        let before = self.federated.len();
        self.federated.retain(|domain, _| needed.contains(domain));
        self.changed |= self.federated.len() != before;
        for domains in needed.chunks(PARALLEL_BUNDLES) {
            let mut fetches = JoinSet::new();
            for domain in domains.iter().cloned() {
                let (upstream, caller) = (Arc::clone(&self.parts.upstream), self.standing.caller());
                fetches.spawn(async move {
                    let result = upstream.federated_bundle(&caller, &domain).await;
                    (domain, result)
                });
            }
            while let Some(fetched) = fetches.join_next().await {
                match fetched {
                    Ok((domain, Ok(bundle))) => self.changed |= self.put_federated(domain, bundle),
                    Ok((domain, Err(error))) => {
                        tracing::error!(%domain, error = %Chain(&error), "Failed to fetch federated bundle");
                    }
                    Err(error) => tracing::error!(%error, "Fetching a federated bundle ended abnormally"),
                }
            }
        }
    }

    fn put_federated(&mut self, domain: TrustDomain, bundle: Option<Bundle>) -> bool {
        match bundle {
            None => self.federated.remove(&domain).is_some(),
            Some(bundle) if bundle.trust_domain != domain => {
                tracing::error!(%domain, got = %bundle.trust_domain, "The server sent the bundle of another trust domain");
                false
            }
            Some(bundle) if self.federated.get(&domain).is_some_and(|held| **held == bundle) => false,
            Some(bundle) => {
                self.federated.insert(domain, Arc::new(bundle));
                true
            }
        }
    }

    /// Has SVIDs signed for the entries that need one, in batches, and publishes each batch.
    async fn sign_due(&mut self) -> Result<(), SyncError> {
        let snapshot = self.publisher.latest();
        let wanted = |id: &str| {
            snapshot.as_ref().and_then(|snapshot| snapshot.entries.get(id)).map_or_else(Wanted::default, |held| {
                Wanted { now: held.demand.is_wanted(), last: held.demand.last_use() }
            })
        };
        self.changed |= self.cache.evict(&wanted);
        let due = self.cache.due(self.now(), &wanted);
        for batch in due.chunks(MAX_SVIDS_PER_CALL) {
            let caller = self.standing.caller();
            match sign(self.parts, &caller, batch, &mut self.cache).await {
                Ok(()) => {}
                Err(SignError::Upstream(error)) => return Err(self.failed(&caller, error, SyncError::Svids)),
                Err(error) => return Err(SyncError::Sign(error)),
            }
            self.changed = true;
            self.publish();
        }
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.publisher.publish(self.cache.served(), self.standing.caller().bundle, self.federated.clone());
        }
    }

    /// Passes a denial on to whoever keeps the agent's SVID.
    fn failed(&self, caller: &Caller, error: UpstreamError, step: fn(UpstreamError) -> SyncError) -> SyncError {
        if let UpstreamError::AgentDenied { reason, .. } = &error {
            self.standing.denied(*reason, Arc::clone(&caller.svid));
        }
        step(error)
    }

    fn now(&self) -> u64 {
        self.parts.clock.now().as_secs()
    }
}

/// A synchronisation that did not come to its end. The texts are SPIRE's where it has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    #[error("failed to fetch bundle")]
    Bundle(#[source] UpstreamError),
    #[error("failed to fetch authorized entries")]
    Entries(#[source] UpstreamError),
    #[error("failed to fetch X509-SVIDs")]
    Svids(#[source] UpstreamError),
    #[error("failed to make X509-SVID requests")]
    Sign(#[source] SignError),
    #[error("the bundle is not acceptable")]
    Issued(#[from] IssuedError),
    #[error("can't keep the bundle")]
    Persist(#[from] PersistError),
}
