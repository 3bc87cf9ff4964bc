//! SIPA events of Windows.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use plastron_attestation_tcg::sipa::{MAX_SIPA_DEPTH, MAX_SIPA_EVENTS, SipaEvent};

fuzz_target!(|bytes: &[u8]| {
    let Ok(events) = SipaEvent::parse_all(bytes) else { return };
    let mut count = 0;
    for event in &events {
        event.walk(0, &mut |event, depth| {
            count += 1;
            assert!(depth <= MAX_SIPA_DEPTH);
            let inside: usize = event.events.iter().map(|inner| 8 + inner.data.len()).sum();
            assert!(event.events.is_empty() || inside == event.data.len(), "an aggregation is filled by its events");
            black_box((event.value(), event.id.to_string()));
        });
    }
    assert!(count <= MAX_SIPA_EVENTS);
});
