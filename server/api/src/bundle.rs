//! `spire.api.server.bundle.v1.Bundle`: the trust domain's bundle, and those of the trust domains that it federates with.

mod route;

use plastron_proto::spire::api::server::bundle::v1::bundle_server::Bundle;
use plastron_proto::spire::api::server::bundle::v1::{
    AppendBundleRequest, BatchCreateFederatedBundleRequest, BatchCreateFederatedBundleResponse,
    BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse, BatchSetFederatedBundleRequest,
    BatchSetFederatedBundleResponse, BatchUpdateFederatedBundleRequest, BatchUpdateFederatedBundleResponse,
    CountBundlesRequest, CountBundlesResponse, GetBundleRequest, GetFederatedBundleRequest,
    ListFederatedBundlesRequest, ListFederatedBundlesResponse, PublishJwtAuthorityRequest, PublishJwtAuthorityResponse,
    PublishWitAuthorityRequest, PublishWitAuthorityResponse, batch_create_federated_bundle_response,
    batch_delete_federated_bundle_response, batch_set_federated_bundle_response,
    batch_update_federated_bundle_response,
};
use plastron_proto::types;
use plastron_server_core::authorization::rpc;
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::convert::bundle::{self, delete_mode, fields, foreign};
use crate::convert::filter;
use crate::status::federation::{FederationFailure, bundle_step, check_count, trust_domain_argument};
use crate::status::{Failure, ok};

pub(crate) use route::{ByMethod, server};

#[derive(Clone)]
pub(crate) struct BundleService(pub(crate) Context);

/// The status and the bundle of one item.
fn outcome(
    result: Result<std::sync::Arc<plastron_spiffe::Bundle>, FederationFailure>,
    mask: Option<&types::BundleMask>,
) -> (Option<types::Status>, Option<types::Bundle>) {
    match result {
        Ok(kept) => (Some(ok()), Some(bundle::to_proto(&kept, mask))),
        Err(failure) => (Some(Failure::from(failure).item()), None),
    }
}

#[tonic::async_trait]
impl Bundle for BundleService {
    async fn get_bundle(&self, request: Request<GetBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        let permit = self.0.permit::<rpc::GetBundle, _>(&request).await?;
        let mask = request.into_inner().output_mask;
        let present = self.0.services.bundles.get(permit);
        Ok(Response::new(bundle::to_proto(&present, mask.as_ref())))
    }

    async fn append_bundle(&self, request: Request<AppendBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        let permit = self.0.permit::<rpc::AppendBundle, _>(&request).await?;
        let AppendBundleRequest { x509_authorities, jwt_authorities, output_mask, wit_authorities } =
            request.into_inner();
        if !wit_authorities.is_empty() {
            return Err(Failure::Unimplemented { what: "a WIT authority" }.into());
        }
        let x509 = x509_authorities.into_iter().map(bundle::x509_authority).collect();
        let jwt = jwt_authorities.into_iter().map(bundle::jwt_authority).collect();
        let appended = self.0.services.bundles.append(permit, x509, jwt).await.map_err(Failure::Bundle)?;
        Ok(Response::new(bundle::to_proto(&appended, output_mask.as_ref())))
    }

    async fn count_bundles(
        &self,
        request: Request<CountBundlesRequest>,
    ) -> Result<Response<CountBundlesResponse>, Status> {
        let permit = self.0.permit::<rpc::CountBundles, _>(&request).await?;
        let count = self.0.services.federation.count_bundles(&permit);
        Ok(Response::new(CountBundlesResponse { count: i32::try_from(count).unwrap_or(i32::MAX) }))
    }

    async fn get_federated_bundle(
        &self,
        request: Request<GetFederatedBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let permit = self.0.permit::<rpc::GetFederatedBundle, _>(&request).await?;
        let GetFederatedBundleRequest { trust_domain, output_mask } = request.into_inner();
        let trust_domain = trust_domain_argument(&trust_domain).map_err(Failure::from)?;
        let found = self.0.services.federation.get_bundle(&permit, &trust_domain);
        let found = found.map_err(bundle_step("failed to fetch bundle")).map_err(Failure::from)?;
        Ok(Response::new(bundle::to_proto(&found, output_mask.as_ref())))
    }

    async fn list_federated_bundles(
        &self,
        request: Request<ListFederatedBundlesRequest>,
    ) -> Result<Response<ListFederatedBundlesResponse>, Status> {
        let permit = self.0.permit::<rpc::ListFederatedBundles, _>(&request).await?;
        let ListFederatedBundlesRequest { output_mask, page_size, page_token } = request.into_inner();
        let page = filter::page(page_size, page_token);
        let page = self.0.services.federation.list_bundles(&permit, &page).map_err(Failure::Page)?;
        let bundles = page.items.iter().map(|item| bundle::to_proto(item, output_mask.as_ref())).collect();
        Ok(Response::new(ListFederatedBundlesResponse { bundles, next_page_token: page.next_token }))
    }

    async fn publish_jwt_authority(
        &self,
        request: Request<PublishJwtAuthorityRequest>,
    ) -> Result<Response<PublishJwtAuthorityResponse>, Status> {
        self.0.turn::<rpc::PublishJwtAuthority, _>(self.0.signing.as_deref(), &request, 1).await?;
        // After the wait, in which the downstream server's entry may have been deleted.
        let permit = self.0.permit::<rpc::PublishJwtAuthority, _>(&request).await?;
        let missing = || Failure::Protocol("missing JWT authority");
        let authority = request.into_inner().jwt_authority.ok_or_else(missing)?;
        let published = self.0.services.nesting.publish_jwt_authority(permit, bundle::jwt_authority(authority)).await;
        let jwt_authorities = bundle::jwt_keys(published.map_err(Failure::Nesting)?.as_ref());
        Ok(Response::new(PublishJwtAuthorityResponse { jwt_authorities }))
    }

    async fn publish_wit_authority(
        &self,
        request: Request<PublishWitAuthorityRequest>,
    ) -> Result<Response<PublishWitAuthorityResponse>, Status> {
        let _permit = self.0.permit::<rpc::PublishWitAuthority, _>(&request).await?;
        Err(Failure::NoWit.into())
    }

    async fn batch_create_federated_bundle(
        &self,
        request: Request<BatchCreateFederatedBundleRequest>,
    ) -> Result<Response<BatchCreateFederatedBundleResponse>, Status> {
        let permit = self.0.permit::<rpc::BatchCreateFederatedBundle, _>(&request).await?;
        let BatchCreateFederatedBundleRequest { bundle, output_mask } = request.into_inner();
        check_count("bundles", bundle.len()).map_err(Failure::from)?;
        let mut results = Vec::with_capacity(bundle.len());
        for item in bundle {
            let created = async {
                let created = self.0.services.federation.create_bundle(&permit, foreign(item)?).await;
                created.map_err(bundle_step("unable to create bundle"))
            };
            let (status, bundle) = outcome(created.await, output_mask.as_ref());
            results.push(batch_create_federated_bundle_response::Result { status, bundle });
        }
        Ok(Response::new(BatchCreateFederatedBundleResponse { results }))
    }

    async fn batch_update_federated_bundle(
        &self,
        request: Request<BatchUpdateFederatedBundleRequest>,
    ) -> Result<Response<BatchUpdateFederatedBundleResponse>, Status> {
        let permit = self.0.permit::<rpc::BatchUpdateFederatedBundle, _>(&request).await?;
        let BatchUpdateFederatedBundleRequest { bundle, input_mask, output_mask } = request.into_inner();
        check_count("bundles", bundle.len()).map_err(Failure::from)?;
        let named = fields(input_mask.as_ref());
        let mut results = Vec::with_capacity(bundle.len());
        for item in bundle {
            let updated = async {
                let updated = self.0.services.federation.update_bundle(&permit, foreign(item)?, named).await;
                updated.map_err(bundle_step("failed to update bundle"))
            };
            let (status, bundle) = outcome(updated.await, output_mask.as_ref());
            results.push(batch_update_federated_bundle_response::Result { status, bundle });
        }
        Ok(Response::new(BatchUpdateFederatedBundleResponse { results }))
    }

    async fn batch_set_federated_bundle(
        &self,
        request: Request<BatchSetFederatedBundleRequest>,
    ) -> Result<Response<BatchSetFederatedBundleResponse>, Status> {
        let permit = self.0.permit::<rpc::BatchSetFederatedBundle, _>(&request).await?;
        let BatchSetFederatedBundleRequest { bundle, output_mask } = request.into_inner();
        check_count("bundles", bundle.len()).map_err(Failure::from)?;
        let mut results = Vec::with_capacity(bundle.len());
        for item in bundle {
            let set = async {
                let set = self.0.services.federation.set_bundle(&permit, foreign(item)?).await;
                set.map_err(bundle_step("failed to set bundle"))
            };
            let (status, bundle) = outcome(set.await, output_mask.as_ref());
            results.push(batch_set_federated_bundle_response::Result { status, bundle });
        }
        Ok(Response::new(BatchSetFederatedBundleResponse { results }))
    }

    async fn batch_delete_federated_bundle(
        &self,
        request: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Result<Response<BatchDeleteFederatedBundleResponse>, Status> {
        let permit = self.0.permit::<rpc::BatchDeleteFederatedBundle, _>(&request).await?;
        let BatchDeleteFederatedBundleRequest { trust_domains, mode } = request.into_inner();
        let mode = delete_mode(mode).map_err(Failure::from)?;
        check_count("bundles", trust_domains.len()).map_err(Failure::from)?;
        let mut results = Vec::with_capacity(trust_domains.len());
        for trust_domain in trust_domains {
            let deleted = async {
                let parsed = trust_domain_argument(&trust_domain)?;
                let deleted = self.0.services.federation.delete_bundle(&permit, parsed, mode).await;
                deleted.map_err(bundle_step("failed to delete federated bundle"))
            };
            let status = Some(deleted.await.map_or_else(|failure| Failure::from(failure).item(), |()| ok()));
            results.push(batch_delete_federated_bundle_response::Result { status, trust_domain });
        }
        Ok(Response::new(BatchDeleteFederatedBundleResponse { results }))
    }
}
