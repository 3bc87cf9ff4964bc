//! What real firmware and boot loaders do otherwise than the TCG PC Client Platform Firmware Profile 1.06 says, as data: where it was
//! seen, and what becomes of it. `facts` names those that a log shows, so that a person need not wonder.
//!
//! Recognising one decides nothing: what a row says of its handling is done by the rule for its event, and shown by a test for each row.
//! Nothing here makes a text count that was not hashed.

use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::{EventType, LogFormat, NO_PCR, RawEvent, RawLog};
use plastron_attestation_tcg::uefi::{
    EFI_IMAGE_SECURITY_DATABASE_GUID, Guid, HandoffTables, ImageLoadEvent, PlatformFirmwareBlob, SHIM_LOCK_GUID,
    Variable,
};
use serde::Serialize;

/// What becomes of a deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// It is read as what it is meant to be: its text counts where it was hashed.
    Accepted,
    /// Its digest counts; its text is a label.
    DigestOnly,
    /// It is accepted, and a finding says so.
    Noted,
    /// It refuses, or counts for nothing, unless the pool's boot policy makes this exception.
    Exception(&'static str),
}

/// A known deviation.
#[derive(Clone, Copy, Debug)]
pub struct Quirk {
    /// Its name in reports.
    pub name: &'static str,
    /// What is done otherwise.
    pub deviation: &'static str,
    /// Where it was seen.
    pub seen: &'static str,
    /// What becomes of it.
    pub handling: Handling,
    shown_by: ShownBy,
}

/// How a log shows it.
#[derive(Clone, Copy, Debug)]
enum ShownBy {
    /// By one event.
    Event(fn(&RawEvent<'_>) -> bool),
    /// By one event and the digests of these banks.
    Digest(fn(&RawEvent<'_>, &[HashAlgorithm]) -> bool),
    /// By this event after those before it.
    Order(fn(&RawEvent<'_>, &Before) -> bool),
    /// By the log as a whole.
    Log(fn(&RawLog<'_>) -> bool),
}

/// What came before an event.
#[derive(Debug, Default)]
struct Before {
    /// Separators, by PCR.
    separators: [bool; 8],
    /// An EV_EFI_ACTION in PCR 4.
    action: bool,
}

impl Before {
    fn separator(&self, pcr: u8) -> bool {
        self.separators.get(usize::from(pcr)).copied().unwrap_or_default()
    }

    fn add(&mut self, event: &RawEvent<'_>) {
        match (event.claimed_type, self.separators.get_mut(usize::from(event.pcr))) {
            (EventType::SEPARATOR, Some(separator)) => *separator = true,
            (EventType::EFI_ACTION, _) if event.pcr == 4 => self.action = true,
            _ => {}
        }
    }
}

/// A deviation that a log shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SeenQuirk {
    /// Its name.
    pub name: &'static str,
    /// The first event that shows it; `None` where it is the log as a whole.
    pub event: Option<u32>,
}

/// What firmware measures into PCR 5 while the operating system takes over, and may fail to log: the kernel gets a copy of the log that
/// was made before. PCR 5 may end in one of these although its log does not.
pub(super) const UNLOGGED_ENDINGS: [&[&[u8]]; 3] = [
    &[EXIT_BOOT_SERVICES, b"Exit Boot Services Returned with Success"],
    &[EXIT_BOOT_SERVICES, b"Exit Boot Services Returned with Failure"],
    &[EXIT_BOOT_SERVICES, b"Exit Boot Services Returned with Failure", b"Exit Boot Services Returned with Success"],
];

/// The PCR that they are measured into.
pub(super) const EXIT_BOOT_SERVICES_PCR: u8 = 5;

const EXIT_BOOT_SERVICES: &[u8] = b"Exit Boot Services Invocation";

/// Every known deviation.
pub const QUIRKS: &[Quirk] = &[
    Quirk {
        name: "authority_trailing_bytes",
        deviation: "an EV_EFI_VARIABLE_AUTHORITY event ends in alignment bytes, and is hashed without the last of them",
        seen: "shim of before 2020 (go-attestation issue 157; recorded logs sb_cert_eventlog and event-postcode.bin)",
        handling: Handling::Accepted,
        shown_by: ShownBy::Event(|event| is_authority(event, |_, _, trailing| !trailing.is_empty())),
    },
    Quirk {
        name: "authority_without_owner",
        deviation: "an authority holds a certificate where EFI_SIGNATURE_DATA begins with its owner",
        seen: "shim, for the vendor certificate that is built in (go-attestation issue 157)",
        handling: Handling::Accepted,
        shown_by: ShownBy::Event(|event| {
            is_authority(event, |vendor, variable, _| vendor == SHIM_LOCK_GUID && variable.data.starts_with(&DER))
        }),
    },
    Quirk {
        name: "authority_of_shim_state",
        deviation: "the state of shim is measured as an authority, which is no EFI_SIGNATURE_DATA",
        seen: "shim, for SbatLevel and MokListTrusted (go-attestation issues 222 and 283)",
        handling: Handling::Accepted,
        shown_by: ShownBy::Event(|event| {
            is_authority(event, |vendor, variable, _| {
                vendor == SHIM_LOCK_GUID && matches!(variable.name.as_str(), "SbatLevel" | "MokListTrusted")
            })
        }),
    },
    Quirk {
        name: "authority_of_vendor_db",
        deviation: "an authority is named vendor_db, with the vendor of db, although no variable has that name",
        seen: "shim of RHEL 10, for a built-in list of certificates (keylime issue 1725)",
        handling: Handling::Accepted,
        shown_by: ShownBy::Event(|event| {
            is_authority(event, |vendor, variable, _| {
                vendor == EFI_IMAGE_SECURITY_DATABASE_GUID && variable.name == "vendor_db"
            })
        }),
    },
    Quirk {
        name: "authority_before_separator",
        deviation: "PCR 7 is closed by its separator only after drivers were verified",
        seen: "a Driver#### entry under OVMF; firmware that ends PCR 7 together with PCR 0 to 6 (secboot issue 410)",
        handling: Handling::Exception("drivers_before_separator"),
        shown_by: ShownBy::Order(|event, before| {
            event.pcr == 7 && event.claimed_type == EventType::EFI_VARIABLE_AUTHORITY && !before.separator(7)
        }),
    },
    Quirk {
        name: "authority_outside_pcr_7",
        deviation: "the authority for a driver is measured into PCR 2",
        seen: "a notebook's firmware (secboot issue 343)",
        handling: Handling::Accepted,
        shown_by: ShownBy::Event(|event| event.pcr != 7 && event.claimed_type == EventType::EFI_VARIABLE_AUTHORITY),
    },
    Quirk {
        name: "secure_boot_without_value",
        deviation: "the SecureBoot variable has no value",
        seen: "firmware without Secure Boot, or that measures the variable before it exists",
        handling: Handling::Exception("empty_secure_boot"),
        shown_by: ShownBy::Event(|event| {
            event.pcr == 7
                && event.claimed_type == EventType::EFI_VARIABLE_DRIVER_CONFIG
                && Variable::parse(event.data)
                    .is_ok_and(|variable| variable.name == "SecureBoot" && variable.data.is_empty())
        }),
    },
    Quirk {
        name: "dma_protection_disabled",
        deviation: "an EV_EFI_ACTION stands in PCR 7",
        seen: "notebooks whose firmware can protect memory from devices and did not (Windows asks for this measurement)",
        handling: Handling::Noted,
        shown_by: ShownBy::Event(|event| event.pcr == 7 && event.claimed_type == EventType::EFI_ACTION),
    },
    Quirk {
        name: "boot_variable_value_only",
        deviation: "the digest of EV_EFI_VARIABLE_BOOT is of the value, not of the whole UEFI_VARIABLE_DATA",
        seen: "EDK2, and most firmware that derives from it",
        handling: Handling::Accepted,
        shown_by: ShownBy::Digest(|event, banks| {
            event.claimed_type == EventType::EFI_VARIABLE_BOOT
                && Variable::parse(event.data).is_ok_and(|variable| hashes(event, banks, variable.data))
        }),
    },
    Quirk {
        name: "post_code_text",
        deviation: "EV_POST_CODE holds a text where the profile has the address and length of a blob",
        seen: "Lenovo ThinkPad with Phoenix firmware: `ACPI DATA` (tpm2-tools issue 2017); AMI, Dell",
        handling: Handling::DigestOnly,
        shown_by: ShownBy::Event(|event| {
            event.claimed_type == EventType::POST_CODE && PlatformFirmwareBlob::parse(event.data).is_err()
        }),
    },
    Quirk {
        name: "crtm_contents_text",
        deviation: "the data of EV_S_CRTM_CONTENTS is a text, and is not what was hashed",
        seen: "Intel Boot Guard: Dell PowerEdge XR4520c (tpm2-tools issue 3457), Dell XPS 15 7590 (fwupd issue 2136)",
        handling: Handling::DigestOnly,
        shown_by: ShownBy::Event(|event| {
            event.claimed_type == EventType::S_CRTM_CONTENTS && event.data.starts_with(b"Boot Guard Measured S-CRTM")
        }),
    },
    Quirk {
        name: "config_flags_text",
        deviation: "the data of EV_PLATFORM_CONFIG_FLAGS is a text, and is not what was hashed",
        seen: "OVMF under QEMU, for the ACPI tables that QEMU hands over (keylime issue 1393)",
        handling: Handling::DigestOnly,
        shown_by: ShownBy::Event(|event| {
            event.claimed_type == EventType::PLATFORM_CONFIG_FLAGS && event.data.starts_with(b"ACPI DATA")
        }),
    },
    Quirk {
        name: "image_trailing_bytes",
        deviation: "UEFI_IMAGE_LOAD_EVENT ends in alignment bytes",
        seen: "shim, and firmware of recorded log mb_log.bin",
        handling: Handling::DigestOnly,
        shown_by: ShownBy::Event(|event| is_image(event, |image| !image.trailing.is_empty())),
    },
    Quirk {
        name: "image_without_path",
        deviation: "UEFI_IMAGE_LOAD_EVENT has no device path",
        seen: "shim",
        handling: Handling::DigestOnly,
        shown_by: ShownBy::Event(|event| is_image(event, |image| image.device_path.nodes().is_empty())),
    },
    Quirk {
        name: "application_before_action",
        deviation: "a boot application comes without `Calling EFI Application from Boot Option` before it",
        seen: "OVMF of COCONUT-SVSM, where QEMU hands over the kernel (go-tpm-tools issue 535); Lenovo T14, for a program in the firmware \
               volume (tpm_futurepcr issue 4)",
        handling: Handling::DigestOnly,
        shown_by: ShownBy::Order(|event, before| {
            event.claimed_type == EventType::EFI_BOOT_SERVICES_APPLICATION && !before.action
        }),
    },
    Quirk {
        name: "vendor_event_type",
        deviation: "an event has a type that is nobody's but its vendor's",
        seen: "Lenovo ThinkPad P14s Gen 6: 0x8401 in PCR 2, after the separator (secboot issue 570)",
        handling: Handling::Noted,
        shown_by: ShownBy::Event(|event| event.is_extended() && event.claimed_type.name().is_none()),
    },
    Quirk {
        name: "tables_after_separator",
        deviation: "tables are measured into PCR 1 after its separator",
        seen: "Lenovo ThinkPad P14s Gen 6 (secboot issue 570)",
        handling: Handling::DigestOnly,
        shown_by: ShownBy::Order(|event, before| {
            event.pcr == 1
                && (event.claimed_type == EventType::EFI_HANDOFF_TABLES && HandoffTables::parse(event.data).is_ok()
                    || event.claimed_type == EventType::EFI_HANDOFF_TABLES2)
                && before.separator(1)
        }),
    },
    Quirk {
        name: "startup_locality_padded",
        deviation: "the data of StartupLocality are longer than the structure, and filled with zeros",
        seen: "coreboot, whose entries had a fixed size (Dasharo issue 1476, StarLabs issue 437)",
        handling: Handling::Accepted,
        shown_by: ShownBy::Event(|event| {
            const SIGNATURE: &[u8] = b"StartupLocality\0";
            event.pcr == 0 && event.data.starts_with(SIGNATURE) && event.data.len() > SIGNATURE.len() + 1
        }),
    },
    Quirk {
        name: "no_action_without_pcr",
        deviation: "EV_NO_ACTION names PCR 0xffffffff",
        seen: "Windows, in the logs that it keeps",
        handling: Handling::Accepted,
        shown_by: ShownBy::Event(|event| event.pcr == NO_PCR),
    },
    Quirk {
        name: "exit_boot_services_missing",
        deviation: "the log ends before ExitBootServices, whose measurements are in PCR 5",
        seen: "kernels that get no final log (go-attestation; recorded log ebs_event_missing_eventlog)",
        handling: Handling::Accepted,
        shown_by: ShownBy::Log(lacks_exit_boot_services),
    },
    Quirk {
        name: "sha1_log",
        deviation: "the log has the format of TPM 1.2",
        seen: "HP ProBook 650 G5 (tpm2-tools issue 2179); Google Compute Engine until 2020 (tpm2-tools issue 2204)",
        handling: Handling::Exception("sha1_event_log"),
        shown_by: ShownBy::Log(|log| log.format() == LogFormat::Sha1),
    },
    Quirk {
        name: "padding",
        deviation: "the log is filled up with zeros or with 0xff",
        seen: "firmware that gives the kernel its whole buffer",
        handling: Handling::Accepted,
        shown_by: ShownBy::Log(|log| log.padding() > 0),
    },
];

/// How a DER SEQUENCE with a length of two bytes begins, as every certificate does.
const DER: [u8; 2] = [0x30, 0x82];

/// The deviations that a log shows, each once, in the order of [`QUIRKS`].
pub(super) fn seen(log: &RawLog<'_>, banks: &[HashAlgorithm]) -> Vec<SeenQuirk> {
    let mut first: Vec<Option<u32>> = vec![None; QUIRKS.len()];
    let mut before = Before::default();
    for event in log.events() {
        for (first, quirk) in first.iter_mut().zip(QUIRKS).filter(|(first, _)| first.is_none()) {
            let shows = match quirk.shown_by {
                ShownBy::Event(shows) => shows(event),
                ShownBy::Digest(shows) => shows(event, banks),
                ShownBy::Order(shows) => shows(event, &before),
                ShownBy::Log(_) => false,
            };
            if shows {
                *first = Some(event.number);
            }
        }
        before.add(event);
    }
    let seen = |(quirk, event): (&Quirk, Option<u32>)| {
        let of_log = matches!(quirk.shown_by, ShownBy::Log(shows) if shows(log));
        (event.is_some() || of_log).then_some(SeenQuirk { name: quirk.name, event })
    };
    QUIRKS.iter().zip(first).filter_map(seen).collect()
}

/// Whether the log says nothing of the operating system taking over.
pub(super) fn lacks_exit_boot_services(log: &RawLog<'_>) -> bool {
    !log.events().iter().any(|event| event.pcr == EXIT_BOOT_SERVICES_PCR && event.data == EXIT_BOOT_SERVICES)
}

fn is_authority(event: &RawEvent<'_>, is: impl Fn(Guid, &Variable<'_>, &[u8]) -> bool) -> bool {
    event.claimed_type == EventType::EFI_VARIABLE_AUTHORITY
        && Variable::parse_with_trailing(event.data)
            .is_ok_and(|(variable, trailing)| is(variable.vendor_guid, &variable, trailing))
}

fn is_image(event: &RawEvent<'_>, is: impl Fn(&ImageLoadEvent<'_>) -> bool) -> bool {
    matches!(
        event.claimed_type,
        EventType::EFI_BOOT_SERVICES_APPLICATION
            | EventType::EFI_BOOT_SERVICES_DRIVER
            | EventType::EFI_RUNTIME_SERVICES_DRIVER
    ) && ImageLoadEvent::parse(event.data).is_ok_and(|image| is(&image))
}

fn hashes(event: &RawEvent<'_>, banks: &[HashAlgorithm], bytes: &[u8]) -> bool {
    banks.first().is_some_and(|bank| event.digest(*bank) == Some(bank.digest([bytes]).as_slice()))
}
