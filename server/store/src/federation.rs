//! Foreign trust domains: what changes their bundles, and how these are fetched. One transaction each.

pub(crate) mod entries;
mod row;

use std::sync::Arc;

use plastron_server_core::store::{
    Committed, DeleteMode, Event, FederatedBundleError, FederatedBundlePatch, FederationStore, Order,
    RelationshipError, RelationshipPatch, RelationshipWithBundle, StoreError,
};
use plastron_spiffe::{Bundle, FederationRelationship, TrustDomain};

use crate::SqliteStore;
use crate::error::Purpose;
use crate::write::Write;

#[async_trait::async_trait]
impl FederationStore for SqliteStore {
    async fn create_federated_bundle(&self, bundle: Bundle) -> Result<Committed<Arc<Bundle>>, FederatedBundleError> {
        const PURPOSE: Purpose = Purpose("create a federated bundle");
        let mut write = Write::begin(self, PURPOSE).await?;
        if self.federated_bundle(write.connection(), &bundle.trust_domain).await?.is_some() {
            return Err(FederatedBundleError::Exists);
        }
        let bundle = put(&mut write, None, bundle).await?;
        Ok(Committed { value: bundle, changes: write.commit(PURPOSE).await? })
    }

    async fn update_federated_bundle(
        &self,
        patch: FederatedBundlePatch,
    ) -> Result<Committed<Arc<Bundle>>, FederatedBundleError> {
        const PURPOSE: Purpose = Purpose("update a federated bundle");
        let mut write = Write::begin(self, PURPOSE).await?;
        let FederatedBundlePatch { trust_domain, x509_authorities, jwt_authorities, refresh_hint, sequence_number } =
            patch;
        let present = self.federated_bundle(write.connection(), &trust_domain).await?;
        let present = present.ok_or(FederatedBundleError::NotFound)?;
        let bundle = Bundle {
            trust_domain,
            x509_authorities: x509_authorities.unwrap_or_else(|| present.x509_authorities.clone()),
            jwt_authorities: jwt_authorities.unwrap_or_else(|| present.jwt_authorities.clone()),
            refresh_hint: refresh_hint.unwrap_or(present.refresh_hint),
            sequence_number: sequence_number.unwrap_or(present.sequence_number),
        };
        let bundle = put(&mut write, Some(present), bundle).await?;
        Ok(Committed { value: bundle, changes: write.commit(PURPOSE).await? })
    }

    async fn set_federated_bundle(
        &self,
        bundle: Bundle,
        order: Order,
    ) -> Result<Committed<Arc<Bundle>>, FederatedBundleError> {
        const PURPOSE: Purpose = Purpose("set a federated bundle");
        let mut write = Write::begin(self, PURPOSE).await?;
        let present = self.federated_bundle(write.connection(), &bundle.trust_domain).await?;
        let (got, kept) = (bundle.sequence_number, present.as_ref().map_or(0, |present| present.sequence_number));
        if order == Order::BySequence && got < kept {
            return Err(FederatedBundleError::Rollback { got, kept });
        }
        let bundle = put(&mut write, present, bundle).await?;
        Ok(Committed { value: bundle, changes: write.commit(PURPOSE).await? })
    }

    async fn delete_federated_bundle(
        &self,
        trust_domain: TrustDomain,
        mode: DeleteMode,
    ) -> Result<Committed<()>, FederatedBundleError> {
        const PURPOSE: Purpose = Purpose("delete a federated bundle");
        let mut write = Write::begin(self, PURPOSE).await?;
        if self.federated_bundle(write.connection(), &trust_domain).await?.is_none() {
            return Err(FederatedBundleError::NotFound);
        }
        let entries = self.entries_federated_with(write.connection(), &trust_domain).await?;
        match mode {
            DeleteMode::Restrict if !entries.is_empty() => {
                return Err(FederatedBundleError::InUse { entries: entries.len() });
            }
            DeleteMode::Restrict => {}
            DeleteMode::Delete => {
                for entry in entries {
                    // It was there when this transaction read it.
                    let _deleted = crate::entries::delete(&mut write, entry.id).await?;
                }
            }
            DeleteMode::Dissociate => {
                for mut entry in entries {
                    entry.federates_with.retain(|known| *known != trust_domain);
                    crate::entries::replace(&mut write, entry).await?;
                }
            }
        }
        self.remove_federated_bundle(write.connection(), &trust_domain).await?;
        write.note(Event::FederatedBundleDeleted { trust_domain });
        Ok(Committed { value: (), changes: write.commit(PURPOSE).await? })
    }

    async fn create_relationship(
        &self,
        relationship: FederationRelationship,
        bundle: Option<Bundle>,
    ) -> Result<Committed<RelationshipWithBundle>, RelationshipError> {
        const PURPOSE: Purpose = Purpose("create a federation relationship");
        let mut write = Write::begin(self, PURPOSE).await?;
        if self.relationship(write.connection(), &relationship.trust_domain).await?.is_some() {
            return Err(RelationshipError::Exists);
        }
        self.insert_relationship(write.connection(), &relationship).await?;
        let relationship = Arc::new(relationship);
        write.note(Event::Relationship(Arc::clone(&relationship)));
        let bundle = match bundle {
            Some(bundle) => Some(set(&mut write, bundle).await?),
            None => None,
        };
        Ok(Committed { value: (relationship, bundle), changes: write.commit(PURPOSE).await? })
    }

    async fn update_relationship(
        &self,
        patch: RelationshipPatch,
    ) -> Result<Committed<RelationshipWithBundle>, RelationshipError> {
        const PURPOSE: Purpose = Purpose("update a federation relationship");
        let mut write = Write::begin(self, PURPOSE).await?;
        let RelationshipPatch { trust_domain, bundle_endpoint_url, profile, bundle } = patch;
        let present = self.relationship(write.connection(), &trust_domain).await?;
        let present = present.ok_or(RelationshipError::NotFound)?;
        let relationship = FederationRelationship {
            bundle_endpoint_url: bundle_endpoint_url.unwrap_or_else(|| present.bundle_endpoint_url.clone()),
            profile: profile.unwrap_or_else(|| present.profile.clone()),
            trust_domain,
        };
        let changed = relationship != present;
        let relationship = Arc::new(relationship);
        if changed {
            self.remove_relationship(write.connection(), &relationship.trust_domain).await?;
            self.insert_relationship(write.connection(), &relationship).await?;
            write.note(Event::Relationship(Arc::clone(&relationship)));
        }
        let bundle = match bundle {
            Some(bundle) => Some(set(&mut write, bundle).await?),
            None => self.federated_bundle(write.connection(), &relationship.trust_domain).await?.map(Arc::new),
        };
        Ok(Committed { value: (relationship, bundle), changes: write.commit(PURPOSE).await? })
    }

    async fn delete_relationship(&self, trust_domain: TrustDomain) -> Result<Committed<()>, RelationshipError> {
        const PURPOSE: Purpose = Purpose("delete a federation relationship");
        let mut write = Write::begin(self, PURPOSE).await?;
        if !self.remove_relationship(write.connection(), &trust_domain).await? {
            return Err(RelationshipError::NotFound);
        }
        write.note(Event::RelationshipDeleted { trust_domain });
        Ok(Committed { value: (), changes: write.commit(PURPOSE).await? })
    }
}

/// Sets a bundle, whatever there was.
async fn set(write: &mut Write<'_>, bundle: Bundle) -> Result<Arc<Bundle>, StoreError> {
    let store = write.store;
    let present = store.federated_bundle(write.connection(), &bundle.trust_domain).await?;
    put(write, present, bundle).await
}

/// Writes a bundle if it is another one than the present one.
async fn put(write: &mut Write<'_>, present: Option<Bundle>, bundle: Bundle) -> Result<Arc<Bundle>, StoreError> {
    let store = write.store;
    if present.as_ref() == Some(&bundle) {
        return Ok(Arc::new(bundle));
    }
    store.write_federated_bundle(write.connection(), &bundle, present.is_some()).await?;
    let bundle = Arc::new(bundle);
    write.note(Event::FederatedBundle(Arc::clone(&bundle)));
    Ok(bundle)
}
