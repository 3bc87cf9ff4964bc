//! Federation: the bundles of foreign trust domains, how they are fetched, and what the program that fetches them needs.
//!
//! One file for each: [`bundles`] (the federated RPCs of the Bundle service), [`relationships`] (the TrustDomain service), `check` (what a
//! foreign bundle must be like). What it does not do: it fetches nothing; who does is a [`BundleRefresher`].

pub mod bundles;
mod check;
pub mod relationships;

use std::sync::{Arc, OnceLock};

use plastron_spiffe::{Bundle, FederationRelationship, JwtAuthority, TrustDomain};
use tokio::sync::watch;

use crate::audit::{self, AuditLog, AuditSinkError};
use crate::authorization::{Permit, rpc};
use crate::ledger::{Ledger, Write};
use crate::store::{FederatedBundleError, Order, StoreError};

pub use check::ForeignBundleFault;

/// Who fetches bundles, in the audit log.
const FETCHER: &str = "bundle refresh";

/// Foreign trust domains.
pub struct Federation {
    ledger: Arc<Ledger>,
    audit: Arc<AuditLog>,
    trust_domain: TrustDomain,
    refresher: OnceLock<Arc<dyn BundleRefresher>>,
}

impl Federation {
    pub(crate) fn new(ledger: Arc<Ledger>, audit: Arc<AuditLog>, trust_domain: TrustDomain) -> Self {
        Self { ledger, audit, trust_domain, refresher: OnceLock::new() }
    }

    /// The relationships that were made by the API, by trust domain. Those of the configuration are not among them.
    pub fn relationships(&self) -> Vec<Arc<FederationRelationship>> {
        self.ledger.state().relationships_after(None, usize::MAX)
    }

    /// The relationship that was made by the API with this trust domain.
    pub fn relationship(&self, trust_domain: &TrustDomain) -> Option<Arc<FederationRelationship>> {
        self.ledger.state().relationship(trust_domain)
    }

    /// The bundle of a foreign trust domain, or the server's own one: what a bundle endpoint's SVID is verified against.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        let state = self.ledger.state();
        if *trust_domain == self.trust_domain { state.bundle() } else { state.federated_bundle(trust_domain) }
    }

    /// Tells after each change of the server's state, of whatever kind, that one of the relationships or bundles may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.ledger.revisions()
    }

    /// Keeps a bundle that was fetched. Checks, in order: it is not of the server's own trust domain; it is one that can be kept
    /// (JWT authorities that no token can be verified with are left out); what trusts more is recorded; it is no older than the one
    /// that is kept; `stands` says that what the fetch rested on is still so. That is asked where no other write comes in between, so that
    /// nobody who ended a relationship, or took an authority away, is overruled by an answer that was under way. The same bundle again
    /// is not written.
    pub async fn keep_fetched(
        &self,
        mut fetched: Bundle,
        stands: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<Kept, FetchedError> {
        if fetched.trust_domain == self.trust_domain {
            return Err(FetchedError::OwnTrustDomain);
        }
        fetched.jwt_authorities.retain(|JwtAuthority { key_id, public_key, expires_at, tainted: _ }| {
            JwtAuthority::parse(key_id.clone(), public_key.clone(), *expires_at).is_ok()
        });
        let fetched = check::checked(fetched)?;
        let present = self.ledger.state().federated_bundle(&fetched.trust_domain);
        if present.as_deref() == Some(&fetched) {
            return Ok(Kept::Unchanged);
        }
        self.audit.check().await?;
        let subject = check::describe(&fetched);
        let result = self
            .ledger
            .write(Write::KeepFetchedBundle, move |store| async move {
                if !stands() {
                    return Err(FetchedError::Overtaken);
                }
                Ok(store.set_federated_bundle(fetched, Order::BySequence).await?)
            })
            .await;
        audit::change(FETCHER, "federated bundle refresh", &subject, &audit::outcome(&result));
        Ok(Kept::Changed(result?))
    }

    /// Says who fetches bundles when an administrator asks for it. Once: a second one is ignored.
    pub fn set_refresher(&self, refresher: Arc<dyn BundleRefresher>) {
        if self.refresher.set(refresher).is_err() {
            tracing::error!("Bundles are fetched by the first who said so");
        }
    }

    /// Fetches the bundle of a foreign trust domain now (RefreshBundle).
    pub async fn refresh(
        &self,
        permit: Permit<rpc::RefreshBundle>,
        trust_domain: &TrustDomain,
    ) -> Result<(), RefreshError> {
        let result = match self.refresher.get() {
            None => Err(RefreshError::NoClient),
            Some(refresher) => match refresher.refresh(trust_domain).await {
                Ok(Refreshed::Fetched) => Ok(()),
                Ok(Refreshed::NoRelationship) => Err(RefreshError::NotFound { trust_domain: trust_domain.clone() }),
                Err(error) => Err(RefreshError::Fetch(error)),
            },
        };
        audit::change(permit.identity(), "bundle refresh", trust_domain.as_str(), &audit::outcome(&result));
        result
    }
}

/// Fetches the bundles of foreign trust domains. Implemented by the adapter that knows HTTP.
#[async_trait::async_trait]
pub trait BundleRefresher: Send + Sync {
    /// Fetches the bundle of this trust domain now, and keeps it by [`Federation::keep_fetched`].
    async fn refresh(&self, trust_domain: &TrustDomain) -> Result<Refreshed, FetchFailure>;
}

/// What came of asking for a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It was fetched and kept.
    Fetched,
    /// Neither configuration nor the API says how it is fetched.
    NoRelationship,
}

/// Why a bundle could not be fetched, with its causes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct FetchFailure {
    /// In words, on one line.
    pub reason: String,
}

/// What became of a fetched bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is the one that is kept already.
    Unchanged,
    /// It was kept.
    Changed(Arc<Bundle>),
}

/// Why a fetched bundle is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchedError {
    /// Nobody else says whom this server's own trust domain trusts.
    #[error("a bundle of the server's own trust domain is not fetched")]
    OwnTrustDomain,
    /// It can't be kept.
    #[error("the fetched bundle is refused")]
    Fault(#[from] ForeignBundleFault),
    /// Nothing that trusts more is done unrecorded.
    #[error("no foreign bundle is kept for now")]
    Unrecorded(#[from] AuditSinkError),
    /// What the fetch rested on is no longer so.
    #[error(
        "the relationship, or the bundle that its endpoint is authenticated with, was changed during the fetch: fetch again"
    )]
    Overtaken,
    /// The store refused it, or failed.
    #[error(transparent)]
    Store(#[from] FederatedBundleError),
}

impl From<StoreError> for FetchedError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

/// Why a bundle was not refreshed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// Nobody fetches bundles in this program: Unimplemented.
    #[error("this server does not fetch bundles")]
    NoClient,
    /// Nothing says how: NotFound.
    #[error("no relationship with trust domain \"{trust_domain}\"")]
    NotFound {
        /// Whose bundle was wanted.
        trust_domain: TrustDomain,
    },
    /// It failed: Internal.
    #[error("failed to refresh bundle")]
    Fetch(#[source] FetchFailure),
}
