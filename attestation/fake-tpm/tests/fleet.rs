//! A thousand TPMs in one process: each its own, cheap to make, and small. A test binary of its own, because it reads what the whole
//! process weighs.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::HashSet;

use plastron_attestation::{EkTemplate, PcrSelection, TpmDevice};
use plastron_attestation_fake_tpm::{AkAlgorithm, FakeTpm, Fleet, Manufacturer};

/// Peak resident memory of this process, KiB.
#[expect(clippy::disallowed_methods, reason = "the kernel is the one to ask")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_thousand_tpms_are_each_their_own_and_fit_in_100_mb() {
    let manufacturer = Manufacturer::new("Fleet");
    let fleets = [(EkTemplate::L1Rsa2048, AkAlgorithm::Rsa2048), (EkTemplate::H3P384, AkAlgorithm::P256)];
    let mut eks = HashSet::new();
    let mut aks = HashSet::new();
    for (template, ak_algorithm) in fleets {
        let mut tpms: Vec<FakeTpm> = Fleet::new(&manufacturer, &[template], ak_algorithm, 1_000).collect();
        for tpm in &mut tpms {
            let ak = tpm.create_attestation_key(template).unwrap();
            tpm.quote(template, &ak, &[7; 32], &PcrSelection(vec![(0x000b, 0xff)])).unwrap();
            assert!(tpm.certificate().is_some());
            eks.insert(tpm.ek_public());
            aks.insert(ak.public);
        }
        assert!(peak() < 100 * 1024, "{} KiB", peak());
    }
    assert_eq!((eks.len(), aks.len()), (2_000, 2_000));
}
