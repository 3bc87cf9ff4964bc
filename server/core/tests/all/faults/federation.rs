//! Foreign trust domains: handed on.

use std::sync::Arc;

use plastron_server_core::store::{
    Committed, DeleteMode, FederatedBundleError, FederatedBundlePatch, FederationStore, Order, RelationshipError,
    RelationshipPatch, RelationshipWithBundle,
};
use plastron_spiffe::{Bundle, FederationRelationship, TrustDomain};

use super::FaultyStore;

#[async_trait::async_trait]
impl FederationStore for FaultyStore {
    async fn create_federated_bundle(&self, bundle: Bundle) -> Result<Committed<Arc<Bundle>>, FederatedBundleError> {
        self.inner.create_federated_bundle(bundle).await
    }

    async fn update_federated_bundle(
        &self,
        patch: FederatedBundlePatch,
    ) -> Result<Committed<Arc<Bundle>>, FederatedBundleError> {
        self.inner.update_federated_bundle(patch).await
    }

    async fn set_federated_bundle(
        &self,
        bundle: Bundle,
        order: Order,
    ) -> Result<Committed<Arc<Bundle>>, FederatedBundleError> {
        self.inner.set_federated_bundle(bundle, order).await
    }

    async fn delete_federated_bundle(
        &self,
        trust_domain: TrustDomain,
        mode: DeleteMode,
    ) -> Result<Committed<()>, FederatedBundleError> {
        self.inner.delete_federated_bundle(trust_domain, mode).await
    }

    async fn create_relationship(
        &self,
        relationship: FederationRelationship,
        bundle: Option<Bundle>,
    ) -> Result<Committed<RelationshipWithBundle>, RelationshipError> {
        self.inner.create_relationship(relationship, bundle).await
    }

    async fn update_relationship(
        &self,
        patch: RelationshipPatch,
    ) -> Result<Committed<RelationshipWithBundle>, RelationshipError> {
        self.inner.update_relationship(patch).await
    }

    async fn delete_relationship(&self, trust_domain: TrustDomain) -> Result<Committed<()>, RelationshipError> {
        self.inner.delete_relationship(trust_domain).await
    }
}
