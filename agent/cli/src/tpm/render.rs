//! Each report as text and as JSON, from the same facts. What the TPM says is escaped for the terminal.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::Decode;
use plastron_attestation::{EkMaterial, PcrSelection, TpmDevice};
use plastron_attestation_appraise::EkFingerprint;
use plastron_attestation_tcg::{EkTemplate, HashAlgorithm, TpmtPublic};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;

use super::{Choice, TpmProperties};
use crate::error::CliError;

/// Goes up when a field changes its meaning or goes away.
const SCHEMA_VERSION: u32 = 1;

/// A report in both forms.
pub(super) struct Report {
    pub(super) text: String,
    pub(super) json: Value,
}

/// A report under construction: a label, its value, and the value's place in the JSON.
struct Draft {
    text: String,
    json: serde_json::Map<String, Value>,
}

impl Draft {
    fn new() -> Self {
        let json = serde_json::Map::from_iter([("schema_version".to_owned(), json!(SCHEMA_VERSION))]);
        Self { text: String::new(), json }
    }

    fn line(&mut self, label: &str, value: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{label:<18}: {}", value.escape_debug());
    }

    fn field(&mut self, label: &str, name: &str, value: &str) {
        self.line(label, value);
        self.json.insert(name.to_owned(), json!(value));
    }

    fn finish(self) -> Report {
        Report { text: self.text, json: Value::Object(self.json) }
    }
}

/// Properties and endorsement keys. A template that the TPM does not support is a line, not an error.
pub(super) fn info(properties: &TpmProperties, choice: &Choice, device: &mut dyn TpmDevice) -> Report {
    let TpmProperties { manufacturer, vendor, firmware, specification, banks, lockout_counter, max_auth_fail } =
        properties;
    let mut draft = Draft::new();
    draft.field("Manufacturer", "manufacturer", manufacturer);
    draft.field("Vendor", "vendor", vendor);
    draft.field("Firmware", "firmware", firmware);
    draft.field("Specification", "specification", specification);
    for (bank, pcrs) in banks {
        draft.line("PCR bank", &format!("{} ({} PCRs)", bank_name(*bank), pcrs.count_ones()));
    }
    let bank_json = |(bank, pcrs): &(u16, u32)| json!({ "name": bank_name(*bank), "pcrs": pcr_numbers(*pcrs) });
    draft.json.insert("pcr_banks".to_owned(), banks.iter().map(bank_json).collect());
    draft.line("Lockout", &format!("{lockout_counter} of {max_auth_fail} failures"));
    draft.json.insert("lockout_counter".to_owned(), json!(lockout_counter));
    draft.json.insert("max_auth_fail".to_owned(), json!(max_auth_fail));
    let keys = choice.templates.iter().map(|template| endorsement_key(&mut draft, *template, device)).collect();
    draft.json.insert("endorsement_keys".to_owned(), keys);
    let others: Vec<_> =
        EkTemplate::ALL.into_iter().filter(|other| !choice.templates.contains(other)).map(EkTemplate::name).collect();
    if !others.is_empty() {
        draft.line("Not looked at", &format!("{}; ask for one with -template", others.join(", ")));
    }
    draft.finish()
}

fn endorsement_key(draft: &mut Draft, template: EkTemplate, device: &mut dyn TpmDevice) -> Value {
    let name = template.name();
    draft.line("Endorsement key", name);
    let material = match device.endorsement_key(template) {
        Ok(material) => material,
        Err(error) => {
            draft.line("  Unavailable", &error.to_string());
            return json!({ "template": name, "error": error.to_string() });
        }
    };
    let fingerprint = match EkFingerprint::of_bytes(&material.public) {
        Ok(fingerprint) => fingerprint.to_string(),
        Err(error) => format!("none: {error}"),
    };
    draft.line("  Fingerprint", &fingerprint);
    let mut json = json!({ "template": name, "fingerprint": fingerprint, "certificate": null });
    match &material.certificate {
        None => draft.line("  Certificate", "none in the TPM's NV memory"),
        Some(padded) => {
            let certificate = certificate(draft, padded);
            if let Some(slot) = json.get_mut("certificate") {
                *slot = certificate;
            }
        }
    }
    json
}

/// NV memory may hold padding after the certificate; the DER header says where that begins.
fn certificate(draft: &mut Draft, padded: &[u8]) -> Value {
    let Ok((certificate, padding)) = Certificate::from_der_partial(padded) else {
        draft.line("  Certificate", "does not parse");
        return json!({ "error": "does not parse", "der": STANDARD.encode(padded) });
    };
    let der = padded.get(..padded.len().saturating_sub(padding.len())).unwrap_or_default();
    let tbs = certificate.tbs_certificate();
    let (issuer, serial) = (tbs.issuer().to_string(), hex::encode(tbs.serial_number().as_bytes()));
    let not_after = tbs.validity().not_after.to_unix_duration().as_secs();
    let sha256 = hex::encode(Sha256::digest(der));
    draft.line("  Certificate", &sha256);
    draft.line("  Issuer", &issuer);
    draft.line("  Serial", &serial);
    draft.line("  Not after", &tbs.validity().not_after.to_string());
    json!({
        "sha256": sha256,
        "issuer": issuer,
        "subject": tbs.subject().to_string(),
        "serial": serial,
        "not_after": not_after,
        "der": STANDARD.encode(der),
    })
}

/// One line per endorsement key that the TPM has: template and fingerprint, as a pin takes it. One that was asked for by name and that
/// the TPM does not have is an error.
pub(super) fn fingerprints(choice: &Choice, device: &mut dyn TpmDevice) -> Result<Report, CliError> {
    let mut draft = Draft::new();
    let (mut keys, mut last_error) = (Vec::new(), None);
    for template in choice.templates.iter().copied() {
        match device.endorsement_key(template) {
            Ok(EkMaterial { public, .. }) => {
                let fingerprint = EkFingerprint::of_bytes(&public)
                    .map_err(|error| CliError::TpmAnswer { what: "endorsement key", reason: error.to_string() })?
                    .to_string();
                let _ = writeln!(draft.text, "{} {fingerprint}", template.name());
                keys.push(json!({ "template": template.name(), "fingerprint": fingerprint }));
            }
            Err(error) if choice.is_asked_for => return Err(error.into()),
            Err(error) => last_error = Some(error),
        }
    }
    if let (true, Some(error)) = (keys.is_empty(), last_error) {
        return Err(error.into());
    }
    draft.json.insert("endorsement_keys".to_owned(), keys.into());
    Ok(draft.finish())
}

/// Makes an attestation key, quotes with it, and lets go of it.
pub(super) fn quote(
    device: &mut dyn TpmDevice,
    template: EkTemplate,
    nonce: &[u8],
    selection: &PcrSelection,
) -> Result<Report, CliError> {
    let ak = device.create_attestation_key(template)?;
    let quote = device.quote(template, &ak, nonce, selection)?;
    let name = TpmtPublic::parse(&ak.public)
        .map_err(|error| CliError::TpmAnswer { what: "attestation key", reason: error.to_string() })?
        .name();

    let mut draft = Draft::new();
    draft.field("Template", "template", template.name());
    draft.field("AK name", "ak_name", &hex::encode(name.as_bytes()));
    draft.field("Nonce", "nonce", &hex::encode(nonce));
    let mut values = quote.pcr_values.iter();
    let mut banks = serde_json::Map::new();
    for (bank, bitmap) in &selection.0 {
        let mut pcrs = serde_json::Map::new();
        for pcr in pcr_numbers(*bitmap) {
            let value = values.next().ok_or_else(|| CliError::TpmAnswer {
                what: "list of PCR values",
                reason: format!("it ends before PCR {pcr} of bank {}", bank_name(*bank)),
            })?;
            let value = hex::encode(value);
            draft.line(&format!("PCR {}:{pcr}", bank_name(*bank)), &value);
            pcrs.insert(pcr.to_string(), json!(value));
        }
        banks.insert(bank_name(*bank), Value::Object(pcrs));
    }
    draft.json.insert("pcrs".to_owned(), Value::Object(banks));
    draft.json.insert("ak_public".to_owned(), json!(STANDARD.encode(&ak.public)));
    draft.field("Attest (base64)", "attest", &STANDARD.encode(&quote.attest));
    draft.field("Signature (base64)", "signature", &STANDARD.encode(&quote.signature));
    Ok(draft.finish())
}

fn bank_name(id: u16) -> String {
    HashAlgorithm::from_id(id).map_or_else(|| format!("0x{id:04x}"), |algorithm| algorithm.name().to_owned())
}

fn pcr_numbers(bitmap: u32) -> Vec<u32> {
    (0..24).filter(|pcr| bitmap & (1 << pcr) != 0).collect()
}
