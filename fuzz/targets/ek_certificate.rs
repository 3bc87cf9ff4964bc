//! An EK and its certificate, judged against a manufacturer's root: `public length ‖ TPMT_PUBLIC ‖ certificate`.
#![no_main]

use std::hint::black_box;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use plastron_attestation_appraise::{
    Checklist, DenyList, EkEvidence, EkTrust, Pool, PoolConfig, TrustAnchors, TrustedEk, certificate_in_container,
};

/// The manufacturer of the seed, whose TPM is trusted; everything else must be refused in an orderly way.
static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let root = include_bytes!("ek/root.der").to_vec();
    let intermediate = include_bytes!("ek/intermediate.der").to_vec();
    let anchors = TrustAnchors::new(vec![root], vec![intermediate]).expect("the seed's manufacturer");
    Pool::new(PoolConfig::new("seed", EkTrust::Chain(anchors))).expect("a pool")
});

/// 2027-01-01, within the seed's validity.
const NOW: u64 = 1_798_761_600;

fuzz_target!(|bytes: &[u8]| {
    let _ = black_box(certificate_in_container("EK certificate", bytes));
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let Some((public, certificate)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { return };
    let evidence = EkEvidence { public, certificate: Some(certificate), intermediates: &[] };
    let pools = std::slice::from_ref(&*POOL);
    let _ = black_box(TrustedEk::judge(evidence, pools, &DenyList::default(), NOW, &mut Checklist::new()));
});
