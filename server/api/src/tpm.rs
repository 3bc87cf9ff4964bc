//! `plastron.server.tpm.v1.Tpm`: TPMs that wait for a person. Ours; SPIRE has nothing of the kind.

use plastron_proto::plastron::server::tpm::v1 as proto;
use plastron_proto::plastron::server::tpm::v1::tpm_server::Tpm;
use plastron_server_core::authorization::rpc;
use plastron_server_core::store::{Decision, PendingTpm};
use plastron_spiffe::SpiffeId;
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::convert::ConvertError;
use crate::status::Failure;

pub(crate) struct TpmService(pub(crate) Context);

#[tonic::async_trait]
impl Tpm for TpmService {
    async fn list_pending(
        &self,
        request: Request<proto::ListPendingRequest>,
    ) -> Result<Response<proto::ListPendingResponse>, Status> {
        let permit = self.0.permit::<rpc::ListPendingTpms, _>(&request).await?;
        let pending = self.0.services.pending.list(permit).await.map_err(Failure::PendingList)?;
        Ok(Response::new(proto::ListPendingResponse { pending: pending.iter().map(to_proto).collect() }))
    }

    async fn approve_pending(
        &self,
        request: Request<proto::DecideRequest>,
    ) -> Result<Response<proto::PendingTpm>, Status> {
        let permit = self.0.permit::<rpc::ApprovePendingTpm, _>(&request).await?;
        let (id, reason) = read(request.into_inner())?;
        let approved = self.0.services.pending.approve(permit, id, reason).await.map_err(Failure::Decide)?;
        Ok(Response::new(to_proto(&approved)))
    }

    async fn reject_pending(
        &self,
        request: Request<proto::DecideRequest>,
    ) -> Result<Response<proto::PendingTpm>, Status> {
        let permit = self.0.permit::<rpc::RejectPendingTpm, _>(&request).await?;
        let (id, reason) = read(request.into_inner())?;
        let rejected = self.0.services.pending.reject(permit, id, reason).await.map_err(Failure::Decide)?;
        Ok(Response::new(to_proto(&rejected)))
    }
}

fn read(request: proto::DecideRequest) -> Result<(SpiffeId, String), Failure> {
    let proto::DecideRequest { spiffe_id, reason } = request;
    let invalid = |source| Failure::Request { step: "invalid SPIFFE ID", source };
    let id = SpiffeId::parse(&spiffe_id).map_err(|source| invalid(ConvertError::Id(source)))?;
    Ok((id, reason))
}

fn to_proto(pending: &PendingTpm) -> proto::PendingTpm {
    let PendingTpm { id, asks_for, proved, source, first_seen, last_seen, attempts, decision } = pending;
    let undecided = || Decided { state: "pending".to_owned(), by: String::new(), at: 0, reason: String::new() };
    let decided = decision.as_ref().map_or_else(undecided, |decision| {
        let Decision { verdict, by, at, reason } = decision;
        Decided { state: verdict.to_string(), by: by.clone(), at: *at, reason: reason.clone() }
    });
    let claim = |claim: &Option<String>| claim.clone().unwrap_or_default();
    proto::PendingTpm {
        spiffe_id: id.to_string(),
        asks_for: asks_for.to_string(),
        pool: proved.pool.clone(),
        ak_name: proved.ak_name().map(|name| name.to_string()).unwrap_or_default(),
        source: source.clone(),
        claimed_host_name: claim(&proved.claimed.claimed_host_name),
        claimed_model: claim(&proved.claimed.claimed_model),
        claimed_firmware: claim(&proved.claimed.claimed_firmware),
        first_seen: *first_seen,
        last_seen: *last_seen,
        attempts: *attempts,
        state: decided.state,
        decided_by: decided.by,
        decided_at: decided.at,
        reason: decided.reason,
    }
}

struct Decided {
    state: String,
    by: String,
    at: i64,
    reason: String,
}
