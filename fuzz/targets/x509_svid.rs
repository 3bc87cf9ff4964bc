//! An X.509-SVID as a peer presents it, verified against the bundle of the seed's authority.
#![no_main]

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use plastron_spiffe::x509::{Purpose, X509Svid, verify_chain};
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain, X509Authority};
use rustls_pki_types::UnixTime;

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let mut bundle = Bundle::empty(TrustDomain::parse("td").expect("a trust domain"));
    let authority = include_bytes!("../seeds/x509_svid/authority").to_vec();
    bundle.x509_authorities.push(X509Authority::parse(authority).expect("the seed's authority"));
    bundle
});

/// 2027-01-01, within the seed's validity.
const NOW: Duration = Duration::from_secs(1_798_761_600);

fuzz_target!(|bytes: &[u8]| {
    let _ = black_box(X509Authority::parse(bytes.to_vec()));
    let Ok(svid) = X509Svid::parse(vec![bytes.to_vec()]) else { return };
    let claimed = svid.claimed_id().clone();
    let verified = verify_chain(svid, &*BUNDLE, Purpose::ClientAuth, UnixTime::since_unix_epoch(NOW));
    if let Ok(verified) = verified {
        assert_eq!(verified.id(), &claimed, "verified under another name");
        assert_eq!(verified.id(), &SpiffeId::parse("spiffe://td/a").expect("the seed's name"), "a forged certificate");
    }
});
