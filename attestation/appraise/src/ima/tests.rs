//! Lists of real kernels against the PCR values of the TPM that they extended.

use std::collections::BTreeMap;

use plastron_attestation_tcg::HashAlgorithm::{self, Sha1, Sha256, Sha384};
use plastron_attestation_tcg::ima::ImaList;

use super::{Extension, boot_aggregate, replay};
use crate::quote::values::PcrValues;

fn pcrs(lines: &str) -> PcrValues {
    let value = |line: &str| {
        let mut words = line.split(' ');
        let bank = HashAlgorithm::from_name(words.next().unwrap()).unwrap();
        let index: u8 = words.next().unwrap().parse().unwrap();
        ((bank, index), hex::decode(words.next().unwrap()).unwrap())
    };
    lines.lines().map(value).collect()
}

/// Entries, banks, and what boot_aggregate is.
fn judge(list: &[u8], pcrs: &PcrValues) -> (usize, BTreeMap<HashAlgorithm, Extension>, String) {
    let list = ImaList::parse(list).unwrap();
    let allocated = [Sha1, Sha256, Sha384];
    let replayed = replay::replay(list.entries(), &allocated, pcrs).unwrap();
    let proven = &list.entries()[..replayed.entries];
    let aggregate = boot_aggregate::check(proven, &allocated, pcrs).unwrap();
    (replayed.entries, replayed.banks, aggregate.to_string())
}

/// This kernel had no SHA-384 when IMA began, and pads.
#[test]
fn a_list_of_linux_6_1_replays() {
    let pcrs = pcrs(include_str!("../../tests/data/ima/linux-6.1.pcrs"));
    let judged = judge(include_bytes!("../../tests/data/ima/linux-6.1.bin"), &pcrs);
    let banks = [(Sha1, Extension::Hashed), (Sha256, Extension::Hashed), (Sha384, Extension::Padded)].into();
    assert_eq!(judged, (73, banks, "of PCR 0 to 9 of bank sha256".to_owned()));
}

#[test]
fn a_list_of_linux_6_12_replays() {
    let pcrs = pcrs(include_str!("../../tests/data/ima/linux-6.12.pcrs"));
    let judged = judge(include_bytes!("../../tests/data/ima/linux-6.12.bin"), &pcrs);
    let banks = [Sha1, Sha256, Sha384].map(|bank| (bank, Extension::Hashed)).into();
    assert_eq!(judged, (68, banks, "of PCR 0 to 9 of bank sha256".to_owned()));
}
