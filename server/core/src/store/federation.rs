//! Foreign trust domains in the store: their bundles, and how these are fetched.

use std::sync::Arc;

use plastron_spiffe::{
    Bundle, BundleEndpointUrl, EndpointProfile, FederationRelationship, JwtAuthority, TrustDomain, X509Authority,
};

use super::{Committed, StoreError};

/// New values of a federated bundle; what is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of Bundle")]
pub struct FederatedBundlePatch {
    pub trust_domain: TrustDomain,
    pub x509_authorities: Option<Vec<X509Authority>>,
    pub jwt_authorities: Option<Vec<JwtAuthority>>,
    pub refresh_hint: Option<i64>,
    pub sequence_number: Option<u64>,
}

/// New values of a relationship; what is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of FederationRelationship, and the foreign bundle")]
pub struct RelationshipPatch {
    pub trust_domain: TrustDomain,
    pub bundle_endpoint_url: Option<BundleEndpointUrl>,
    pub profile: Option<EndpointProfile>,
    pub bundle: Option<Bundle>,
}

/// A relationship with the bundle that was fetched by it, or set; `None` where there is none yet.
pub type RelationshipWithBundle = (Arc<FederationRelationship>, Option<Arc<Bundle>>);

/// What becomes of the entries that federate with a trust domain whose bundle is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteMode {
    /// Nothing: the bundle is not deleted while there are some.
    Restrict,
    /// They are deleted.
    Delete,
    /// They stay, and federate with it no longer.
    Dissociate,
}

/// Which bundle gives way to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one that is set counts: a person set it.
    AsSet,
    /// One with a lower sequence number than the present one is refused (SPIFFE_Federation.md, section 4.2). None at all is the
    /// lowest: whoever could play back an old bundle could leave the number out. Of two with the same number the later one counts.
    BySequence,
}

/// Keeps the bundles of foreign trust domains and how they are fetched. What is the same already is not written again.
#[async_trait::async_trait]
pub trait FederationStore: Send + Sync {
    /// Adds a bundle, unless there is one.
    async fn create_federated_bundle(&self, bundle: Bundle) -> Result<Committed<Arc<Bundle>>, FederatedBundleError>;

    /// Changes a bundle.
    async fn update_federated_bundle(
        &self,
        patch: FederatedBundlePatch,
    ) -> Result<Committed<Arc<Bundle>>, FederatedBundleError>;

    /// Adds a bundle or puts it in the place of the present one.
    async fn set_federated_bundle(
        &self,
        bundle: Bundle,
        order: Order,
    ) -> Result<Committed<Arc<Bundle>>, FederatedBundleError>;

    /// In one transaction: deletes a bundle, and does with the entries that federate with its trust domain what `mode` says.
    async fn delete_federated_bundle(
        &self,
        trust_domain: TrustDomain,
        mode: DeleteMode,
    ) -> Result<Committed<()>, FederatedBundleError>;

    /// In one transaction: adds a relationship, unless there is one with this trust domain, and sets the bundle if one is given.
    async fn create_relationship(
        &self,
        relationship: FederationRelationship,
        bundle: Option<Bundle>,
    ) -> Result<Committed<RelationshipWithBundle>, RelationshipError>;

    /// In one transaction: changes a relationship, and sets the bundle if one is given.
    async fn update_relationship(
        &self,
        patch: RelationshipPatch,
    ) -> Result<Committed<RelationshipWithBundle>, RelationshipError>;

    /// Deletes a relationship. The bundle stays.
    async fn delete_relationship(&self, trust_domain: TrustDomain) -> Result<Committed<()>, RelationshipError>;
}

/// Why the store did not do what was asked with a federated bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FederatedBundleError {
    /// There is one already.
    #[error("bundle already exists")]
    Exists,
    /// There is none.
    #[error("bundle not found")]
    NotFound,
    /// Entries federate with its trust domain.
    #[error("cannot delete bundle; federated with {entries} registration entries")]
    InUse {
        /// How many.
        entries: usize,
    },
    /// An older one than the present one.
    #[error(
        "the bundle has sequence number {got}, and the one that is kept has {kept}; a bundle that goes back is refused: \
         if the trust domain began anew, set its bundle by hand"
    )]
    Rollback {
        /// Of the one that was to be set.
        got: u64,
        /// Of the present one.
        kept: u64,
    },
    /// The store failed.
    #[error("the bundle can't be stored")]
    Store(#[from] StoreError),
}

/// Why the store did not do what was asked with a relationship.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelationshipError {
    /// There is one with this trust domain.
    #[error("federation relationship already exists")]
    Exists,
    /// There is none.
    #[error("federation relationship not found")]
    NotFound,
    /// The store failed.
    #[error("the federation relationship can't be stored")]
    Store(#[from] StoreError),
}
