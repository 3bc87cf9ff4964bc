//! A certificate signing request, whose signature must be that of the key that it carries.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use plastron_spiffe::x509::verify_csr;

fuzz_target!(|bytes: &[u8]| {
    let _ = black_box(verify_csr(bytes));
});
