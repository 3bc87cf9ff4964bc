//! The log of a boot, as a node sends it: parsed, replayed in every bank, with all facts.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use plastron_attestation_appraise::event_log::{Facts, Replay};
use plastron_attestation_tcg::event_log::{MAX_EVENTS, MAX_LOG_LEN, RawLog};

fuzz_target!(|bytes: &[u8]| {
    let log = match RawLog::parse(bytes) {
        Ok(log) => log,
        Err(error) => {
            assert!(error.offset <= bytes.len(), "an error outside the log");
            black_box(error.to_string());
            return;
        }
    };
    assert!(bytes.len() <= MAX_LOG_LEN && log.events().len() <= MAX_EVENTS, "longer than allowed");
    black_box(Replay::of(&log));
    let facts = Facts::read(&log);
    for event in log.events() {
        assert!(!event.is_extended() || facts.provenance(event.number).is_some(), "an event that no rule was asked about");
        let text = Facts::text(event);
        assert!(!text.contains(|character: char| character.is_control()), "a text that a terminal obeys: {text:?}");
    }
    serde_json::to_vec(&facts).expect("facts can be written");
});
