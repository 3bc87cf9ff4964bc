//! AttestAgent: carries the messages of one attestation to and fro. What they mean is the attestor's business, and whether the node is
//! admitted is the admission service's.
//!
//! Bounded in rounds, in idle time, and in attestations at the same time; a node that closes its side ends its attestation.

use std::net::IpAddr;
use std::sync::Arc;

use plastron_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, AttestAgentResponse, attest_agent_request, attest_agent_response,
};
use plastron_proto::types::AttestationData;
use plastron_server_core::admission::{AdmittedAgent, AttestationStep, NodeAdmission};
use plastron_server_core::authorization::{Permit, rpc};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::svid_to_proto;
use crate::limits::{ATTESTATION_IDLE, MAX_ATTESTATION_ROUNDS};
use crate::status::Failure;

type Answer = Result<AttestAgentResponse, Status>;

/// Runs the attestation in a task of its own. Its end, good or bad, is the stream's last message.
pub(super) fn start(
    admission: Arc<NodeAdmission>,
    permit: Permit<rpc::AttestAgent>,
    peer: Option<IpAddr>,
    messages: Streaming<AttestAgentRequest>,
    slot: OwnedSemaphorePermit,
) -> ReceiverStream<Answer> {
    let (answers, stream) = channel(1);
    tokio::spawn(async move {
        let last = match converse(&admission, permit, peer, messages, &answers).await {
            Ok(admitted) => Ok(result(admitted)),
            Err(status) => Err(status),
        };
        // A node that has gone does not hear how it ended; the audit log does.
        let _gone = answers.send(last).await;
        drop(slot);
    });
    ReceiverStream::new(stream)
}

async fn converse(
    admission: &Arc<NodeAdmission>,
    permit: Permit<rpc::AttestAgent>,
    peer: Option<IpAddr>,
    mut messages: Streaming<AttestAgentRequest>,
    answers: &Sender<Answer>,
) -> Result<AdmittedAgent, Status> {
    let (data, csr) = first(next(&mut messages).await?)?;
    let mut attestation = admission.begin(permit, &data.r#type, &csr, peer).map_err(Failure::Admission)?;
    let mut message = data.payload;
    for _round in 0..MAX_ATTESTATION_ROUNDS {
        match attestation.step(&message).await.map_err(Failure::Admission)? {
            AttestationStep::Admitted(admitted) => return Ok(admitted),
            AttestationStep::Challenge(challenge, waiting) => {
                let step = Some(attest_agent_response::Step::Challenge(challenge));
                if answers.send(Ok(AttestAgentResponse { step })).await.is_err() {
                    return Err(Status::cancelled("the node closed the stream"));
                }
                message = response(next(&mut messages).await?)?;
                attestation = waiting;
            }
        }
    }
    Err(Failure::Protocol("the attestation takes too many rounds").into())
}

async fn next(messages: &mut Streaming<AttestAgentRequest>) -> Result<AttestAgentRequest, Status> {
    let idle = || Failure::Idle { what: "the node's next message", seconds: ATTESTATION_IDLE.as_secs() };
    let message = tokio::time::timeout(ATTESTATION_IDLE, messages.message()).await.map_err(|_elapsed| idle())?;
    Ok(message?.ok_or(Failure::Protocol("the node closed the stream before the attestation was over"))?)
}

/// The first message, whole: SPIRE's checks in SPIRE's order.
fn first(message: AttestAgentRequest) -> Result<(AttestationData, Vec<u8>), Failure> {
    let Some(attest_agent_request::Step::Params(params)) = message.step else {
        return Err(Failure::Protocol("malformed param: missing params"));
    };
    let data = params.data.ok_or(Failure::Protocol("malformed param: missing attestation data"))?;
    let AgentX509svidParams { csr } =
        params.params.ok_or(Failure::Protocol("malformed param: missing X509-SVID parameters"))?;
    if csr.is_empty() {
        return Err(Failure::Protocol("malformed param: missing CSR"));
    }
    if data.r#type.is_empty() {
        return Err(Failure::Protocol("malformed param: missing attestation data type"));
    }
    if data.payload.is_empty() {
        return Err(Failure::Protocol("malformed param: missing attestation data payload"));
    }
    Ok((data, csr))
}

fn response(message: AttestAgentRequest) -> Result<Vec<u8>, Failure> {
    match message.step {
        Some(attest_agent_request::Step::ChallengeResponse(response)) if !response.is_empty() => Ok(response),
        Some(attest_agent_request::Step::ChallengeResponse(_) | attest_agent_request::Step::Params(_)) | None => {
            Err(Failure::Protocol("expected a challenge response"))
        }
    }
}

fn result(AdmittedAgent { svid, reattestable }: AdmittedAgent) -> AttestAgentResponse {
    let result = attest_agent_response::Result { svid: Some(svid_to_proto(svid)), reattestable };
    AttestAgentResponse { step: Some(attest_agent_response::Step::Result(result)) }
}
