//! Firmware, boot variables, applications, actions, MOK, and what has no rule.

use plastron_attestation_appraise::Check;
use plastron_attestation_appraise::event_log::facts::Provenance;
use plastron_attestation_appraise::event_log::{Facts, FindingKind};
use plastron_attestation_fake_tpm::event_log::{LogBuilder, uefi_variable};
use plastron_attestation_tcg::HashAlgorithm::Sha1;
use plastron_attestation_tcg::event_log::{EventType, RawLog};
use plastron_attestation_tcg::uefi::EFI_GLOBAL_VARIABLE;

use crate::boot::{Boot, action, assert_finds, event, found, measured, number};

#[test]
fn a_boot_application_is_a_digest_and_its_path_a_label() {
    let facts = Boot::linux().facts();
    let [shim] = facts.boot_applications.as_slice() else { panic!("one application") };
    assert_eq!(shim.provenance(), Provenance::DigestOnly);
    assert!(shim.verified().is_err());
}

#[test]
fn a_boot_application_after_exit_boot_services_refuses() {
    let late = measured(4, EventType::EFI_BOOT_SERVICES_APPLICATION, "late", [0; 32]);
    let boot = Boot::with(|boot| boot.events.push(late));
    assert_finds(&boot.facts(), Check::LateBootApplication, number(boot.events.len() - 1));
}

#[test]
fn exit_boot_services_counts_under_any_type_and_need_not_be_there() {
    let late = || measured(4, EventType::EFI_BOOT_SERVICES_APPLICATION, "late", [0; 32]);
    let retyped = Boot::with(|boot| {
        let place = boot.find_text("Exit Boot Services Invocation");
        boot.events[place].event_type = EventType::EFI_GPT_EVENT;
        boot.events[place].data = b"a partition table".to_vec();
        boot.events.push(late());
    });
    assert_finds(&retyped.facts(), Check::LateBootApplication, number(retyped.events.len() - 1));
    let missing = Boot::with(|boot| {
        boot.events.retain(|event| !event.data.starts_with(b"Exit Boot Services"));
        boot.events.push(late());
    });
    assert_eq!(found(&missing.facts()), []);
}

#[test]
fn a_firmware_debugger_refuses_wherever_it_shows_and_under_any_type() {
    for pcr in 0..8 {
        for event_type in [EventType::EFI_ACTION, EventType::ACTION, EventType::UNUSED, EventType::IPL] {
            let boot = Boot::with(|boot| {
                boot.events.insert(0, measured(pcr, event_type, "UEFI Debug Mode", "nothing to see"));
            });
            assert_finds(&boot.facts(), Check::DebugMode, number(0));
        }
    }
}

#[test]
fn an_action_is_verified_where_its_text_was_hashed() {
    let boot = Boot::with(|boot| boot.events.insert(0, action(5, "an action")));
    assert_eq!(boot.facts().boot.actions[0].verified().unwrap(), "an action");
    let altered = Boot::with(|boot| boot.events.insert(0, measured(5, EventType::EFI_ACTION, "x", "an action")));
    assert_eq!(altered.facts().boot.actions[0].provenance(), Provenance::Untrusted);
    assert_eq!(found(&altered.facts()), [("untrusted_text", number(0))]);
}

#[test]
fn the_name_of_a_boot_variable_is_never_verified() {
    let data = uefi_variable(&EFI_GLOBAL_VARIABLE.to_bytes(), "BootOrder", &[1, 0, 2, 0]);
    let by_value = measured(1, EventType::EFI_VARIABLE_BOOT, [1, 0, 2, 0], &data);
    for (event, name) in [
        (by_value, Provenance::Untrusted),
        (event(1, EventType::EFI_VARIABLE_BOOT, &data), Provenance::DigestOnly),
        (event(1, EventType::EFI_VARIABLE_BOOT2, &data), Provenance::DigestOnly),
    ] {
        let facts = Boot::with(|boot| boot.events.insert(0, event)).facts();
        let [variable] = facts.boot.variables.as_slice() else { panic!("one variable") };
        assert_eq!((variable.name.claimed().as_str(), variable.name.provenance()), ("BootOrder", name));
        assert_eq!(variable.value.verified().unwrap(), "01000200");
    }
    let value_of_boot2 = measured(1, EventType::EFI_VARIABLE_BOOT2, [1, 0, 2, 0], &data);
    let facts = Boot::with(|boot| boot.events.insert(0, value_of_boot2)).facts();
    assert_eq!(facts.boot.variables[0].value.provenance(), Provenance::Untrusted);
}

#[test]
fn an_option_rom_shows_in_pcr_2_alone() {
    let rom = measured(2, EventType::EFI_BOOT_SERVICES_DRIVER, "a ROM", [0; 32]);
    let facts = Boot::with(|boot| boot.events.insert(0, rom)).facts();
    assert_eq!(facts.firmware.option_roms.len(), 1);
    assert_eq!(facts.firmware.option_roms[0].provenance(), Provenance::DigestOnly);
    assert_eq!(facts.boot_applications.len(), 1);
}

#[test]
fn the_address_of_a_firmware_volume_is_a_label_and_a_flag_that_hashes_is_text() {
    let text = event(0, EventType::NONHOST_INFO, "a host");
    let facts = Boot::with(|boot| boot.events.insert(0, text)).facts();
    assert_eq!(facts.firmware.blobs[0].provenance(), Provenance::DigestOnly);
    assert_eq!(facts.firmware.configuration[0].verified().unwrap().label, "\"a host\"");
}

#[test]
fn an_unknown_type_is_found() {
    for event_type in [EventType::UNUSED, EventType(0x8401)] {
        let facts = Boot::with(|boot| boot.events.insert(0, event(2, event_type, [1]))).facts();
        assert_eq!(found(&facts), [("unknown_event", number(0))]);
        assert_eq!(facts.others.len(), 1);
    }
}

#[test]
fn pcrs_that_can_be_reset_are_no_evidence() {
    for pcr in [16, 23] {
        let facts = Boot::with(|boot| boot.events.push(action(pcr, "Exit Boot Services Invocation"))).facts();
        assert!(facts.has(FindingKind::ResettablePcr));
        assert_eq!(facts.boot.actions.len(), 3);
    }
}

#[test]
fn a_list_without_end_is_cut_and_says_so() {
    let boot = Boot::with(|boot| {
        let place = boot.find_text("grub_cmd: initrd");
        boot.events.splice(place..place, (0..2100).map(|_| crate::boot::grub("grub_cmd", "true")));
    });
    let facts = boot.facts();
    assert_eq!(facts.grub.commands.len(), 2048);
    assert_eq!(found(&facts).iter().filter(|(name, _)| *name == "fact_limit").count(), 1);
}

#[test]
fn a_bank_that_an_event_leaves_out_is_named_and_not_looked_at() {
    let mut log = Boot::linux().log();
    let sha256 = crate::boot::BANKS[1];
    log.raw_event(5, EventType::EFI_ACTION, &[(sha256, sha256.digest([b"x".as_slice()]))], b"x");
    let facts = Facts::read(&RawLog::parse(log.bytes()).unwrap());
    let last = u32::try_from(log.event_count()).unwrap() - 1;
    assert_eq!(found(&facts), [("bank_not_extended", Some(last)); 2]);
}

/// A text that was measured in one bank, and another in the others.
#[test]
fn a_text_counts_only_if_every_bank_says_so() {
    for own in crate::boot::BANKS {
        let mut log = Boot::linux().log();
        let digests: Vec<_> = crate::boot::BANKS
            .into_iter()
            .map(|bank| (bank, bank.digest([if bank == own { b"a text".as_slice() } else { b"another" }])))
            .collect();
        let number = u32::try_from(log.event_count()).unwrap();
        log.raw_event(4, EventType::EFI_ACTION, &digests, b"a text");
        let facts = Facts::read(&RawLog::parse(log.bytes()).unwrap());
        assert_eq!(facts.provenance(number), Some(Provenance::Untrusted), "{own}");
    }
}

#[test]
fn every_event_but_no_action_has_a_provenance() {
    let log = Boot::linux().log();
    let log = RawLog::parse(log.bytes()).unwrap();
    let facts = Facts::read(&log);
    for event in log.events() {
        assert_eq!(facts.provenance(event.number).is_some(), event.is_extended(), "{}", event.number);
    }
}

/// As SIPA: an aggregation with a flag, a text and an event that is not measured.
fn sipa() -> Vec<u8> {
    let event =
        |id: u32, data: &[u8]| [&id.to_le_bytes(), &u32::try_from(data.len()).unwrap().to_le_bytes(), data].concat();
    let path = crate::boot::utf16("\\Windows\\a.sys\0");
    let inner = [event(0x5_0001, &[0]), event(0x7_0001, &path), event(0x8008_0003, &[9])].concat();
    event(0x4001_0001, &inner)
}

#[test]
fn windows_tells_what_it_measured_if_all_of_it_was_hashed() {
    let whole = Boot::with(|boot| boot.events.push(event(12, EventType::EVENT_TAG, sipa()))).facts();
    let [entries] = whole.windows.events.as_slice() else { panic!("one event") };
    let entries = serde_json::to_value(entries.verified().unwrap()).unwrap();
    assert_eq!(
        entries,
        serde_json::json!([
            {"name": "SIPAEVENT_OSKERNELDEBUG", "group": 1, "value": false},
            {"name": "SIPAEVENT_FILEPATH", "group": 1, "value": "\\Windows\\a.sys"},
        ])
    );
    let altered = measured(12, EventType::EVENT_TAG, "x", sipa());
    assert!(Boot::with(|boot| boot.events.push(altered)).facts().windows.events.is_empty());
    let elsewhere = event(9, EventType::EVENT_TAG, sipa());
    assert!(Boot::with(|boot| boot.events.push(elsewhere)).facts().windows.events.is_empty());
}

/// A server refuses such a log unless its pool makes an exception, so whoever looks at a file has to be told.
#[test]
fn a_log_with_sha1_alone_is_a_finding() {
    let mut old = LogBuilder::sha1();
    old.event(0, EventType::S_CRTM_VERSION, b"1.0");
    let mut agile = LogBuilder::crypto_agile(&[Sha1]);
    agile.event(0, EventType::S_CRTM_VERSION, b"1.0");
    for log in [&old, &agile] {
        let facts = Facts::read(&RawLog::parse(log.bytes()).unwrap());
        assert!(found(&facts).contains(&("sha1_event_log", None)), "{:?}", facts.findings);
    }
    assert!(!found(&Boot::linux().facts()).iter().any(|(name, _)| *name == "sha1_event_log"));
}
