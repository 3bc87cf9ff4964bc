//! The TPM in memory passes the suites that the TPM back end passes on swtpm.
#![expect(clippy::expect_used, reason = "a test may panic")]

use std::cell::RefCell;

use plastron_attestation::{EkTemplate, TpmDevice, TpmSvidKeys};
use plastron_attestation_appraise::TrustAnchors;
use plastron_attestation_conformance::{Fixture, Machine};
use plastron_attestation_fake_tpm::{AkAlgorithm, FakeTpm, Fleet, Manufacturer};
use plastron_attestation_tcg::HashAlgorithm;

/// 2026-01-01.
const NOW: u64 = 1_767_225_600;

/// More TPMs than the suite makes.
const ENOUGH: usize = 40;

struct Fakes {
    manufacturer: Manufacturer,
    templates: &'static [EkTemplate],
    tpms: RefCell<Fleet>,
}

impl Fakes {
    fn new(templates: &'static [EkTemplate], ak_algorithm: AkAlgorithm) -> Self {
        let manufacturer = Manufacturer::new("Conformance");
        let tpms = RefCell::new(Fleet::new(&manufacturer, templates, ak_algorithm, ENOUGH));
        Self { manufacturer, templates, tpms }
    }
}

impl Fixture for Fakes {
    fn make(&self) -> Box<dyn Machine> {
        Box::new(Fake(self.tpms.borrow_mut().next().expect("enough for the suite")))
    }

    fn templates(&self) -> &[EkTemplate] {
        self.templates
    }

    fn certified(&self) -> &[EkTemplate] {
        self.templates
    }

    fn manufacturer(&self) -> TrustAnchors {
        let (root, intermediate) = (self.manufacturer.root(), self.manufacturer.intermediate());
        TrustAnchors::new(vec![root], vec![intermediate]).expect("a CA of our own")
    }

    fn now(&self) -> u64 {
        NOW
    }
}

struct Fake(FakeTpm);

impl Machine for Fake {
    fn device(&mut self) -> &mut dyn TpmDevice {
        &mut self.0
    }

    fn svid_keys(&mut self) -> Option<&mut dyn TpmSvidKeys> {
        Some(&mut self.0)
    }

    fn extend(&mut self, bank: HashAlgorithm, pcr: u8, digest: &[u8]) {
        self.0.extend(bank, pcr, digest);
    }

    fn reboot(&mut self) {
        self.0.reboot();
    }

    fn cut_power(&mut self) {
        self.0.power_cut();
    }

    fn suspend_and_resume(&mut self) {
        self.0.resume();
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn copy(&self) -> Box<dyn Machine> {
        Box::new(Self(self.0.copy()))
    }
}

#[test]
fn a_tpm_in_memory_conforms_whatever_its_eks() {
    plastron_attestation_conformance::run(&Fakes::new(&EkTemplate::ALL, AkAlgorithm::P256));
}

#[test]
fn a_tpm_in_memory_conforms_whatever_aks_it_makes() {
    for ak_algorithm in [AkAlgorithm::P384, AkAlgorithm::Rsa2048] {
        plastron_attestation_conformance::run(&Fakes::new(&[EkTemplate::L2P256, EkTemplate::H3P384], ak_algorithm));
    }
}

#[test]
fn a_tpm_in_memory_keeps_the_keys_of_svids() {
    plastron_attestation_conformance::run_svid_keys(&Fakes::new(&EkTemplate::ALL, AkAlgorithm::P256));
}
