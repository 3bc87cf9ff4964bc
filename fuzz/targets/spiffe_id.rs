//! SPIFFE IDs, trust domains and selectors. What is accepted is its own normal form: nothing is cleaned.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use plastron_spiffe::{MAX_ID_LEN, Selector, SpiffeId, TrustDomain};

fuzz_target!(|text: &str| {
    if let Ok(id) = SpiffeId::parse(text) {
        assert_eq!(id.as_str(), text, "nothing is normalised");
        assert!(text.len() <= MAX_ID_LEN && text.is_ascii(), "outside the character set");
        for segment in id.path().split('/').skip(1) {
            assert!(!segment.is_empty() && segment != "." && segment != "..", "a segment that means something else");
        }
        let again = id.trust_domain().with_path(id.path());
        assert!(id.path().is_empty() || again.as_ref() == Ok(&id), "parts make the whole");
    }
    let _ = black_box(TrustDomain::parse(text));
    let _ = black_box(Selector::parse(text));
});
