//! `spire.api.server.bundle.v1.Bundle`: the trust domain's bundle. Federation is not here yet: this server has no foreign bundle, and what
//! would make one is unimplemented.

use plastron_proto::spire::api::server::bundle::v1::bundle_server::Bundle;
use plastron_proto::spire::api::server::bundle::v1::{
    AppendBundleRequest, BatchCreateFederatedBundleRequest, BatchCreateFederatedBundleResponse,
    BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse, BatchSetFederatedBundleRequest,
    BatchSetFederatedBundleResponse, BatchUpdateFederatedBundleRequest, BatchUpdateFederatedBundleResponse,
    CountBundlesRequest, CountBundlesResponse, GetBundleRequest, GetFederatedBundleRequest,
    ListFederatedBundlesRequest, ListFederatedBundlesResponse, PublishJwtAuthorityRequest, PublishJwtAuthorityResponse,
    PublishWitAuthorityRequest, PublishWitAuthorityResponse,
};
use plastron_proto::types;
use plastron_server_core::authorization::rpc;
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::convert::bundle;
use crate::status::Failure;

pub(crate) struct BundleService(pub(crate) Context);

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
        let _permit = self.0.permit::<rpc::CountBundles, _>(&request).await?;
        Ok(Response::new(CountBundlesResponse { count: 1 }))
    }

    async fn get_federated_bundle(
        &self,
        request: Request<GetFederatedBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let _permit = self.0.permit::<rpc::GetFederatedBundle, _>(&request).await?;
        Err(Failure::BundleNotFound.into())
    }

    async fn list_federated_bundles(
        &self,
        request: Request<ListFederatedBundlesRequest>,
    ) -> Result<Response<ListFederatedBundlesResponse>, Status> {
        let _permit = self.0.permit::<rpc::ListFederatedBundles, _>(&request).await?;
        Ok(Response::new(ListFederatedBundlesResponse::default()))
    }

    async fn publish_jwt_authority(
        &self,
        request: Request<PublishJwtAuthorityRequest>,
    ) -> Result<Response<PublishJwtAuthorityResponse>, Status> {
        self.0.unimplemented::<rpc::PublishJwtAuthority, _, _>(&request).await
    }

    async fn publish_wit_authority(
        &self,
        request: Request<PublishWitAuthorityRequest>,
    ) -> Result<Response<PublishWitAuthorityResponse>, Status> {
        self.0.unimplemented::<rpc::PublishWitAuthority, _, _>(&request).await
    }

    async fn batch_create_federated_bundle(
        &self,
        request: Request<BatchCreateFederatedBundleRequest>,
    ) -> Result<Response<BatchCreateFederatedBundleResponse>, Status> {
        self.0.unimplemented::<rpc::BatchCreateFederatedBundle, _, _>(&request).await
    }

    async fn batch_update_federated_bundle(
        &self,
        request: Request<BatchUpdateFederatedBundleRequest>,
    ) -> Result<Response<BatchUpdateFederatedBundleResponse>, Status> {
        self.0.unimplemented::<rpc::BatchUpdateFederatedBundle, _, _>(&request).await
    }

    async fn batch_set_federated_bundle(
        &self,
        request: Request<BatchSetFederatedBundleRequest>,
    ) -> Result<Response<BatchSetFederatedBundleResponse>, Status> {
        self.0.unimplemented::<rpc::BatchSetFederatedBundle, _, _>(&request).await
    }

    async fn batch_delete_federated_bundle(
        &self,
        request: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Result<Response<BatchDeleteFederatedBundleResponse>, Status> {
        self.0.unimplemented::<rpc::BatchDeleteFederatedBundle, _, _>(&request).await
    }
}
