//! `plastron.server.hsm.v1.Hsm`: keys that no journal refers to. Ours; SPIRE has nothing of the kind.

use plastron_hsm::KeyId;
use plastron_proto::plastron::server::hsm::v1 as proto;
use plastron_proto::plastron::server::hsm::v1::destroy_unreferenced_keys_response::Result as DestroyResult;
use plastron_proto::plastron::server::hsm::v1::hsm_server::Hsm;
use plastron_server_core::authorization::rpc;
use plastron_server_core::orphans::UnreferencedKey;
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::convert::ConvertError;
use crate::status::{self, Failure};

pub(crate) struct HsmService(pub(crate) Context);

#[tonic::async_trait]
impl Hsm for HsmService {
    async fn list_unreferenced_keys(
        &self,
        request: Request<proto::ListUnreferencedKeysRequest>,
    ) -> Result<Response<proto::ListUnreferencedKeysResponse>, Status> {
        let permit = self.0.permit::<rpc::ListUnreferencedKeys, _>(&request).await?;
        let services = &self.0.services;
        let keys = services.orphans.list(permit).await.map_err(Failure::Orphans)?;
        let store = services.ca.key_store();
        Ok(Response::new(proto::ListUnreferencedKeysResponse {
            key_manager: format!("{} {}", store.kind, store.name),
            keys: keys.iter().map(to_proto).collect(),
        }))
    }

    async fn destroy_unreferenced_keys(
        &self,
        request: Request<proto::DestroyUnreferencedKeysRequest>,
    ) -> Result<Response<proto::DestroyUnreferencedKeysResponse>, Status> {
        let permit = self.0.permit::<rpc::DestroyUnreferencedKeys, _>(&request).await?;
        let mut ids = Vec::new();
        for id in request.into_inner().ids {
            let malformed = || Failure::Request { step: "invalid key", source: ConvertError::KeyId };
            ids.push(KeyId::from_hex(&id).ok_or_else(malformed)?);
        }
        let outcomes = self.0.services.orphans.destroy(permit, &ids).await.map_err(Failure::Orphans)?;
        let results = ids.iter().zip(outcomes).map(|(id, outcome)| DestroyResult {
            id: id.to_string(),
            status: Some(outcome.map_or_else(|refusal| Failure::Destroy(refusal).item(), |_key| status::ok())),
        });
        Ok(Response::new(proto::DestroyUnreferencedKeysResponse { results: results.collect() }))
    }
}

fn to_proto(key: &UnreferencedKey) -> proto::UnreferencedKey {
    let UnreferencedKey { record, spki_sha256: _, made_at, state } = key;
    proto::UnreferencedKey {
        id: record.id.to_string(),
        label: record.label.clone(),
        key_type: record.key_type.as_str().to_owned(),
        spki_sha256: key.spki_sha256_hex(),
        made_at: made_at.and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or_default(),
        state: state.as_str().to_owned(),
    }
}
