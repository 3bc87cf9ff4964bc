//! `quote`.

use plastron_attestation::{PcrSelection, TpmDeviceError};
use plastron_attestation_tcg::HashAlgorithm;

use crate::Fixture;
use crate::proof::{Proven, bank, binding, covered};

/// A quote covers the PCRs that were asked for, bank by bank in the order asked for, with their values as they are now.
pub(crate) fn covers_what_was_asked(fixture: &dyn Fixture) {
    let mut machine = fixture.make();
    for (&template, pcr) in fixture.templates().iter().zip(0u8..) {
        let proven = Proven::new(fixture, &mut *machine, template);
        let asked = [
            bank(HashAlgorithm::Sha384, 0x83_ffff),
            bank(HashAlgorithm::Sha1, 0b101),
            bank(HashAlgorithm::Sha256, 1 << pcr),
        ];
        let before = proven.quote(machine.device(), &asked);
        assert_eq!(covered(&before), asked);
        let lengths: Vec<usize> = before.pcr_values.iter().map(Vec::len).collect();
        assert_eq!(lengths, [vec![48; 19], vec![20; 2], vec![32]].concat());

        machine.extend(HashAlgorithm::Sha256, pcr, &[7; 32]);
        let after = proven.quote(machine.device(), &asked);
        let expected = HashAlgorithm::Sha256.digest([&[0; 32][..], &[7; 32]]);
        assert_eq!(after.pcr_values.last(), Some(&expected));
        let others = |values: &[Vec<u8>]| values.iter().take(21).cloned().collect::<Vec<_>>();
        assert_eq!(others(&after.pcr_values), others(&before.pcr_values), "the other banks are untouched");
    }
}

/// A bank that is not allocated is in the quote, with no PCRs: signed evidence that it is not.
pub(crate) fn shows_banks_that_are_not_allocated(fixture: &dyn Fixture) {
    let mut machine = fixture.make();
    for &template in fixture.templates() {
        let proven = Proven::new(fixture, &mut *machine, template);
        let asked = HashAlgorithm::ALL.map(|hash| bank(hash, 0x43ff));
        let quote = proven.quote(machine.device(), &asked);
        let expected = asked
            .map(|asked| if asked.hash == HashAlgorithm::Sha512.id() { bank(HashAlgorithm::Sha512, 0) } else { asked });
        assert_eq!(covered(&quote), expected);
        assert_eq!(quote.pcr_values.len(), 3 * 11);
    }
}

/// PCRs, banks and lengths that no TPM has are errors, and never a quote of something else.
pub(crate) fn refuses_what_no_tpm_has(fixture: &dyn Fixture) {
    let mut machine = fixture.make();
    for &template in fixture.templates() {
        let proven = Proven::new(fixture, &mut *machine, template);
        let sha256 = HashAlgorithm::Sha256.id();
        let device = machine.device();
        for wrong in [vec![(sha256, 1 << 24)], vec![(0x0012, 1)], vec![(sha256, 1); 17]] {
            let outcome = device.quote(template, &proven.blob, &binding().extra_data(), &PcrSelection(wrong));
            assert_command_refused(outcome.map(drop).unwrap_err());
        }
        let outcome = device.quote(template, &proven.blob, &[0; 65], &PcrSelection(vec![(sha256, 1)]));
        assert_command_refused(outcome.map(drop).unwrap_err());
        proven.quote(device, &[bank(HashAlgorithm::Sha256, 1)]);
    }
}

fn assert_command_refused(error: TpmDeviceError) {
    assert!(matches!(error, TpmDeviceError::Command { .. }), "{error}");
}
