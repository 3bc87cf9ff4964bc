//! A whole conversation, seen from the server: `payload length ‖ payload ‖ response`, for a node that nobody knows. Whoever has no TPM
//! of the manufacturer is never admitted, whatever it sends.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use plastron_attestation::{Entropy, Verifier, VerifierAction, VerifierEvent, VerifierPolicy};
use plastron_attestation_appraise::{CredentialEntropy, DenyList, EkTrust, Pool, PoolConfig, TrustAnchors};
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;

static POLICY: LazyLock<Arc<VerifierPolicy>> = LazyLock::new(|| {
    let root = include_bytes!("ek/root.der").to_vec();
    let intermediate = include_bytes!("ek/intermediate.der").to_vec();
    let anchors = TrustAnchors::new(vec![root], vec![intermediate]).expect("the seed's manufacturer");
    let pool = Pool::new(PoolConfig::new("seed", EkTrust::Chain(anchors))).expect("a pool");
    Arc::new(VerifierPolicy { pools: vec![pool], deny: DenyList::default() })
});

fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let Some((payload, response)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { return };
    // Within the validity of the seed's certificates.
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_798_761_600));
    let entropy =
        Entropy { nonce: [7; 32], credential: CredentialEntropy { secret: [1; 32].into(), seed: [2; 48].into() } };
    let domain = TrustDomain::parse("example.org").expect("a trust domain");
    let mut verifier = Verifier::new(Arc::clone(&POLICY), domain, vec![3; 91], entropy);
    let Ok(VerifierAction::LookUp { .. }) = verifier.step(VerifierEvent::Payload(payload), now) else { return };
    let known = VerifierEvent::Known { by_ak: None, by_ek: None };
    let Ok(VerifierAction::Challenge(challenge)) = verifier.step(known, now) else { return };
    assert!(!challenge.is_empty(), "a challenge is never empty");
    let admitted = verifier.step(VerifierEvent::Response(response), now);
    assert!(admitted.is_err(), "admitted without a TPM");
});
