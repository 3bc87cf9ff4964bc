//! PCR 0 to 3: firmware, its configuration, its drivers and option ROMs (TCG PC Client Platform Firmware Profile 1.06, sections 3.3.4.1
//! to 3.3.4.4). The digest of a blob is that of the blob, of an image its Authenticode digest, of tables that of the tables: address,
//! length, description and device path are labels. A version or a flag counts as text where it hashes.

use plastron_attestation_tcg::event_log::{EventType, RawEvent};
use plastron_attestation_tcg::uefi::{Guid, HandoffTables, PlatformFirmwareBlob, name_of, utf16_le};
use serde::Serialize;

use super::digests::{Digests, Measured};
use super::image;
use super::provenance::Fact;
use super::reading::{self, Reading, excerpt};

/// The PCR of the S-CRTM.
const CRTM_PCR: u8 = 0;

/// Longest version text.
const MAX_VERSION: usize = 256;

/// What firmware says about itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Firmware {
    /// EV_S_CRTM_VERSION: a text, a GUID, or hexadecimal.
    pub crtm_version: Option<Fact<String>>,
    /// Firmware volumes, POST code, microcode, S-CRTM contents.
    pub blobs: Vec<Fact<Measured>>,
    /// What firmware took from elsewhere: configuration, tables handed over, flags.
    pub configuration: Vec<Fact<Measured>>,
    /// Drivers that are no part of the firmware: option ROMs above all. Unsigned ones may run under Secure Boot and show only here.
    pub option_roms: Vec<Fact<Measured>>,
}

/// Reads the event if it is one of firmware's; `false` leaves it to other rules.
pub(super) fn read(event: &RawEvent<'_>, facts: &mut Firmware, reading: &mut Reading<'_>) -> bool {
    match event.claimed_type {
        EventType::S_CRTM_VERSION if event.pcr == CRTM_PCR => {
            let hashed = reading.hashed(event, &[event.data]);
            let version = reading.text_or_label(event, version(event.data), hashed);
            // The first is the S-CRTM's own; a second one would be somebody else's.
            if facts.crtm_version.is_none() {
                facts.crtm_version = Some(version);
            }
        }
        EventType::EFI_PLATFORM_FIRMWARE_BLOB
        | EventType::EFI_PLATFORM_FIRMWARE_BLOB2
        | EventType::POST_CODE
        | EventType::POST_CODE2
        | EventType::S_CRTM_CONTENTS
        | EventType::CPU_MICROCODE
        | EventType::EFI_HCRTM_EVENT
        | EventType::NONHOST_CODE
        | EventType::EFI_SPDM_FIRMWARE_BLOB => {
            let blob = measured(event, blob_label(event), reading);
            reading.push(&mut facts.blobs, "firmware.blobs", event, blob);
        }
        EventType::EFI_HANDOFF_TABLES
        | EventType::EFI_HANDOFF_TABLES2
        | EventType::PLATFORM_CONFIG_FLAGS
        | EventType::TABLE_OF_DEVICES
        | EventType::NONHOST_CONFIG
        | EventType::NONHOST_INFO
        | EventType::EFI_SPDM_FIRMWARE_CONFIG => {
            let configuration = measured(event, table_label(event), reading);
            reading.push(&mut facts.configuration, "firmware.configuration", event, configuration);
        }
        EventType::EFI_BOOT_SERVICES_DRIVER | EventType::EFI_RUNTIME_SERVICES_DRIVER => {
            let driver = image::read(event, &facts.option_roms, reading);
            reading.push(&mut facts.option_roms, "firmware.option_roms", event, driver);
        }
        _ => return false,
    }
    true
}

/// A thing that was measured, by its own text where that is what was hashed.
fn measured(event: &RawEvent<'_>, label: String, reading: &mut Reading<'_>) -> Fact<Measured> {
    let hashed = !reading::is_open_to_user_space(event) && reading.hashed(event, &[event.data]);
    let digests = Digests::of(event, reading.banks());
    reading.text_or_label(event, Measured { label, digests }, hashed)
}

fn version(data: &[u8]) -> String {
    if let Ok(guid) = <[u8; 16]>::try_from(data) {
        return Guid::from_bytes(guid).to_string();
    }
    let printable = |text: &String| !text.chars().any(char::is_control);
    let text = utf16_le(data, MAX_VERSION).ok().map(|text| text.trim_end_matches('\0').trim_end().to_owned());
    text.filter(printable).unwrap_or_else(|| hex::encode(data.get(..MAX_VERSION).unwrap_or(data)))
}

fn blob_label(event: &RawEvent<'_>) -> String {
    let blob = match event.claimed_type {
        EventType::EFI_PLATFORM_FIRMWARE_BLOB2 => PlatformFirmwareBlob::parse2(event.data),
        _ => PlatformFirmwareBlob::parse(event.data),
    };
    match blob {
        Ok(PlatformFirmwareBlob { description: [], base, length }) => format!("{length:#x} bytes at {base:#x}"),
        Ok(PlatformFirmwareBlob { description, base, length }) => {
            format!("{}, {length:#x} bytes at {base:#x}", description.escape_ascii())
        }
        Err(_) => excerpt(event.data),
    }
}

fn table_label(event: &RawEvent<'_>) -> String {
    let tables = match event.claimed_type {
        EventType::EFI_HANDOFF_TABLES => HandoffTables::parse(event.data),
        EventType::EFI_HANDOFF_TABLES2 => HandoffTables::parse2(event.data),
        _ => return excerpt(event.data),
    };
    let Ok(HandoffTables { description, tables }) = tables else { return excerpt(event.data) };
    let names = tables.iter().map(|table| match name_of(table.vendor_guid) {
        Some(name) => name.to_owned(),
        None => table.vendor_guid.to_string(),
    });
    format!("{}{}", description.escape_ascii(), names.collect::<Vec<_>>().join(", "))
}
