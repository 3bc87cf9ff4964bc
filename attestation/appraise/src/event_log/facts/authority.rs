//! EV_EFI_VARIABLE_AUTHORITY in PCR 7 (TCG PC Client Platform Firmware Profile 1.06, section 3.3.4.8): the entry of a database by which
//! firmware, or shim, decided about an image. The digest is of the whole UEFI_VARIABLE_DATA; shim up to version 15 logged a structure
//! that is a few bytes too long and hashed it without the last one.

use plastron_attestation_tcg::event_log::RawEvent;
use plastron_attestation_tcg::uefi::{self, Guid, SHIM_LOCK_GUID, SignatureData, Variable};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::reading::Reading;
use super::secure_boot::{SecureBoot, refuse};
use super::signature::{CertificateDer, Signature, SignatureContent};
use crate::event_log::finding::FindingKind;

/// How a DER SEQUENCE with a length of two bytes begins, as every certificate does.
const DER_CERTIFICATE: [u8; 2] = [0x30, 0x82];

/// Variables that state the configuration and never vouch for an image.
const CONFIGURATION: [&str; 2] = ["SecureBoot", "PK"];

/// What vouched for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The variable: `db` of firmware; `MokListRT`, `vendor_db`, `Shim` or `SbatLevel` of shim.
    pub variable: String,
    /// Its vendor.
    pub vendor: Guid,
    /// What it holds.
    pub content: AuthorityContent,
    /// Whether it stands before PCR 7's separator: a driver or an option ROM, not a boot application.
    pub before_separator: bool,
}

/// What an authority holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityContent {
    /// A certificate or a digest.
    Signature(Signature),
    /// A text: the SBAT level that shim enforces.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl Authority {
    /// Whether it is shim's state that says that somebody at the console had it verify nothing (`mokutil --disable-validation`).
    pub(super) fn is_insecure_shim(&self) -> bool {
        let is_zero = matches!(&self.content, AuthorityContent::Bytes(bytes) if bytes.iter().all(|byte| *byte == 0));
        self.vendor == SHIM_LOCK_GUID && self.variable == "MokSBState" && !is_zero
    }
}

/// Reads one.
pub(super) fn read(event: &RawEvent<'_>, past_separator: bool, facts: &mut SecureBoot, reading: &mut Reading<'_>) {
    let (measured, hashed) = match event.data.split_last() {
        _ if reading.hashed(event, &[event.data]) => (event.data, true),
        Some((_, short)) if reading.hashed(event, &[short]) => (short, true),
        _ => (event.data, false),
    };
    let place = reading.text(event, (), hashed);
    if !hashed {
        refuse(reading, event, "an authority in PCR 7 is not what was hashed");
    }
    // What stands behind the structure was hashed as well, and says nothing.
    let variable = match Variable::parse_with_trailing(measured) {
        Ok((variable, _)) => variable,
        Err(error) => {
            reading.malformed(event, &error);
            refuse(reading, event, "an authority in PCR 7 holds no UEFI variable");
            return;
        }
    };
    if CONFIGURATION.contains(&variable.name.as_str()) {
        refuse(reading, event, format!("variable {:?} in PCR 7 can't be an authority", variable.name));
        return;
    }
    if !past_separator {
        let text = format!("an entry of {:?} vouched for an image before PCR 7's separator", variable.name);
        reading.find(FindingKind::AuthorityBeforeSeparator, event, text);
    }
    let content = content(&variable);
    let authority =
        Authority { variable: variable.name, vendor: variable.vendor_guid, content, before_separator: !past_separator };
    reading.push(&mut facts.authorities, "secure_boot.authorities", event, place.map(|()| authority));
}

fn content(variable: &Variable<'_>) -> AuthorityContent {
    let certificate = |owner, der| {
        AuthorityContent::Signature(Signature {
            owner,
            content: SignatureContent::Certificate(CertificateDer::new(der)),
        })
    };
    if variable.data.starts_with(&DER_CERTIFICATE) {
        return certificate(None, variable.data);
    }
    match SignatureData::parse(variable.data) {
        Ok(SignatureData { owner, data }) if data.starts_with(&DER_CERTIFICATE) => certificate(Some(owner), data),
        Ok(SignatureData { owner, data }) if variable.vendor_guid != SHIM_LOCK_GUID => {
            let content = match <[u8; 32]>::try_from(data) {
                Ok(digest) => SignatureContent::Sha256(digest),
                Err(_) => SignatureContent::Other(None, data.to_vec()),
            };
            AuthorityContent::Signature(Signature { owner: Some(owner), content })
        }
        _ => match std::str::from_utf8(variable.data) {
            Ok(text) if variable.data.len() > 1 => AuthorityContent::Text(text.to_owned()),
            _ => AuthorityContent::Bytes(variable.data.to_vec()),
        },
    }
}

impl Serialize for Authority {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { variable, vendor, content, before_separator } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("variable", variable)?;
        map.serialize_entry("vendor", &vendor.to_string())?;
        map.serialize_entry("vendor_name", &uefi::name_of(*vendor))?;
        match content {
            AuthorityContent::Signature(signature) => map.serialize_entry("signature", signature)?,
            AuthorityContent::Text(text) => map.serialize_entry("text", text)?,
            AuthorityContent::Bytes(bytes) => map.serialize_entry("bytes", &hex::encode(bytes))?,
        }
        map.serialize_entry("before_separator", before_separator)?;
        map.end()
    }
}
