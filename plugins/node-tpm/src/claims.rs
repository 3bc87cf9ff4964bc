//! What the agent says about its machine. The server stores it as claims: for people who look for a machine, never for policy.

use std::fs::File;
use std::io::Read;

use plastron_attestation::Claims;
use plastron_attestation_appraise::MAX_CLAIM_LEN;

/// From the kernel; what can't be read is left out.
pub(crate) fn of_this_machine() -> Claims {
    Claims {
        claimed_host_name: first_line("/proc/sys/kernel/hostname"),
        claimed_model: first_line("/sys/class/dmi/id/product_name"),
        claimed_firmware: first_line("/sys/class/dmi/id/bios_version"),
    }
}

fn first_line(path: &str) -> Option<String> {
    let mut text = String::new();
    let limit = u64::try_from(MAX_CLAIM_LEN).ok()?;
    File::open(path).ok()?.take(limit).read_to_string(&mut text).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}
