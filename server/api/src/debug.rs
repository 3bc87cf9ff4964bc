//! `spire.api.server.debug.v1.Debug`, on the Unix socket.

use std::time::Instant;

use plastron_proto::spire::api::server::debug::v1::debug_server::Debug;
use plastron_proto::spire::api::server::debug::v1::{GetInfoRequest, GetInfoResponse, get_info_response};
use plastron_server_core::authorization::rpc;
use plastron_spiffe::x509::{ShownCertificate, X509Svid, shown_chain};
use rustls_pki_types::UnixTime;
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::convert::spiffe_id_to_proto;

pub(crate) struct DebugService {
    pub(crate) context: Context,
    pub(crate) started: Instant,
}

#[tonic::async_trait]
impl Debug for DebugService {
    async fn get_info(&self, request: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        let permit = self.context.permit::<rpc::DebugGetInfo, _>(&request).await?;
        let counts = self.context.services.info(permit);
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let svid = self.context.services.server_svid.subscribe().borrow().clone();
        let bundle = self.context.services.bundles.current();
        let chain = X509Svid::parse(svid.chain.clone()).map(|svid| shown_chain(&svid, &bundle, UnixTime::now()));
        let shown = |ShownCertificate { id, not_after, subject }| get_info_response::Cert {
            id: id.as_ref().map(spiffe_id_to_proto),
            expires_at: i64::try_from(not_after).unwrap_or(i64::MAX),
            subject,
        };
        Ok(Response::new(GetInfoResponse {
            // The server's own SVID parses; where it did not, there would be nothing to show.
            svid_chain: chain.unwrap_or_default().into_iter().map(shown).collect(),
            uptime: i32::try_from(self.started.elapsed().as_secs()).unwrap_or(i32::MAX),
            agents_count: number(counts.nodes),
            federated_bundles_count: number(counts.bundles),
            entries_count: number(counts.entries),
        }))
    }
}
