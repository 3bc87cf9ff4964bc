//! The three calls of a downstream server, each bounded in time, and what their statuses mean.

use std::error::Error as _;
use std::time::Duration;

use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::bundle::v1::{GetBundleRequest, PublishJwtAuthorityRequest};
use plastron_proto::spire::api::server::svid::v1::NewDownstreamX509caRequest;
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_proto::types::JwtKey;
use plastron_spiffe::{Bundle, JwtAuthority, TrustDomain};
use tonic::{Code, Response, Status};

use crate::identity::Connected;
use crate::{SpireError, answer, explain};

/// How long one call may take: a signature of an HSM, far above what it takes.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// Most bytes of the server's words that are kept.
const MAX_MESSAGE_LEN: usize = 1024;

/// The server above.
pub(crate) struct Server {
    address: String,
}

impl Server {
    pub(crate) fn new(address: String) -> Self {
        Self { address }
    }

    /// The CA certificate for a CSR, and what leads to its root.
    pub(crate) async fn new_downstream_ca(
        &self,
        identity: &Connected,
        csr: Vec<u8>,
        preferred_ttl: Duration,
    ) -> Result<Vec<Vec<u8>>, SpireError> {
        const RPC: &str = "NewDownstreamX509CA";
        let preferred_ttl = i32::try_from(preferred_ttl.as_secs()).unwrap_or(i32::MAX);
        let mut client = SvidClient::new(identity.channel.clone());
        let request = NewDownstreamX509caRequest { csr, preferred_ttl };
        let reply = self.bounded(RPC, identity, client.new_downstream_x509ca(request)).await?;
        answer::chain(reply.ca_cert_chain).map_err(|source| self.refuse(RPC, source))
    }

    /// The bundle of the trust domain.
    pub(crate) async fn bundle(&self, identity: &Connected, own: &TrustDomain) -> Result<Bundle, SpireError> {
        const RPC: &str = "GetBundle";
        let mut client = BundleClient::new(identity.channel.clone());
        let reply = self.bounded(RPC, identity, client.get_bundle(GetBundleRequest { output_mask: None })).await?;
        answer::bundle(reply, own).map_err(|source| self.refuse(RPC, source))
    }

    /// All JWT keys that are published, once this one is.
    pub(crate) async fn publish(
        &self,
        identity: &Connected,
        key: JwtAuthority,
    ) -> Result<Vec<JwtAuthority>, SpireError> {
        const RPC: &str = "PublishJWTAuthority";
        let JwtAuthority { key_id, public_key, expires_at, tainted } = key;
        let mut client = BundleClient::new(identity.channel.clone());
        let request =
            PublishJwtAuthorityRequest { jwt_authority: Some(JwtKey { public_key, key_id, expires_at, tainted }) };
        let reply = self.bounded(RPC, identity, client.publish_jwt_authority(request)).await?;
        answer::jwt_keys(reply.jwt_authorities).map_err(|source| self.refuse(RPC, source))
    }

    async fn bounded<T>(
        &self,
        rpc: &'static str,
        identity: &Connected,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, SpireError> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(self.error(rpc, identity, &status)),
            Err(_elapsed) => {
                Err(SpireError::TooSlow { address: self.address.clone(), rpc, seconds: CALL_TIMEOUT.as_secs() })
            }
        }
    }

    fn error(&self, rpc: &'static str, identity: &Connected, status: &Status) -> SpireError {
        let address = self.address.clone();
        if let Some(error) = plastron_transport::connect_error(status) {
            return SpireError::Unreachable { address, reason: explain(error) };
        }
        let message: String = status.message().chars().take(MAX_MESSAGE_LEN).collect();
        match (status.code(), status.source()) {
            (Code::PermissionDenied, _) => SpireError::NotDownstream { address, rpc, id: identity.id.clone(), message },
            // The connection broke: tonic has no code of its own for that.
            (Code::Unknown | Code::Internal | Code::Cancelled | Code::Unavailable, Some(cause)) => {
                SpireError::Unreachable { address, reason: format!("{message}: {}", explain(cause)) }
            }
            (Code::Unavailable, None) => SpireError::Unreachable { address, reason: message },
            (code, _) => SpireError::Status { address, rpc, code: format!("{code:?}"), message },
        }
    }

    fn refuse(&self, rpc: &'static str, source: answer::AnswerFault) -> SpireError {
        SpireError::Answer { address: self.address.clone(), rpc, source }
    }
}
