//! Logs against quotes of TPMs that booted so, or not quite so.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod machine;

use plastron_attestation_appraise::event_log::{Facts, Replay, ReplayedLog, judge};
use plastron_attestation_appraise::{
    AppraiseError, BootPolicy, Check, CheckOutcome, Checklist, MissingEventLog, Sha1EventLog,
};
use plastron_attestation_fake_tpm::event_log::{GLOBAL, IMAGE_SECURITY, LinuxBoot, LogBuilder, uefi_variable};
use plastron_attestation_tcg::HashAlgorithm::{self, Sha1, Sha256, Sha384, Sha512};
use plastron_attestation_tcg::event_log::{EventType, LogFault, RawLog};

use crate::machine::Machine;

/// Firmware's, boot loaders', IMA's and systemd's.
const PCRS: [u8; 13] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14];

/// What the tests ask of a machine that is enrolled.
trait Judged {
    fn judge<'a>(
        &mut self,
        log: &'a [u8],
        policy: &BootPolicy,
        checks: &mut Checklist,
    ) -> Result<ReplayedLog<'a>, AppraiseError>;

    fn refusal(&mut self, log: &[u8]) -> AppraiseError;
}

impl Judged for Machine {
    fn judge<'a>(
        &mut self,
        log: &'a [u8],
        policy: &BootPolicy,
        checks: &mut Checklist,
    ) -> Result<ReplayedLog<'a>, AppraiseError> {
        let quote = self.quote(1);
        judge(Some(log), &quote, policy, checks).map(Option::unwrap)
    }

    fn refusal(&mut self, log: &[u8]) -> AppraiseError {
        match self.judge(log, &BootPolicy::default(), &mut Checklist::new()) {
            Ok(log) => panic!("{} events were accepted", log.raw().events().len()),
            Err(error) => error,
        }
    }
}

fn booted(log: &LogBuilder) -> Machine {
    let mut machine = Machine::with_pcrs(&PCRS);
    log.boot(&mut machine.tpm);
    machine
}

fn note(checks: &Checklist, check: Check) -> Vec<(CheckOutcome, String)> {
    checks
        .records()
        .iter()
        .filter(|record| record.check == check)
        .map(|record| (record.outcome, record.detail.clone()))
        .collect()
}

#[test]
fn a_log_replays_to_the_quote_of_its_boot_in_every_allocated_bank() {
    for startup_locality in [None, Some(0), Some(3), Some(4)] {
        let log = LinuxBoot { startup_locality, ..LinuxBoot::default() }.log();
        let mut machine = booted(&log);
        let checks = &mut Checklist::new();
        let replayed = machine.judge(log.bytes(), &BootPolicy::default(), checks).unwrap();
        assert_eq!(replayed.banks(), [Sha1, Sha256, Sha384]);
        assert!((0..=11).chain([14]).all(|pcr| replayed.is_proven(pcr)));
        assert!(!replayed.is_proven(12), "a PCR that was not quoted proves nothing");
        assert!(checks.records().iter().all(|record| record.outcome == CheckOutcome::Passed), "{checks:?}");
        replayed.check_subject(&machine.quote(1)).unwrap_err();
    }
}

/// The same values as the TPM's, also of PCRs that nothing extended.
#[test]
fn a_replay_leads_where_the_tpm_came() {
    let log = LinuxBoot { startup_locality: Some(3), ..LinuxBoot::default() }.log();
    let machine = booted(&log);
    let replay = Replay::of(&RawLog::parse(log.bytes()).unwrap());
    for bank in [Sha1, Sha256, Sha384] {
        for index in 0..24 {
            assert_eq!(replay.value(bank, index).unwrap().as_bytes(), machine.tpm.pcr(bank, index).unwrap());
        }
    }
    assert!(replay.value(Sha512, 0).is_none());
    assert_eq!(replay.pcrs().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]);
}

/// Threat 6: an event that the TPM was not told of does not replay, and the refusal shows both values and the event.
#[test]
fn an_event_too_many_or_too_few_is_refused() {
    let log = LinuxBoot::default().log();
    let mut appended = log.clone();
    let digests = [Sha1, Sha256, Sha384].map(|bank| (bank, vec![7; bank.digest_len()]));
    appended.raw_event(4, EventType::EFI_BOOT_SERVICES_APPLICATION, &digests, b"another loader");
    let mut machine = booted(&log);
    let error = machine.refusal(appended.bytes());
    let number = u32::try_from(appended.event_count() - 1).unwrap();
    let AppraiseError::EventLogReplay { index: 4, bank: Sha1, quoted, replayed, last_event } = &error else {
        panic!("{error}")
    };
    assert_ne!(quoted, replayed);
    assert_eq!(
        (quoted.as_str(), last_event.0),
        (hex::encode(machine.tpm.pcr(Sha1, 4).unwrap()).as_str(), Some(number))
    );
    assert_eq!(error.check(), Check::EventLogReplay);

    let cut = log.offset_of(log.event_count() - 1).unwrap();
    assert!(matches!(machine.refusal(&log.bytes()[..cut]), AppraiseError::EventLogReplay { index: 5, .. }));
    let mut untold = log.clone();
    let mut machine = booted(untold.unlogged(8, b"init=/bin/sh"));
    assert!(matches!(machine.refusal(log.bytes()), AppraiseError::EventLogReplay { index: 8, .. }));
}

/// Threat 6: order is part of what a PCR shows.
#[test]
fn events_in_another_order_do_not_replay() {
    let log = LinuxBoot::default().log();
    let bytes = log.bytes();
    let at = |event: usize| log.offset_of(event).unwrap();
    let last = log.event_count() - 1;
    let swapped = [&bytes[..at(last - 1)], &bytes[at(last)..], &bytes[at(last - 1)..at(last)]].concat();
    assert!(matches!(booted(&log).refusal(&swapped), AppraiseError::EventLogReplay { index: 5, .. }));
}

/// Threat 6: EV_NO_ACTION extends nothing, so an event that is turned into one is missing.
#[test]
fn an_event_retyped_as_no_action_does_not_replay() {
    let log = LinuxBoot::default().log();
    let mut bytes = log.bytes().to_vec();
    let type_at = log.offset_of(log.event_count() - 1).unwrap() + 4;
    bytes[type_at..type_at + 4].copy_from_slice(&EventType::NO_ACTION.0.to_le_bytes());
    assert!(matches!(booted(&log).refusal(&bytes), AppraiseError::EventLogReplay { index: 5, .. }));
}

/// Threat 14: who started the TPM, from which locality, shows in PCR 0.
#[test]
fn the_startup_locality_is_part_of_pcr_0() {
    let stated = LinuxBoot { startup_locality: Some(3), ..LinuxBoot::default() }.log();
    let unstated = LinuxBoot::default().log();
    assert!(matches!(booted(&stated).refusal(unstated.bytes()), AppraiseError::EventLogReplay { index: 0, .. }));
    assert!(matches!(booted(&unstated).refusal(stated.bytes()), AppraiseError::EventLogReplay { index: 0, .. }));
}

/// CVE-2021-42299: firmware extends SHA-256 only, and user space fills the SHA-384 bank that it left alone with another boot, to
/// which the log leads as well.
#[test]
fn cve_2021_42299_a_bank_filled_by_hand_is_refused() {
    let log = LinuxBoot::default().log();
    let mut machine = booted(&log);
    machine.tpm.clear_bank(Sha384);
    let other = LinuxBoot { banks: vec![Sha384], secure_boot: false, ..LinuxBoot::default() }.log();
    other.extend(&mut machine.tpm);
    let error = machine.refusal(log.bytes());
    assert!(matches!(error, AppraiseError::BankNotReplayed { bank: Sha384, other: Sha1, index: 7, .. }), "{error}");
    assert_eq!(error.check(), Check::BankNotExtended);
}

/// CVE-2021-42299: banks that firmware left alone, in the log, in one event, or in the TPM.
#[test]
fn cve_2021_42299_a_bank_that_firmware_left_alone_is_refused() {
    let without_sha384 = LinuxBoot { banks: vec![Sha1, Sha256], ..LinuxBoot::default() }.log();
    let mut machine = booted(&without_sha384);
    let error = machine.refusal(without_sha384.bytes());
    assert!(matches!(error, AppraiseError::BankNotInLog { bank: Sha384, .. }), "{error}");
    assert_eq!(error.check(), Check::BankNotExtended);

    let whole = LinuxBoot::default().log();
    let mut machine = booted(&whole);
    machine.tpm.clear_bank(Sha256);
    let error = machine.refusal(whole.bytes());
    assert!(matches!(error, AppraiseError::BankUntouched { bank: Sha256, index: 0 }), "{error}");
    assert_eq!(error.check(), Check::BankNotExtended);

    let mut gap = whole.clone();
    gap.raw_event(4, EventType::EFI_ACTION, &[(Sha1, vec![1; 20]), (Sha256, vec![2; 32])], b"no SHA-384");
    let error = booted(&whole).refusal(gap.bytes());
    let event = u32::try_from(gap.event_count() - 1).unwrap();
    assert!(matches!(error, AppraiseError::BankMissingInEvent { bank: Sha384, event: at } if at == event), "{error}");
    assert_eq!(error.check(), Check::BankNotExtended);
}

/// An empty log leads to PCRs of zeros, which is what a TPM shows that firmware never spoke to.
#[test]
fn a_log_of_nothing_does_not_fit_a_tpm_that_firmware_never_extended() {
    for startup_locality in [None, Some(3)] {
        let mut log = LogBuilder::crypto_agile(&[Sha1, Sha256, Sha384]);
        if let Some(locality) = startup_locality {
            log.startup_locality(locality);
        }
        let error = booted(&log).refusal(log.bytes());
        assert!(matches!(error, AppraiseError::BankUntouched { bank: Sha1, index: 0 }), "{error}");
    }
}

#[test]
fn a_bank_that_the_pool_excepts_is_left_out_and_the_verdict_says_so() {
    let log = LinuxBoot { banks: vec![Sha1, Sha256], ..LinuxBoot::default() }.log();
    let mut machine = booted(&log);
    let policy = BootPolicy { unextended_banks: vec![Sha384], ..BootPolicy::default() };
    let checks = &mut Checklist::new();
    assert_eq!(machine.judge(log.bytes(), &policy, checks).unwrap().banks(), [Sha1, Sha256]);
    let notes = note(checks, Check::BankNotExtended);
    let [(CheckOutcome::NotChecked, detail)] = notes.as_slice() else { panic!("{checks:?}") };
    assert!(detail.starts_with("sha384: "), "{detail}");

    // The exception does not leave SHA-1 as the only evidence.
    let policy = BootPolicy { unextended_banks: vec![Sha256, Sha384], ..BootPolicy::default() };
    let error = machine.judge(log.bytes(), &policy, &mut Checklist::new()).unwrap_err();
    assert_eq!(error.check(), Check::EventLogBanks);
}

#[test]
fn a_log_with_sha1_alone_is_refused_unless_the_pool_accepts_it() {
    let mut log = LogBuilder::sha1();
    log.event(0, EventType::S_CRTM_VERSION, b"1.0");
    let mut agile = LogBuilder::crypto_agile(&[Sha1]);
    agile.event(0, EventType::S_CRTM_VERSION, b"1.0");
    for log in [log, agile] {
        let mut machine = booted(&log);
        machine.tpm.extend(Sha256, 0, &[1; 32]);
        let error = machine.refusal(log.bytes());
        assert_eq!(error.check(), Check::EventLogBanks);

        let policy = BootPolicy { sha1_event_log: Sha1EventLog::Accept, ..BootPolicy::default() };
        let checks = &mut Checklist::new();
        assert_eq!(machine.judge(log.bytes(), &policy, checks).unwrap().banks(), [Sha1]);
        assert_eq!(note(checks, Check::EventLogBanks).first().unwrap().0, CheckOutcome::NotChecked);
        assert!(note(checks, Check::BankNotExtended).first().unwrap().1.starts_with("sha256, sha384: "));
        machine.tpm.extend(Sha1, 0, &[1; 20]);
        let error = machine.judge(log.bytes(), &policy, &mut Checklist::new()).unwrap_err();
        assert_eq!(error.check(), Check::EventLogReplay);
    }
}

/// CVE-2021-42299: where the pool takes logs with SHA-1 alone, a SHA-1 bank that firmware left alone and user space filled with a boot
/// under Secure Boot is given away by the bank that firmware did extend: PCR 7 holds nothing but texts that the log has.
#[test]
fn cve_2021_42299_a_sha1_bank_filled_by_hand_is_refused_under_the_sha1_exception() {
    let policy = BootPolicy { sha1_event_log: Sha1EventLog::Accept, ..BootPolicy::default() };
    let boot = LinuxBoot::default();
    let shown = LinuxBoot { banks: vec![Sha1], ..boot.clone() }.log();
    let insecure = LinuxBoot { banks: vec![Sha256, Sha384], secure_boot: false, ..boot.clone() };
    let mut machine = booted(&insecure.log());
    shown.extend(&mut machine.tpm);
    let error = machine.judge(shown.bytes(), &policy, &mut Checklist::new()).map(|log| log.facts()).unwrap_err();
    assert_eq!(error.check(), Check::BankNotExtended, "{error}");
    assert!(error.to_string().contains("sha256"), "{error}");

    // The same log of a boot that was so.
    let mut machine = booted(&boot.log());
    let replayed = machine.judge(shown.bytes(), &policy, &mut Checklist::new()).unwrap();
    assert_eq!(replayed.banks(), [Sha1]);
    assert_eq!(replayed.facts().secure_boot.enabled.unwrap().verified(), Ok(&Some(true)));
}

/// A log that is compared with no bank is no evidence, whatever exceptions a pool makes.
#[test]
fn a_log_of_which_no_bank_is_judged_is_refused() {
    let log = LinuxBoot { banks: vec![Sha1], ..LinuxBoot::default() }.log();
    let mut machine = booted(&LinuxBoot::default().log());
    let policy =
        BootPolicy { sha1_event_log: Sha1EventLog::Accept, unextended_banks: vec![Sha1], ..BootPolicy::default() };
    let error = machine.judge(log.bytes(), &policy, &mut Checklist::new()).map(|log| log.facts()).unwrap_err();
    assert_eq!(error.check(), Check::BankNotExtended, "{error}");
}

/// IMA and systemd go on extending PCR 10 and 11: that is no fault of the log, but its events there count for nothing.
#[test]
fn what_user_space_extends_later_need_not_replay() {
    let log = LinuxBoot::default().log();
    let mut machine = booted(&log);
    machine.tpm.measure(10, b"boot_aggregate");
    machine.tpm.measure(11, b"enter-initrd");
    let checks = &mut Checklist::new();
    let replayed = machine.judge(log.bytes(), &BootPolicy::default(), checks).unwrap();
    assert!(!replayed.is_proven(10) && !replayed.is_proven(11) && replayed.is_proven(9));
    let notes = note(checks, Check::EventLogReplay);
    assert!(notes.iter().any(|(outcome, detail)| *outcome == CheckOutcome::NotChecked && detail.contains("10,11")));
    for pcr in [8, 9, 14] {
        let mut machine = booted(&log);
        machine.tpm.measure(pcr, b"by a program");
        assert!(matches!(machine.refusal(log.bytes()), AppraiseError::EventLogReplay { index, .. } if index == pcr));
    }
}

#[test]
fn no_log_is_refused_by_name_unless_the_pool_accepts_that() {
    let mut machine = booted(&LinuxBoot::default().log());
    let quote = machine.quote(1);
    let accept = BootPolicy { missing_event_log: MissingEventLog::Accept, ..BootPolicy::default() };
    for nothing in [None, Some(&[] as &[u8]), Some(&[0; 64])] {
        let error = judge(nothing, &quote, &BootPolicy::default(), &mut Checklist::new()).unwrap_err();
        assert_eq!((error.check(), &error), (Check::EventLogMissing, &AppraiseError::EventLogMissing));
        assert!(error.to_string().contains("GRUB 2.06"));
        let checks = &mut Checklist::new();
        assert!(judge(nothing, &quote, &accept, checks).unwrap().is_none());
        assert_eq!(note(checks, Check::EventLogMissing).first().unwrap().0, CheckOutcome::NotChecked);
    }
}

/// What does not parse is malformed, also where no log at all would be accepted.
#[test]
fn a_malformed_log_is_refused_with_its_place() {
    let log = LinuxBoot::default().log();
    let mut machine = booted(&log);
    let accept = BootPolicy { missing_event_log: MissingEventLog::Accept, ..BootPolicy::default() };
    let cut = &log.bytes()[..log.bytes().len() - 1];
    let error = machine.judge(cut, &accept, &mut Checklist::new()).unwrap_err();
    assert_eq!(error.check(), Check::Malformed);
    let AppraiseError::EventLog(error) = error else { panic!("{error}") };
    assert_eq!(error.event, u32::try_from(log.event_count() - 1).ok());
    assert!(matches!(error.reason, LogFault::Short { field: "event", .. }));
}

#[test]
fn a_quote_of_fewer_pcrs_proves_fewer_events() {
    let log = LinuxBoot::default().log();
    let mut machine = Machine::with_pcrs(&[7]);
    log.boot(&mut machine.tpm);
    let replayed = machine.judge(log.bytes(), &BootPolicy::default(), &mut Checklist::new()).unwrap();
    assert_eq!((0..24).filter(|pcr| replayed.is_proven(*pcr)).collect::<Vec<_>>(), [7]);
}

/// Threat 6: a log that replays for one quote is not taken for another, though both are of one boot.
#[test]
fn a_replayed_log_is_bound_to_its_quote() {
    let log = LinuxBoot::default().log();
    let mut machine = booted(&log);
    let (quote, later) = (machine.quote(1), machine.quote(2));
    let replayed = judge(Some(log.bytes()), &quote, &BootPolicy::default(), &mut Checklist::new()).unwrap().unwrap();
    replayed.check_subject(&quote).unwrap();
    assert_eq!(replayed.check_subject(&later).unwrap_err().check(), Check::Subject);
}

/// Every bank is hashed as its own algorithm hashes.
#[test]
fn every_bank_alone_replays() {
    for bank in [Sha256, Sha384, Sha512] {
        let log = LinuxBoot { banks: vec![bank], ..LinuxBoot::default() }.log();
        let mut machine = Machine::with_pcrs(&PCRS);
        machine.tpm.allocate(&[bank]);
        log.boot(&mut machine.tpm);
        let banks: &[HashAlgorithm] = &[bank];
        assert_eq!(machine.judge(log.bytes(), &BootPolicy::default(), &mut Checklist::new()).unwrap().banks(), banks);
    }
}

/// The value of a BootOrder of 0001 and 0000 is that of an error separator, and firmware hashes nothing else of it.
#[test]
fn a_boot_order_of_two_entries_is_no_error_separator() {
    let log = LinuxBoot::default().log();
    let is_error = |event: &&plastron_attestation_tcg::event_log::RawEvent<'_>| {
        event.digest(Sha256).is_some_and(|digest| digest == Sha256.digest([[1, 0, 0, 0].as_slice()]))
    };
    let raw = RawLog::parse(log.bytes()).unwrap();
    assert_eq!(raw.events().iter().find(is_error).unwrap().claimed_type, EventType::EFI_VARIABLE_BOOT);
    assert_eq!(Facts::read(&raw).findings, []);
    let mut failed = log.clone();
    failed.event(1, EventType::SEPARATOR, &[1, 0, 0, 0]);
    let findings = Facts::read(&RawLog::parse(failed.bytes()).unwrap()).findings;
    assert_eq!(findings.iter().map(|finding| finding.kind.name()).collect::<Vec<_>>(), ["separators"]);
}

/// A machine without a platform key is in setup mode, which people should know, and no firmware verifies images then.
#[test]
fn a_machine_without_a_platform_key_is_a_finding() {
    let findings = |secure_boot: u8| {
        let mut log = LogBuilder::crypto_agile(&[Sha256]);
        for (guid, name, data) in [
            (GLOBAL, "SecureBoot", [secure_boot].as_slice()),
            (GLOBAL, "PK", &[]),
            (GLOBAL, "KEK", &[]),
            (IMAGE_SECURITY, "db", &[]),
            (IMAGE_SECURITY, "dbx", &[]),
        ] {
            log.event(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, &uefi_variable(&guid, name, data));
        }
        for pcr in 0..8 {
            log.event(pcr, EventType::SEPARATOR, &[0; 4]);
        }
        let raw = log.bytes().to_vec();
        let findings = Facts::read(&RawLog::parse(&raw).unwrap()).findings;
        findings.iter().map(|finding| (finding.kind.name(), finding.event)).collect::<Vec<_>>()
    };
    assert_eq!(findings(1), [("secure_boot_without_pk", Some(1))]);
    assert_eq!(findings(0), [("setup_mode", Some(2))]);
}
