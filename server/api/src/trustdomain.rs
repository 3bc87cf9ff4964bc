//! `spire.api.server.trustdomain.v1.TrustDomain`: how the bundles of foreign trust domains are fetched, as set at run time.

use plastron_proto::spire::api::server::trustdomain::v1::trust_domain_server::TrustDomain;
use plastron_proto::spire::api::server::trustdomain::v1::{
    BatchCreateFederationRelationshipRequest, BatchCreateFederationRelationshipResponse,
    BatchDeleteFederationRelationshipRequest, BatchDeleteFederationRelationshipResponse,
    BatchUpdateFederationRelationshipRequest, BatchUpdateFederationRelationshipResponse,
    GetFederationRelationshipRequest, ListFederationRelationshipsRequest, ListFederationRelationshipsResponse,
    RefreshBundleRequest, batch_create_federation_relationship_response, batch_delete_federation_relationship_response,
    batch_update_federation_relationship_response,
};
use plastron_proto::types::{self, FederationRelationshipMask};
use plastron_server_core::authorization::rpc;
use plastron_server_core::store::{RelationshipError, RelationshipWithBundle};
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::convert::{filter, relationship};
use crate::status::federation::{FederationFailure, check_count, relationship_step, trust_domain};
use crate::status::{Failure, ok};

pub(crate) struct TrustDomainService(pub(crate) Context);

/// The status and the relationship of one item.
fn outcome(
    result: Result<RelationshipWithBundle, FederationFailure>,
    mask: Option<&FederationRelationshipMask>,
) -> (Option<types::Status>, Option<types::FederationRelationship>) {
    match result {
        Ok(kept) => (Some(ok()), Some(relationship::to_proto(&kept, mask))),
        Err(failure) => (Some(Failure::from(failure).item()), None),
    }
}

#[tonic::async_trait]
impl TrustDomain for TrustDomainService {
    async fn list_federation_relationships(
        &self,
        request: Request<ListFederationRelationshipsRequest>,
    ) -> Result<Response<ListFederationRelationshipsResponse>, Status> {
        let permit = self.0.permit::<rpc::ListFederationRelationships, _>(&request).await?;
        let ListFederationRelationshipsRequest { output_mask, page_size, page_token } = request.into_inner();
        let page = filter::page(page_size, page_token);
        let page = self.0.services.federation.list_relationships(&permit, &page).map_err(Failure::Page)?;
        let found = page.items.iter().map(|item| relationship::to_proto(item, output_mask.as_ref())).collect();
        Ok(Response::new(ListFederationRelationshipsResponse {
            federation_relationships: found,
            next_page_token: page.next_token,
        }))
    }

    async fn get_federation_relationship(
        &self,
        request: Request<GetFederationRelationshipRequest>,
    ) -> Result<Response<types::FederationRelationship>, Status> {
        let permit = self.0.permit::<rpc::GetFederationRelationship, _>(&request).await?;
        let GetFederationRelationshipRequest { trust_domain: name, output_mask } = request.into_inner();
        let trust_domain = trust_domain(&name).map_err(Failure::from)?;
        let found = self.0.services.federation.get_relationship(&permit, &trust_domain);
        let found = found.map_err(|error| match error {
            RelationshipError::NotFound => Failure::NoRelationship,
            error => FederationFailure::Relationship(error.into()).into(),
        })?;
        Ok(Response::new(relationship::to_proto(&found, output_mask.as_ref())))
    }

    async fn batch_create_federation_relationship(
        &self,
        request: Request<BatchCreateFederationRelationshipRequest>,
    ) -> Result<Response<BatchCreateFederationRelationshipResponse>, Status> {
        let permit = self.0.permit::<rpc::BatchCreateFederationRelationship, _>(&request).await?;
        let BatchCreateFederationRelationshipRequest { federation_relationships, output_mask } = request.into_inner();
        check_count("federation relationships", federation_relationships.len()).map_err(Failure::from)?;
        let mut results = Vec::with_capacity(federation_relationships.len());
        for item in federation_relationships {
            let created = async {
                let (wanted, bundle) = relationship::from_proto(item)?;
                let created = self.0.services.federation.create_relationship(&permit, wanted, bundle).await;
                created.map_err(relationship_step("failed to create federation relationship"))
            };
            let (status, federation_relationship) = outcome(created.await, output_mask.as_ref());
            results.push(batch_create_federation_relationship_response::Result { status, federation_relationship });
        }
        Ok(Response::new(BatchCreateFederationRelationshipResponse { results }))
    }

    async fn batch_update_federation_relationship(
        &self,
        request: Request<BatchUpdateFederationRelationshipRequest>,
    ) -> Result<Response<BatchUpdateFederationRelationshipResponse>, Status> {
        let permit = self.0.permit::<rpc::BatchUpdateFederationRelationship, _>(&request).await?;
        let BatchUpdateFederationRelationshipRequest { federation_relationships, input_mask, output_mask } =
            request.into_inner();
        check_count("federation relationships", federation_relationships.len()).map_err(Failure::from)?;
        let mut results = Vec::with_capacity(federation_relationships.len());
        for item in federation_relationships {
            let updated = async {
                let patch = relationship::to_patch(relationship::from_proto(item)?, input_mask.as_ref());
                let updated = self.0.services.federation.update_relationship(&permit, patch).await;
                updated.map_err(relationship_step("failed to update federation relationship"))
            };
            let (status, federation_relationship) = outcome(updated.await, output_mask.as_ref());
            results.push(batch_update_federation_relationship_response::Result { status, federation_relationship });
        }
        Ok(Response::new(BatchUpdateFederationRelationshipResponse { results }))
    }

    async fn batch_delete_federation_relationship(
        &self,
        request: Request<BatchDeleteFederationRelationshipRequest>,
    ) -> Result<Response<BatchDeleteFederationRelationshipResponse>, Status> {
        let permit = self.0.permit::<rpc::BatchDeleteFederationRelationship, _>(&request).await?;
        let names = request.into_inner().trust_domains;
        check_count("federation relationships", names.len()).map_err(Failure::from)?;
        let mut results = Vec::with_capacity(names.len());
        for mut name in names {
            let deleted = async {
                if name.is_empty() {
                    return Err(FederationFailure::NoTrustDomain);
                }
                let parsed = trust_domain(&name)?;
                parsed.as_str().clone_into(&mut name);
                let deleted = self.0.services.federation.delete_relationship(&permit, parsed).await;
                deleted.map_err(|error| relationship_step("failed to delete federation relationship")(error.into()))
            };
            let status = Some(deleted.await.map_or_else(|failure| Failure::from(failure).item(), |()| ok()));
            results.push(batch_delete_federation_relationship_response::Result { status, trust_domain: name });
        }
        Ok(Response::new(BatchDeleteFederationRelationshipResponse { results }))
    }

    async fn refresh_bundle(&self, request: Request<RefreshBundleRequest>) -> Result<Response<()>, Status> {
        let permit = self.0.permit::<rpc::RefreshBundle, _>(&request).await?;
        let trust_domain = trust_domain(&request.into_inner().trust_domain).map_err(Failure::from)?;
        let refreshed = self.0.services.federation.refresh(permit, &trust_domain).await;
        refreshed.map_err(FederationFailure::from).map_err(Failure::from)?;
        Ok(Response::new(()))
    }
}
