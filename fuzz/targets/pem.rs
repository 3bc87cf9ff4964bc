//! A bundle as PEM.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plastron_spiffe::{Bundle, TrustDomain};

fuzz_target!(|bytes: &[u8]| {
    let trust_domain = TrustDomain::parse("td").expect("a trust domain");
    let Ok(bundle) = Bundle::from_pem(trust_domain.clone(), bytes) else { return };
    let again = Bundle::from_pem(trust_domain, bundle.to_pem().as_bytes()).expect("our own PEM");
    assert_eq!(again.x509_authorities, bundle.x509_authorities, "authorities got lost");
});
