//! PCR 7 as a whole.

use plastron_attestation_appraise::Check;
use plastron_attestation_appraise::event_log::facts::{AuthorityContent, Provenance, SignatureContent};
use plastron_attestation_appraise::event_log::{Facts, FindingKind};
use plastron_attestation_fake_tpm::event_log::uefi_variable;
use plastron_attestation_tcg::event_log::EventType;
use plastron_attestation_tcg::uefi::{EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE_GUID, Guid, SHIM_LOCK_GUID};

use crate::boot::{
    Boot, action, assert_finds, authority, certificate, event, found, measured, number, secure_boot_variable, variable,
};

const CHECK: Check = Check::SecureBootEvents;

fn enabled(facts: &Facts) -> Option<Option<bool>> {
    facts.secure_boot.enabled.as_ref().and_then(|fact| fact.verified().ok().copied())
}

#[test]
fn databases_are_read_with_owner_and_certificate() {
    let facts = Boot::linux().facts();
    for list in [&facts.secure_boot.pk, &facts.secure_boot.kek, &facts.secure_boot.db] {
        let [signature] = list.as_ref().unwrap().verified().unwrap().as_slice() else { panic!("one signature") };
        assert_eq!(signature.owner, Some(Guid::from_bytes([0x77; 16])));
        let SignatureContent::Certificate(certificate) = &signature.content else { panic!("a certificate") };
        assert_eq!(certificate.names().unwrap(), ("CN=A CA root".to_owned(), "CN=A CA root".to_owned()));
        assert_eq!(certificate.known(), None);
    }
    let dbx = facts.secure_boot.dbx.as_ref().unwrap().verified().unwrap();
    assert_eq!(
        dbx.iter().map(|entry| &entry.content).collect::<Vec<_>>(),
        [&SignatureContent::Sha256([1; 32]), &SignatureContent::Sha256([2; 32])]
    );
    let authorities: Vec<_> = facts.secure_boot.authorities.iter().map(|fact| fact.verified().unwrap()).collect();
    assert!(matches!(&authorities[0].content, AuthorityContent::Signature(signature)
        if matches!(signature.content, SignatureContent::Certificate(_))));
    assert_eq!(authorities[1].content, AuthorityContent::Text("sbat,1,2025021800\nshim,4\n".to_owned()));
    let json = serde_json::to_value(&facts).unwrap();
    assert_eq!(json["secure_boot"]["db"]["value"][0]["certificate"]["subject"], "CN=A CA root");
    assert_eq!(json["secure_boot"]["enabled"]["provenance"], "verified");
}

#[test]
fn secure_boot_can_be_off() {
    let boot = Boot::with(|boot| {
        let place = boot.find_variable("SecureBoot");
        boot.events[place] = secure_boot_variable(&[0]);
        boot.events.retain(|event| event.event_type != EventType::EFI_VARIABLE_AUTHORITY);
    });
    assert_eq!(enabled(&boot.facts()), Some(Some(false)));
    assert_eq!(found(&boot.facts()), []);
}

/// The digest is of another text than the log's.
#[test]
fn a_variable_that_is_not_what_was_hashed_is_untrusted() {
    for name in ["SecureBoot", "PK", "KEK", "db", "dbx"] {
        let boot = Boot::with(|boot| {
            let place = boot.find_variable(name);
            *boot.events[place].data.last_mut().unwrap() ^= 1;
        });
        let (facts, event) = (boot.facts(), number(boot.find_variable(name)));
        assert_finds(&facts, CHECK, event);
        assert_eq!(facts.provenance(event.unwrap()), Some(Provenance::Untrusted));
    }
    let boot = Boot::with(|boot| {
        let place = boot.find_variable("SecureBoot");
        boot.events[place].hashed = secure_boot_variable(&[0]).data;
    });
    assert_eq!(enabled(&boot.facts()), None);
}

#[test]
fn every_variable_is_demanded() {
    for name in ["SecureBoot", "PK", "KEK", "db", "dbx"] {
        let facts = Boot::with(|boot| drop(boot.events.remove(boot.find_variable(name)))).facts();
        assert_finds(&facts, CHECK, None);
    }
}

#[test]
fn a_variable_that_is_there_twice_refuses_and_the_first_one_counts() {
    let boot = Boot::with(|boot| {
        let place = boot.find_variable("SecureBoot");
        boot.events.insert(place + 1, secure_boot_variable(&[0]));
    });
    let facts = boot.facts();
    assert_finds(&facts, CHECK, number(boot.find_variable("SecureBoot") + 1));
    assert_eq!(enabled(&facts), Some(Some(true)));
}

#[test]
fn a_variable_after_the_separator_refuses_and_is_no_fact() {
    let boot = Boot::with(|boot| {
        let variable = boot.events.remove(boot.find_variable("SecureBoot"));
        let place = boot.find_separator(7) + 1;
        boot.events.insert(place, variable);
    });
    let facts = boot.facts();
    assert_finds(&facts, CHECK, number(boot.find_variable("SecureBoot")));
    assert!(facts.secure_boot.enabled.is_none());
}

#[test]
fn a_variable_of_another_vendor_or_name_refuses() {
    for other in [
        variable(EFI_IMAGE_SECURITY_DATABASE_GUID, "SecureBoot", &[1]),
        variable(SHIM_LOCK_GUID, "SecureBoot", &[1]),
        variable(EFI_GLOBAL_VARIABLE, "Secure\0Boot", &[1]),
        variable(EFI_GLOBAL_VARIABLE, "secureboot", &[1]),
        variable(EFI_GLOBAL_VARIABLE, "SetupMode", &[1]),
    ] {
        let place = Boot::linux().find_variable("SecureBoot");
        let facts = Boot::with(|boot| boot.events[place] = other.clone()).facts();
        assert_finds(&facts, CHECK, number(place));
        assert!(facts.secure_boot.enabled.is_none());
    }
}

/// Where the value alone is hashed, any name can stand before it.
#[test]
fn the_form_that_hashes_the_value_alone_is_not_accepted_in_pcr_7() {
    let boot = Boot::with(|boot| {
        let place = boot.find_variable("SecureBoot");
        boot.events[place].hashed = vec![1];
    });
    let facts = boot.facts();
    assert_finds(&facts, CHECK, number(boot.find_variable("SecureBoot")));
    assert_eq!(enabled(&facts), None);
}

#[test]
fn nothing_else_has_a_place_in_pcr_7() {
    for other in [
        event(7, EventType::IPL, "x"),
        event(7, EventType::EVENT_TAG, "x"),
        event(7, EventType(0x8000_00ff), "x"),
        event(7, EventType::UNUSED, secure_boot_variable(&[1]).data),
        action(7, "something"),
        measured(7, EventType::EFI_ACTION, "x", "DMA Protection Disabled"),
    ] {
        for place in [Boot::linux().find_variable("PK"), Boot::linux().find_separator(7) + 1] {
            let boot = Boot::with(|boot| boot.events.insert(place, other.clone()));
            assert_finds(&boot.facts(), CHECK, number(place));
        }
    }
}

#[test]
fn a_machine_without_protection_from_dma_says_so() {
    let place = Boot::linux().find_variable("PK");
    let facts = Boot::with(|boot| boot.events.insert(place, action(7, "DMA Protection Disabled"))).facts();
    assert_eq!(found(&facts), [("dma_protection_disabled", number(place))]);
}

#[test]
fn an_enabled_secure_boot_without_a_platform_key_is_odd() {
    let boot = Boot::with(|boot| {
        let place = boot.find_variable("PK");
        boot.events[place] = variable(EFI_GLOBAL_VARIABLE, "PK", &[]);
    });
    let facts = boot.facts();
    assert_eq!(found(&facts), [("secure_boot_without_pk", number(boot.find_variable("SecureBoot")))]);
    assert_eq!(facts.secure_boot.setup_mode.unwrap().verified(), Ok(&true));
    let off = Boot::with(|boot| {
        let (enabled, pk) = (boot.find_variable("SecureBoot"), boot.find_variable("PK"));
        boot.events[enabled] = secure_boot_variable(&[0]);
        boot.events[pk] = variable(EFI_GLOBAL_VARIABLE, "PK", &[]);
        boot.events.retain(|event| event.event_type != EventType::EFI_VARIABLE_AUTHORITY);
    });
    assert_eq!(found(&off.facts()), [("setup_mode", number(off.find_variable("PK")))]);
}

#[test]
fn a_secure_boot_without_a_value_is_neither_on_nor_off() {
    let with = |value: &'static [u8]| {
        Boot::with(|boot| {
            let place = boot.find_variable("SecureBoot");
            boot.events[place] = secure_boot_variable(value);
        })
    };
    let empty = with(&[]).facts();
    assert_eq!(enabled(&empty), Some(None));
    assert!(empty.has(FindingKind::EmptySecureBoot));
    for odd in [&[2][..], &[1, 0], b"1"] {
        let boot = with(odd);
        assert_eq!(enabled(&boot.facts()), Some(None));
        assert_finds(&boot.facts(), CHECK, number(boot.find_variable("SecureBoot")));
    }
}

#[test]
fn an_authority_before_the_separator_is_found() {
    let place = Boot::linux().find_separator(7);
    let entry = authority(EFI_IMAGE_SECURITY_DATABASE_GUID, "db", &[&[0x77; 16][..], &certificate()].concat());
    let facts = Boot::with(|boot| boot.events.insert(place, entry)).facts();
    assert_eq!(found(&facts), [("authority_before_separator", number(place))]);
    assert!(facts.secure_boot.authorities[0].claimed().before_separator);
}

#[test]
fn an_authority_can_be_neither_configuration_nor_text_that_was_not_hashed() {
    let authority_type = EventType::EFI_VARIABLE_AUTHORITY;
    for odd in [
        authority(EFI_GLOBAL_VARIABLE, "SecureBoot", &[1]),
        authority(EFI_GLOBAL_VARIABLE, "PK", &[1]),
        measured(7, authority_type, "x", uefi_variable(&SHIM_LOCK_GUID.to_bytes(), "Shim", &[1])),
        event(7, authority_type, "no variable"),
    ] {
        let boot = Boot::with(|boot| boot.events.push(odd.clone()));
        assert_finds(&boot.facts(), CHECK, number(boot.events.len() - 1));
    }
}

#[test]
fn old_shim_hashes_an_authority_without_its_last_byte() {
    let whole = [authority(SHIM_LOCK_GUID, "Shim", &certificate()).data, vec![1, 2, 3, 4, 5, 0xaf]].concat();
    let (last, hashed) = whole.split_last().unwrap();
    assert_eq!(*last, 0xaf);
    let old = measured(7, EventType::EFI_VARIABLE_AUTHORITY, hashed, &whole);
    let facts = Boot::with(|boot| boot.events.push(old)).facts();
    assert_eq!(found(&facts), []);
    let authority = facts.secure_boot.authorities.last().unwrap().verified().unwrap();
    assert_eq!(authority.variable, "Shim");
    assert!(matches!(&authority.content, AuthorityContent::Signature(signature)
        if matches!(&signature.content, SignatureContent::Certificate(found) if found.names().is_some())));
}

#[test]
fn sbat_under_a_disabled_secure_boot_is_noted() {
    let boot = Boot::with(|boot| {
        let place = boot.find_variable("SecureBoot");
        boot.events[place] = secure_boot_variable(&[0]);
    });
    let first = number(boot.find(|event| event.event_type == EventType::EFI_VARIABLE_AUTHORITY));
    assert_eq!(found(&boot.facts()), [("authority_without_secure_boot", first)]);
}
