//! `plastron.server.watch.v1.Watch`: the server's push stream. SPIRE's servers have none.

use plastron_agent_core::upstream::{ForeignNames, PushStream, Pushed, UpstreamError};
use plastron_proto::plastron::server::watch::v1::watch_client::WatchClient;
use plastron_proto::plastron::server::watch::v1::{ForeignBundle, ForeignBundles, SubscribeRequest, SubscribeResponse};
use plastron_proto::types;
use plastron_spiffe::TrustDomain;
use prost::Message as _;
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::convert;
use crate::status::{bounded, error};

const RPC: &str = "Watch/Subscribe";

pub(crate) async fn open(server: &str, channel: Channel, has: u64) -> Result<Box<dyn PushStream>, UpstreamError> {
    let (acknowledged, requests) = watch::channel(has);
    let requests = WatchStream::new(requests).map(|acknowledged_bundle| SubscribeRequest { acknowledged_bundle });
    let mut client = WatchClient::new(channel);
    let told = bounded(server, RPC, client.subscribe(requests)).await?.into_inner();
    Ok(Box::new(Stream { server: server.to_owned(), acknowledged, told, began: false }))
}

struct Stream {
    server: String,
    /// Only the last number counts, so one that could not be sent yet is replaced.
    acknowledged: watch::Sender<u64>,
    told: Streaming<SubscribeResponse>,
    began: bool,
}

#[async_trait::async_trait]
impl PushStream for Stream {
    async fn next(&mut self) -> Result<Option<Pushed>, UpstreamError> {
        let message = if self.began {
            self.told.message().await.map_err(|status| error(&self.server, RPC, &status))?
        } else {
            // The first one comes at once, or something is wrong.
            bounded(&self.server, RPC, self.told.message()).await?
        };
        self.began = true;
        let Some(SubscribeResponse { bundle, entries, foreign }) = message else { return Ok(None) };
        let malformed = |reason: String| UpstreamError::MalformedReply { rpc: RPC, reason };
        let bundle = bundle.map(|bytes| {
            let message = types::Bundle::decode(bytes).map_err(|error| malformed(error.to_string()))?;
            convert::bundle(RPC, message)
        });
        let foreign = foreign.map(|foreign| foreign_names(foreign).map_err(malformed));
        Ok(Some(Pushed { bundle: bundle.transpose()?, entries, foreign: foreign.transpose()? }))
    }

    async fn acknowledge(&mut self, sequence: u64) -> Result<(), UpstreamError> {
        self.acknowledged.send_replace(sequence);
        Ok(())
    }
}

fn foreign_names(foreign: ForeignBundles) -> Result<ForeignNames, String> {
    let name = |ForeignBundle { trust_domain, bundle }| match TrustDomain::parse(&trust_domain) {
        Ok(domain) => Ok((domain, bundle)),
        Err(error) => Err(format!("the trust domain of a foreign bundle: {error}")),
    };
    foreign.bundles.into_iter().map(name).collect()
}
