//! Each known deviation of firmware and boot loaders, in a log that shows it: it is named, and what becomes of it is what its row says.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod machine;

use machine::Machine;
use plastron_attestation_appraise::event_log::{
    Facts, FindingKind, Handling, QUIRKS, Quirk, ReplayedLog, SeenQuirk, judge,
};
use plastron_attestation_appraise::{
    AppraiseError, BootPolicy, Check, CheckOutcome, Checklist, DriversBeforeSeparator, EmptySecureBoot, Sha1EventLog,
};
use plastron_attestation_fake_tpm::event_log::{LinuxBoot, LogBuilder, uefi_variable};
use plastron_attestation_tcg::HashAlgorithm::{self, Sha1, Sha256, Sha384};
use plastron_attestation_tcg::event_log::{EventType, RawLog};
use plastron_attestation_tcg::uefi::{
    EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE_GUID, Guid, SHIM_LOCK_GUID, SMBIOS_TABLE_GUID,
};

const BANKS: [HashAlgorithm; 2] = [Sha1, Sha256];

/// A log that shows a deviation, and the event that does.
struct Fixture {
    log: Vec<u8>,
    event: Option<u32>,
    /// What must be so, beyond what the row's handling says.
    holds: fn(&Facts) -> bool,
}

/// The log of one or two events.
fn log(write: impl FnOnce(&mut LogBuilder)) -> Vec<u8> {
    let mut log = LogBuilder::crypto_agile(&BANKS);
    write(&mut log);
    log.bytes().to_vec()
}

/// The second event shows it; the first is PCR 7's separator, or whatever.
fn second(holds: fn(&Facts) -> bool, pcr: u8, kind: EventType, hashed: &[u8], data: &[u8]) -> Fixture {
    let log = log(|log| _ = log.event(7, EventType::SEPARATOR, &[0; 4]).measured(pcr, kind, hashed, data));
    Fixture { log, event: Some(2), holds }
}

fn authority(vendor: Guid, name: &str, data: &[u8]) -> Fixture {
    let data = uefi_variable(&vendor.to_bytes(), name, data);
    second(|facts| facts.secure_boot.authorities[0].verified().is_ok(), 7, AUTHORITY, &data, &data)
}

const AUTHORITY: EventType = EventType::EFI_VARIABLE_AUTHORITY;
const CERTIFICATE: [u8; 8] = [0x30, 0x82, 0x00, 0x04, 1, 2, 3, 4];

fn fixture(quirk: &Quirk) -> Fixture {
    let anything = |_: &Facts| true;
    let label = |pcr, kind, data: &[u8]| second(anything, pcr, kind, b"what was hashed", data);
    let numbers = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    match quirk.name {
        "authority_trailing_bytes" => {
            let mut data = uefi_variable(&SHIM_LOCK_GUID.to_bytes(), "Shim", &CERTIFICATE);
            data.extend([0, 0, 0, 0, 0, 0xaf]);
            let hashed = &data[..data.len() - 1];
            second(|facts| facts.secure_boot.authorities[0].verified().is_ok(), 7, AUTHORITY, hashed, &data)
        }
        "authority_without_owner" => authority(SHIM_LOCK_GUID, "Shim", &CERTIFICATE),
        "authority_of_shim_state" => authority(SHIM_LOCK_GUID, "SbatLevel", b"sbat,1,2021030218\n"),
        "authority_of_vendor_db" => {
            let signature = [[7; 16].as_slice(), &CERTIFICATE].concat();
            authority(EFI_IMAGE_SECURITY_DATABASE_GUID, "vendor_db", &signature)
        }
        "authority_before_separator" => {
            let data = uefi_variable(&EFI_IMAGE_SECURITY_DATABASE_GUID.to_bytes(), "db", &[7; 48]);
            Fixture {
                log: log(|log| _ = log.event(7, AUTHORITY, &data).event(7, EventType::SEPARATOR, &[0; 4])),
                event: Some(1),
                holds: |facts| facts.has(FindingKind::AuthorityBeforeSeparator),
            }
        }
        "authority_outside_pcr_7" => {
            let data = uefi_variable(&EFI_IMAGE_SECURITY_DATABASE_GUID.to_bytes(), "db", &[7; 48]);
            second(|facts| facts.secure_boot.authorities.is_empty(), 2, AUTHORITY, &data, &data)
        }
        "secure_boot_without_value" => {
            let data = uefi_variable(&EFI_GLOBAL_VARIABLE.to_bytes(), "SecureBoot", &[]);
            Fixture {
                log: log(|log| _ = log.event(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, &data)),
                event: Some(1),
                holds: |facts| facts.has(FindingKind::EmptySecureBoot),
            }
        }
        "dma_protection_disabled" => Fixture {
            log: log(|log| _ = log.event(7, EventType::EFI_ACTION, b"DMA Protection Disabled")),
            event: Some(1),
            holds: |facts| facts.has(FindingKind::DmaProtectionDisabled),
        },
        "boot_variable_value_only" => {
            let data = uefi_variable(&EFI_GLOBAL_VARIABLE.to_bytes(), "BootOrder", &[1, 0]);
            let holds = |facts: &Facts| {
                let variable = &facts.boot.variables[0];
                variable.value.verified().is_ok() && variable.name.verified().is_err()
            };
            second(holds, 1, EventType::EFI_VARIABLE_BOOT, &[1, 0], &data)
        }
        "post_code_text" => label(0, EventType::POST_CODE, b"ACPI DATA"),
        "crtm_contents_text" => label(0, EventType::S_CRTM_CONTENTS, b"Boot Guard Measured S-CRTM\0"),
        "config_flags_text" => label(1, EventType::PLATFORM_CONFIG_FLAGS, b"ACPI DATA"),
        "image_trailing_bytes" => {
            label(4, EventType::EFI_BOOT_SERVICES_APPLICATION, &[numbers(&[1, 2, 0, 0]), vec![0xaf; 9]].concat())
        }
        "image_without_path" => label(4, EventType::EFI_BOOT_SERVICES_DRIVER, &numbers(&[1, 2, 0, 0])),
        "application_before_action" => label(
            4,
            EventType::EFI_BOOT_SERVICES_APPLICATION,
            &[numbers(&[1, 2, 0, 4]), vec![0x7f, 0xff, 4, 0]].concat(),
        ),
        "vendor_event_type" => second(|facts| facts.has(FindingKind::UnknownEvent), 2, EventType(0x8401), &[1], &[1]),
        "tables_after_separator" => {
            let tables = [numbers(&[1]), SMBIOS_TABLE_GUID.to_bytes().to_vec(), numbers(&[0x7f00_0000])].concat();
            Fixture {
                log: log(|log| {
                    log.event(1, EventType::SEPARATOR, &[0; 4]);
                    log.measured(1, EventType::EFI_HANDOFF_TABLES, b"tables", &tables);
                }),
                event: Some(2),
                holds: anything,
            }
        }
        "startup_locality_padded" => Fixture {
            log: log(|log| _ = log.no_action(0, b"StartupLocality\0\x03\0\0\0\0")),
            event: Some(1),
            holds: anything,
        },
        "no_action_without_pcr" => {
            let mut log = LogBuilder::crypto_agile(&BANKS);
            let at = log.bytes().len();
            let mut bytes = log.no_action(0, b"WBCL").bytes().to_vec();
            bytes[at..at + 4].fill(0xff);
            Fixture { log: bytes, event: Some(1), holds: anything }
        }
        "exit_boot_services_missing" => {
            Fixture { log: log(|_| ()), event: None, holds: |facts| !facts.boot.exit_boot_services }
        }
        "sha1_log" => {
            let mut log = LogBuilder::sha1();
            log.event(7, EventType::SEPARATOR, &[0; 4]);
            Fixture { log: log.bytes().to_vec(), event: None, holds: anything }
        }
        "padding" => Fixture { log: [log(|_| ()), vec![0xff; 100]].concat(), event: None, holds: anything },
        other => panic!("{other} has no fixture"),
    }
}

#[test]
fn every_quirk_is_named_in_a_log_that_shows_it_and_handled_as_its_row_says() {
    for quirk in QUIRKS {
        let Quirk { name, handling, .. } = quirk;
        let Fixture { log, event, holds } = fixture(quirk);
        let raw = RawLog::parse(&log).unwrap_or_else(|error| panic!("{name}: {error}"));
        let facts = Facts::read(&raw);
        assert!(facts.quirks.contains(&SeenQuirk { name, event }), "{name}: {:?}", facts.quirks);
        assert!(holds(&facts), "{name}: {facts:?}");
        match handling {
            Handling::Accepted | Handling::Noted => {}
            Handling::DigestOnly => {
                let provenance = facts.provenance(event.unwrap()).unwrap();
                assert_eq!(provenance.name(), "digest_only", "{name}");
            }
            Handling::Exception(exception) => {
                // Every exception is the pool's to make.
                let policy = BootPolicy::default();
                let off = match *exception {
                    "sha1_event_log" => policy.sha1_event_log == Sha1EventLog::Refuse,
                    "empty_secure_boot" => policy.empty_secure_boot == EmptySecureBoot::Unknown,
                    "drivers_before_separator" => policy.drivers_before_separator == DriversBeforeSeparator::Refuse,
                    other => panic!("{name}: a pool's boot policy has no {other}"),
                };
                assert!(off, "{name}: {exception} is on by default");
            }
        }
        assert!(!quirk.deviation.is_empty() && !quirk.seen.is_empty());
    }
}

#[test]
fn names_of_quirks_are_distinct() {
    let mut names: Vec<_> = QUIRKS.iter().map(|quirk| quirk.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), QUIRKS.len());
}

#[test]
fn a_log_by_the_book_shows_next_to_none() {
    let log = LinuxBoot::default().log();
    let facts = Facts::read(&RawLog::parse(log.bytes()).unwrap());
    let names: Vec<_> = facts.quirks.iter().map(|quirk| quirk.name).collect();
    assert_eq!(names, ["boot_variable_value_only"]);
    let json = serde_json::to_value(&facts).unwrap();
    assert_eq!(json["quirks"][0]["name"], "boot_variable_value_only");
}

/// The log of a whole boot without its last `events`, and the machine that booted so.
fn cut_short(events: usize, then: &[&[u8]]) -> (Machine, Vec<u8>) {
    let mut machine = Machine::with_pcrs(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]);
    let log = LinuxBoot { banks: vec![Sha1, Sha256, Sha384], ..LinuxBoot::default() }.log();
    log.boot(&mut machine.tpm);
    then.iter().for_each(|text| machine.tpm.measure(5, text));
    let end = log.offset_of(log.event_count() - events).unwrap_or(log.bytes().len());
    let bytes = log.bytes()[..end].to_vec();
    (machine, bytes)
}

fn judged(machine: &mut Machine, log: &[u8], checks: &mut Checklist) -> Result<bool, AppraiseError> {
    let log: Option<ReplayedLog<'_>> = judge(Some(log), &machine.quote(1), &BootPolicy::default(), checks)?;
    Ok(log.unwrap().is_proven(5))
}

#[test]
fn a_log_may_lack_exit_boot_services_and_the_verdict_says_so() {
    let (mut machine, log) = cut_short(2, &[]);
    let mut checks = Checklist::new();
    assert_eq!(judged(&mut machine, &log, &mut checks), Ok(true));
    let note = checks.records().iter().find(|record| record.outcome == CheckOutcome::NotChecked).unwrap();
    assert_eq!(note.check, Check::EventLogReplay);
    assert_eq!(note.detail, "PCR 5 goes on with ExitBootServices, which the log lacks");
}

#[test]
fn nothing_else_may_be_missing_from_a_log() {
    // Half of ExitBootServices, and it with something behind.
    for (events, then) in [(1, [].as_slice()), (2, &[b"another".as_slice()])] {
        let (mut machine, log) = cut_short(events, then);
        let error = judged(&mut machine, &log, &mut Checklist::new()).unwrap_err();
        assert_eq!(error.check(), Check::EventLogReplay, "{error}");
    }
    // A second one, where the log has the first.
    let again: [&[u8]; 2] = [b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success"];
    let (mut machine, log) = cut_short(0, &again);
    let error = judged(&mut machine, &log, &mut Checklist::new()).unwrap_err();
    assert_eq!(error.check(), Check::EventLogReplay, "{error}");
}
