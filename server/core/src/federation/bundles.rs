//! The bundles of foreign trust domains, as administrators set and agents get them.

use std::sync::Arc;

use plastron_spiffe::{Bundle, TrustDomain};

use super::{Federation, ForeignBundleFault, check};
use crate::audit;
use crate::authorization::{Permit, Rpc, rpc};
use crate::ledger::Write;
use crate::page::{Page, PageRequest, PageTokenError};
use crate::store::{DeleteMode, FederatedBundleError, FederatedBundlePatch, Order};

/// Which values of a bundle are new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of Bundle")]
pub struct BundleFields {
    pub x509_authorities: bool,
    pub jwt_authorities: bool,
    pub refresh_hint: bool,
    pub sequence_number: bool,
}

impl BundleFields {
    fn of(self, bundle: Bundle) -> FederatedBundlePatch {
        FederatedBundlePatch {
            trust_domain: bundle.trust_domain,
            x509_authorities: self.x509_authorities.then_some(bundle.x509_authorities),
            jwt_authorities: self.jwt_authorities.then_some(bundle.jwt_authorities),
            refresh_hint: self.refresh_hint.then_some(bundle.refresh_hint),
            sequence_number: self.sequence_number.then_some(bundle.sequence_number),
        }
    }
}

impl Federation {
    /// How many bundles there are, the server's own among them.
    pub fn count_bundles(&self, _permit: &Permit<rpc::CountBundles>) -> usize {
        let state = self.ledger.state();
        state.count_federated_bundles() + usize::from(state.bundle().is_some())
    }

    /// The bundles of foreign trust domains, by name.
    pub fn list_bundles(
        &self,
        _permit: &Permit<rpc::ListFederatedBundles>,
        page: &PageRequest,
    ) -> Result<Page<Arc<Bundle>>, PageTokenError> {
        let (after, limit) = (page.after_trust_domain()?, page.limit());
        let bundles = self.ledger.state().federated_bundles_after(after.as_ref(), limit.saturating_add(1));
        Ok(Page::gather(bundles.into_iter(), limit, |bundle| bundle.trust_domain.as_str()))
    }

    /// The bundle of a foreign trust domain. Reads no database.
    pub fn get_bundle(
        &self,
        _permit: &Permit<rpc::GetFederatedBundle>,
        trust_domain: &TrustDomain,
    ) -> Result<Arc<Bundle>, SetBundleError> {
        self.foreign(trust_domain, "getting a federated bundle for")?;
        let found = self.ledger.state().federated_bundle(trust_domain);
        found.ok_or(SetBundleError::Store(FederatedBundleError::NotFound))
    }

    /// Adds a bundle, unless there is one.
    pub async fn create_bundle(
        &self,
        permit: &Permit<rpc::BatchCreateFederatedBundle>,
        bundle: Bundle,
    ) -> Result<Arc<Bundle>, SetBundleError> {
        self.foreign(&bundle.trust_domain, "creating a federated bundle for")?;
        let subject = check::describe(&bundle);
        let result = async {
            let bundle = check::checked(bundle)?;
            let create = self.ledger.write(Write::CreateFederatedBundle, move |store| async move {
                store.create_federated_bundle(bundle).await
            });
            Ok(create.await?)
        };
        recorded(permit, "bundle create", &subject, result.await)
    }

    /// Changes what `fields` names of a bundle. The whole of it is checked.
    pub async fn update_bundle(
        &self,
        permit: &Permit<rpc::BatchUpdateFederatedBundle>,
        bundle: Bundle,
        fields: BundleFields,
    ) -> Result<Arc<Bundle>, SetBundleError> {
        self.foreign(&bundle.trust_domain, "updating a federated bundle for")?;
        let subject = check::describe(&bundle);
        let result = async {
            let patch = fields.of(check::checked(bundle)?);
            let update = self.ledger.write(Write::UpdateFederatedBundle, move |store| async move {
                store.update_federated_bundle(patch).await
            });
            Ok(update.await?)
        };
        recorded(permit, "bundle update", &subject, result.await)
    }

    /// Adds a bundle or puts it in the place of the present one, whatever their sequence numbers: a person says so.
    pub async fn set_bundle(
        &self,
        permit: &Permit<rpc::BatchSetFederatedBundle>,
        bundle: Bundle,
    ) -> Result<Arc<Bundle>, SetBundleError> {
        self.foreign(&bundle.trust_domain, "setting a federated bundle for")?;
        let subject = check::describe(&bundle);
        let result = async {
            let bundle = check::checked(bundle)?;
            let set = self.ledger.write(Write::SetFederatedBundle, move |store| async move {
                store.set_federated_bundle(bundle, Order::AsSet).await
            });
            Ok(set.await?)
        };
        recorded(permit, "bundle set", &subject, result.await)
    }

    /// Deletes a bundle, and does with the entries that federate with its trust domain what `mode` says.
    pub async fn delete_bundle(
        &self,
        permit: &Permit<rpc::BatchDeleteFederatedBundle>,
        trust_domain: TrustDomain,
        mode: DeleteMode,
    ) -> Result<(), SetBundleError> {
        if trust_domain == self.trust_domain {
            return Err(SetBundleError::OwnDeleted);
        }
        let subject = format!("{trust_domain}: {mode:?}");
        let result: Result<(), FederatedBundleError> = self
            .ledger
            .write(Write::DeleteFederatedBundle, move |store| async move {
                store.delete_federated_bundle(trust_domain, mode).await
            })
            .await;
        recorded(permit, "bundle delete", &subject, result.map_err(SetBundleError::from))
    }

    fn foreign(&self, trust_domain: &TrustDomain, doing: &'static str) -> Result<(), SetBundleError> {
        if *trust_domain == self.trust_domain { Err(SetBundleError::Own { doing }) } else { Ok(()) }
    }
}

fn recorded<R: Rpc, T, E: std::error::Error>(
    permit: &Permit<R>,
    action: &'static str,
    subject: &str,
    result: Result<T, E>,
) -> Result<T, E> {
    audit::change(permit.identity(), action, subject, &audit::outcome(&result));
    result
}

/// Why a federated bundle is not handed out, kept or deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetBundleError {
    /// The server's own bundle is changed by its CA and by AppendBundle: InvalidArgument.
    #[error("{doing} the server's own trust domain is not allowed")]
    Own {
        /// What was wanted.
        doing: &'static str,
    },
    /// The same, in the words of a deletion: InvalidArgument.
    #[error("removing the bundle for the server trust domain is not allowed")]
    OwnDeleted,
    /// It can't be kept: InvalidArgument.
    #[error("failed to convert bundle")]
    Fault(#[from] ForeignBundleFault),
    /// The store refused it, or failed.
    #[error(transparent)]
    Store(#[from] FederatedBundleError),
}
