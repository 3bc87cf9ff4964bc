//! EV_EFI_BOOT_SERVICES_APPLICATION, EV_EFI_BOOT_SERVICES_DRIVER and EV_EFI_RUNTIME_SERVICES_DRIVER (TCG PC Client Platform Firmware
//! Profile 1.06, section 10.2.3): the digest is the image's Authenticode digest. Where it was loaded from is a label, and whether a
//! certificate vouched for it is another matter (PCR 7).

use plastron_attestation_tcg::event_log::RawEvent;
use plastron_attestation_tcg::uefi::ImageLoadEvent;

use super::digests::{Digests, Measured};
use super::provenance::Fact;
use super::reading::Reading;

/// The PCR of what firmware's boot manager and boot loaders start.
pub(super) const PCR: u8 = 4;

/// Reads one.
pub(super) fn read(event: &RawEvent<'_>, reading: &mut Reading<'_>) -> Fact<Measured> {
    // Loaders write odd device paths into these, or none; nothing depends on them.
    let label = ImageLoadEvent::parse(event.data).map(|image| image.device_path.to_string()).unwrap_or_default();
    let digests = Digests::of(event, reading.banks());
    reading.label(event, Measured { label, digests })
}
