//! What becomes of AKs, PCRs and counters in the life of a machine.

use plastron_attestation::TpmDevice;
use plastron_attestation_tcg::HashAlgorithm;

use crate::ak::assert_not_loadable;
use crate::proof::{Proven, bank};
use crate::{Fixture, Machine};

const PCR_7: u32 = 1 << 7;

fn pcr_7(proven: &Proven, machine: &mut dyn Machine) -> Vec<u8> {
    let mut values = proven.quote(machine.device(), &[bank(HashAlgorithm::Sha256, PCR_7)]).pcr_values;
    values.pop().unwrap()
}

/// A machine with a PCR that was extended, and an AK of each template.
fn used(fixture: &dyn Fixture) -> (Box<dyn Machine>, Vec<Proven>) {
    let mut machine = fixture.make();
    machine.extend(HashAlgorithm::Sha256, 7, &[1; 32]);
    let aks = fixture.templates().iter().map(|template| Proven::new(fixture, &mut *machine, *template)).collect();
    (machine, aks)
}

/// After a reboot the AK is the same, resetCount is one higher, restartCount and PCRs are zero, the clock went on and is safe, and the
/// firmware is the same.
pub(crate) fn a_reboot_counts(fixture: &dyn Fixture) {
    let (mut machine, aks) = used(fixture);
    for proven in &aks {
        machine.extend(HashAlgorithm::Sha256, 7, &[1; 32]);
        let (before, firmware) = proven.clock(machine.device());
        machine.reboot();
        let (after, firmware_after) = proven.clock(machine.device());
        assert_eq!(after.reset_count, before.reset_count + 1);
        assert_eq!((after.restart_count, after.safe), (0, true));
        assert!(after.clock >= before.clock, "{before:?} {after:?}");
        assert_eq!(firmware_after, firmware);
        assert_eq!(pcr_7(proven, &mut *machine), [0; 32]);
    }
}

/// After a power cut, which is a reboot too, quotes say that the clock is not safe.
pub(crate) fn a_power_cut_makes_the_clock_unsafe(fixture: &dyn Fixture) {
    let (mut machine, aks) = used(fixture);
    for proven in &aks {
        let (before, _) = proven.clock(machine.device());
        machine.cut_power();
        let (after, _) = proven.clock(machine.device());
        assert_eq!((after.reset_count, after.safe), (before.reset_count + 1, false));
        assert_eq!(pcr_7(proven, &mut *machine), [0; 32]);
    }
}

/// After suspend and resume PCRs and resetCount are what they were, and restartCount is one higher.
pub(crate) fn a_suspended_machine_resumes(fixture: &dyn Fixture) {
    let (mut machine, aks) = used(fixture);
    for proven in &aks {
        let (before, _) = proven.clock(machine.device());
        let value = pcr_7(proven, &mut *machine);
        machine.suspend_and_resume();
        let (after, _) = proven.clock(machine.device());
        assert_eq!((after.reset_count, after.restart_count), (before.reset_count, before.restart_count + 1));
        assert_ne!(value, [0; 32]);
        assert_eq!(pcr_7(proven, &mut *machine), value);
    }
}

/// TPM2_Clear destroys every AK, because it is an ordinary child of its EK, and leaves the EKs as they were; new AKs can be made.
pub(crate) fn a_clear_destroys_aks_and_keeps_eks(fixture: &dyn Fixture) {
    let (mut machine, aks) = used(fixture);
    machine.reboot();
    let (before, _) = aks.first().unwrap().clock(machine.device());
    let eks = |device: &mut dyn TpmDevice| -> Vec<Vec<u8>> {
        fixture.templates().iter().map(|template| device.endorsement_key(*template).unwrap().public).collect()
    };
    let eks_before = eks(machine.device());
    machine.clear();
    assert_eq!(eks(machine.device()), eks_before);
    for proven in &aks {
        assert_not_loadable(proven, machine.device());
        let (after, _) = Proven::new(fixture, &mut *machine, proven.template).clock(machine.device());
        assert!(after.reset_count < before.reset_count, "{before:?} {after:?}");
    }
}

/// A copy has the same EK and can use the same AK; nothing in a quote tells the two apart, but their counters go their own ways.
pub(crate) fn a_copy_is_the_same_tpm(fixture: &dyn Fixture) {
    let (mut machine, aks) = used(fixture);
    let mut copy = machine.copy();
    for proven in &aks {
        let ek = |machine: &mut dyn Machine| machine.device().endorsement_key(proven.template).unwrap().public;
        assert_eq!(ek(&mut *copy), ek(&mut *machine));
        let (before, _) = proven.clock(machine.device());
        let (of_copy, _) = proven.clock(copy.device());
        machine.reboot();
        let (after, _) = proven.clock(machine.device());
        let (still_of_copy, _) = proven.clock(copy.device());
        assert_eq!(after.reset_count, before.reset_count + 1);
        assert_eq!(still_of_copy.reset_count, of_copy.reset_count);
    }
}
