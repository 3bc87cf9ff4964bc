//! Boots and counters that fail a check. What a log must not tell is tested beside the parser of logs.

use plastron_attestation::Refused;
use plastron_attestation_appraise::GoldenPcr;
use plastron_attestation_tcg::HashAlgorithm;

use crate::world::{Agent, Meddling, World};

pub(super) fn golden_pcr() -> Box<Refused> {
    let mut world = World::with_pool(|config| {
        let golden = |bank: HashAlgorithm| GoldenPcr { bank, index: 7, value: vec![0; bank.digest_len()] };
        config.golden_pcrs = vec![golden(HashAlgorithm::Sha256), golden(HashAlgorithm::Sha384)];
    });
    let mut tpm = world.tpm();
    tpm.measure(7, b"another Secure Boot state");
    world.refusal(&mut tpm, Meddling::default())
}

pub(super) fn tpm_state_regressed() -> Box<Refused> {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let mut old = tpm.copy();
    let mut agent = Agent::default();
    tpm.reboot();
    world.admit(&mut tpm, &mut agent).unwrap();
    // The copy learns the key that the original made, but not its boot.
    old.reboot();
    let mut copy = tpm.copy();
    copy.before_signing(|attest| attest.reset_count -= 1);
    world.converse(&mut copy, &mut agent, &mut Meddling::default()).unwrap_err()
}
