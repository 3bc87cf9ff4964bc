//! A measurement list of Linux's IMA, as a node sends it.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::ima::{ImaList, MAX_IMA_ENTRIES, MAX_IMA_LIST_LEN};

fuzz_target!(|bytes: &[u8]| {
    let list = match ImaList::parse(bytes) {
        Ok(list) => list,
        Err(error) => {
            assert!(error.offset <= bytes.len(), "an error outside the list");
            black_box(error.to_string());
            return;
        }
    };
    assert!(bytes.len() <= MAX_IMA_LIST_LEN && list.entries().len() <= MAX_IMA_ENTRIES, "longer than allowed");
    let mut end = 0;
    for entry in list.entries() {
        assert!(entry.offset >= end && entry.offset < bytes.len(), "entries follow one another");
        end = entry.offset;
        for bank in HashAlgorithm::ALL {
            assert_eq!(entry.template_hash(bank).len(), bank.digest_len());
        }
    }
});
