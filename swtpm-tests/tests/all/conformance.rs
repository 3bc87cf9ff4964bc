//! The TPM back end on a real TPM passes the suites of the `TpmDevice` and `TpmSvidKeys` seams, with an EK of every template.

use plastron_attestation::{EkTemplate, TpmDevice, TpmSvidKeys};
use plastron_attestation_appraise::TrustAnchors;
use plastron_attestation_conformance::{Fixture, Machine};
use plastron_attestation_tcg::HashAlgorithm;
use plastron_hsm_tpm::Tpm;
use plastron_swtpm_tests::{Manufacturer, Swtpm};
use rustls_pki_types::UnixTime;

use crate::exchange::open;
use crate::tpm_device::assert_nothing_left;

/// The EKs that swtpm_setup certifies.
const CERTIFIED: [EkTemplate; 2] = [EkTemplate::L1Rsa2048, EkTemplate::H3P384];

struct Swtpms {
    templates: &'static [EkTemplate],
}

impl Fixture for Swtpms {
    fn make(&self) -> Box<dyn Machine> {
        let tpm = Swtpm::start().unwrap();
        Box::new(Real { device: open(&tpm), tpm })
    }

    fn templates(&self) -> &[EkTemplate] {
        self.templates
    }

    fn certified(&self) -> &[EkTemplate] {
        &CERTIFIED
    }

    fn manufacturer(&self) -> TrustAnchors {
        let manufacturer = Manufacturer::shared().unwrap();
        let (root, intermediate) = (manufacturer.root_der().unwrap(), manufacturer.intermediate_der().unwrap());
        TrustAnchors::new(vec![root], vec![intermediate]).unwrap()
    }

    fn now(&self) -> u64 {
        UnixTime::now().as_secs()
    }
}

struct Real {
    device: Tpm,
    tpm: Swtpm,
}

impl Machine for Real {
    fn device(&mut self) -> &mut dyn TpmDevice {
        &mut self.device
    }

    fn svid_keys(&mut self) -> Option<&mut dyn TpmSvidKeys> {
        Some(&mut self.device)
    }

    fn extend(&mut self, bank: HashAlgorithm, pcr: u8, digest: &[u8]) {
        self.tpm.extend_pcr(pcr.into(), bank.name(), digest).unwrap();
    }

    fn reboot(&mut self) {
        self.tpm.reboot().unwrap();
    }

    fn cut_power(&mut self) {
        self.tpm.power_cut().unwrap();
    }

    fn suspend_and_resume(&mut self) {
        self.tpm.suspend_and_resume().unwrap();
    }

    fn clear(&mut self) {
        self.tpm.clear().unwrap();
    }

    fn copy(&self) -> Box<dyn Machine> {
        let tpm = self.tpm.clone_state().unwrap();
        Box::new(Self { device: open(&tpm), tpm })
    }
}

/// Whatever the suite did with a TPM, the back end leaves nothing loaded in it.
impl Drop for Real {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_nothing_left(&self.tpm);
        }
    }
}

#[test]
fn the_tpm_back_end_conforms() {
    plastron_attestation_conformance::run(&Swtpms { templates: &CERTIFIED });
}

#[test]
fn the_tpm_back_end_conforms_with_eks_that_it_has_to_make() {
    plastron_attestation_conformance::run(&Swtpms { templates: &[EkTemplate::L2P256, EkTemplate::H2P256] });
}

#[test]
fn the_tpm_back_end_keeps_the_keys_of_svids() {
    plastron_attestation_conformance::run_svid_keys(&Swtpms { templates: &CERTIFIED });
}
