//! The messages of the attestation exchange, each side's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plastron_attestation::{Challenge, LogChunk, LogRequest, MAX_MESSAGE_LEN, Payload, Response};

fuzz_target!(|bytes: &[u8]| {
    let decoded = [
        Payload::decode(bytes).is_ok(),
        Challenge::decode(bytes).is_ok(),
        Response::decode(bytes).is_ok(),
        LogRequest::decode(bytes).is_ok(),
        LogChunk::decode(bytes).is_ok(),
    ];
    assert!(!decoded.contains(&true) || bytes.len() <= MAX_MESSAGE_LEN, "longer than allowed");
});
