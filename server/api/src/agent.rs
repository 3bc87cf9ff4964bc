//! `spire.api.server.agent.v1.Agent`: admission and administration of nodes.

mod attest;

use plastron_proto::spire::api::server::agent::v1::agent_server::Agent;
use plastron_proto::spire::api::server::agent::v1::{
    AttestAgentRequest, AttestAgentResponse, BanAgentRequest, CountAgentsRequest, CountAgentsResponse,
    CreateJoinTokenRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest, ListAgentsResponse,
    PostStatusRequest, PostStatusResponse, RenewAgentRequest, RenewAgentResponse, count_agents_request,
    list_agents_request,
};
use plastron_proto::types::{self, JoinToken, Spiffeid, X509svid};
use plastron_server_core::audit::Recorded;
use plastron_server_core::authorization::rpc;
use plastron_server_core::ca::IssuedSvid;
use plastron_server_core::limits::MAX_AGENT_VERSION_LEN;
use plastron_server_core::tokens::JoinTokenRequest;
use plastron_spiffe::SpiffeId;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::convert::{self, agent, filter};
use crate::status::Failure;

pub(crate) struct AgentService(pub(crate) Context);

/// Only what was recorded is sent.
pub(crate) fn svid_to_proto(svid: Recorded<IssuedSvid>) -> X509svid {
    let svid = svid.into_inner();
    let expires_at = svid.expires_at();
    let id = Some(convert::spiffe_id_to_proto(&svid.id));
    X509svid { cert_chain: svid.chain, id, expires_at, hint: String::new() }
}

impl AgentService {
    fn agent_id(&self, id: Option<Spiffeid>) -> Result<SpiffeId, Failure> {
        let invalid = |source| Failure::Request { step: "invalid agent ID", source };
        convert::agent_id(id, self.0.trust_domain()).map_err(invalid)
    }
}

#[tonic::async_trait]
impl Agent for AgentService {
    type AttestAgentStream = ReceiverStream<Result<AttestAgentResponse, Status>>;

    async fn attest_agent(
        &self,
        request: Request<Streaming<AttestAgentRequest>>,
    ) -> Result<Response<Self::AttestAgentStream>, Status> {
        self.0.turn::<rpc::AttestAgent, _>(self.0.attestation.as_deref(), &request, 1).await?;
        let permit = self.0.permit::<rpc::AttestAgent, _>(&request).await?;
        let peer = crate::caller::address(&request);
        Ok(Response::new(attest::start(self.0.clone(), permit, peer, request.into_inner())))
    }

    async fn renew_agent(&self, request: Request<RenewAgentRequest>) -> Result<Response<RenewAgentResponse>, Status> {
        self.0.turn::<rpc::RenewAgent, _>(self.0.signing.as_deref(), &request, 1).await?;
        let permit = self.0.permit::<rpc::RenewAgent, _>(&request).await?;
        let params = request.into_inner().params.ok_or(Failure::Protocol("params cannot be nil"))?;
        if params.csr.is_empty() {
            return Err(Failure::Protocol("missing CSR").into());
        }
        let svid = self.0.services.admission.renew(permit, &params.csr).await.map_err(Failure::Renewal)?;
        Ok(Response::new(RenewAgentResponse { svid: Some(svid_to_proto(svid)) }))
    }

    async fn post_status(&self, request: Request<PostStatusRequest>) -> Result<Response<PostStatusResponse>, Status> {
        self.0.turn::<rpc::PostStatus, _>(Some(&self.0.post_status), &request, 1).await?;
        let permit = self.0.permit::<rpc::PostStatus, _>(&request).await?;
        let version = request.into_inner().agent_version;
        if version.len() > MAX_AGENT_VERSION_LEN {
            return Err(Failure::Protocol("agent version is too long (max 255 characters)").into());
        }
        if version.is_empty() {
            return Ok(Response::new(PostStatusResponse {}));
        }
        let failed = |source| Failure::Node { step: "failed to update agent", source };
        self.0.services.nodes.post_status(permit, &version).await.map_err(failed)?;
        Ok(Response::new(PostStatusResponse {}))
    }

    async fn count_agents(
        &self,
        request: Request<CountAgentsRequest>,
    ) -> Result<Response<CountAgentsResponse>, Status> {
        let permit = self.0.permit::<rpc::CountAgents, _>(&request).await?;
        let filter = request.into_inner().filter.map(as_list_filter);
        let filter = filter::nodes(filter)?;
        let count = self.0.services.nodes.count(permit, &filter);
        Ok(Response::new(CountAgentsResponse { count: i32::try_from(count).unwrap_or(i32::MAX) }))
    }

    async fn list_agents(&self, request: Request<ListAgentsRequest>) -> Result<Response<ListAgentsResponse>, Status> {
        let permit = self.0.permit::<rpc::ListAgents, _>(&request).await?;
        let ListAgentsRequest { filter, output_mask, page_size, page_token } = request.into_inner();
        let filter = filter::nodes(filter)?;
        let page = filter::page(page_size, page_token);
        let page = self.0.services.nodes.list(permit, &filter, &page).map_err(Failure::Page)?;
        let agents = page.items.iter().map(|node| agent::to_proto(node, output_mask.as_ref())).collect();
        Ok(Response::new(ListAgentsResponse { agents, next_page_token: page.next_token }))
    }

    async fn get_agent(&self, request: Request<GetAgentRequest>) -> Result<Response<types::Agent>, Status> {
        let permit = self.0.permit::<rpc::GetAgent, _>(&request).await?;
        let GetAgentRequest { id, output_mask } = request.into_inner();
        let id = self.agent_id(id)?;
        let not_found = |source| Failure::Node { step: "agent not found", source };
        let node = self.0.services.nodes.get(permit, &id).map_err(not_found)?;
        Ok(Response::new(agent::to_proto(&node, output_mask.as_ref())))
    }

    async fn delete_agent(&self, request: Request<DeleteAgentRequest>) -> Result<Response<()>, Status> {
        let permit = self.0.permit::<rpc::DeleteAgent, _>(&request).await?;
        let id = self.agent_id(request.into_inner().id)?;
        self.0.services.nodes.evict(permit, id).await.map_err(|source| on_node("failed to remove agent", source))?;
        Ok(Response::new(()))
    }

    async fn ban_agent(&self, request: Request<BanAgentRequest>) -> Result<Response<()>, Status> {
        let permit = self.0.permit::<rpc::BanAgent, _>(&request).await?;
        let id = self.agent_id(request.into_inner().id)?;
        self.0.services.nodes.ban(permit, id).await.map_err(|source| on_node("failed to ban agent", source))?;
        Ok(Response::new(()))
    }

    async fn create_join_token(&self, request: Request<CreateJoinTokenRequest>) -> Result<Response<JoinToken>, Status> {
        let permit = self.0.permit::<rpc::CreateJoinToken, _>(&request).await?;
        let CreateJoinTokenRequest { ttl, token, agent_id } = request.into_inner();
        let invalid = |source| Failure::Request { step: "invalid agent ID", source };
        let agent_id =
            agent_id.map(|id| convert::workload_id(Some(id), self.0.trust_domain())).transpose().map_err(invalid)?;
        let token = Some(token).filter(|token| !token.is_empty()).map(Zeroizing::new);
        let request = JoinTokenRequest { ttl: ttl.into(), token, agent_id };
        let token = self.0.services.join_tokens.create(permit, request).await.map_err(Failure::Token)?;
        Ok(Response::new(JoinToken { value: token.value.to_string(), expires_at: token.expires_at }))
    }
}

/// SPIRE's text where there is no such node.
fn on_node(step: &'static str, source: plastron_server_core::store::NodeError) -> Failure {
    match source {
        plastron_server_core::store::NodeError::NotFound { .. } => Failure::Node { step: "agent not found", source },
        source => Failure::Node { step, source },
    }
}

fn as_list_filter(filter: count_agents_request::Filter) -> list_agents_request::Filter {
    let count_agents_request::Filter {
        by_attestation_type,
        by_selector_match,
        by_banned,
        by_can_reattest,
        by_expires_before,
    } = filter;
    list_agents_request::Filter {
        by_attestation_type,
        by_selector_match,
        by_banned,
        by_can_reattest,
        by_expires_before,
    }
}
