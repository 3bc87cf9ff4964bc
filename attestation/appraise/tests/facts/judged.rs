//! A boot against what its pool demands, by the log that replays to a quote.

use plastron_attestation_appraise::event_log::facts::Provenance;
use plastron_attestation_appraise::event_log::{JudgedBoot, ReplayedLog};
use plastron_attestation_appraise::{
    AppraiseError, BootPolicy, Check, CheckOutcome, Checklist, DriversBeforeSeparator, EkTrust, EmptySecureBoot,
    GoldenPcr, Pool, PoolConfig, TrustAnchors,
};
use plastron_attestation_fake_tpm::Manufacturer;
use plastron_attestation_fake_tpm::event_log::LogBuilder;
use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::{EventType, RawLog};
use plastron_attestation_tcg::uefi::{EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE_GUID, SHIM_LOCK_GUID};

use crate::boot::{Boot, action, authority, event, measured, number, secure_boot_variable, variable};
use crate::machine::Machine;

const PCRS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];

fn pool(change: impl FnOnce(&mut PoolConfig)) -> Pool {
    let anchors = TrustAnchors::new(vec![Manufacturer::new("Acme").root()], vec![]).unwrap();
    let mut config = PoolConfig::new("test", EkTrust::Chain(anchors));
    change(&mut config);
    Pool::new(config).unwrap()
}

fn demanding(secure_boot: bool) -> Pool {
    pool(|config| config.boot.secure_boot = Some(secure_boot))
}

fn judge_log(log: &LogBuilder, pcrs: &[u8], pool: &Pool) -> Result<(JudgedBoot, Checklist), AppraiseError> {
    let mut machine = Machine::with_pcrs(pcrs);
    log.boot(&mut machine.tpm);
    let quote = machine.quote(1);
    let mut checks = Checklist::new();
    let replayed = ReplayedLog::verify(RawLog::parse(log.bytes()).unwrap(), &quote, pool.boot(), &mut checks)?;
    JudgedBoot::judge(Some(&replayed), &quote, pool, &mut checks).map(|judged| (judged, checks))
}

fn judge(boot: &Boot, pool: &Pool) -> Result<(JudgedBoot, Checklist), AppraiseError> {
    judge_log(&boot.log(), &PCRS, pool)
}

#[track_caller]
fn assert_refused(boot: &Boot, pool: &Pool, check: Check, words: &[&str]) {
    let error = judge(boot, pool).unwrap_err();
    assert_eq!(error.check(), check, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error}");
    }
}

fn with_secure_boot(value: &'static [u8]) -> Boot {
    Boot::with(|boot| {
        let place = boot.find_variable("SecureBoot");
        boot.events[place] = secure_boot_variable(value);
    })
}

#[test]
fn a_good_boot_passes_and_the_verdict_shows_every_check() {
    let (judged, checks) = judge(&Boot::linux(), &demanding(true)).unwrap();
    assert_eq!(judged.secure_boot(), Some(true));
    for check in [
        Check::Separators,
        Check::SecureBootEvents,
        Check::SecureBoot,
        Check::DebugMode,
        Check::LateBootApplication,
        Check::UnknownEvent,
        Check::FactLimit,
    ] {
        let records: Vec<_> = checks.records().iter().filter(|record| record.check == check).collect();
        assert_eq!(records.iter().map(|record| record.outcome).collect::<Vec<_>>(), [CheckOutcome::Passed], "{check}");
    }
}

#[test]
fn the_state_of_secure_boot_is_what_the_pool_demands() {
    let (on, off) = (Boot::linux(), with_secure_boot(&[0]));
    assert_eq!(judge(&off, &demanding(false)).unwrap().0.secure_boot(), Some(false));
    assert_refused(&off, &demanding(true), Check::SecureBoot, &["disabled (event 3)", "enabled"]);
    assert_refused(&on, &demanding(false), Check::SecureBoot, &["enabled (event 3)", "disabled"]);
    let (judged, checks) = judge(&off, &pool(|_| {})).unwrap();
    assert_eq!(judged.secure_boot(), Some(false));
    let record = checks.records().iter().find(|record| record.check == Check::SecureBoot).unwrap();
    assert_eq!(record.outcome, CheckOutcome::NotChecked);
}

#[test]
fn a_secure_boot_variable_without_a_value_means_disabled_only_by_exception() {
    let excepted = pool(|config| {
        config.boot.secure_boot = Some(false);
        config.boot.empty_secure_boot = EmptySecureBoot::Disabled;
    });
    let empty = with_secure_boot(&[]);
    assert_eq!(judge(&empty, &excepted).unwrap().0.secure_boot(), Some(false));
    for demanded in [true, false] {
        assert_refused(&empty, &demanding(demanded), Check::SecureBoot, &["not known", "empty"]);
    }
    assert_eq!(judge(&empty, &pool(|_| {})).unwrap().0.secure_boot(), None);
}

#[test]
fn secure_boot_without_a_platform_key_is_none() {
    let boot = Boot::with(|boot| {
        let place = boot.find_variable("PK");
        boot.events[place] = variable(EFI_GLOBAL_VARIABLE, "PK", &[]);
    });
    assert_refused(&boot, &demanding(true), Check::SecureBootEvents, &["PK is empty"]);
    assert_eq!(judge(&boot, &pool(|_| {})).unwrap().0.secure_boot(), None);
}

/// Threat 6: events under another type, and events that are not what was hashed, refuse by name and with their number.
#[test]
fn what_refuses_says_which_event() {
    let any = pool(|_| {});
    let retyped = Boot::with(|boot| {
        let place = boot.find_separator(4);
        boot.events[place].event_type = EventType::UNUSED;
    });
    let place = number(retyped.find(|event| event.event_type == EventType::UNUSED)).unwrap();
    assert_refused(&retyped, &any, Check::Separators, &[&format!("event {place}"), "EV_UNUSED"]);
    let altered = Boot::with(|boot| {
        let place = boot.find_variable("SecureBoot");
        *boot.events[place].data.last_mut().unwrap() = 0;
    });
    assert_refused(&altered, &any, Check::SecureBootEvents, &["event 3", "\"SecureBoot\"", "not what was hashed"]);
    let debug = Boot::with(|boot| boot.events.insert(0, action(7, "UEFI Debug Mode")));
    assert_refused(&debug, &any, Check::DebugMode, &["event 1", "debugger"]);
    let late = measured(4, EventType::EFI_BOOT_SERVICES_APPLICATION, "late", [0; 32]);
    let late = Boot::with(|boot| boot.events.push(late));
    assert_refused(&late, &any, Check::LateBootApplication, &["ExitBootServices"]);
    let long = Boot::with(|boot| {
        let place = boot.find_text("grub_cmd: initrd");
        boot.events.splice(place..place, (0..2100).map(|_| crate::boot::grub("grub_cmd", "true")));
    });
    assert_refused(&long, &any, Check::FactLimit, &["grub.commands"]);
}

/// Threat 6: a type without a rule in a PCR that the pool pins fails closed.
#[test]
fn an_unknown_type_refuses_where_the_pool_pins_the_pcr() {
    let boot = Boot::with(|boot| boot.events.insert(0, event(2, EventType(0x8401), [1])));
    judge(&boot, &pool(|_| {})).unwrap();
    let pinned = |index| {
        pool(|config| {
            let value = vec![0; 32];
            config.golden_pcrs = vec![GoldenPcr { bank: HashAlgorithm::Sha256, index, value }];
        })
    };
    judge(&boot, &pinned(3)).unwrap();
    assert_refused(&boot, &pinned(2), Check::UnknownEvent, &["event 1", "0x00008401"]);
}

#[test]
fn a_driver_before_the_separator_refuses_without_an_exception() {
    let entry = authority(EFI_IMAGE_SECURITY_DATABASE_GUID, "db", &[1; 48]);
    let boot = Boot::with(|boot| {
        let place = boot.find_separator(7);
        boot.events.insert(place, entry);
    });
    assert_refused(&boot, &pool(|_| {}), Check::SecureBootEvents, &["before PCR 7's separator"]);
    let excepted = pool(|config| {
        config.boot = BootPolicy {
            secure_boot: Some(true),
            drivers_before_separator: DriversBeforeSeparator::Accept,
            ..BootPolicy::default()
        };
    });
    let (judged, checks) = judge(&boot, &excepted).unwrap();
    assert_eq!(judged.secure_boot(), Some(true));
    let record = checks.records().iter().find(|record| record.check == Check::SecureBootEvents).unwrap();
    assert_eq!(record.outcome, CheckOutcome::NotChecked);
    assert!(record.detail.contains("exception"), "{}", record.detail);
}

/// Threat 14: a log that lacks what firmware measures is not the log of a boot, whatever it replays to.
#[test]
fn a_log_that_is_not_complete_refuses() {
    let cut = Boot::with(|boot| {
        let end = boot.find_separator(3);
        boot.events.truncate(end);
    });
    assert_refused(&cut, &pool(|_| {}), Check::Separators, &["PCR 3 has no separator"]);
    let without_state = Boot::with(|boot| boot.events.retain(|event| event.pcr != 7 || event.data == [0; 4]));
    assert_refused(&without_state, &pool(|_| {}), Check::SecureBootEvents, &["no variable \"SecureBoot\""]);
}

/// Threat 3: a PCR that was not quoted proves nothing, whatever the log says about it.
#[test]
fn facts_of_a_pcr_that_was_not_quoted_are_untrusted() {
    let log = Boot::linux().log();
    let mut machine = Machine::with_pcrs(&[0, 1, 2, 3, 4, 5, 6, 9]);
    log.boot(&mut machine.tpm);
    let quote = machine.quote(1);
    let raw = RawLog::parse(log.bytes()).unwrap();
    let replayed = ReplayedLog::verify(raw, &quote, &BootPolicy::default(), &mut Checklist::new()).unwrap();
    let facts = replayed.facts();
    assert_eq!(facts.secure_boot.enabled.as_ref().unwrap().provenance(), Provenance::Untrusted);
    assert_eq!(facts.kernel.cmdline.as_ref().unwrap().provenance(), Provenance::Untrusted);
    assert_eq!(facts.firmware.crtm_version.as_ref().unwrap().provenance(), Provenance::Verified);
    // What is odd in a PCR that nobody asked for refuses nothing: all of it is words.
    let mut odd = Boot::linux();
    odd.events.push(secure_boot_variable(&[0]));
    judge_log(&odd.log(), &[0, 1, 2, 3, 4, 5, 6], &pool(|_| {})).unwrap();
    let error = JudgedBoot::judge(Some(&replayed), &quote, &demanding(true), &mut Checklist::new()).unwrap_err();
    assert_eq!(error.check(), Check::SecureBoot);
    assert!(error.to_string().contains("untrusted fact"), "{error}");
    // A pool that demands a state quotes the PCR that has it, whatever PCRs it names.
    let quoted = pool(|config| {
        config.pcrs = vec![0];
        config.boot.secure_boot = Some(true);
    });
    assert!(quoted.selection().iter().all(|bank| bank.bitmap == 0b1000_0001));
}

#[test]
fn a_pcr_that_user_space_extended_later_tells_nothing() {
    let mut log = Boot::with(|boot| {
        boot.events.retain(|event| event.pcr != 8);
        boot.events.push(event(12, EventType::IPL, crate::boot::utf16("lockdown=integrity\0")));
    })
    .log();
    let quoted = [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 14];
    let facts = |log: &LogBuilder| {
        let mut machine = Machine::with_pcrs(&quoted);
        log.boot(&mut machine.tpm);
        let raw = RawLog::parse(log.bytes()).unwrap();
        ReplayedLog::verify(raw, &machine.quote(1), &BootPolicy::default(), &mut Checklist::new()).unwrap().facts()
    };
    assert_eq!(facts(&log).kernel.cmdline.unwrap().provenance(), Provenance::Verified);
    log.unlogged(12, b"later");
    assert_eq!(facts(&log).kernel.cmdline.unwrap().provenance(), Provenance::Untrusted);
}

#[test]
fn what_is_odd_and_refuses_nothing_is_noted_in_the_verdict() {
    let boot = Boot::with(|boot| {
        let place = boot.find_text("kernel_cmdline: ");
        boot.events[place].data = b"kernel_cmdline: /vmlinuz quiet\0".to_vec();
    });
    let (_, checks) = judge(&boot, &demanding(true)).unwrap();
    let noted = |words: &str| checks.records().iter().any(|record| record.detail.contains(words));
    assert!(noted("noted: event") && noted("kernel_cmdline: /vmlinuz quiet"), "{checks:#?}");
}

/// Threat 6: a boot is judged by the log of its own quote, though another of the same boot replays as well.
#[test]
fn a_boot_is_not_judged_by_the_log_of_another_quote() {
    let log = Boot::linux().log();
    let mut machine = Machine::with_pcrs(&PCRS);
    log.boot(&mut machine.tpm);
    let (quote, later) = (machine.quote(1), machine.quote(2));
    let raw = RawLog::parse(log.bytes()).unwrap();
    let replayed = ReplayedLog::verify(raw, &quote, &BootPolicy::default(), &mut Checklist::new()).unwrap();
    JudgedBoot::judge(Some(&replayed), &quote, &demanding(true), &mut Checklist::new()).unwrap();
    let error = JudgedBoot::judge(Some(&replayed), &later, &demanding(true), &mut Checklist::new()).unwrap_err();
    assert_eq!(error.check(), Check::Subject);
}

#[test]
fn without_a_log_nothing_is_checked_and_the_verdict_says_so() {
    let mut checks = Checklist::new();
    let judged = JudgedBoot::judge(None, &Machine::with_pcrs(&PCRS).quote(1), &pool(|_| {}), &mut checks).unwrap();
    assert_eq!(judged.secure_boot(), None);
    assert!(checks.records().iter().all(|record| record.outcome == CheckOutcome::NotChecked));
    assert_eq!(checks.records().len(), 7);
}

/// Threat 6: shim that was told to verify nothing says so in PCR 7, and Secure Boot then ends with it, whatever the firmware's variable
/// says. Firmware without Secure Boot is what it is.
#[test]
fn secure_boot_that_ends_with_shim_is_none() {
    let told = |value: &'static [u8]| authority(SHIM_LOCK_GUID, "MokSBState", value);
    let telling = |value| {
        Boot::with(|boot| {
            let place = boot.find_text("Exit Boot");
            boot.events.insert(place, told(value));
        })
    };
    let on = telling(&[1]);
    assert_refused(&on, &demanding(true), Check::SecureBootEvents, &["MokSBState", "shim"]);
    assert_refused(&on, &demanding(false), Check::SecureBoot, &["not known"]);
    let (judged, checks) = judge(&on, &pool(|_| {})).unwrap();
    assert_eq!(judged.secure_boot(), None);
    let record = checks.records().iter().find(|record| record.check == Check::SecureBoot).unwrap();
    assert!(record.detail.contains("shim verifies nothing"), "{}", record.detail);
    assert_eq!(judge(&telling(&[0]), &demanding(true)).unwrap().0.secure_boot(), Some(true));
    let mut off = with_secure_boot(&[0]);
    off.events.push(told(&[1]));
    assert_eq!(judge(&off, &demanding(false)).unwrap().0.secure_boot(), Some(false));
}

/// What a node writes in bulk does not push an exception, or the audit log's other lines, out of sight.
#[test]
fn noise_in_a_log_does_not_hide_an_exception() {
    let entry = authority(EFI_IMAGE_SECURITY_DATABASE_GUID, "db", &[1; 48]);
    let boot = Boot::with(|boot| {
        boot.events.splice(0..0, (0..2000).map(|_| measured(3, EventType::EFI_ACTION, "", "noise")));
        let off = authority(SHIM_LOCK_GUID, "MokSBState", &[1]);
        boot.events.push(off);
        let place = boot.find_separator(7);
        boot.events.insert(place, entry);
    });
    let excepted = pool(|config| config.boot.drivers_before_separator = DriversBeforeSeparator::Accept);
    let (_, checks) = judge(&boot, &excepted).unwrap();
    let detail = |check| checks.records().iter().find(|record| record.check == check).unwrap().detail.as_str();
    let shown = detail(Check::SecureBootEvents);
    assert!(shown.starts_with("accepted by an exception"), "{shown}");
    let odd: Vec<_> = checks.records().iter().filter(|record| record.check == Check::EventLogReplay).collect();
    let [_, noise] = odd.as_slice() else { panic!("{} records", odd.len()) };
    let noise = noise.detail.as_str();
    assert!(noise.len() < 2048, "{} bytes", noise.len());
    assert!(noise.ends_with("and 1996 more"), "{noise}");
}

/// Threat 6: a list of facts that is filled with words about a PCR that nobody asked for does not drop what was measured in another.
#[test]
fn a_full_list_refuses_whatever_filled_it() {
    let boot = Boot::with(|boot| {
        let words = (0..2100).map(|_| measured(5, EventType::EFI_BOOT_SERVICES_APPLICATION, "words", [0; 32]));
        boot.events.splice(0..0, words);
    });
    let error = judge_log(&boot.log(), &[4, 7], &pool(|_| {})).unwrap_err();
    assert_eq!(error.check(), Check::FactLimit, "{error}");
}
