//! IMA lists against quotes of TPMs whose kernels measured so, or not quite so.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod machine;

use machine::Machine;
use plastron_attestation_appraise::{
    AppraiseError, Check, CheckOutcome, Checklist, ImaFacts, ImaFileFact, ImaViolation, ReplayedImaList,
};
use plastron_attestation_fake_tpm::event_log::LinuxBoot;
use plastron_attestation_fake_tpm::ima_list::{ImaListBuilder, Kernel, ng};
use plastron_attestation_tcg::HashAlgorithm::{self, Sha1, Sha256, Sha384, Sha512};
use plastron_attestation_tcg::ima::ImaList;

const PCRS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// A machine that has booted, without a list yet.
fn booted() -> Machine {
    booted_with(&[Sha1, Sha256, Sha384, Sha512], &PCRS)
}

fn booted_with(banks: &[HashAlgorithm], pcrs: &[u8]) -> Machine {
    let mut machine = Machine::with_pcrs(pcrs);
    machine.tpm.allocate(banks);
    LinuxBoot { banks: banks.to_vec(), ..LinuxBoot::default() }.log().boot(&mut machine.tpm);
    machine
}

/// boot_aggregate, two files, a violation, a file.
fn list(kernel: Kernel, machine: &Machine) -> ImaListBuilder {
    let mut list = ImaListBuilder::booted(kernel, &machine.tpm);
    list.file("/init", b"init").signed_file("/bin/sh", b"sh", b"\x03\x02signature");
    list.violation("/var/log/messages").file("/bin/ls", b"ls");
    list
}

fn verify(machine: &mut Machine, list: &[u8]) -> Result<(ImaFacts, Checklist), AppraiseError> {
    let mut checks = Checklist::new();
    let quote = machine.quote(1);
    let replayed = ReplayedImaList::verify(ImaList::parse(list)?, &quote, &mut checks)?;
    assert_eq!(replayed.boot().0, quote.ak_name());
    Ok((replayed.facts(), checks))
}

fn refused(machine: &mut Machine, list: &[u8]) -> AppraiseError {
    match verify(machine, list) {
        Ok((facts, _)) => panic!("{facts:?}"),
        Err(error) => error,
    }
}

/// The list with one byte of an entry changed.
fn tampered(list: &ImaListBuilder, entry: usize, at: usize) -> Vec<u8> {
    let mut bytes = list.bytes().to_vec();
    bytes[list.offset_of(entry).unwrap() + at] ^= 1;
    bytes
}

/// The list without one entry.
fn without(list: &ImaListBuilder, entry: usize) -> Vec<u8> {
    let (from, to) = (list.offset_of(entry).unwrap(), list.offset_of(entry + 1).unwrap());
    let mut bytes = list.bytes().to_vec();
    bytes.drain(from..to);
    bytes
}

#[test]
fn a_list_replays_in_every_bank_whatever_the_kernel_extends_it_with() {
    for (kernel, extended) in [
        (Kernel::Linux5_7, ["hashed", "padded throughout", "padded throughout", "padded throughout"]),
        (Kernel::Linux6_1, ["hashed", "hashed", "padded", "padded"]),
        (Kernel::Linux6_12, ["hashed", "hashed", "hashed", "hashed"]),
    ] {
        let mut machine = booted();
        let list = list(kernel, &machine);
        list.extend(&mut machine.tpm, list.len());
        let (facts, checks) = verify(&mut machine, list.bytes()).unwrap();
        assert_eq!(facts.banks.values().copied().collect::<Vec<_>>(), extended);
        let records = checks.records();
        assert_eq!(
            records.iter().map(|record| record.check).collect::<Vec<_>>(),
            [Check::ImaList, Check::ImaBootAggregate]
        );
        assert!(records.iter().all(|record| record.outcome == CheckOutcome::Passed));
        assert!(records[0].detail.starts_with("5 of 5 entries, sha1 hashed"), "{}", records[0].detail);
        assert_eq!(records[1].detail, "of PCR 0 to 9 of bank sha256");
    }
}

#[test]
fn facts_name_files_violations_and_kexecs() {
    let mut machine = booted();
    let mut list = list(Kernel::Linux6_12, &machine);
    list.boot_aggregate(&machine.tpm).entry("d-ng|n-ng|uuid", b"whatever");
    list.file("/tmp/\u{1b}[31m\\", b"x");
    list.extend(&mut machine.tpm, list.len());
    let (facts, _) = verify(&mut machine, list.bytes()).unwrap();
    let aggregate = Sha256.digest((0..10).map(|index| machine.tpm.pcr(Sha256, index).unwrap()));
    let file = |entry, path: &str, template: &str, content: &[u8]| ImaFileFact {
        entry,
        path: path.to_owned(),
        template: template.to_owned(),
        digest: format!("sha256:{}", hex::encode(Sha256.digest([content]))),
        signed: template == "ima-sig",
    };
    assert_eq!(
        facts,
        ImaFacts {
            entries: 8,
            unproven_entries: 0,
            boot_aggregate: Some(format!("sha256:{}", hex::encode(aggregate))),
            kexecs: 1,
            files: vec![
                file(1, "/init", "ima-ng", b"init"),
                file(2, "/bin/sh", "ima-sig", b"sh"),
                file(4, "/bin/ls", "ima-ng", b"ls"),
                file(7, "/tmp/\\x1b[31m\\\\", "ima-ng", b"x"),
            ],
            violations: vec![ImaViolation { entry: 3, claimed_path: Some("/var/log/messages".into()) }],
            unread_entries: 1,
            banks: ["sha1", "sha256", "sha384", "sha512"].map(|bank| (bank.to_owned(), "hashed")).into(),
        }
    );
    let json = serde_json::to_value(&facts).unwrap();
    assert_eq!(json["violations"][0]["claimed_path"], "/var/log/messages");
}

/// The list is read after the quote, and what came between proves nothing.
#[test]
fn only_what_the_quote_covers_counts() {
    let mut machine = booted();
    let list = list(Kernel::Linux6_1, &machine);
    list.extend(&mut machine.tpm, 2);
    let (facts, _) = verify(&mut machine, list.bytes()).unwrap();
    assert_eq!((facts.entries, facts.unproven_entries, facts.files.len()), (2, 3, 1));
    // Whatever stands behind may be anything that parses.
    let (facts, _) = verify(&mut machine, &tampered(&list, 3, 50)).unwrap();
    assert_eq!((facts.entries, facts.unproven_entries), (2, 3));
}

#[test]
fn a_list_shorter_than_the_quote_is_refused() {
    let mut machine = booted();
    let list = list(Kernel::Linux6_1, &machine);
    list.extend(&mut machine.tpm, list.len());
    let short = &list.bytes()[..list.offset_of(4).unwrap()];
    let error = refused(&mut machine, short);
    let AppraiseError::ImaReplay { entries: 4, banks } = &error else { panic!("{error}") };
    assert_eq!(banks, "bank sha1 never, bank sha256 never, bank sha384 never, bank sha512 never");
    assert_eq!(error.check(), Check::ImaList);
}

/// Threat 6
#[test]
fn a_changed_hidden_or_moved_entry_is_refused() {
    let mut machine = booted();
    let list = list(Kernel::Linux6_12, &machine);
    list.extend(&mut machine.tpm, list.len());
    assert!(verify(&mut machine, list.bytes()).is_ok());

    // The digest of a file, without and with a template digest that fits.
    let digest_at = 4 + 20 + 4 + 6 + 4 + 4 + 8;
    let error = refused(&mut machine, &tampered(&list, 1, digest_at));
    assert!(matches!(&error, AppraiseError::ImaTemplateDigest { entry: 1, .. }), "{error}");
    assert_eq!(error.check(), Check::ImaList);
    let other = |change: &dyn Fn(&mut ImaListBuilder)| {
        let mut other = ImaListBuilder::booted(Kernel::Linux6_12, &machine.tpm);
        change(&mut other);
        other.signed_file("/bin/sh", b"sh", b"\x03\x02signature").violation("/var/log/messages").file("/bin/ls", b"ls");
        other.bytes().to_vec()
    };
    let consistent = other(&|list| _ = list.file("/init", b"another"));
    let added = other(&|list| _ = list.file("/init", b"init").file("/bin/evil", b"evil"));
    let violated = other(&|list| _ = list.violation("/init"));
    for (what, bytes) in [
        ("another file", consistent),
        ("one more", added),
        ("a violation instead", violated),
        ("one less", without(&list, 1)),
        ("no violation", without(&list, 3)),
    ] {
        let error = refused(&mut machine, &bytes);
        assert!(matches!(&error, AppraiseError::ImaReplay { .. }), "{what}: {error}");
    }
}

/// A violation that is shown as a file would hide it.
#[test]
fn a_violation_can_not_pass_for_a_measured_file() {
    let mut machine = booted();
    let list = list(Kernel::Linux6_12, &machine);
    list.extend(&mut machine.tpm, list.len());
    let data = ng(Sha256, &[0; 32], "/var/log/messages");
    let mut bytes = list.bytes().to_vec();
    let at = list.offset_of(3).unwrap() + 4;
    bytes[at..at + 20].copy_from_slice(&Sha1.digest([data.as_slice()]));
    assert!(matches!(refused(&mut machine, &bytes), AppraiseError::ImaReplay { .. }));
}

#[test]
fn one_length_serves_all_banks() {
    let mut machine = booted_with(&[Sha1, Sha256], &PCRS);
    let list = list(Kernel::Linux6_12, &machine);
    list.extend_bank(&mut machine.tpm, Sha1, 2);
    list.extend_bank(&mut machine.tpm, Sha256, 3);
    let error = refused(&mut machine, list.bytes());
    let AppraiseError::ImaReplay { banks, .. } = &error else { panic!("{error}") };
    assert_eq!(banks, "bank sha1 matches after 2 entries, bank sha256 matches after 3 entries");
}

/// A bank that IMA did not extend can be filled by hand (as in CVE-2021-42299).
#[test]
fn a_bank_with_a_list_of_its_own_or_none_is_refused() {
    let mut machine = booted_with(&[Sha1, Sha256], &PCRS);
    let list = list(Kernel::Linux6_12, &machine);
    list.extend_bank(&mut machine.tpm, Sha256, list.len());
    let error = refused(&mut machine, list.bytes());
    assert_eq!(error, AppraiseError::ImaNotExtended { bank: Sha1 });
    assert_eq!(error.check(), Check::ImaList);
    let mut other = ImaListBuilder::booted(Kernel::Linux6_12, &machine.tpm);
    other.file("/init", b"another").extend_bank(&mut machine.tpm, Sha1, 2);
    let error = refused(&mut machine, list.bytes());
    let AppraiseError::ImaReplay { banks, .. } = &error else { panic!("{error}") };
    assert_eq!(banks, "bank sha1 never, bank sha256 matches after 5 entries");
}

#[test]
fn a_list_of_another_boot_is_refused() {
    let mut machine = booted();
    let list = list(Kernel::Linux6_12, &machine);
    machine.tpm.measure(4, b"another boot loader");
    list.extend(&mut machine.tpm, list.len());
    let error = refused(&mut machine, list.bytes());
    assert!(matches!(&error, AppraiseError::ImaBootAggregate { .. }), "{error}");
    assert_eq!(error.check(), Check::ImaBootAggregate);
}

#[test]
fn a_list_that_does_not_begin_with_boot_aggregate_is_refused() {
    for first in ["a file", "a violation"] {
        let mut machine = booted();
        let mut list = ImaListBuilder::new(Kernel::Linux6_12);
        match first {
            "a file" => list.file("/init", b"init"),
            // Its data are covered by nothing, so they could be anything.
            _ => list.violation("boot_aggregate"),
        };
        list.boot_aggregate(&machine.tpm).extend(&mut machine.tpm, 2);
        let error = refused(&mut machine, list.bytes());
        assert_eq!(error, AppraiseError::ImaNoBootAggregate, "{first}");
        assert_eq!(error.check(), Check::ImaBootAggregate);
    }
}

#[test]
fn boot_aggregate_is_of_the_banks_that_the_kernel_looks_at() {
    for (banks, detail) in [
        (vec![Sha1, Sha384], "of PCR 0 to 7 of bank sha1"),
        (vec![Sha256], "of PCR 0 to 9 of bank sha256"),
        (vec![Sha384], "zeros: neither a SHA-256 nor a SHA-1 bank"),
    ] {
        let mut machine = booted_with(&banks, &PCRS);
        let list = list(Kernel::Linux6_1, &machine);
        list.extend(&mut machine.tpm, list.len());
        let (facts, checks) = verify(&mut machine, list.bytes()).unwrap();
        assert_eq!(checks.records()[1].detail, detail);
        assert_eq!(facts.boot_aggregate.is_none(), banks == [Sha384]);
    }
}

/// Zeros would fit any boot, so they count only where the kernel had nothing to sum up.
#[test]
fn zeros_for_boot_aggregate_are_refused_where_there_was_a_bank() {
    for banks in [[Sha256, Sha384], [Sha1, Sha384]] {
        let mut machine = booted_with(&banks, &PCRS);
        let mut list = ImaListBuilder::new(Kernel::Linux6_12);
        list.entry("ima-ng", &ng(Sha256, &[0; 32], "boot_aggregate")).extend(&mut machine.tpm, 1);
        let error = refused(&mut machine, list.bytes());
        assert!(matches!(&error, AppraiseError::ImaBootAggregate { .. }), "{error}");
    }
}

#[test]
fn boot_aggregate_of_a_bank_that_is_not_allocated_is_refused() {
    let mut machine = booted_with(&[Sha256], &PCRS);
    let mut list = ImaListBuilder::new(Kernel::Linux6_12);
    list.entry("ima-ng", &ng(Sha512, &[7; 64], "boot_aggregate")).extend(&mut machine.tpm, 1);
    let error = refused(&mut machine, list.bytes());
    assert!(matches!(&error, AppraiseError::ImaBootAggregate { .. }), "{error}");
}

#[test]
fn pcrs_that_are_not_quoted_can_not_be_compared() {
    for (pcrs, missing) in [(&PCRS[..10], 10), (&[0, 1, 2, 3, 4, 5, 6, 7, 10][..], 8)] {
        let mut machine = booted_with(&[Sha256], pcrs);
        let list = list(Kernel::Linux6_12, &machine);
        list.extend(&mut machine.tpm, list.len());
        let error = refused(&mut machine, list.bytes());
        assert_eq!(error, AppraiseError::ImaNotQuoted { bank: Sha256, index: missing });
    }
}

#[test]
fn an_entry_in_another_pcr_is_refused() {
    let mut machine = booted();
    let list = list(Kernel::Linux6_12, &machine);
    list.extend(&mut machine.tpm, list.len());
    let error = refused(&mut machine, &tampered(&list, 2, 0));
    assert_eq!(error, AppraiseError::ImaPcr { entry: 2, pcr: 11 });
}

#[test]
fn a_list_that_does_not_parse_says_where_and_none_is_not_malformed() {
    let mut machine = booted();
    let list = list(Kernel::Linux6_12, &machine);
    list.extend(&mut machine.tpm, list.len());
    let cut = &list.bytes()[..list.bytes().len() - 1];
    let AppraiseError::ImaList(error) = refused(&mut machine, cut) else { panic!() };
    assert_eq!(error.entry, Some(4));
    assert!(error.to_string().starts_with("IMA list, entry 4 at offset "), "{error}");
    let none = refused(&mut machine, &[]);
    assert_eq!((none.check(), &none), (Check::ImaListMissing, &AppraiseError::ImaListMissing));
}
