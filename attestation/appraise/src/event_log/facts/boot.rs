//! PCR 1, 4 and 5: what the boot manager was told and what it started (TCG PC Client Platform Firmware Profile 1.06, sections 3.3.4.2,
//! 3.3.4.5 and 3.3.4.6).
//!
//! - EV_EFI_VARIABLE_BOOT hashes the value alone or, in some firmware, the whole UEFI_VARIABLE_DATA, which EV_EFI_VARIABLE_BOOT2 always
//!   does. A name is never verified: where the value alone is hashed nothing covers it, and which form was hashed can't be told from a
//!   digest, since a value can itself be written to look like a whole variable.
//! - EV_EFI_ACTION and EV_ACTION hash their text. "UEFI Debug Mode" refuses, in whatever PCR and under whatever type. Real logs lack
//!   ExitBootServices at times, so it is not demanded; but where it is, no boot application may follow. The order of events in two
//!   PCRs is the log's word, which no digest covers: a node can move them past one another.
//! - EV_EFI_BOOT_SERVICES_APPLICATION: see `image`. No digest covers the type, so whatever stands in PCR 4 and is no action that hashes
//!   can be one, and is listed with them.

use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::{EventType, RawEvent};
use plastron_attestation_tcg::uefi::{GptData, LoadOption, Variable};
use serde::Serialize;

use super::digests::Measured;
use super::hashed::Recognised;
use super::image;
use super::provenance::{Fact, Provenance};
use super::reading::{self, Reading, excerpt};
use crate::Check;
use crate::event_log::finding::FindingKind;

/// PCRs in which nothing but firmware's actions, images and partition tables is measured before the operating system runs.
const ACTION_PCRS: [u8; 2] = [4, 5];

/// A firmware debugger was enabled (section 3.3.4.8).
const DEBUG_MODE: &[u8] = b"UEFI Debug Mode";

/// The operating system took over.
const EXIT_BOOT_SERVICES: &[u8] = b"Exit Boot Services Invocation";

/// It is on its own.
const EXITED: &[u8] = b"Exit Boot Services Returned with Success";

/// What the boot manager was told and what it did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Boot {
    /// BootOrder, Boot#### and other variables of the boot.
    pub variables: Vec<BootVariable>,
    /// Texts of EV_EFI_ACTION and EV_ACTION.
    pub actions: Vec<Fact<String>>,
    /// Partition tables.
    pub partition_tables: Vec<Fact<String>>,
    /// Whether the firmware logged that the operating system took over.
    pub exit_boot_services: bool,
}

/// One variable.
#[derive(Clone, Debug, Serialize)]
pub struct BootVariable {
    /// Its name: `digest_only` where it was hashed together with the value, else `untrusted`.
    pub name: Fact<String>,
    /// The value: a load option's description and device path, or the beginning of what it is.
    pub value: Fact<String>,
}

/// Reads the events of a boot, in order.
pub(super) struct BootEvents {
    debug_mode: Recognised,
    exit_boot_services: Recognised,
    exited: Recognised,
    is_over: bool,
}

impl BootEvents {
    pub(super) fn new(banks: &[HashAlgorithm]) -> Self {
        Self {
            debug_mode: Recognised::new(banks, DEBUG_MODE),
            exit_boot_services: Recognised::new(banks, EXIT_BOOT_SERVICES),
            exited: Recognised::new(banks, EXITED),
            is_over: false,
        }
    }

    /// Whether firmware has said that its part is over: what follows in PCR 5 is not its doing.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Looks for what counts under any type.
    pub(super) fn recognise(&mut self, event: &RawEvent<'_>, facts: &mut Boot, reading: &mut Reading<'_>) {
        if event.pcr <= 7 && self.debug_mode.is_in_some_bank(event) {
            let text = format!("PCR {} says {:?}: a firmware debugger was enabled", event.pcr, "UEFI Debug Mode");
            reading.find(FindingKind::Check(Check::DebugMode), event, text);
        }
        if event.pcr == 5 && self.exit_boot_services.is_in_some_bank(event) {
            facts.exit_boot_services = true;
        }
        self.is_over |= event.pcr == 5 && self.exited.is(event);
    }

    /// Reads an event of PCR 4, which holds actions and what was started, whatever the log calls it.
    pub(super) fn read_pcr_4(
        &self,
        event: &RawEvent<'_>,
        facts: &mut Boot,
        boot_applications: &mut Vec<Fact<Measured>>,
        reading: &mut Reading<'_>,
    ) {
        let is_action = matches!(
            event.claimed_type,
            EventType::EFI_ACTION | EventType::ACTION | EventType::OMIT_BOOT_DEVICE_EVENTS
        );
        if is_action && action(event, facts, reading) {
            return;
        }
        if event.claimed_type != EventType::EFI_BOOT_SERVICES_APPLICATION {
            let text = format!("PCR 4 holds an event of type {}, which can be a boot application", event.claimed_type);
            let known = reading::is_known(event.claimed_type);
            let kind = if known { FindingKind::RetypedApplication } else { FindingKind::UnknownEvent };
            reading.find(kind, event, text);
        }
        application(event, facts, boot_applications, reading);
    }

    /// Reads the event if it is one of these; `false` leaves it to other rules.
    pub(super) fn read(
        &self,
        event: &RawEvent<'_>,
        facts: &mut Boot,
        boot_applications: &mut Vec<Fact<Measured>>,
        reading: &mut Reading<'_>,
    ) -> bool {
        match event.claimed_type {
            EventType::EFI_BOOT_SERVICES_APPLICATION => application(event, facts, boot_applications, reading),
            EventType::EFI_VARIABLE_BOOT | EventType::EFI_VARIABLE_BOOT2 | EventType::EFI_VARIABLE_DRIVER_CONFIG => {
                variable(event, facts, reading);
            }
            EventType::EFI_ACTION | EventType::ACTION | EventType::OMIT_BOOT_DEVICE_EVENTS => {
                action(event, facts, reading);
            }
            EventType::EFI_GPT_EVENT | EventType::EFI_GPT_EVENT2 => {
                let hashed = reading.hashed(event, &[event.data]);
                let text = match GptData::parse(event.data) {
                    Ok(table) => format!("disk {}, {} partitions", table.disk_guid, table.partitions.len()),
                    Err(_) => excerpt(event.data),
                };
                let table = reading.text_or_label(event, text, hashed);
                reading.push(&mut facts.partition_tables, "boot.partition_tables", event, table);
            }
            _ => return false,
        }
        true
    }
}

/// Reads an action, and says whether its text is what was hashed.
fn action(event: &RawEvent<'_>, facts: &mut Boot, reading: &mut Reading<'_>) -> bool {
    let hashed = reading.hashed(event, &[event.data]);
    let text = String::from_utf8_lossy(event.data.strip_suffix(b"\0").unwrap_or(event.data)).into_owned();
    // Elsewhere the same digest can be that of a variable's value, which user space chooses.
    let text = match hashed && !ACTION_PCRS.contains(&event.pcr) {
        true => reading.label(event, text),
        false => reading.text(event, text, hashed),
    };
    reading.push(&mut facts.actions, "boot.actions", event, text);
    hashed
}

fn application(
    event: &RawEvent<'_>,
    facts: &Boot,
    boot_applications: &mut Vec<Fact<Measured>>,
    reading: &mut Reading<'_>,
) {
    let application = image::read(event, boot_applications, reading);
    // Under another type it is not called late: who retypes it could as well move it before ExitBootServices.
    if facts.exit_boot_services && event.claimed_type == EventType::EFI_BOOT_SERVICES_APPLICATION {
        let text = format!("boot application {:?} after ExitBootServices", application.claimed().label);
        reading.find(FindingKind::Check(Check::LateBootApplication), event, text);
    }
    reading.push(boot_applications, "boot_applications", event, application);
}

fn variable(event: &RawEvent<'_>, facts: &mut Boot, reading: &mut Reading<'_>) {
    let variable = match Variable::parse(event.data) {
        Ok(variable) => variable,
        Err(error) => {
            reading.malformed(event, &error);
            reading.note(event, Provenance::Untrusted);
            return;
        }
    };
    // A driver's configuration and BOOT2 are hashed whole; BOOT is hashed either way, mostly by its value.
    let boot = event.claimed_type == EventType::EFI_VARIABLE_BOOT;
    let value_hashed = boot && reading.hashed(event, &[variable.data]);
    let name_hashed = !value_hashed && reading.hashed(event, &[event.data]);
    let value = match LoadOption::parse(variable.data) {
        Ok(option) if is_load_option(&variable.name) => {
            let paths: Vec<String> = option.file_path_list.iter().map(ToString::to_string).collect();
            format!("{:?} {}", option.description, paths.join(" "))
        }
        _ => excerpt(variable.data),
    };
    let value = reading.text(event, value, value_hashed || name_hashed);
    let behind_name = if name_hashed { Provenance::DigestOnly } else { Provenance::Untrusted };
    let name = value.clone().map(|_| variable.name).at_most(behind_name);
    reading.push(&mut facts.variables, "boot.variables", event, BootVariable { name, value });
}

/// `Boot####`, `Driver####`, `SysPrep####`, `PlatformRecovery####`.
fn is_load_option(name: &str) -> bool {
    ["Boot", "Driver", "SysPrep", "PlatformRecovery"]
        .iter()
        .filter_map(|kind| name.strip_prefix(kind))
        .any(|number| number.len() == 4 && number.bytes().all(|digit| digit.is_ascii_hexdigit()))
}
