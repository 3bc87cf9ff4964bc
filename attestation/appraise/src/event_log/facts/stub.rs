//! What systemd-boot, systemd-stub and Linux's own EFI stub measure (systemd-stub(7), "TPM PCR Notes"; UAPI specification "Linux TPM PCR
//! Registry").
//!
//! - PCR 11, unified kernel images: two events for each section, both with the section's name in UTF-16 as data. The first digest is of the
//!   name in ASCII with its NUL, the second of the content. User space extends this PCR later, so that it is no evidence unless its log
//!   was compared with a quote.
//! - PCR 12: command lines from outside the image, in UTF-16LE with a NUL; under systemd-boot 252 twice, by loader and stub. Old
//!   systemd-boot has PCR 8 for them. Credentials and extensions (also PCR 13) are archives, their data a label. Since a label can stand
//!   before any digest, a command line is verified only if all of PCR 12 is text that hashes.
//! - PCR 9, EV_EVENT_TAG: the initial RAM disk and LoadOptions, by their digests.
//! - PCR 5, EV_EVENT_TAG: loader.conf.

use plastron_attestation_tcg::event_log::{EventType, RawEvent};
use plastron_attestation_tcg::uefi::{TAG_LINUX_INITRD, TAG_LINUX_LOAD_OPTIONS, TaggedEvent, utf16_le};
use serde::Serialize;

use super::digests::{Digests, Measured};
use super::provenance::{Fact, Provenance};
use super::reading::{Reading, excerpt};

/// The PCR of a unified kernel image.
const IMAGE_PCR: u8 = 11;
/// The PCR of what is given to it from outside.
const CONFIG_PCR: u8 = 12;
/// The PCR of system extensions.
const EXTENSION_PCR: u8 = 13;
/// The PCR in which systemd-boot before version 251 logged command lines.
const OLD_CONFIG_PCR: u8 = 8;

/// Longest text in characters.
const MAX_TEXT: usize = 1 << 16;

/// What a unified kernel image and its boot loader measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Uki {
    /// Sections of the image, in order, by name and the digest of their content.
    pub sections: Vec<Fact<Measured>>,
    /// Command lines that came from outside the image.
    pub cmdlines: Vec<Fact<String>>,
    /// Credentials, system extensions and add-ons.
    pub extras: Vec<Fact<Measured>>,
    /// A section's name that was measured, whose content is expected next.
    #[serde(skip)]
    pub(super) announced: Option<String>,
    /// An event of PCR 12 that is not a text which hashes: it can hide a command line.
    #[serde(skip)]
    pub(super) obscure: Option<u32>,
}

impl Uki {
    /// Looks at every event, whatever its type.
    pub(super) fn look(&mut self, event: &RawEvent<'_>) {
        if event.pcr == CONFIG_PCR && event.claimed_type != EventType::IPL {
            self.obscure.get_or_insert(event.number);
        }
    }
}

/// What the kernel's EFI stub measured.
#[derive(Clone, Debug, Default)]
pub(super) struct LinuxStub {
    /// Initial RAM disks, by the digest of their content.
    pub(super) initrd: Vec<Fact<Measured>>,
    /// LoadOptions: the command line in UTF-16LE, with a NUL from systemd, without one from GRUB 2.12. The text is not in the log.
    pub(super) load_options: Vec<Fact<Measured>>,
}

/// Reads an EV_IPL event if it is one of systemd's; `false` leaves it to other rules.
pub(super) fn read_ipl(event: &RawEvent<'_>, facts: &mut Uki, reading: &mut Reading<'_>) -> bool {
    match event.pcr {
        IMAGE_PCR => section(event, facts, reading),
        CONFIG_PCR | OLD_CONFIG_PCR => return cmdline(event, facts, reading),
        EXTENSION_PCR => extra(event, facts, reading),
        _ => return false,
    }
    true
}

fn section(event: &RawEvent<'_>, facts: &mut Uki, reading: &mut Reading<'_>) {
    let name = utf16_le(event.data, MAX_TEXT).map(|name| name.trim_end_matches('\0').to_owned());
    let Ok(name) = name else {
        facts.announced = None;
        extra(event, facts, reading);
        return;
    };
    if reading.hashed(event, &[name.as_bytes(), b"\0"]) {
        reading.note(event, Provenance::Verified);
        facts.announced = Some(name);
        return;
    }
    // The content that follows its name: what it is called was hashed just before.
    let announced = facts.announced.take().is_some_and(|announced| announced == name);
    let digests = Digests::of(event, reading.banks());
    let section = Measured { label: name, digests };
    let fact = if announced { reading.label(event, section) } else { reading.text(event, section, false) };
    reading.push(&mut facts.sections, "uki.sections", event, fact);
}

/// A command line; text of another kind is left to `extra`, where the PCR is systemd's own.
fn cmdline(event: &RawEvent<'_>, facts: &mut Uki, reading: &mut Reading<'_>) -> bool {
    // The event of old systemd-boot is one byte short of the NUL that it hashed.
    let even = event.data.get(..event.data.len() & !1).unwrap_or(event.data);
    let hashed = reading.hashed(event, &[event.data])
        || (even.len() != event.data.len() && reading.hashed(event, &[even, &[0, 0]]));
    let text = utf16_le(even, MAX_TEXT).ok().filter(|text| text.trim_end_matches('\0').chars().all(is_printed));
    match text {
        // Other loaders log ASCII in PCR 8, which reads as UTF-16 of some sort, too.
        Some(text) if event.pcr == OLD_CONFIG_PCR && text.is_ascii() || event.pcr == CONFIG_PCR && hashed => {
            let fact = reading.text(event, text.trim_end_matches('\0').to_owned(), hashed);
            reading.push(&mut facts.cmdlines, "uki.cmdlines", event, fact);
        }
        _ if event.pcr == OLD_CONFIG_PCR => return false,
        _ => {
            facts.obscure.get_or_insert(event.number);
            extra(event, facts, reading);
        }
    }
    true
}

fn is_printed(character: char) -> bool {
    !character.is_control() || matches!(character, '\t' | '\n')
}

fn extra(event: &RawEvent<'_>, facts: &mut Uki, reading: &mut Reading<'_>) {
    let digests = Digests::of(event, reading.banks());
    let fact = reading.label(event, Measured { label: readable(event.data), digests });
    reading.push(&mut facts.extras, "uki.extras", event, fact);
}

/// Reads an EV_EVENT_TAG event of PCR 5, 9, 12 or 13.
pub(super) fn read_tag(event: &RawEvent<'_>, uki: &mut Uki, stub: &mut LinuxStub, reading: &mut Reading<'_>) {
    let tagged = match TaggedEvent::parse(event.data) {
        Ok(tagged) => tagged,
        Err(error) => {
            reading.malformed(event, &error);
            reading.note(event, Provenance::Untrusted);
            return;
        }
    };
    let digests = Digests::of(event, reading.banks());
    let fact = reading.label(event, Measured { label: readable(tagged.data), digests });
    match tagged.id {
        TAG_LINUX_INITRD => reading.push(&mut stub.initrd, "kernel.initrd", event, fact),
        TAG_LINUX_LOAD_OPTIONS => reading.push(&mut stub.load_options, "kernel.load_options", event, fact),
        _ => reading.push(&mut uki.extras, "uki.extras", event, fact),
    }
}

/// A label of either width.
fn readable(data: &[u8]) -> String {
    match utf16_le(data, MAX_TEXT) {
        Ok(text) if text.trim_end_matches('\0').chars().all(|c| c.is_ascii() && is_printed(c)) => {
            text.trim_end_matches('\0').to_owned()
        }
        _ => match std::str::from_utf8(data) {
            Ok(text) if text.trim_end_matches('\0').chars().all(is_printed) => text.trim_end_matches('\0').to_owned(),
            _ => excerpt(data),
        },
    }
}
