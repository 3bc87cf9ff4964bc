//! PCR 7 as a whole: the state of Secure Boot (TCG PC Client Platform Firmware Profile 1.06, section 3.3.4.8).
//!
//! SecureBoot, PK, KEK, db and dbx, each once and with all of its UEFI_VARIABLE_DATA hashed, then the separator, then the authorities
//! (`authority`). Nothing else may stand there, and none may be missing: user space can extend PCR 7 after the boot, so a state that is
//! not whole, or stands after the separator, is not what firmware used. The form that hashes the value alone, which other PCRs have,
//! is never accepted here: it would let any name stand before a value. Nothing ends the authorities, so user space can add one to them;
//! it can't take one away.

use plastron_attestation_tcg::event_log::{EventType, RawEvent};
use plastron_attestation_tcg::uefi::{EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE_GUID, Guid, Variable};
use serde::Serialize;

use super::authority::{self, Authority};
use super::provenance::{Fact, Provenance};
use super::reading::Reading;
use super::signature::{Signature, signatures};
use crate::Check;
use crate::event_log::finding::FindingKind;

/// The PCR.
pub(super) const PCR: u8 = 7;

/// What firmware measures where memory was not protected from devices while it ran.
pub(super) const DMA_PROTECTION_DISABLED: &[u8] = b"DMA Protection Disabled";

/// The variables that must be there.
const DEMANDED: [&str; 5] = ["SecureBoot", "PK", "KEK", "db", "dbx"];

/// Most authorities that a finding names.
const MAX_NAMES: usize = 8;

/// The state of Secure Boot in which a machine booted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SecureBoot {
    /// Whether images were verified; `None` inside where the variable has no value, or one that the specification does not know.
    pub enabled: Option<Fact<Option<bool>>>,
    /// Whether the platform had no owner: PK is empty.
    pub setup_mode: Option<Fact<bool>>,
    /// The platform key.
    pub pk: Option<Fact<Vec<Signature>>>,
    /// Who may change db and dbx.
    pub kek: Option<Fact<Vec<Signature>>>,
    /// What may be started.
    pub db: Option<Fact<Vec<Signature>>>,
    /// What may not.
    pub dbx: Option<Fact<Vec<Signature>>>,
    /// What vouched for an image. It says that a certificate took part in a decision, not that anything ran: an image that dbx forbids
    /// leaves one too. What ran is in PCR 4.
    pub authorities: Vec<Fact<Authority>>,
}

/// Reads the events of PCR 7.
#[derive(Default)]
pub(super) struct Pcr7 {
    seen: Vec<(String, u32)>,
}

impl Pcr7 {
    /// Reads one event that is no separator.
    pub(super) fn read(
        &mut self,
        event: &RawEvent<'_>,
        past_separator: bool,
        facts: &mut SecureBoot,
        reading: &mut Reading<'_>,
    ) {
        match event.claimed_type {
            EventType::EFI_VARIABLE_DRIVER_CONFIG => self.variable(event, past_separator, facts, reading),
            EventType::EFI_VARIABLE_AUTHORITY => authority::read(event, past_separator, facts, reading),
            EventType::EFI_ACTION if event.data == DMA_PROTECTION_DISABLED && !past_separator => {
                let hashed = reading.hashed(event, &[event.data]);
                reading.text(event, (), hashed);
                if hashed {
                    reading.find(FindingKind::DmaProtectionDisabled, event, "firmware ran without protection from DMA");
                } else {
                    refuse(reading, event, "an action in PCR 7 is not what was hashed");
                }
            }
            other => {
                reading.note(event, Provenance::Untrusted);
                refuse(reading, event, format!("an event of type {other} has no place in PCR 7"));
            }
        }
    }

    fn variable(
        &mut self,
        event: &RawEvent<'_>,
        past_separator: bool,
        facts: &mut SecureBoot,
        reading: &mut Reading<'_>,
    ) {
        let hashed = reading.hashed(event, &[event.data]);
        let place = reading.text(event, (), hashed);
        let variable = match Variable::parse(event.data) {
            Ok(variable) => variable,
            Err(error) => {
                reading.malformed(event, &error);
                refuse(reading, event, "an event in PCR 7 holds no UEFI variable");
                return;
            }
        };
        let name = variable.name.as_str();
        if !hashed {
            refuse(reading, event, format!("variable {name:?} in PCR 7 is not what was hashed"));
        }
        if past_separator {
            refuse(reading, event, format!("variable {name:?} is measured after PCR 7's separator"));
            return;
        }
        if vendor_of(name) != Some(variable.vendor_guid) {
            let text = format!("variable {name:?} of vendor {} has no place in PCR 7", variable.vendor_guid);
            refuse(reading, event, text);
            return;
        }
        if let Some((_, first)) = self.seen.iter().find(|(seen, _)| seen == name) {
            let text = format!("variable {name:?} is measured again in PCR 7, after event {first}");
            refuse(reading, event, text);
            return;
        }
        self.seen.push((name.to_owned(), event.number));
        if name == "SecureBoot" {
            facts.enabled = Some(place.map(|()| enabled(event, variable.data, reading)));
            return;
        }
        if name == "PK" {
            facts.setup_mode = Some(place.clone().map(|()| variable.data.is_empty()));
        }
        let list = match signatures(variable.data) {
            Ok(list) => place.map(|()| list),
            Err(error) => {
                reading.malformed(event, &error);
                place.map(|()| Vec::new()).at_most(Provenance::DigestOnly)
            }
        };
        match name {
            "PK" => facts.pk = Some(list),
            "KEK" => facts.kek = Some(list),
            "db" => facts.db = Some(list),
            "dbx" => facts.dbx = Some(list),
            _ => {}
        }
    }

    /// Reports what is missing, and what does not go together.
    pub(super) fn finish(&self, facts: &SecureBoot, reading: &mut Reading<'_>) {
        for name in DEMANDED {
            if !self.seen.iter().any(|(seen, _)| seen == name) {
                let text = format!("PCR 7 has no variable {name:?} before its separator");
                reading.miss(FindingKind::Check(Check::SecureBootEvents), PCR, text);
            }
        }
        let enabled = facts.enabled.as_ref().and_then(|fact| *fact.claimed());
        let owned = facts.setup_mode.as_ref().is_some_and(|fact| !fact.claimed());
        if enabled == Some(true) && !owned {
            let text = "SecureBoot is 1 and PK is empty or missing, which no firmware does";
            reading.find_in(FindingKind::SecureBootWithoutPk, facts.enabled.as_ref(), text);
        } else if facts.setup_mode.is_some() && !owned {
            let text = "PK is empty: the machine is in setup mode, and whoever comes first can enrol keys";
            reading.find_in(FindingKind::SetupMode, facts.setup_mode.as_ref(), text);
        }
        let insecure = facts.authorities.iter().find(|fact| fact.claimed().is_insecure_shim());
        if enabled != Some(false) && insecure.is_some() {
            let text = "MokSBState is set: shim verifies nothing, and Secure Boot ended with it";
            reading.find_in(FindingKind::ShimVerifiesNothing, insecure, text);
        }
        if enabled == Some(false) && !facts.authorities.is_empty() {
            let names: Vec<&str> =
                facts.authorities.iter().take(MAX_NAMES).map(|fact| fact.claimed().variable.as_str()).collect();
            let text = format!("Secure Boot is off, and PCR 7 holds authorities nevertheless: {names:?}");
            reading.find_in(FindingKind::AuthorityWithoutSecureBoot, facts.authorities.first(), text);
        }
    }
}

/// The vendor of each variable that belongs into PCR 7. dbt and dbr are measured where they are not empty.
fn vendor_of(name: &str) -> Option<Guid> {
    match name {
        "SecureBoot" | "PK" | "KEK" => Some(EFI_GLOBAL_VARIABLE),
        "db" | "dbx" | "dbt" | "dbr" => Some(EFI_IMAGE_SECURITY_DATABASE_GUID),
        _ => None,
    }
}

fn enabled(event: &RawEvent<'_>, value: &[u8], reading: &mut Reading<'_>) -> Option<bool> {
    match value {
        [0] => Some(false),
        [1] => Some(true),
        [] => {
            reading.find(FindingKind::EmptySecureBoot, event, "variable SecureBoot has no value");
            None
        }
        other => {
            refuse(
                reading,
                event,
                format!("variable SecureBoot is {}, neither 0 nor 1", super::reading::excerpt(other)),
            );
            None
        }
    }
}

/// PCR 7 is not what firmware leaves there.
pub(super) fn refuse(reading: &mut Reading<'_>, event: &RawEvent<'_>, text: impl Into<String>) {
    reading.find(FindingKind::Check(Check::SecureBootEvents), event, text);
}
