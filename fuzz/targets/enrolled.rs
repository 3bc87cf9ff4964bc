//! The record of an enrolled TPM, as a database gives it back, judged again: a damaged one is refused in an orderly way.
#![no_main]

use std::hint::black_box;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use plastron_attestation::VerifierPolicy;
use plastron_attestation_appraise::{Checklist, DenyList, EkTrust, EnrolledTpm, Pool, PoolConfig, TrustAnchors};
use rustls_pki_types::UnixTime;

static POLICY: LazyLock<VerifierPolicy> = LazyLock::new(|| {
    let root = include_bytes!("ek/root.der").to_vec();
    let intermediate = include_bytes!("ek/intermediate.der").to_vec();
    let anchors = TrustAnchors::new(vec![root], vec![intermediate]).expect("the seed's manufacturer");
    let pool = Pool::new(PoolConfig::new("seed", EkTrust::Chain(anchors))).expect("a pool");
    VerifierPolicy { pools: vec![pool], deny: DenyList::default() }
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = serde_json::from_slice::<EnrolledTpm>(bytes) else { return };
    let text = serde_json::to_vec(&record).expect("what was read can be written");
    let again: EnrolledTpm = serde_json::from_slice(&text).expect("what was written can be read");
    assert_eq!(record, again);
    black_box(record.ak_name());
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_798_761_600));
    let _ = black_box(POLICY.judge_again(&record, now, &mut Checklist::new()));
});
