//! A SPIFFE bundle document. What is accepted survives its own encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plastron_spiffe::{Bundle, TrustDomain};

fuzz_target!(|bytes: &[u8]| {
    let trust_domain = TrustDomain::parse("td").expect("a trust domain");
    let Ok(bundle) = Bundle::from_spiffe_json(trust_domain.clone(), bytes) else { return };
    let Ok(document) = bundle.to_spiffe_json() else { return };
    let again = Bundle::from_spiffe_json(trust_domain, document.as_bytes()).expect("our own document");
    assert_eq!(again.x509_authorities, bundle.x509_authorities, "authorities got lost");
});
