//! A JWT-SVID as a stranger presents it, validated against the bundle of the seeds.
#![no_main]

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use plastron_spiffe::jwt::{UnverifiedJwt, validate};
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain};
use rustls_pki_types::UnixTime;

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let trust_domain = TrustDomain::parse("td").expect("a trust domain");
    let document = include_bytes!("../seeds/jwt/bundle");
    Bundle::from_spiffe_json(trust_domain, document).expect("the seeds' bundle")
});

/// 2027-01-01, within the seeds' validity.
const NOW: Duration = Duration::from_secs(1_798_761_600);

fuzz_target!(|bytes: &[u8]| {
    let Ok(token) = std::str::from_utf8(bytes) else { return };
    let read = black_box(UnverifiedJwt::parse(token));
    let Ok(svid) = validate(token, "a", &*BUNDLE, UnixTime::since_unix_epoch(NOW)) else { return };
    let read = read.expect("what validates can be read");
    assert_eq!(svid.id(), read.claimed_id(), "validated under another name");
    assert_eq!(svid.id(), &SpiffeId::parse("spiffe://td/a").expect("the seeds' name"), "a forged token");
    // One form for one token: nothing but the seeds themselves is signed (ECDSA signatures can be mirrored, r and n - s).
    let signed = |token: &str| token.rsplit_once('.').expect("three segments").0.to_owned();
    let seeds = [
        include_str!("../seeds/jwt/es256"),
        include_str!("../seeds/jwt/rs256"),
        include_str!("../seeds/jwt/ps512"),
    ];
    assert!(seeds.iter().any(|seed| signed(seed) == signed(token)), "other bytes than those that were signed");
});
