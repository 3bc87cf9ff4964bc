//! An event's data as a line for people: decoded where its form is known, escaped always. Nothing is decided by it.

use plastron_attestation_tcg::event_log::{EventType, RawEvent};
use plastron_attestation_tcg::uefi::{GptData, ImageLoadEvent, LoadOption, TaggedEvent, Variable, utf16_le};

use super::reading::excerpt;

/// Longest text in characters of 16 bits.
const MAX_TEXT: usize = 1 << 15;

/// The line of one event.
pub(super) fn of(event: &RawEvent<'_>) -> String {
    decoded(event).unwrap_or_else(|| excerpt(event.data))
}

fn decoded(event: &RawEvent<'_>) -> Option<String> {
    match event.claimed_type {
        EventType::EFI_VARIABLE_DRIVER_CONFIG
        | EventType::EFI_VARIABLE_BOOT
        | EventType::EFI_VARIABLE_BOOT2
        | EventType::EFI_VARIABLE_AUTHORITY => {
            let variable = Variable::parse(event.data).ok()?;
            let value = match LoadOption::parse(variable.data) {
                Ok(option) if variable.name.starts_with("Boot0") => format!("{:?}", option.description),
                _ => excerpt(variable.data),
            };
            Some(format!("{:?} = {value}", variable.name))
        }
        EventType::EFI_BOOT_SERVICES_APPLICATION
        | EventType::EFI_BOOT_SERVICES_DRIVER
        | EventType::EFI_RUNTIME_SERVICES_DRIVER => {
            let image = ImageLoadEvent::parse(event.data).ok()?;
            Some(format!("image at {:#x}, {}", image.image_location_in_memory, image.device_path))
        }
        EventType::EFI_GPT_EVENT | EventType::EFI_GPT_EVENT2 => {
            let table = GptData::parse(event.data).ok()?;
            Some(format!("disk {}, {} partitions", table.disk_guid, table.partitions.len()))
        }
        EventType::EVENT_TAG => {
            let tagged = TaggedEvent::parse(event.data).ok()?;
            Some(format!("tag {:#010x}, {}", tagged.id, excerpt(tagged.data)))
        }
        EventType::IPL | EventType::S_CRTM_VERSION => {
            let text = utf16_le(event.data, MAX_TEXT).ok()?;
            let text = text.trim_end_matches('\0');
            (!text.is_empty() && text.is_ascii()).then(|| format!("{text:?}"))
        }
        _ => None,
    }
}
