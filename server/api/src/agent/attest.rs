//! AttestAgent: carries the messages of one attestation to and fro. What they mean is the attestor's business, and whether the node is
//! admitted is the admission service's.
//!
//! Bounded in rounds, in idle time, and in attestations at the same time, of which whoever has not sent a first message is none; a node
//! that closes its side ends its attestation. However it ends, there is one audit line.

use std::net::IpAddr;
use std::time::Duration;

use plastron_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, AttestAgentResponse, attest_agent_request, attest_agent_response,
};
use plastron_proto::types::AttestationData;
use plastron_server_core::admission::{AdmittedAgent, AttestationStep};
use plastron_server_core::audit::{self, AttestationOutcome, AttestationVerdict, Verdict};
use plastron_server_core::authorization::{Permit, rpc};
use plastron_transport::Place;
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::svid_to_proto;
use crate::context::Context;
use crate::limits::{ATTESTATION_IDLE, FIRST_MESSAGE_TIMEOUT, MAX_ATTESTATION_ROUNDS, MAX_ATTESTATION_TYPE_LEN};
use crate::status::{Failure, decoded};

type Answer = Result<AttestAgentResponse, Status>;

/// Runs the attestation in a task of its own. Its end, good or bad, is the stream's last message.
pub(super) fn start(
    context: Context,
    permit: Permit<rpc::AttestAgent>,
    peer: Option<IpAddr>,
    messages: Streaming<AttestAgentRequest>,
) -> ReceiverStream<Answer> {
    let (answers, stream) = channel(1);
    tokio::spawn(async move {
        let last = converse(&context, permit, peer, messages, &answers).await.map(result);
        // A node that has gone does not hear how it ended; the audit log does.
        let _gone = answers.send(last).await;
    });
    ReceiverStream::new(stream)
}

async fn converse(
    context: &Context,
    permit: Permit<rpc::AttestAgent>,
    peer: Option<IpAddr>,
    mut messages: Streaming<AttestAgentRequest>,
    answers: &Sender<Answer>,
) -> Result<AdmittedAgent, Status> {
    let opened = open(context, peer, &mut messages).await;
    let (_place, data, csr) = opened.inspect_err(|status| {
        let (attestation_type, outcome) =
            ("", AttestationOutcome::Refused { verdict: verdict(status), reason: status.message() });
        audit::attestation(AttestationVerdict { attestation_type, node: None, peer, checks: &[], outcome });
    })?;
    let admission = &context.services.admission;
    let mut attestation = admission.begin(permit, &data.r#type, &csr, peer).map_err(Failure::Admission)?;
    let mut message = data.payload;
    for _round in 0..MAX_ATTESTATION_ROUNDS {
        match attestation.step(&message).await.map_err(Failure::Admission)? {
            AttestationStep::Admitted(admitted) => return Ok(admitted),
            AttestationStep::Challenge(challenge, waiting) => match ask(challenge, &mut messages, answers).await {
                Ok(response) => (message, attestation) = (response, waiting),
                Err(status) => {
                    waiting.abandon(verdict(&status), status.message());
                    return Err(status);
                }
            },
        }
    }
    let failure = Failure::Protocol("the attestation takes too many rounds");
    attestation.abandon(Verdict::Untrusted, &failure.to_string());
    Err(failure.into())
}

/// What is known of a node whose attestation ends without a word of its attestor. One that is silent, gone or one too many was not judged.
fn verdict(status: &Status) -> Verdict {
    match status.code() {
        Code::InvalidArgument => Verdict::Untrusted,
        Code::Internal => Verdict::Error,
        _not_judged => Verdict::Indeterminate,
    }
}

/// The first message, and a place for what it begins.
async fn open(
    context: &Context,
    peer: Option<IpAddr>,
    messages: &mut Streaming<AttestAgentRequest>,
) -> Result<(Place<IpAddr>, AttestationData, Vec<u8>), Status> {
    let message = next(messages, FIRST_MESSAGE_TIMEOUT).await?;
    let place = context.attestations.begin(peer)?;
    let (data, csr) = first(message)?;
    Ok((place, data, csr))
}

/// The node's response to a challenge.
async fn ask(
    challenge: Vec<u8>,
    messages: &mut Streaming<AttestAgentRequest>,
    answers: &Sender<Answer>,
) -> Result<Vec<u8>, Status> {
    let step = Some(attest_agent_response::Step::Challenge(challenge));
    let gone = |_error| Status::cancelled("the node closed the stream");
    answers.send(Ok(AttestAgentResponse { step })).await.map_err(gone)?;
    Ok(response(next(messages, ATTESTATION_IDLE).await?)?)
}

async fn next(messages: &mut Streaming<AttestAgentRequest>, limit: Duration) -> Result<AttestAgentRequest, Status> {
    let idle = || Failure::Idle { what: "the node's next message", seconds: limit.as_secs() };
    let message = tokio::time::timeout(limit, messages.message()).await.map_err(|_elapsed| idle())?;
    Ok(message
        .map_err(decoded)?
        .ok_or(Failure::Protocol("the node closed the stream before the attestation was over"))?)
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
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if data.r#type.len() > MAX_ATTESTATION_TYPE_LEN || !data.r#type.bytes().all(name) {
        return Err(Failure::Protocol(
            "malformed param: attestation data type is not 1 to 64 letters, digits, dashes and underscores",
        ));
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
