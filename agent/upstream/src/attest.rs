//! The AttestAgent stream: one request, then strictly one response per challenge, until the server has a result.

use plastron_agent_core::upstream::{AttestResult, NodeAttestation, UpstreamError};
use plastron_plugins::node::AgentConversation;
use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use plastron_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, AttestAgentResponse, attest_agent_request, attest_agent_response,
};
use plastron_proto::types::AttestationData;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tonic::transport::Channel;

use crate::status::bounded;
use crate::{bundles, convert};

const RPC: &str = "AttestAgent";
/// Most challenges in one conversation: one is usual, and logs of 4 MiB go in chunks of 3.
const MAX_CHALLENGES: usize = 64;

/// Attests, then fetches the bundle over the same connection.
pub(crate) async fn attest(
    server: &str,
    channel: Channel,
    attestation: NodeAttestation<'_>,
    csr: &[u8],
) -> Result<AttestResult, UpstreamError> {
    let NodeAttestation { kind, conversation } = attestation;
    let payload = conversation.payload().await?;
    if payload.is_empty() {
        return Err(malformed("our own attestor made an empty payload"));
    }
    let params = attest_agent_request::Params {
        data: Some(AttestationData { r#type: kind.to_owned(), payload }),
        params: Some(AgentX509svidParams { csr: csr.to_vec() }),
    };
    let (requests, stream) = mpsc::channel(1);
    send(&requests, attest_agent_request::Step::Params(params)).await;
    let mut client = AgentClient::new(channel.clone());
    let call = client.attest_agent(ReceiverStream::new(stream));
    let replies = bounded(server, RPC, call).await?.into_inner();
    let attest_agent_response::Result { svid, reattestable } =
        converse(server, &requests, replies, conversation).await?;
    drop(requests);
    let chain = convert::chain(RPC, svid)?;
    let bundle = bundles::own(server, channel).await?;
    Ok(AttestResult { chain, reattestable, bundle })
}

/// Answers each challenge until there is a result.
async fn converse(
    server: &str,
    requests: &mpsc::Sender<AttestAgentRequest>,
    mut replies: impl Stream<Item = Result<AttestAgentResponse, Status>> + Unpin,
    conversation: &mut dyn AgentConversation,
) -> Result<attest_agent_response::Result, UpstreamError> {
    let mut challenges = 0;
    loop {
        let reply = bounded(server, RPC, async { replies.next().await.transpose() }).await?;
        let challenge = match reply.and_then(|reply| reply.step) {
            Some(attest_agent_response::Step::Result(result)) => return Ok(result),
            Some(attest_agent_response::Step::Challenge(challenge)) => challenge,
            None => return Err(malformed("the stream ended without a result")),
        };
        challenges += 1;
        if challenge.is_empty() || challenges > MAX_CHALLENGES {
            return Err(malformed("an empty challenge, or one too many"));
        }
        let response = conversation.respond(&challenge).await?;
        if response.is_empty() {
            return Err(malformed("our own attestor made an empty response"));
        }
        send(requests, attest_agent_request::Step::ChallengeResponse(response)).await;
    }
}

/// Where the call has ended already, the next reply tells why.
async fn send(requests: &mpsc::Sender<AttestAgentRequest>, step: attest_agent_request::Step) {
    let _ended = requests.send(AttestAgentRequest { step: Some(step) }).await;
}

fn malformed(reason: &str) -> UpstreamError {
    UpstreamError::MalformedReply { rpc: RPC, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
