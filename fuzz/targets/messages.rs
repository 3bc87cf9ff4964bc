//! Requests and answers of the gRPC services: `which u8 ‖ protobuf`. What decodes can be printed, and survives its own encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plastron_proto::json::{JsonError, to_json};
use plastron_proto::spire::api::server::{agent, entry, svid};
use plastron_proto::types;
use prost::{Message, Name};

fn read<M: Message + Name + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else { return };
    assert_eq!(M::decode(message.encode_to_vec().as_slice()).as_ref(), Ok(&message));
    match to_json(&message) {
        Ok(_) | Err(JsonError::TooDeep) => {}
        Err(error) => panic!("a message that decodes can't be printed: {error}"),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, message)) = bytes.split_first() else { return };
    match which % 6 {
        0 => read::<agent::v1::AttestAgentRequest>(message),
        1 => read::<agent::v1::ListAgentsRequest>(message),
        2 => read::<entry::v1::BatchCreateEntryRequest>(message),
        3 => read::<entry::v1::SyncAuthorizedEntriesResponse>(message),
        4 => read::<svid::v1::BatchNewX509svidRequest>(message),
        _ => read::<types::Bundle>(message),
    }
});
