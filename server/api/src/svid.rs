//! `spire.api.server.svid.v1.SVID`: SVIDs for the workloads of an agent, and for whom an administrator names. Also the CAs of
//! downstream servers. WIT-SVIDs are not here yet and say so.

use plastron_proto::spire::api::server::svid::v1::svid_server::Svid;
use plastron_proto::spire::api::server::svid::v1::{
    BatchNewWitsvidRequest, BatchNewWitsvidResponse, BatchNewX509svidRequest, BatchNewX509svidResponse,
    MintJwtsvidRequest, MintJwtsvidResponse, MintWitsvidRequest, MintWitsvidResponse, MintX509svidRequest,
    MintX509svidResponse, NewDownstreamX509caRequest, NewDownstreamX509caResponse, NewJwtsvidRequest,
    NewJwtsvidResponse, NewX509svidParams, batch_new_x509svid_response,
};
use plastron_proto::types::Jwtsvid;
use plastron_server_core::audit::Recorded;
use plastron_server_core::authorization::{Rpc, rpc};
use plastron_server_core::ca::IssuedJwt;
use plastron_server_core::issuance::{BatchRefusal, SvidRequest};
use plastron_server_core::limits::MAX_SVIDS_PER_CALL;
use tonic::{Request, Response, Status};

use crate::agent::svid_to_proto;
use crate::batch::{Split, merge};
use crate::context::Context;
use crate::convert;
use crate::status::{Failure, ok};

pub(crate) struct SvidService(pub(crate) Context);

impl SvidService {
    /// SPIRE says so before it looks at anything else of the request.
    fn jwt_enabled(&self) -> Result<(), Failure> {
        if self.0.services.ca.jwt_authority().is_some() { Ok(()) } else { Err(Failure::JwtDisabled) }
    }

    /// Whoever may not call learns nothing more.
    async fn no_wit<R: Rpc, T, U>(&self, request: &Request<T>) -> Result<U, Status> {
        let _permit = self.0.permit::<R, T>(request).await?;
        Err(Failure::WitDisabled.into())
    }
}

fn jwt_to_proto(token: Recorded<IssuedJwt>) -> Jwtsvid {
    let IssuedJwt { id, token, key_id: _, issued_at, expires_at, jti: _ } = token.into_inner();
    let seconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    Jwtsvid {
        token,
        id: Some(convert::spiffe_id_to_proto(&id)),
        expires_at: seconds(expires_at),
        issued_at: seconds(issued_at),
        hint: String::new(),
    }
}

fn svid_request(NewX509svidParams { entry_id, csr }: NewX509svidParams) -> Result<SvidRequest, Failure> {
    if entry_id.is_empty() {
        return Err(Failure::Protocol("missing entry ID"));
    }
    if csr.is_empty() {
        return Err(Failure::Protocol("missing CSR"));
    }
    Ok(SvidRequest { entry_id, csr })
}

#[tonic::async_trait]
impl Svid for SvidService {
    async fn batch_new_x509svid(
        &self,
        request: Request<BatchNewX509svidRequest>,
    ) -> Result<Response<BatchNewX509svidResponse>, Status> {
        let count = request.get_ref().params.len();
        if count > MAX_SVIDS_PER_CALL {
            return Err(Failure::Batch(BatchRefusal::TooLarge { got: count }).into());
        }
        self.0.turn::<rpc::BatchNewX509Svid, _>(self.0.signing.as_deref(), &request, count).await?;
        // After the wait, in which the agent may have been banned.
        let permit = self.0.permit::<rpc::BatchNewX509Svid, _>(&request).await?;
        if count == 0 {
            return Err(Failure::Protocol("missing parameters").into());
        }
        let Split { good, refused } = Split::of(request.into_inner().params.into_iter().map(svid_request));
        let issued = self.0.services.issuance.batch_new_x509_svid(permit, good).await.map_err(Failure::Batch)?;
        // A Go agent wants a status on every item, good ones included.
        let results = merge(refused, issued.into_iter().map(|result| result.map_err(Failure::Svid)).collect());
        let results = results.map(|result| match result {
            Ok(svid) => batch_new_x509svid_response::Result { status: Some(ok()), svid: Some(svid_to_proto(svid)) },
            Err(failure) => {
                failure.log_if_ours();
                batch_new_x509svid_response::Result { status: Some(failure.item()), svid: None }
            }
        });
        Ok(Response::new(BatchNewX509svidResponse { results: results.collect() }))
    }

    async fn mint_x509svid(
        &self,
        request: Request<MintX509svidRequest>,
    ) -> Result<Response<MintX509svidResponse>, Status> {
        let permit = self.0.permit::<rpc::MintX509Svid, _>(&request).await?;
        let MintX509svidRequest { csr, ttl } = request.into_inner();
        let svid = self.0.services.minting.mint_x509_svid(permit, &csr, ttl).await.map_err(Failure::Mint)?;
        Ok(Response::new(MintX509svidResponse { svid: Some(svid_to_proto(svid)) }))
    }

    async fn mint_jwtsvid(
        &self,
        request: Request<MintJwtsvidRequest>,
    ) -> Result<Response<MintJwtsvidResponse>, Status> {
        let permit = self.0.permit::<rpc::MintJwtSvid, _>(&request).await?;
        self.jwt_enabled()?;
        let MintJwtsvidRequest { id, audience, ttl } = request.into_inner();
        let invalid = |source| Failure::Request { step: "invalid SPIFFE ID", source };
        let id = convert::workload_id(id, self.0.trust_domain()).map_err(invalid)?;
        let minted = self.0.services.minting.mint_jwt_svid(permit, &id, audience, ttl).await.map_err(Failure::Mint)?;
        Ok(Response::new(MintJwtsvidResponse { svid: Some(jwt_to_proto(minted)) }))
    }

    async fn mint_witsvid(
        &self,
        request: Request<MintWitsvidRequest>,
    ) -> Result<Response<MintWitsvidResponse>, Status> {
        self.no_wit::<rpc::MintWitSvid, _, _>(&request).await
    }

    async fn new_jwtsvid(&self, request: Request<NewJwtsvidRequest>) -> Result<Response<NewJwtsvidResponse>, Status> {
        self.0.turn::<rpc::NewJwtSvid, _>(self.0.signing.as_deref(), &request, 1).await?;
        // After the wait, in which the agent may have been banned.
        let permit = self.0.permit::<rpc::NewJwtSvid, _>(&request).await?;
        self.jwt_enabled()?;
        let NewJwtsvidRequest { entry_id, audience } = request.into_inner();
        let issued = self.0.services.issuance.new_jwt_svid(permit, &entry_id, audience).await.map_err(Failure::Jwt)?;
        Ok(Response::new(NewJwtsvidResponse { svid: Some(jwt_to_proto(issued)) }))
    }

    async fn batch_new_witsvid(
        &self,
        request: Request<BatchNewWitsvidRequest>,
    ) -> Result<Response<BatchNewWitsvidResponse>, Status> {
        self.no_wit::<rpc::BatchNewWitSvid, _, _>(&request).await
    }

    async fn new_downstream_x509ca(
        &self,
        request: Request<NewDownstreamX509caRequest>,
    ) -> Result<Response<NewDownstreamX509caResponse>, Status> {
        self.0.turn::<rpc::NewDownstreamX509Ca, _>(self.0.signing.as_deref(), &request, 1).await?;
        // After the wait, in which the downstream server's entry may have been deleted.
        let permit = self.0.permit::<rpc::NewDownstreamX509Ca, _>(&request).await?;
        let NewDownstreamX509caRequest { csr, preferred_ttl } = request.into_inner();
        let issued = self.0.services.nesting.new_downstream_x509_ca(permit, &csr, preferred_ttl).await;
        let (ca, bundle) = issued.map_err(Failure::Nesting)?;
        let x509_authorities = bundle.x509_authorities.iter().map(|authority| authority.certificate.clone()).collect();
        Ok(Response::new(NewDownstreamX509caResponse { ca_cert_chain: ca.into_inner().chain, x509_authorities }))
    }
}
