//! Requests and answers of the gRPC services: `which u8 ‖ protobuf`. What decodes can be printed, and survives its own encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plastron_proto::json::{JsonError, to_json};
use plastron_proto::envoy::service::discovery::v3::DiscoveryRequest;
use plastron_proto::plastron::server::watch;
use plastron_proto::spire::api::agent::delegatedidentity;
use plastron_proto::spire::api::server::{agent, bundle, entry, localauthority, svid, trustdomain};
use plastron_proto::{types, workload};
use prost::{Message, Name};

fn decode<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    assert_eq!(M::decode(message.encode_to_vec().as_slice()).as_ref(), Ok(&message));
    Some(message)
}

fn read<M: Message + Name + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Some(message) = decode::<M>(bytes) else { return };
    match to_json(&message) {
        Ok(_) | Err(JsonError::TooDeep) => {}
        Err(error) => panic!("a message that decodes can't be printed: {error}"),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, message)) = bytes.split_first() else { return };
    match which % 18 {
        0 => read::<agent::v1::AttestAgentRequest>(message),
        1 => read::<agent::v1::ListAgentsRequest>(message),
        2 => read::<entry::v1::BatchCreateEntryRequest>(message),
        3 => read::<entry::v1::SyncAuthorizedEntriesResponse>(message),
        4 => read::<svid::v1::BatchNewX509svidRequest>(message),
        5 => read::<types::Bundle>(message),
        6 => read::<bundle::v1::BatchSetFederatedBundleRequest>(message),
        7 => read::<bundle::v1::PublishJwtAuthorityRequest>(message),
        8 => read::<trustdomain::v1::BatchCreateFederationRelationshipRequest>(message),
        9 => read::<localauthority::v1::TaintX509AuthorityRequest>(message),
        10 => read::<svid::v1::NewDownstreamX509caRequest>(message),
        11 => read::<svid::v1::NewJwtsvidRequest>(message),
        // On the agent's sockets. Nobody prints these.
        12 => drop(decode::<DiscoveryRequest>(message)),
        13 => drop(decode::<workload::JwtsvidRequest>(message)),
        14 => drop(decode::<workload::ValidateJwtsvidRequest>(message)),
        15 => drop(decode::<delegatedidentity::v1::SubscribeToX509sviDsRequest>(message)),
        16 => drop(decode::<delegatedidentity::v1::FetchJwtsviDsRequest>(message)),
        _ => drop(decode::<watch::v1::SubscribeResponse>(message)),
    }
});
