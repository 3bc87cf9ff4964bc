//! `spire.agent.debug.v1.Debug`.

use std::time::Instant;

use plastron_agent_core::{AgentInfo, AgentState, ShownCertificate};
use plastron_proto::spire::agent::debug::v1::debug_server::Debug;
use plastron_proto::spire::agent::debug::v1::{GetInfoRequest, GetInfoResponse, get_info_response};
use tonic::{Request, Response, Status};

use super::delegated::{id, seconds};

pub(super) struct DebugService {
    pub(super) info: AgentInfo,
    pub(super) started: Instant,
}

#[tonic::async_trait]
impl Debug for DebugService {
    async fn get_info(&self, _request: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        let AgentState { svid_chain, last_sync, x509_svids, jwt_svids } = self.info.read();
        let certificate = |ShownCertificate { id: of, not_after, subject }: ShownCertificate| get_info_response::Cert {
            id: of.as_ref().map(id),
            expires_at: seconds(not_after),
            subject,
        };
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        Ok(Response::new(GetInfoResponse {
            svid_chain: svid_chain.into_iter().map(certificate).collect(),
            uptime: i32::try_from(self.started.elapsed().as_secs()).unwrap_or(i32::MAX),
            svids_count: count(x509_svids),
            last_sync_success: seconds(last_sync),
            cached_x509_svids_count: count(x509_svids),
            cached_jwt_svids_count: count(jwt_svids),
            // There is no SVID store here.
            cached_svidstore_x509_svids_count: 0,
        }))
    }
}
