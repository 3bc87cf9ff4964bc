//! EV_SEPARATOR (TCG PC Client Platform Firmware Profile 1.06, sections 3.3.2.2 and 10.4.1): firmware ends its part of each of PCR 0
//! to 7 with one. It is recognised by digest and type together, because no digest covers the type: a separator under another type,
//! another event under this type, a second one in a PCR, and the one that says that firmware failed, all refuse. A PCR without one
//! was not extended by firmware, whatever stands in it.

use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::{EventType, RawEvent};
use plastron_attestation_tcg::uefi::Variable;

use super::hashed::Recognised;
use super::provenance::Provenance;
use super::reading::Reading;
use crate::Check;
use crate::event_log::finding::FindingKind;

/// PCRs that firmware ends with a separator.
const FIRMWARE_PCRS: std::ops::RangeInclusive<u8> = 0..=7;

/// Data of a separator when all is well. Firmware of the time of TPM 1.2 used the second.
const SUCCESS: [[u8; 4]; 2] = [[0; 4], [0xff; 4]];

/// Data of a separator after an error.
const ERROR: [u8; 4] = [1, 0, 0, 0];

/// Finds separators.
pub(super) struct Separators {
    success: Vec<Recognised>,
    error: Recognised,
    seen: [Option<u32>; 8],
}

impl Separators {
    pub(super) fn new(banks: &[HashAlgorithm]) -> Self {
        Self {
            success: SUCCESS.iter().map(|data| Recognised::new(banks, data)).collect(),
            error: Recognised::new(banks, &ERROR),
            seen: [None; 8],
        }
    }

    /// Reads the event if it is a separator, or says that it is one; `false` leaves it to other rules.
    pub(super) fn read(&mut self, event: &RawEvent<'_>, reading: &mut Reading<'_>) -> bool {
        let typed = event.claimed_type == EventType::SEPARATOR;
        if !FIRMWARE_PCRS.contains(&event.pcr) {
            if typed {
                let hashed = reading.hashed(event, &[event.data]);
                reading.text(event, (), hashed);
            }
            return typed;
        }
        let looks = self.success.iter().any(|data| data.is_in_some_bank(event))
            || self.error.is_in_some_bank(event) && !is_boot_order_of_two(event);
        if !typed && !looks {
            return false;
        }
        let fault = if !typed {
            Some(format!("a separator in PCR {} has the type {}", event.pcr, event.claimed_type))
        } else if self.error.is_in_some_bank(event) {
            Some(format!("firmware ended PCR {} with an error separator", event.pcr))
        } else if !self.success.iter().any(|data| data.is(event)) {
            Some(format!("an event in PCR {} has the type EV_SEPARATOR and not its digest", event.pcr))
        } else {
            self.again(event)
        };
        match fault {
            Some(text) => {
                reading.note(event, Provenance::Untrusted);
                reading.find(FindingKind::Check(Check::Separators), event, text);
            }
            None => {
                let matches = SUCCESS.iter().any(|data| data == event.data);
                reading.note(event, if matches { Provenance::Verified } else { Provenance::DigestOnly });
            }
        }
        true
    }

    fn again(&mut self, event: &RawEvent<'_>) -> Option<String> {
        let seen = self.seen.get_mut(usize::from(event.pcr))?;
        match seen {
            Some(first) => Some(format!("a second separator in PCR {}, after that of event {first}", event.pcr)),
            None => {
                *seen = Some(event.number);
                None
            }
        }
    }

    /// Whether this PCR has had its separator.
    pub(super) fn is_past(&self, pcr: u8) -> bool {
        self.seen.get(usize::from(pcr)).is_some_and(Option::is_some)
    }

    /// Reports the PCRs that have none.
    pub(super) fn finish(&self, reading: &mut Reading<'_>) {
        for pcr in FIRMWARE_PCRS.filter(|pcr| !self.is_past(*pcr)) {
            reading.miss(
                FindingKind::Check(Check::Separators),
                pcr,
                format!("PCR {pcr} has no separator: firmware did not extend it to the end"),
            );
        }
    }
}

/// A BootOrder of entries 0001 and 0000 has the value of an error separator, and most firmware hashes the value alone. PCR 1 needs its
/// own separator all the same, so nothing is hidden so. No BootOrder has the value of another separator: that would be one entry twice.
fn is_boot_order_of_two(event: &RawEvent<'_>) -> bool {
    event.pcr == 1
        && event.claimed_type == EventType::EFI_VARIABLE_BOOT
        && Variable::parse(event.data)
            .is_ok_and(|variable| variable.name == "BootOrder" && variable.data.len() == ERROR.len())
}
