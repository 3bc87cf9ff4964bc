//! A boot that can be edited event by event before it is written down.

use plastron_attestation_appraise::Check;
use plastron_attestation_appraise::event_log::{Facts, FindingKind};
use plastron_attestation_fake_tpm::Manufacturer;
use plastron_attestation_fake_tpm::event_log::{LogBuilder, signature_list, uefi_variable};
use plastron_attestation_tcg::HashAlgorithm::{self, Sha1, Sha256, Sha384};
use plastron_attestation_tcg::event_log::{EventType, RawLog};
use plastron_attestation_tcg::uefi::{
    EFI_CERT_SHA256_GUID, EFI_CERT_X509_GUID, EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE_GUID, Guid,
    SHIM_LOCK_GUID,
};

pub(crate) const BANKS: [HashAlgorithm; 3] = [Sha1, Sha256, Sha384];

/// One event: what was hashed, and what the log says about it.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) pcr: u8,
    pub(crate) event_type: EventType,
    pub(crate) hashed: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

/// An event that hashes its data.
pub(crate) fn event(pcr: u8, event_type: EventType, data: impl AsRef<[u8]>) -> Event {
    Event { pcr, event_type, hashed: data.as_ref().to_vec(), data: data.as_ref().to_vec() }
}

/// An event that hashes something else.
pub(crate) fn measured(pcr: u8, event_type: EventType, hashed: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Event {
    Event { hashed: hashed.as_ref().to_vec(), ..event(pcr, event_type, data) }
}

pub(crate) fn separator(pcr: u8) -> Event {
    event(pcr, EventType::SEPARATOR, [0; 4])
}

pub(crate) fn variable(vendor: Guid, name: &str, value: &[u8]) -> Event {
    event(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, uefi_variable(&vendor.to_bytes(), name, value))
}

pub(crate) fn secure_boot_variable(value: &[u8]) -> Event {
    variable(EFI_GLOBAL_VARIABLE, "SecureBoot", value)
}

pub(crate) fn authority(vendor: Guid, name: &str, value: &[u8]) -> Event {
    event(7, EventType::EFI_VARIABLE_AUTHORITY, uefi_variable(&vendor.to_bytes(), name, value))
}

/// As GRUB measures a text.
pub(crate) fn grub(prefix: &str, text: &str) -> Event {
    measured(8, EventType::IPL, text, format!("{prefix}: {text}\0"))
}

pub(crate) fn action(pcr: u8, text: &str) -> Event {
    event(pcr, EventType::EFI_ACTION, text)
}

pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Events in the order in which they were measured.
#[derive(Clone)]
pub(crate) struct Boot {
    pub(crate) events: Vec<Event>,
}

impl Boot {
    /// Linux by shim and GRUB, with Secure Boot.
    pub(crate) fn linux() -> Self {
        let certificate = certificate();
        let certificates = signature_list(&EFI_CERT_X509_GUID.to_bytes(), &[&certificate]);
        let forbidden = signature_list(&EFI_CERT_SHA256_GUID.to_bytes(), &[&[1; 32], &[2; 32]]);
        let database = EFI_IMAGE_SECURITY_DATABASE_GUID;
        let mut events = vec![
            event(0, EventType::S_CRTM_VERSION, utf16("BIOS 1.0\0")),
            measured(0, EventType::EFI_PLATFORM_FIRMWARE_BLOB, "a volume", [0; 16]),
            secure_boot_variable(&[1]),
            variable(EFI_GLOBAL_VARIABLE, "PK", &certificates),
            variable(EFI_GLOBAL_VARIABLE, "KEK", &certificates),
            variable(database, "db", &certificates),
            variable(database, "dbx", &forbidden),
            separator(7),
            action(4, "Calling EFI Application from Boot Option"),
        ];
        events.extend((0..7).map(separator));
        events.extend([
            authority(database, "db", &[&[0x77; 16], certificate.as_slice()].concat()),
            measured(4, EventType::EFI_BOOT_SERVICES_APPLICATION, "shim", [0; 32]),
            authority(SHIM_LOCK_GUID, "SbatLevel", b"sbat,1,2025021800\nshim,4\n"),
            measured(14, EventType::IPL, "the list", "MokList\0"),
            measured(9, EventType::IPL, "set x=1", "(hd0,gpt1)/grub.cfg\0"),
            grub("grub_cmd", "set root=hd0,gpt1"),
            grub("grub_cmd", "linux /vmlinuz root=/dev/vda1 ro \"x=a b\""),
            measured(9, EventType::IPL, "a kernel", "/vmlinuz\0"),
            grub("kernel_cmdline", "/vmlinuz root=/dev/vda1 ro \"x=a b\""),
            grub("grub_cmd", "initrd /initrd.img"),
            action(5, "Exit Boot Services Invocation"),
            action(5, "Exit Boot Services Returned with Success"),
        ]);
        Self { events }
    }

    /// The place of the first event for which this holds.
    pub(crate) fn find(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().position(wanted).unwrap()
    }

    /// The place of the variable in PCR 7.
    pub(crate) fn find_variable(&self, name: &str) -> usize {
        let name = utf16(name);
        self.find(|event| {
            event.event_type == EventType::EFI_VARIABLE_DRIVER_CONFIG
                && event.data.get(32..32 + name.len()) == Some(&name)
        })
    }

    /// The place of an event whose data begins so.
    pub(crate) fn find_text(&self, text: &str) -> usize {
        self.find(|event| event.data.starts_with(text.as_bytes()))
    }

    /// The place of the separator of this PCR.
    pub(crate) fn find_separator(&self, pcr: u8) -> usize {
        self.find(|event| event.event_type == EventType::SEPARATOR && event.pcr == pcr)
    }

    pub(crate) fn log(&self) -> LogBuilder {
        let mut log = LogBuilder::crypto_agile(&BANKS);
        for Event { pcr, event_type, hashed, data } in &self.events {
            log.measured(*pcr, *event_type, hashed, data);
        }
        log
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts::read(&RawLog::parse(self.log().bytes()).unwrap())
    }

    /// Looked at after a change.
    pub(crate) fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut boot = Self::linux();
        change(&mut boot);
        boot
    }
}

pub(crate) fn certificate() -> Vec<u8> {
    Manufacturer::new("A CA").root()
}

/// The findings that refuse, or may, by name and event.
pub(crate) fn found(facts: &Facts) -> Vec<(&'static str, Option<u32>)> {
    facts.findings.iter().map(|finding| (finding.kind.name(), finding.event)).collect()
}

/// The number that the event at this place has in the log.
pub(crate) fn number(place: usize) -> Option<u32> {
    Some(u32::try_from(place).unwrap() + 1)
}

#[track_caller]
pub(crate) fn assert_finds(facts: &Facts, check: Check, event: Option<u32>) {
    let found =
        facts.findings.iter().any(|finding| finding.kind == FindingKind::Check(check) && finding.event == event);
    assert!(found, "no {check} at {event:?} in {:#?}", facts.findings);
}

#[test]
fn a_good_boot_has_no_findings_and_every_text_of_it_is_verified() {
    let facts = Boot::linux().facts();
    assert_eq!(found(&facts), []);
    assert_eq!(facts.secure_boot.enabled.as_ref().unwrap().verified(), Ok(&Some(true)));
    assert_eq!(facts.secure_boot.setup_mode.as_ref().unwrap().verified(), Ok(&false));
    assert_eq!(facts.firmware.crtm_version.as_ref().unwrap().verified().unwrap(), "BIOS 1.0");
    assert!(facts.boot.exit_boot_services);
}
