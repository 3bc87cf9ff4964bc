//! How the bundles of foreign trust domains are fetched, as administrators set it at run time.

use std::sync::Arc;

use plastron_spiffe::{Bundle, EndpointProfile, FederationRelationship, TrustDomain};

use super::{Federation, ForeignBundleFault, check};
use crate::audit;
use crate::authorization::{Permit, rpc};
use crate::ledger::Write;
use crate::page::{Page, PageRequest, PageTokenError};
use crate::store::{RelationshipError, RelationshipPatch, RelationshipWithBundle};

impl Federation {
    /// The relationships, by trust domain, each with the bundle that is kept.
    pub fn list_relationships(
        &self,
        _permit: &Permit<rpc::ListFederationRelationships>,
        page: &PageRequest,
    ) -> Result<Page<RelationshipWithBundle>, PageTokenError> {
        let (after, limit) = (page.after_trust_domain()?, page.limit());
        let found = self.ledger.state().relationships_after(after.as_ref(), limit.saturating_add(1));
        let found = found.into_iter().map(|relationship| self.with_bundle(relationship));
        Ok(Page::gather(found, limit, |(relationship, _)| relationship.trust_domain.as_str()))
    }

    /// The relationship with a trust domain, with the bundle that is kept.
    pub fn get_relationship(
        &self,
        _permit: &Permit<rpc::GetFederationRelationship>,
        trust_domain: &TrustDomain,
    ) -> Result<RelationshipWithBundle, RelationshipError> {
        let found = self.ledger.state().relationship(trust_domain).ok_or(RelationshipError::NotFound)?;
        Ok(self.with_bundle(found))
    }

    /// Adds a relationship. A bundle that comes along is put in the place of the present one.
    pub async fn create_relationship(
        &self,
        permit: &Permit<rpc::BatchCreateFederationRelationship>,
        relationship: FederationRelationship,
        bundle: Option<Bundle>,
    ) -> Result<RelationshipWithBundle, SetRelationshipError> {
        if relationship.trust_domain == self.trust_domain {
            return Err(SetRelationshipError::Own);
        }
        let subject = describe(&relationship, bundle.as_ref());
        let result = async {
            let bundle = foreign(&relationship.trust_domain, bundle)?;
            let create = self.ledger.write(Write::CreateFederationRelationship, move |store| async move {
                store.create_relationship(relationship, bundle).await
            });
            Ok(create.await?)
        };
        let result = result.await.inspect(|created| self.warn_of_missing_bundle(created));
        audit::change(permit.identity(), "federation create", &subject, &audit::outcome(&result));
        result
    }

    /// Changes what the patch names. A bundle that comes along is put in the place of the present one.
    pub async fn update_relationship(
        &self,
        permit: &Permit<rpc::BatchUpdateFederationRelationship>,
        patch: RelationshipPatch,
    ) -> Result<RelationshipWithBundle, SetRelationshipError> {
        let trust_domain = patch.trust_domain.clone();
        let result = async {
            let bundle = foreign(&patch.trust_domain, patch.bundle)?;
            let patch = RelationshipPatch { bundle, ..patch };
            let update = self.ledger.write(Write::UpdateFederationRelationship, move |store| async move {
                store.update_relationship(patch).await
            });
            Ok(update.await?)
        };
        let result = result.await.inspect(|updated| self.warn_of_missing_bundle(updated));
        let subject = match &result {
            Ok((relationship, bundle)) => describe(relationship, bundle.as_deref()),
            Err(_refused) => trust_domain.as_str().to_owned(),
        };
        audit::change(permit.identity(), "federation update", &subject, &audit::outcome(&result));
        result
    }

    /// Deletes a relationship. The bundle stays until it is deleted itself.
    pub async fn delete_relationship(
        &self,
        permit: &Permit<rpc::BatchDeleteFederationRelationship>,
        trust_domain: TrustDomain,
    ) -> Result<(), RelationshipError> {
        let subject = trust_domain.as_str().to_owned();
        let result = self
            .ledger
            .write(Write::DeleteFederationRelationship, move |store| async move {
                store.delete_relationship(trust_domain).await
            })
            .await;
        audit::change(permit.identity(), "federation delete", &subject, &audit::outcome(&result));
        result
    }

    fn with_bundle(&self, relationship: Arc<FederationRelationship>) -> RelationshipWithBundle {
        let bundle = self.ledger.state().federated_bundle(&relationship.trust_domain);
        (relationship, bundle)
    }

    /// Nothing can be fetched by `https_spiffe` before the bundle of the endpoint's trust domain is here.
    fn warn_of_missing_bundle(&self, (relationship, bundle): &RelationshipWithBundle) {
        let EndpointProfile::HttpsSpiffe { id } = &relationship.profile else { return };
        if bundle.is_none() && self.bundle(id.trust_domain()).is_none() {
            let (trust_domain_id, endpoint_spiffe_id) = (relationship.trust_domain.as_str(), id.as_str());
            tracing::warn!(
                trust_domain_id,
                endpoint_spiffe_id,
                "bundle not found for the endpoint SPIFFE ID trust domain"
            );
        }
    }
}

/// The bundle that comes with a relationship must be that of its trust domain.
fn foreign(trust_domain: &TrustDomain, bundle: Option<Bundle>) -> Result<Option<Bundle>, SetRelationshipError> {
    match bundle {
        Some(bundle) if bundle.trust_domain != *trust_domain => {
            Err(SetRelationshipError::OtherBundle { bundle: bundle.trust_domain, relationship: trust_domain.clone() })
        }
        Some(bundle) => Ok(Some(check::checked(bundle)?)),
        None => Ok(None),
    }
}

fn describe(relationship: &FederationRelationship, bundle: Option<&Bundle>) -> String {
    let FederationRelationship { trust_domain, bundle_endpoint_url, profile } = relationship;
    let profile = match profile {
        EndpointProfile::HttpsWeb => "https_web".to_owned(),
        EndpointProfile::HttpsSpiffe { id } => format!("https_spiffe by {id}"),
    };
    let bundle = bundle.map_or_else(String::new, |bundle| format!(", bundle {}", check::describe(bundle)));
    format!("{trust_domain} at {bundle_endpoint_url}, {profile}{bundle}")
}

/// Why a relationship was not made or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetRelationshipError {
    /// A server does not federate with itself: InvalidArgument.
    #[error("unable to create federation relationship for server trust domain")]
    Own,
    /// Bundles of two trust domains are never mixed up: InvalidArgument.
    #[error(
        "trust domain bundle (\"{bundle}\") must match the trust domain of the federation relationship (\"{relationship}\")"
    )]
    OtherBundle {
        /// Whose bundle came along.
        bundle: TrustDomain,
        /// Whose relationship it is.
        relationship: TrustDomain,
    },
    /// The bundle can't be kept: InvalidArgument.
    #[error("failed to parse bundle")]
    Fault(#[from] ForeignBundleFault),
    /// The store refused it, or failed.
    #[error(transparent)]
    Store(#[from] RelationshipError),
}
