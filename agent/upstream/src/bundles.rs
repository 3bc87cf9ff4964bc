//! The Bundle service: our own bundle and foreign ones.

use plastron_agent_core::upstream::UpstreamError;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::bundle::v1::{GetBundleRequest, GetFederatedBundleRequest};
use plastron_spiffe::{Bundle, TrustDomain};
use tonic::Code;
use tonic::transport::Channel;

use crate::convert;
use crate::status::bounded;

pub(crate) async fn own(server: &str, channel: Channel) -> Result<Bundle, UpstreamError> {
    const RPC: &str = "GetBundle";
    let mut client = BundleClient::new(channel);
    let reply = bounded(server, RPC, client.get_bundle(GetBundleRequest { output_mask: None })).await?;
    convert::bundle(RPC, reply.into_inner())
}

pub(crate) async fn federated(
    server: &str,
    channel: Channel,
    trust_domain: &TrustDomain,
) -> Result<Option<Bundle>, UpstreamError> {
    const RPC: &str = "GetFederatedBundle";
    let mut client = BundleClient::new(channel);
    let request = GetFederatedBundleRequest { trust_domain: trust_domain.to_string(), output_mask: None };
    let reply = bounded(server, RPC, async {
        match client.get_federated_bundle(request).await {
            Ok(reply) => Ok(Some(reply.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    })
    .await?;
    reply.map(|bundle| convert::bundle(RPC, bundle)).transpose()
}
