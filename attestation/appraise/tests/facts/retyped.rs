//! What a node that controls its boot and its log can't make a verified fact say. It can extend any PCR with anything once its system
//! runs, and write any type and text beside a digest; it can't take back what firmware extended.

use plastron_attestation_appraise::Check;
use plastron_attestation_appraise::event_log::Facts;
use plastron_attestation_appraise::event_log::facts::Provenance;
use plastron_attestation_fake_tpm::event_log::uefi_variable;
use plastron_attestation_tcg::event_log::EventType;
use plastron_attestation_tcg::uefi::EFI_GLOBAL_VARIABLE;

use crate::boot::{Boot, assert_finds, event, grub, measured, secure_boot_variable, separator, utf16, variable};

/// A boot without Secure Boot, which the node would like to show as one with it.
fn insecure() -> Boot {
    Boot::with(|boot| {
        let place = boot.find_variable("SecureBoot");
        boot.events[place] = secure_boot_variable(&[0]);
    })
}

fn refused(facts: &Facts) -> bool {
    facts.findings.iter().any(|finding| {
        matches!(
            finding.kind,
            plastron_attestation_appraise::event_log::FindingKind::Check(Check::SecureBootEvents | Check::Separators)
        )
    })
}

fn says_enabled(facts: &Facts) -> bool {
    facts.secure_boot.enabled.as_ref().is_some_and(|fact| fact.verified() == Ok(&Some(true)))
}

/// Threat 6: a whole second state is appended, and the true one is called something else, in every way that keeps the digests.
#[test]
fn an_appended_state_of_secure_boot_never_stands_for_the_true_one() {
    let mut boot = insecure();
    let fake: Vec<_> = Boot::linux().events.into_iter().filter(|event| event.pcr == 7).collect();
    boot.events.extend(fake);
    assert!(refused(&boot.facts()) && !says_enabled(&boot.facts()));
    for event_type in [
        EventType::EFI_VARIABLE_AUTHORITY,
        EventType::EFI_ACTION,
        EventType::UNUSED,
        EventType::SEPARATOR,
        EventType::EVENT_TAG,
        EventType(0x8000_4711),
    ] {
        for shown in [None, Some(b"DMA Protection Disabled".to_vec()), Some(secure_boot_variable(&[1]).data)] {
            let mut boot = insecure();
            let end = boot.find_separator(7) + 1;
            for event in boot.events[..end].iter_mut().filter(|event| event.pcr == 7) {
                event.event_type = event_type;
                event.data = shown.clone().unwrap_or_else(|| event.data.clone());
            }
            boot.events.extend(Boot::linux().events.into_iter().filter(|event| event.pcr == 7));
            assert!(refused(&boot.facts()), "{event_type} {shown:?}");
        }
    }
}

/// Threat 6: the one event that says that Secure Boot was off is called something else, and another one takes its place.
#[test]
fn the_true_variable_can_not_be_called_something_else() {
    for event_type in [EventType::EFI_VARIABLE_AUTHORITY, EventType::EFI_ACTION, EventType::UNUSED, EventType::IPL] {
        for place in ["SecureBoot", "PK"] {
            let mut boot = insecure();
            let true_one = boot.find_variable("SecureBoot");
            boot.events[true_one].event_type = event_type;
            let place = if place == "PK" { boot.find_variable("PK") } else { true_one };
            boot.events.insert(place, secure_boot_variable(&[1]));
            assert!(refused(&boot.facts()), "{event_type}");
        }
    }
}

/// Threat 6: a variable of another PCR, or a text of GRUB that looks like one, is no state of Secure Boot.
#[test]
fn only_pcr_7_tells_the_state_of_secure_boot() {
    let data = secure_boot_variable(&[1]).data;
    for pcr in [0, 1, 2, 3, 4, 5, 6, 8, 9, 12, 14] {
        for event_type in [EventType::EFI_VARIABLE_DRIVER_CONFIG, EventType::EFI_VARIABLE_AUTHORITY] {
            let mut boot = Boot::linux();
            boot.events.remove(boot.find_variable("SecureBoot"));
            boot.events.insert(0, event(pcr, event_type, &data));
            let facts = boot.facts();
            assert!(facts.secure_boot.enabled.is_none(), "PCR {pcr}");
            assert_finds(&facts, Check::SecureBootEvents, None);
        }
    }
}

/// Threat 6: a separator is appended so that what follows looks like the boot's own, or the true one is hidden.
#[test]
fn a_false_separator_does_not_begin_a_second_boot() {
    for pcr in 0..8 {
        for event_type in [EventType::SEPARATOR, EventType::EFI_ACTION, EventType::UNUSED] {
            let mut boot = Boot::linux();
            let place = boot.find_separator(pcr);
            boot.events[place].event_type = event_type;
            boot.events.push(separator(pcr));
            assert_finds(
                &boot.facts(),
                Check::Separators,
                crate::boot::number(if event_type == EventType::SEPARATOR { boot.events.len() - 1 } else { place }),
            );
        }
    }
}

/// Root can extend PCR 0 with the digest of any text after the boot.
#[test]
fn a_version_that_user_space_appends_is_not_firmwares() {
    let mut boot = Boot::linux();
    boot.events[0].event_type = EventType::POST_CODE;
    boot.events.push(event(0, EventType::S_CRTM_VERSION, utf16("BIOS 9.9\0")));
    let version = boot.facts().firmware.crtm_version.unwrap();
    assert_eq!((version.claimed().as_str(), version.provenance()), ("BIOS 9.9", Provenance::DigestOnly));
}

/// User space writes a boot variable, whose value firmware measures at the next boot, and shows it as something else.
#[test]
fn the_value_of_a_boot_variable_can_not_be_shown_as_firmwares_word() {
    let value = utf16("BIOS 9.9\0");
    for event_type in [
        EventType::S_CRTM_VERSION,
        EventType::PLATFORM_CONFIG_FLAGS,
        EventType::NONHOST_INFO,
        EventType::EFI_ACTION,
        EventType::POST_CODE,
        EventType::EVENT_TAG,
        EventType::UNUSED,
    ] {
        let mut boot = Boot::linux();
        boot.events[0].event_type = EventType::POST_CODE;
        boot.events.insert(0, event(1, event_type, &value));
        let facts = boot.facts();
        assert_eq!(facts.provenance(1), Some(Provenance::DigestOnly), "{event_type}");
        assert!(facts.firmware.crtm_version.is_none());
    }
}

#[test]
fn what_follows_the_end_of_firmwares_part_is_never_verified() {
    for pcr in [0, 1, 2, 3, 5, 6] {
        let mut boot = Boot::linux();
        boot.events.push(event(pcr, EventType::EFI_ACTION, "a text of root's choice"));
        let number = crate::boot::number(boot.events.len() - 1).unwrap();
        assert_ne!(boot.facts().provenance(number), Some(Provenance::Verified), "PCR {pcr}");
    }
}

/// A value that is written to look like a whole variable, on firmware that hashes values alone.
#[test]
fn a_value_that_looks_like_a_variable_gives_no_name() {
    let inner = uefi_variable(&EFI_GLOBAL_VARIABLE.to_bytes(), "BootOrder", &[7, 0]);
    for event_type in
        [EventType::EFI_VARIABLE_BOOT, EventType::EFI_VARIABLE_BOOT2, EventType::EFI_VARIABLE_DRIVER_CONFIG]
    {
        let boot = Boot::with(|boot| boot.events.insert(0, event(1, event_type, &inner)));
        let facts = boot.facts();
        assert_eq!(facts.boot.variables[0].name.provenance(), Provenance::DigestOnly);
    }
    let boot = Boot::with(|boot| boot.events.insert(0, event(1, EventType::EFI_ACTION, "any value")));
    assert_eq!(boot.facts().boot.actions[0].provenance(), Provenance::DigestOnly);
}

/// A kernel that user space claims by extending PCR 8 after GRUB booted another.
#[test]
fn a_command_line_that_is_appended_is_doubtful() {
    let mut boot = Boot::linux();
    boot.events.push(grub("kernel_cmdline", "/vmlinuz lockdown=confidentiality"));
    assert_eq!(boot.facts().kernel.cmdline.unwrap().provenance(), Provenance::DigestOnly);
}

/// A name that reads like another is another.
#[test]
fn names_are_compared_exactly() {
    for name in ["pk", "PK ", "P\0K", "\u{3a1}\u{39a}"] {
        let mut boot = Boot::linux();
        let place = boot.find_variable("PK");
        boot.events[place] = variable(EFI_GLOBAL_VARIABLE, name, &[]);
        let facts = boot.facts();
        assert!(refused(&facts), "{name:?}");
    }
}

/// A file that GRUB opened, shown as what a kernel's stub measured.
#[test]
fn nothing_in_pcr_9_is_more_than_a_digest() {
    let text = utf16("lockdown=integrity");
    let tag = b"\xed\x22\x3b\x8f\x1a\0\0\0LOADED_IMAGE::LoadOptions\0";
    for event in [
        measured(9, EventType::EVENT_TAG, &text, tag),
        event(9, EventType::IPL, &text),
        event(9, EventType::IPL, "kernel_cmdline: /vmlinuz lockdown=integrity\0"),
    ] {
        let boot = Boot::with(|boot| boot.events.push(event));
        let number = crate::boot::number(boot.events.len() - 1).unwrap();
        assert_eq!(boot.facts().provenance(number), Some(Provenance::DigestOnly));
        assert!(boot.facts().kernel.cmdline.unwrap().claimed().contains("root=/dev/vda1"));
    }
}

/// Threat 6: no digest covers a type, so a boot application can be called anything else; it stays one of what was started.
#[test]
fn a_boot_application_under_another_type_is_still_one() {
    for event_type in [
        EventType::EFI_ACTION,
        EventType::EFI_GPT_EVENT,
        EventType::EFI_VARIABLE_BOOT,
        EventType::EFI_BOOT_SERVICES_DRIVER,
        EventType::EVENT_TAG,
        EventType::IPL,
        EventType::POST_CODE,
        EventType(0x8000_4711),
    ] {
        let hidden = || measured(4, event_type, "a loader", "Calling EFI Application from Boot Option");
        let mut boot = Boot::linux();
        let place = boot.find(|event| event.event_type == EventType::EFI_BOOT_SERVICES_APPLICATION) + 1;
        boot.events.insert(place, hidden());
        let started: Vec<_> = boot.facts().boot_applications.iter().map(|fact| Some(fact.event())).collect();
        assert_eq!(started, [crate::boot::number(place - 1), crate::boot::number(place)], "{event_type}");
    }
    // What firmware says about it is no application.
    assert_eq!(Boot::linux().facts().boot_applications.len(), 1);
}
