//! Keeps the bundles of foreign trust domains fresh: one task for each domain that configuration or the API names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plastron_server_core::Services;
use plastron_server_core::federation::{BundleRefresher, FetchFailure, FetchedError, Kept, Refreshed};
use plastron_spiffe::{Bundle, EndpointProfile, FederationRelationship, SpiffeId, TrustDomain};
use plastron_telemetry::{Call, Counter};
use plastron_transport::{HttpsClientTls, WebRoots, WebRootsError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::basis::{self, Basis};
use crate::fetch::{FetchError, fetch};
use crate::schedule;

/// Most fetches at a time: each holds a document of up to 1 MiB. An endpoint that hangs gives its place back after 15 s.
const MAX_FETCHES: usize = 64;

/// How long whoever asks for a refresh is kept waiting: a fetch takes 15 s at most, and so may the one before it whose turn it is.
const REFRESH_WITHIN: Duration = Duration::from_secs(35);

/// Where the authorities of `https_web` come from: asked before each fetch, so that what an operator installs counts at once. Blocks.
pub type WebRootsNow = Arc<dyn Fn() -> Result<WebRoots, WebRootsError> + Send + Sync>;

/// Fetches the bundles of the relationships of configuration and API; of two for one trust domain the configuration's counts.
pub struct BundleClient {
    services: Arc<Services>,
    configured: BTreeMap<TrustDomain, Arc<FederationRelationship>>,
    web_roots: WebRootsNow,
    fetches: Semaphore,
    /// One fetch of a domain at a time, so that the answer to an earlier one does not come after that to a later one.
    fetching: Mutex<BTreeMap<TrustDomain, Arc<tokio::sync::Mutex<()>>>>,
}

/// A domain that is followed.
struct Followed {
    relationship: Arc<FederationRelationship>,
    stop: CancellationToken,
}

impl BundleClient {
    /// With the relationships of the configuration.
    pub fn new(
        services: Arc<Services>,
        configured: impl IntoIterator<Item = FederationRelationship>,
        web_roots: WebRootsNow,
    ) -> Arc<Self> {
        let configured = configured.into_iter().map(|one| (one.trust_domain.clone(), Arc::new(one))).collect();
        let (fetches, fetching) = (Semaphore::new(MAX_FETCHES), Mutex::default());
        Arc::new(Self { services, configured, web_roots, fetches, fetching })
    }

    /// Follows relationships as they come, change and go, until `ended` is cancelled.
    pub async fn run(self: Arc<Self>, ended: CancellationToken) {
        let (mut followed, tasks) = (BTreeMap::new(), TaskTracker::new());
        let mut changes = self.services.federation.changes();
        changes.mark_changed();
        let mut is_start = true;
        loop {
            tokio::select! {
                () = ended.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
            }
            self.reconcile(&mut followed, &tasks, &ended, std::mem::take(&mut is_start));
        }
        for (_, Followed { stop, .. }) in followed {
            stop.cancel();
        }
        tasks.close();
        tasks.wait().await;
    }

    fn reconcile(
        self: &Arc<Self>,
        followed: &mut BTreeMap<TrustDomain, Followed>,
        tasks: &TaskTracker,
        ended: &CancellationToken,
        is_start: bool,
    ) {
        let wanted = self.relationships();
        followed.retain(|trust_domain, Followed { stop, .. }| {
            let stays = wanted.contains_key(trust_domain);
            if !stays {
                tracing::info!(%trust_domain, "Trust domain no longer managed");
                stop.cancel();
                self.fetching().remove(trust_domain);
            }
            stays
        });
        for (trust_domain, relationship) in wanted {
            let url = relationship.bundle_endpoint_url.as_str();
            let profile = profile_name(&relationship.profile);
            match followed.get(&trust_domain) {
                Some(known) if known.relationship == relationship => continue,
                Some(known) => {
                    known.stop.cancel();
                    tracing::info!(
                        %trust_domain,
                        bundle_endpoint_url = url,
                        bundle_endpoint_profile = profile,
                        "Updated configuration for managed trust domain"
                    );
                }
                None => tracing::info!(
                    %trust_domain,
                    bundle_endpoint_url = url,
                    bundle_endpoint_profile = profile,
                    "Trust domain is now managed"
                ),
            }
            let stop = ended.child_token();
            let (client, stopped, of) = (Arc::clone(self), stop.clone(), Arc::clone(&relationship));
            tasks.spawn(async move {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = client.follow(&of, is_start) => {}
                }
                tracing::info!(trust_domain = %of.trust_domain, "No longer polling for updates");
            });
            followed.insert(trust_domain, Followed { relationship, stop });
        }
    }

    fn relationships(&self) -> BTreeMap<TrustDomain, Arc<FederationRelationship>> {
        let made = self.services.federation.relationships().into_iter();
        let mut all: BTreeMap<_, _> = made.map(|one| (one.trust_domain.clone(), one)).collect();
        all.extend(self.configured.iter().map(|(trust_domain, one)| (trust_domain.clone(), Arc::clone(one))));
        all
    }

    fn fetching(&self) -> std::sync::MutexGuard<'_, BTreeMap<TrustDomain, Arc<tokio::sync::Mutex<()>>>> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches again and again. What fails is tried again when it is due, and not before, unless someone sets the bundle that the endpoint
    /// is authenticated with.
    async fn follow(&self, relationship: &FederationRelationship, is_start: bool) {
        let (federation, trust_domain) = (&self.services.federation, &relationship.trust_domain);
        if is_start {
            let believed = basis::believed(&self.services, &relationship.profile);
            tokio::select! {
                () = tokio::time::sleep(schedule::first(federation.bundle(trust_domain).as_deref())) => {}
                () = self.until_replaced(&relationship.profile, believed) => {}
            }
        }
        loop {
            tracing::debug!(%trust_domain, "Polling for bundle update");
            let believed = basis::believed(&self.services, &relationship.profile);
            let outcome = self.update(relationship).await;
            match &outcome {
                Ok(Kept::Changed(_)) => tracing::info!(%trust_domain, "Bundle refreshed"),
                Ok(Kept::Unchanged) => {}
                Err(error) => {
                    let error = crate::explain(error);
                    tracing::error!(%trust_domain, error, "Error updating bundle");
                }
            }
            let pause = schedule::next(federation.bundle(trust_domain).as_deref());
            let at = OffsetDateTime::now_utc() + pause;
            let at = at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default();
            tracing::debug!(%trust_domain, at, "Scheduling next bundle refresh");
            let replaced = async {
                match outcome {
                    Ok(_) => std::future::pending().await,
                    Err(_) => self.until_replaced(&relationship.profile, believed).await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = replaced => {}
            }
        }
    }

    async fn until_replaced(&self, profile: &EndpointProfile, believed: Option<Arc<Bundle>>) {
        let mut changes = self.services.federation.changes();
        changes.mark_changed();
        while changes.changed().await.is_ok() {
            if basis::believed(&self.services, profile) != believed {
                return;
            }
        }
        std::future::pending().await
    }

    /// Fetches a bundle once and keeps it.
    async fn update(&self, relationship: &FederationRelationship) -> Result<Kept, UpdateError> {
        let trust_domain = &relationship.trust_domain;
        let turn = Arc::clone(self.fetching().entry(trust_domain.clone()).or_default());
        let _turn = turn.lock().await;
        // The semaphore is never closed; were it, there would be no limit.
        let _place = self.fetches.acquire().await;
        let calls = Call::new("bundle_manager.fetch.federated_bundle").label("trust_domain_id", trust_domain.as_str());
        let call = calls.start();
        let outcome = call.ended(self.fetch_and_keep(relationship).await);
        if let Ok(Kept::Changed(_)) = &outcome {
            let updates = Counter::new("bundle_manager.update.federated_bundle");
            updates.label("trust_domain_id", trust_domain.as_str()).increment();
        }
        outcome
    }

    async fn fetch_and_keep(&self, relationship: &FederationRelationship) -> Result<Kept, UpdateError> {
        let FederationRelationship { trust_domain, bundle_endpoint_url, profile } = relationship;
        let configured = self.configured.contains_key(trust_domain);
        let basis = Basis::now(&self.services, relationship, configured);
        // It may have ended while this fetch waited for its turn.
        if !basis.stands() {
            return Err(FetchedError::Overtaken.into());
        }
        let tls = self.authentication(profile, basis.believed.as_deref()).await?;
        let bundle = fetch(trust_domain, bundle_endpoint_url, &tls).await?;
        Ok(self.services.federation.keep_fetched(bundle, move || basis.stands()).await?)
    }

    async fn authentication(
        &self,
        profile: &EndpointProfile,
        believed: Option<&Bundle>,
    ) -> Result<HttpsClientTls, UpdateError> {
        match profile {
            EndpointProfile::HttpsWeb => {
                let roots = Arc::clone(&self.web_roots);
                let read = tokio::task::spawn_blocking(move || roots()).await;
                Ok(HttpsClientTls::Web(read.map_err(|_panic| UpdateError::Interrupted)??))
            }
            EndpointProfile::HttpsSpiffe { id } => match believed {
                Some(bundle) => Ok(HttpsClientTls::Spiffe { server: id.clone(), bundle: bundle.clone() }),
                None => Err(UpdateError::NoBundle { id: id.clone() }),
            },
        }
    }
}

#[async_trait::async_trait]
impl BundleRefresher for BundleClient {
    async fn refresh(&self, trust_domain: &TrustDomain) -> Result<Refreshed, FetchFailure> {
        let Some(relationship) = self.relationships().remove(trust_domain) else {
            return Ok(Refreshed::NoRelationship);
        };
        match tokio::time::timeout(REFRESH_WITHIN, self.update(&relationship)).await {
            Ok(Ok(_)) => Ok(Refreshed::Fetched),
            Ok(Err(error)) => Err(FetchFailure { reason: crate::explain(&error) }),
            Err(_elapsed) => Err(FetchFailure { reason: crate::explain(&UpdateError::TooMany) }),
        }
    }
}

fn profile_name(profile: &EndpointProfile) -> &'static str {
    match profile {
        EndpointProfile::HttpsWeb => "https_web",
        EndpointProfile::HttpsSpiffe { .. } => "https_spiffe",
    }
}

/// Why a bundle was not fetched or not kept.
#[derive(Debug, thiserror::Error)]
enum UpdateError {
    #[error("can't perform SPIFFE Authentication: local copy of bundle not found for the trust domain of {id}; set it")]
    NoBundle { id: SpiffeId },
    #[error("can't perform web authentication")]
    Roots(#[from] WebRootsError),
    #[error("the task that read the roots of the web PKI was interrupted")]
    Interrupted,
    #[error("failed to fetch federated bundle from endpoint")]
    Fetch(#[from] FetchError),
    #[error(
        "fetches that were asked for before took all of {} s, and this one did not get its turn; see which endpoints do not answer",
        REFRESH_WITHIN.as_secs()
    )]
    TooMany,
    #[error("failed to store fetched federated bundle")]
    Keep(#[from] FetchedError),
}
