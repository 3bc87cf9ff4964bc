//! EV_SEPARATOR by digest and type together, once in each PCR of firmware.

use plastron_attestation_appraise::Check;
use plastron_attestation_fake_tpm::event_log::uefi_variable;
use plastron_attestation_tcg::event_log::EventType;
use plastron_attestation_tcg::uefi::EFI_GLOBAL_VARIABLE;

use crate::boot::{Boot, assert_finds, event, found, measured, number, separator};

#[test]
fn a_pcr_without_a_separator_was_not_extended_by_firmware() {
    for pcr in 0..8 {
        let facts = Boot::with(|boot| drop(boot.events.remove(boot.find_separator(pcr)))).facts();
        assert_finds(&facts, Check::Separators, None);
        assert!(facts.findings.iter().all(|finding| finding.pcr == Some(pcr)), "{:?}", facts.findings);
    }
}

#[test]
fn a_second_separator_refuses() {
    for pcr in 0..8 {
        let boot = Boot::with(|boot| boot.events.push(separator(pcr)));
        assert_finds(&boot.facts(), Check::Separators, number(boot.events.len() - 1));
    }
    let boot = Boot::with(|boot| boot.events.push(event(3, EventType::SEPARATOR, [0xff; 4])));
    assert_finds(&boot.facts(), Check::Separators, number(boot.events.len() - 1));
}

/// Threat 6: no digest covers the type, so that a separator could be called something else, and something else a separator.
#[test]
fn a_separator_is_one_by_digest_and_type_together() {
    for event_type in [EventType::EFI_ACTION, EventType::UNUSED, EventType::EFI_VARIABLE_AUTHORITY, EventType::IPL] {
        let retyped = Boot::with(|boot| {
            let place = boot.find_separator(2);
            boot.events[place].event_type = event_type;
        });
        let place = retyped.find(|event| event.pcr == 2);
        assert_finds(&retyped.facts(), Check::Separators, number(place));
    }
    let other = Boot::with(|boot| {
        let place = boot.find_separator(2);
        boot.events[place].hashed = b"something else".to_vec();
    });
    assert_finds(&other.facts(), Check::Separators, number(other.find_separator(2)));
}

#[test]
fn an_error_separator_refuses_whatever_its_data_say() {
    for data in [[1, 0, 0, 0], [0; 4]] {
        let boot = Boot::with(|boot| {
            let place = boot.find_separator(0);
            boot.events[place] = measured(0, EventType::SEPARATOR, [1, 0, 0, 0], data);
        });
        let facts = boot.facts();
        assert_finds(&facts, Check::Separators, number(boot.find_separator(0)));
        assert!(facts.findings[0].text.contains("an error separator"), "{:?}", facts.findings);
    }
}

#[test]
fn the_separator_of_older_firmware_is_one() {
    let boot = Boot::with(|boot| {
        for pcr in 0..8 {
            let place = boot.find_separator(pcr);
            boot.events[place] = event(pcr, EventType::SEPARATOR, [0xff; 4]);
        }
    });
    assert_eq!(found(&boot.facts()), []);
}

#[test]
fn separators_of_boot_loaders_are_left_alone() {
    let boot = Boot::with(|boot| boot.events.extend([12, 13, 14].map(|pcr| event(pcr, EventType::SEPARATOR, "WBCL"))));
    assert_eq!(found(&boot.facts()), []);
}

/// Threat 6: a BootOrder can have the digest of an error separator, and of no other.
#[test]
fn a_separator_can_not_be_called_a_boot_order() {
    let boot_order = |value: &[u8]| {
        let data = uefi_variable(&EFI_GLOBAL_VARIABLE.to_bytes(), "BootOrder", value);
        Boot::with(|boot| boot.events.insert(0, measured(1, EventType::EFI_VARIABLE_BOOT, value, data)))
    };
    assert_eq!(found(&boot_order(&[1, 0, 0, 0]).facts()), []);
    for value in [[0; 4], [0xff; 4]] {
        assert_finds(&boot_order(&value).facts(), Check::Separators, number(0));
    }
}
