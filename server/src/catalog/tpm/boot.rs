//! The keys of a pool that say what a boot must have been.

use plastron_daemon::config::LoadError;
use plastron_hcl1::Located;
use plastron_plugins_node_tpm::{
    BootPolicy, DriversBeforeSeparator, EmptySecureBoot, ImaPolicy, MissingEventLog, Sha1EventLog,
};
use serde::Deserialize;

use super::pool::{RawPool, bank};

/// A block and no key, so that more can be demanded of Secure Boot than its state.
#[derive(Deserialize)]
pub(super) struct RawSecureBoot {
    enabled: bool,
}

/// What a boot must have been. Whatever the configuration does not say is the stricter of the two.
pub(super) fn policy(raw: &RawPool) -> Result<BootPolicy, LoadError> {
    let unextended = raw.unextended_banks.iter().map(|text| bank(&text.value).map_err(|problem| text.refuse(problem)));
    Ok(BootPolicy {
        missing_event_log: chosen(
            raw.missing_event_log.as_ref(),
            ("refuse", MissingEventLog::Refuse),
            ("accept", MissingEventLog::Accept),
        )?,
        secure_boot: raw.secure_boot.as_ref().map(|secure_boot| secure_boot.enabled),
        unextended_banks: unextended.collect::<Result<_, _>>()?,
        sha1_event_log: chosen(
            raw.sha1_event_log.as_ref(),
            ("refuse", Sha1EventLog::Refuse),
            ("accept", Sha1EventLog::Accept),
        )?,
        empty_secure_boot: chosen(
            raw.empty_secure_boot.as_ref(),
            ("unknown", EmptySecureBoot::Unknown),
            ("disabled", EmptySecureBoot::Disabled),
        )?,
        drivers_before_separator: chosen(
            raw.drivers_before_separator.as_ref(),
            ("refuse", DriversBeforeSeparator::Refuse),
            ("accept", DriversBeforeSeparator::Accept),
        )?,
        ima: match &raw.ima {
            None => ImaPolicy::NotAsked,
            Some(text) => chosen(Some(text), ("require", ImaPolicy::Require), ("accept", ImaPolicy::Accept))?,
        },
    })
}

/// One of two words, the first where nothing is said.
pub(super) fn chosen<T>(text: Option<&Located<String>>, usual: (&str, T), other: (&str, T)) -> Result<T, LoadError> {
    match text {
        None => Ok(usual.1),
        Some(text) if text.value == usual.0 => Ok(usual.1),
        Some(text) if text.value == other.0 => Ok(other.1),
        Some(text) => {
            let (expected, got) = (format!("{} or {}", usual.0, other.0), &text.value);
            Err(text.refuse(format_args!("expected {expected}, got {got:?}")).into())
        }
    }
}
