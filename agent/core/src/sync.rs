//! The synchronisation with the server: the bundle, entries, workload SVIDs (SPIRE: `pkg/agent/manager/sync.go`). Foreign bundles are
//! asked for beside it, in `foreign`.
//!
//! One loop, so that nothing is asked for twice at once. While the server is away, workloads keep what they have until it expires.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use plastron_spiffe::Bundle;
use plastron_spiffe::x509::X509Svid;
use plastron_telemetry::Status;
use tokio::time::Instant;

use crate::agent::Parts;
use crate::cache::{Cache, Wanted};
use crate::enrol::millis;
use crate::foreign::ForeignBundles;
use crate::held_bundle::{BundleFault, HeldBundle};
use crate::meters;
use crate::report::Chain;
use crate::schedule::{Backoff, jittered, random_below};
use crate::sign::{SignError, sign};
use crate::snapshot::Publisher;
use crate::standing::Standing;
use crate::taint::{leads_to, lost_an_authority, replacement_point, report_new_taints, tainted_authorities};
use crate::upstream::{AuthorizedEntry, Caller, MAX_SVIDS_PER_CALL, UpstreamError};

/// Longest delay between attempts while the server is away. SPIRE waits up to 8 minutes; most of a one-hour SVID's second half is
/// needed for the outage itself, not for noticing its end.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// Shortest time between two synchronisations, however short-lived the SVIDs are.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// Where the server pushes, this many intervals pass between two synchronisations: what a push that was lost would cost, against a server's
/// time for an agent that has nothing to ask.
pub(crate) const SAFETY_NET: u32 = 12;
/// Seconds until an SVID is asked for again that a tainted authority signed although its taint is known.
const TAINTED_AGAIN: u64 = 30;

/// Which SVIDs are replaced before their time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Of a tainted authority.
    LeadThere,
    /// Of an authority that the bundle no longer holds.
    LeadNowhere,
}

pub(crate) struct Synchroniser<'a> {
    parts: &'a Parts,
    standing: &'a Standing,
    publisher: &'a Publisher,
    bundle: &'a HeldBundle<'a>,
    cache: Cache,
    foreign: &'a ForeignBundles<'a>,
    /// What was published last is not what is held now. True at first: the first synchronisation always publishes.
    changed: bool,
    /// The bundle whose tainted authorities were looked for last.
    looked_at: Option<Arc<Bundle>>,
}

impl<'a> Synchroniser<'a> {
    pub(crate) fn new(
        parts: &'a Parts,
        standing: &'a Standing,
        publisher: &'a Publisher,
        bundle: &'a HeldBundle<'a>,
        foreign: &'a ForeignBundles<'a>,
    ) -> Self {
        let cache = Cache::new(parts.settings.x509_svid_cache_max_size);
        Self { parts, standing, publisher, bundle, cache, foreign, changed: true, looked_at: None }
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
                    if !self.standing.is_cut_off() {
                        self.standing.synchronised(self.now());
                    }
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

    /// Waits for the next synchronisation, and meanwhile signs what workloads ask for and what must be replaced.
    async fn rest(&mut self, wait: Duration) {
        let interval = self.parts.settings.sync_interval;
        let mut until = Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = self.standing.sync_now() => return,
                () = self.publisher.wanted() => {}
                () = self.standing.unfollowed() => {
                    // All agents of a server that ends notice it at the same moment.
                    until = until.min(Instant::now() + random_below(interval));
                    continue;
                }
                () = self.standing.bundle_changed() => {
                    self.look_for_tainted().await;
                    until = until.min(Instant::now() + self.until_next());
                }
            }
            if let Err(error) = self.sign_due().await {
                tracing::error!(error = %Chain(&error), "Failed to fetch X509-SVIDs for a workload");
                return;
            }
        }
    }

    fn until_next(&self) -> Duration {
        let interval = self.parts.settings.sync_interval;
        let interval = jittered(if self.standing.is_followed() { interval * SAFETY_NET } else { interval });
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
                self.need_foreign();
                self.changed = true;
                self.publish();
            }
            return Ok(());
        }
        let call = meters::FETCH_ENTRIES.start();
        call.ended(self.fetch_authorised().await)?;
        self.need_foreign();
        self.look_for_tainted().await;
        self.publish();
        self.sign_due().await
    }

    async fn fetch_authorised(&mut self) -> Result<(), SyncError> {
        self.fetch_bundle().await?;
        self.fetch_entries().await
    }

    async fn fetch_bundle(&mut self) -> Result<(), SyncError> {
        let caller = self.standing.caller();
        let bundle = self.parts.upstream.bundle(&caller).await;
        self.parts.distrust.note(bundle.as_ref().err());
        let bundle = bundle.map_err(|error| self.failed(&caller, error, SyncError::Bundle))?;
        self.bundle.offer(bundle)?;
        Ok(())
    }

    /// Has SVIDs that a tainted authority signed replaced before their time, the agent's own as well. Each bundle is looked at once.
    async fn look_for_tainted(&mut self) {
        let Caller { svid: own, bundle } = self.standing.caller();
        if self.looked_at.as_ref().is_some_and(|last| Arc::ptr_eq(last, &bundle)) {
            return;
        }
        let before = self.looked_at.replace(Arc::clone(&bundle));
        report_new_taints(before.as_deref(), &bundle);
        if before.is_some_and(|before| lost_an_authority(&before, &bundle)) {
            let count = self.replace(self.cache.svids(), Arc::clone(&bundle), Which::LeadNowhere, 0).await;
            tracing::info!(
                count,
                "X.509 authorities left the bundle: SVIDs that lead to none of the others are replaced"
            );
        }
        let Some(tainted) = tainted_authorities(&bundle) else { return };
        let now = self.parts.clock.now();
        if leads_to(&own.svid, &tainted, now) {
            tracing::info!(spiffe_id = %own.id(), "Agent SVID is tainted by a root authority, forcing rotation");
            self.standing.svid_is_tainted();
        }
        let svids = self.cache.svids();
        let call = meters::PROCESS_TAINTED.start();
        let count = self.replace(svids, tainted, Which::LeadThere, 0).await;
        call.done(Status::Ok);
        if count > 0 {
            meters::TAINTED.record(meters::gauge(count));
            tracing::debug!(count, "Scheduled rotation for SVID entries due to tainted X.509 authorities");
        }
    }

    /// Of these SVIDs, has those replaced that lead to one of these authorities, or to none, from so many seconds on; how many there are.
    async fn replace(
        &mut self,
        svids: Vec<(Arc<str>, Arc<X509Svid>)>,
        authorities: Arc<Bundle>,
        which: Which,
        from: u64,
    ) -> usize {
        let now = self.parts.clock.now();
        let found = tokio::task::spawn_blocking(move || {
            let leads = |(_, svid): &(Arc<str>, Arc<X509Svid>)| {
                leads_to(svid, &authorities, now) == (which == Which::LeadThere)
            };
            svids.into_iter().filter(leads).collect::<Vec<_>>()
        });
        // A panic in it would be a fault of ours; SVIDs are renewed at half-life all the same.
        let found = found.await.unwrap_or_default();
        for (id, svid) in &found {
            self.cache.replace_early(id, svid, replacement_point(now.as_secs().saturating_add(from), svid.not_after()));
        }
        found.len()
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

    /// The trust domains that entries federate with; never our own.
    fn need_foreign(&mut self) {
        let mut needed = self.cache.federated();
        needed.remove(&self.parts.settings.trust_domain);
        self.changed |= self.foreign.need(needed);
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
        meters::worn(self.cache.worn(&due, self.now()));
        for batch in due.chunks(MAX_SVIDS_PER_CALL) {
            let caller = self.standing.caller();
            let call = meters::FETCH_SVIDS.start();
            match call.ended(sign(self.parts, &caller, batch, &mut self.cache).await) {
                Ok(()) => {}
                Err(SignError::Upstream(error)) => return Err(self.failed(&caller, error, SyncError::Svids)),
                Err(error) => return Err(SyncError::Sign(error)),
            }
            self.changed = true;
            self.publish();
            self.replace_tainted_again(batch).await;
        }
        self.publish();
        Ok(())
    }

    /// A signature that was under way when its authority was tainted, or a server that has not heard of it yet: such an SVID serves, and another is
    /// asked for soon.
    async fn replace_tainted_again(&mut self, batch: &[Arc<AuthorizedEntry>]) {
        let Some(tainted) = tainted_authorities(&self.standing.caller().bundle) else { return };
        let mut svids = self.cache.svids();
        svids.retain(|(id, _)| batch.iter().any(|entry| entry.id == *id));
        self.replace(svids, tainted, Which::LeadThere, TAINTED_AGAIN).await;
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            let (entries, svids) = self.cache.len();
            meters::holds(entries, svids);
            let (bundle, foreign) = (self.standing.caller().bundle, self.foreign.present());
            meters::bundles(1 + foreign.bundles.len());
            self.publisher.publish_all(self.cache.served(), bundle, foreign);
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
    #[error("failed to take over the bundle")]
    Taken(#[from] BundleFault),
}
