//! `spire.api.server.localauthority.v1.LocalAuthority`: this server's own authorities, shown and moved. What may be done to which is
//! `server_core::local_authority`'s decision. WIT authorities are not here, and say so in SPIRE's words.

use plastron_proto::spire::api::server::localauthority::v1 as proto;
use plastron_proto::spire::api::server::localauthority::v1::local_authority_server::LocalAuthority;
use plastron_server_core::authorization::{Rpc, rpc};
use plastron_server_core::local_authority::{AuthorityState, AuthoritySummary};
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::status::Failure;

pub(crate) struct LocalAuthorityService(pub(crate) Context);

fn to_proto(summary: AuthoritySummary) -> proto::AuthorityState {
    let AuthoritySummary { authority_id, expires_at, upstream_authority_subject_key_id } = summary;
    proto::AuthorityState { authority_id, expires_at, upstream_authority_subject_key_id }
}

impl LocalAuthorityService {
    /// Whoever may not call learns nothing more.
    async fn no_wit<R: Rpc, T, U>(&self, request: &Request<T>) -> Result<U, Status> {
        let _permit = self.0.permit::<R, T>(request).await?;
        Err(Failure::NoWit.into())
    }
}

#[tonic::async_trait]
impl LocalAuthority for LocalAuthorityService {
    async fn get_jwt_authority_state(
        &self,
        request: Request<proto::GetJwtAuthorityStateRequest>,
    ) -> Result<Response<proto::GetJwtAuthorityStateResponse>, Status> {
        let permit = self.0.permit::<rpc::GetJwtAuthorityState, _>(&request).await?;
        let state = self.0.services.local_authorities.jwt_state(permit).map_err(Failure::LocalAuthority)?;
        let AuthorityState { active, prepared, old } = state;
        let (active, prepared, old) = (Some(to_proto(active)), prepared.map(to_proto), old.map(to_proto));
        Ok(Response::new(proto::GetJwtAuthorityStateResponse { active, prepared, old }))
    }

    async fn prepare_jwt_authority(
        &self,
        request: Request<proto::PrepareJwtAuthorityRequest>,
    ) -> Result<Response<proto::PrepareJwtAuthorityResponse>, Status> {
        let permit = self.0.permit::<rpc::PrepareJwtAuthority, _>(&request).await?;
        let authorities = &self.0.services.local_authorities;
        let prepared = authorities.prepare_jwt(permit).await.map_err(Failure::LocalAuthority)?;
        Ok(Response::new(proto::PrepareJwtAuthorityResponse { prepared_authority: Some(to_proto(prepared)) }))
    }

    async fn activate_jwt_authority(
        &self,
        request: Request<proto::ActivateJwtAuthorityRequest>,
    ) -> Result<Response<proto::ActivateJwtAuthorityResponse>, Status> {
        let permit = self.0.permit::<rpc::ActivateJwtAuthority, _>(&request).await?;
        let (authorities, id) = (&self.0.services.local_authorities, request.into_inner().authority_id);
        let activated = authorities.activate_jwt(permit, &id).await.map_err(Failure::LocalAuthority)?;
        Ok(Response::new(proto::ActivateJwtAuthorityResponse { activated_authority: Some(to_proto(activated)) }))
    }

    async fn taint_jwt_authority(
        &self,
        request: Request<proto::TaintJwtAuthorityRequest>,
    ) -> Result<Response<proto::TaintJwtAuthorityResponse>, Status> {
        let permit = self.0.permit::<rpc::TaintJwtAuthority, _>(&request).await?;
        let (authorities, id) = (&self.0.services.local_authorities, request.into_inner().authority_id);
        let tainted = authorities.taint_jwt(permit, &id).await.map_err(Failure::LocalAuthority)?;
        Ok(Response::new(proto::TaintJwtAuthorityResponse { tainted_authority: Some(to_proto(tainted)) }))
    }

    async fn revoke_jwt_authority(
        &self,
        request: Request<proto::RevokeJwtAuthorityRequest>,
    ) -> Result<Response<proto::RevokeJwtAuthorityResponse>, Status> {
        let permit = self.0.permit::<rpc::RevokeJwtAuthority, _>(&request).await?;
        let (authorities, id) = (&self.0.services.local_authorities, request.into_inner().authority_id);
        let revoked = authorities.revoke_jwt(permit, &id).await.map_err(Failure::LocalAuthority)?;
        Ok(Response::new(proto::RevokeJwtAuthorityResponse { revoked_authority: Some(to_proto(revoked)) }))
    }

    async fn get_x509_authority_state(
        &self,
        request: Request<proto::GetX509AuthorityStateRequest>,
    ) -> Result<Response<proto::GetX509AuthorityStateResponse>, Status> {
        let permit = self.0.permit::<rpc::GetX509AuthorityState, _>(&request).await?;
        let state = self.0.services.local_authorities.x509_state(permit).map_err(Failure::LocalAuthority)?;
        let AuthorityState { active, prepared, old } = state;
        let (active, prepared, old) = (Some(to_proto(active)), prepared.map(to_proto), old.map(to_proto));
        Ok(Response::new(proto::GetX509AuthorityStateResponse { active, prepared, old }))
    }

    async fn prepare_x509_authority(
        &self,
        request: Request<proto::PrepareX509AuthorityRequest>,
    ) -> Result<Response<proto::PrepareX509AuthorityResponse>, Status> {
        let permit = self.0.permit::<rpc::PrepareX509Authority, _>(&request).await?;
        let authorities = &self.0.services.local_authorities;
        let prepared = authorities.prepare_x509(permit).await.map_err(Failure::LocalAuthority)?;
        Ok(Response::new(proto::PrepareX509AuthorityResponse { prepared_authority: Some(to_proto(prepared)) }))
    }

    async fn activate_x509_authority(
        &self,
        request: Request<proto::ActivateX509AuthorityRequest>,
    ) -> Result<Response<proto::ActivateX509AuthorityResponse>, Status> {
        let permit = self.0.permit::<rpc::ActivateX509Authority, _>(&request).await?;
        let (authorities, id) = (&self.0.services.local_authorities, request.into_inner().authority_id);
        let activated = authorities.activate_x509(permit, &id).await.map_err(Failure::LocalAuthority)?;
        Ok(Response::new(proto::ActivateX509AuthorityResponse { activated_authority: Some(to_proto(activated)) }))
    }

    async fn taint_x509_authority(
        &self,
        request: Request<proto::TaintX509AuthorityRequest>,
    ) -> Result<Response<proto::TaintX509AuthorityResponse>, Status> {
        let permit = self.0.permit::<rpc::TaintX509Authority, _>(&request).await?;
        let (authorities, id) = (&self.0.services.local_authorities, request.into_inner().authority_id);
        let tainted = authorities.taint_x509(permit, &id).await.map_err(Failure::LocalAuthority)?;
        Ok(Response::new(proto::TaintX509AuthorityResponse { tainted_authority: Some(to_proto(tainted)) }))
    }

    async fn revoke_x509_authority(
        &self,
        request: Request<proto::RevokeX509AuthorityRequest>,
    ) -> Result<Response<proto::RevokeX509AuthorityResponse>, Status> {
        let permit = self.0.permit::<rpc::RevokeX509Authority, _>(&request).await?;
        let (authorities, id) = (&self.0.services.local_authorities, request.into_inner().authority_id);
        let revoked = authorities.revoke_x509(permit, &id).await.map_err(Failure::LocalAuthority)?;
        Ok(Response::new(proto::RevokeX509AuthorityResponse { revoked_authority: Some(to_proto(revoked)) }))
    }

    async fn taint_x509_upstream_authority(
        &self,
        request: Request<proto::TaintX509UpstreamAuthorityRequest>,
    ) -> Result<Response<proto::TaintX509UpstreamAuthorityResponse>, Status> {
        let permit = self.0.permit::<rpc::TaintX509UpstreamAuthority, _>(&request).await?;
        let (authorities, id) = (&self.0.services.local_authorities, request.into_inner().subject_key_id);
        let id = authorities.taint_x509_upstream(permit, &id).await.map_err(Failure::LocalAuthority)?;
        Ok(Response::new(proto::TaintX509UpstreamAuthorityResponse { upstream_authority_subject_key_id: id }))
    }

    async fn revoke_x509_upstream_authority(
        &self,
        request: Request<proto::RevokeX509UpstreamAuthorityRequest>,
    ) -> Result<Response<proto::RevokeX509UpstreamAuthorityResponse>, Status> {
        let permit = self.0.permit::<rpc::RevokeX509UpstreamAuthority, _>(&request).await?;
        let (authorities, id) = (&self.0.services.local_authorities, request.into_inner().subject_key_id);
        let id = authorities.revoke_x509_upstream(permit, &id).await.map_err(Failure::LocalAuthority)?;
        Ok(Response::new(proto::RevokeX509UpstreamAuthorityResponse { upstream_authority_subject_key_id: id }))
    }

    async fn get_wit_authority_state(
        &self,
        request: Request<proto::GetWitAuthorityStateRequest>,
    ) -> Result<Response<proto::GetWitAuthorityStateResponse>, Status> {
        self.no_wit::<rpc::GetWitAuthorityState, _, _>(&request).await
    }

    async fn prepare_wit_authority(
        &self,
        request: Request<proto::PrepareWitAuthorityRequest>,
    ) -> Result<Response<proto::PrepareWitAuthorityResponse>, Status> {
        self.no_wit::<rpc::PrepareWitAuthority, _, _>(&request).await
    }

    async fn activate_wit_authority(
        &self,
        request: Request<proto::ActivateWitAuthorityRequest>,
    ) -> Result<Response<proto::ActivateWitAuthorityResponse>, Status> {
        self.no_wit::<rpc::ActivateWitAuthority, _, _>(&request).await
    }

    async fn taint_wit_authority(
        &self,
        request: Request<proto::TaintWitAuthorityRequest>,
    ) -> Result<Response<proto::TaintWitAuthorityResponse>, Status> {
        self.no_wit::<rpc::TaintWitAuthority, _, _>(&request).await
    }

    async fn revoke_wit_authority(
        &self,
        request: Request<proto::RevokeWitAuthorityRequest>,
    ) -> Result<Response<proto::RevokeWitAuthorityResponse>, Status> {
        self.no_wit::<rpc::RevokeWitAuthority, _, _>(&request).await
    }
}
