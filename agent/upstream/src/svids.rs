//! BatchNewX509SVID: as many at once as the server takes.

use std::sync::atomic::{AtomicUsize, Ordering};

use plastron_agent_core::upstream::{MAX_SVIDS_PER_CALL, SvidOutcome, SvidRequest, UpstreamError};
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_proto::spire::api::server::svid::v1::{
    BatchNewX509svidRequest, NewX509svidParams, batch_new_x509svid_response,
};
use tonic::Code;
use tonic::transport::Channel;

use crate::convert;
use crate::status::bounded;

const RPC: &str = "BatchNewX509SVID";

/// How many SVIDs go into one call: halved when the server finds it too much, doubled when it does not.
pub(crate) struct BatchSize(AtomicUsize);

impl BatchSize {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(MAX_SVIDS_PER_CALL))
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed).clamp(1, MAX_SVIDS_PER_CALL)
    }

    fn set(&self, size: usize) {
        self.0.store(size.clamp(1, MAX_SVIDS_PER_CALL), Ordering::Relaxed);
    }
}

pub(crate) async fn new_svids(
    server: &str,
    channel: Channel,
    size: &BatchSize,
    requests: &[SvidRequest],
) -> Result<Vec<SvidOutcome>, UpstreamError> {
    let mut outcomes = Vec::with_capacity(requests.len());
    let mut left = requests;
    while !left.is_empty() {
        let (batch, rest) = left.split_at(size.get().min(left.len()));
        match call(server, channel.clone(), batch).await {
            Ok(batch) => {
                outcomes.extend(batch);
                size.set(size.get().saturating_mul(2));
                left = rest;
            }
            Err(UpstreamError::ResourceExhausted { message, .. }) if batch.len() > 1 => {
                tracing::debug!(size = batch.len(), message, "The server finds a batch of X509-SVIDs too large");
                size.set(batch.len() / 2);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(outcomes)
}

async fn call(server: &str, channel: Channel, batch: &[SvidRequest]) -> Result<Vec<SvidOutcome>, UpstreamError> {
    let params = batch
        .iter()
        .map(|request| NewX509svidParams { entry_id: request.entry_id.to_string(), csr: request.csr.clone() })
        .collect();
    let mut client = SvidClient::new(channel);
    let reply = bounded(server, RPC, client.batch_new_x509svid(BatchNewX509svidRequest { params })).await?;
    let results = reply.into_inner().results;
    if results.len() != batch.len() {
        return Err(malformed(format!("{} results for {} requests", results.len(), batch.len())));
    }
    results.into_iter().map(outcome).collect()
}

fn outcome(result: batch_new_x509svid_response::Result) -> Result<SvidOutcome, UpstreamError> {
    let batch_new_x509svid_response::Result { status, svid } = result;
    let status = status.ok_or_else(|| malformed("a result without a status".to_owned()))?;
    match Code::from_i32(status.code) {
        Code::Ok => Ok(SvidOutcome::Issued(convert::chain(RPC, svid)?)),
        code => Ok(SvidOutcome::Refused { code: format!("{code:?}"), message: status.message }),
    }
}

fn malformed(reason: String) -> UpstreamError {
    UpstreamError::MalformedReply { rpc: RPC, reason }
}
