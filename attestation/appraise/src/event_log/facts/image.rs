//! EV_EFI_BOOT_SERVICES_APPLICATION, EV_EFI_BOOT_SERVICES_DRIVER and EV_EFI_RUNTIME_SERVICES_DRIVER (TCG PC Client Platform Firmware
//! Profile 1.06, section 10.2.3): the digest is the image's Authenticode digest. Where it was loaded from is a label, and whether a
//! certificate vouched for it is another matter (PCR 7).

use plastron_attestation_tcg::event_log::RawEvent;
use plastron_attestation_tcg::uefi::ImageLoadEvent;

use super::digests::{Digests, Measured};
use super::provenance::Fact;
use super::reading::{MAX_FACTS, Reading};

/// The PCR of what firmware's boot manager and boot loaders start.
pub(super) const PCR: u8 = 4;

/// Reads one, for this list.
pub(super) fn read(event: &RawEvent<'_>, list: &[Fact<Measured>], reading: &mut Reading<'_>) -> Fact<Measured> {
    // Loaders write odd device paths into these, or none; nothing depends on them. What a full list won't take needs no text.
    let image = if list.len() < MAX_FACTS { ImageLoadEvent::parse(event.data).ok() } else { None };
    let label = image.map(|image| image.device_path.to_string()).unwrap_or_default();
    let digests = Digests::of(event, reading.banks());
    reading.label(event, Measured { label, digests })
}
