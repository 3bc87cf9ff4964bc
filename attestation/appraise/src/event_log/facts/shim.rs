//! PCR 14: shim's MOK state (shim, README.tpm). Each EV_IPL event there is named after a variable and hashes the variable's content, which
//! is not in the log: a digest to compare. shim logs its built-in vendor certificate and an enrolled MOK under one name. The authorities
//! and the SBAT level that shim measures into PCR 7 are there (`authority`).

use plastron_attestation_tcg::event_log::RawEvent;
use serde::Serialize;

use super::digests::{Digests, Measured};
use super::grub::label;
use super::provenance::Fact;
use super::reading::Reading;

/// The PCR.
pub(super) const PCR: u8 = 14;

/// What shim was told to trust beside db.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Mok {
    /// `MokList`, `MokListX`, `MokListTrusted` and their like, by the digest of their content.
    pub variables: Vec<Fact<Measured>>,
}

/// Reads an EV_IPL event of PCR 14.
pub(super) fn read(event: &RawEvent<'_>, facts: &mut Mok, reading: &mut Reading<'_>) {
    let digests = Digests::of(event, reading.banks());
    let fact = reading.label(event, Measured { label: label(event.data), digests });
    reading.push(&mut facts.variables, "mok.variables", event, fact);
}
