//! The operator's deny list: endorsement keys, EK certificates by issuer and serial number, TPM models and firmware versions.
//!
//! ```hcl
//! denied_ek "<fingerprint>" { reason = "stolen" }
//! denied_certificate "<serial number, hex>" { issuer_paths = ["ca.pem"]  reason = "advisory 7" }
//! denied_model "<model>" { manufacturer = "IFX"  firmware_versions = ["0x0007003d0000ab12"]  reason = "CVE-2017-15361" }
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use plastron_daemon::config::LoadError;
use plastron_hcl1::{Located, Place};
use plastron_plugins_node_tpm::{DeniedCertificate, DeniedEk, DeniedModel, DenyList, certificate_subject};
use serde::Deserialize;

use super::PoolsError;
use super::values::{bytes_of_hex, fingerprint};
use crate::catalog::files::Loaded;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawDenied {
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawDeniedCertificate {
    issuer_paths: Vec<PathBuf>,
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawDeniedModel {
    manufacturer: Option<Located<String>>,
    firmware_versions: Vec<Located<String>>,
    reason: String,
}

/// A deny list whose issuers' certificates are not read yet.
#[derive(Debug)]
pub(super) struct Denied {
    keys: Vec<DeniedEk>,
    certificates: Vec<Unread>,
    models: Vec<DeniedModel>,
}

#[derive(Debug)]
struct Unread {
    serial: Vec<u8>,
    issuer_paths: Vec<PathBuf>,
    reason: String,
    place: Place,
}

impl Denied {
    /// From the blocks, each by its label.
    pub(super) fn read(
        denied_ek: BTreeMap<String, Located<RawDenied>>,
        denied_certificate: BTreeMap<String, Located<RawDeniedCertificate>>,
        denied_model: BTreeMap<String, Located<RawDeniedModel>>,
    ) -> Result<Self, LoadError> {
        let mut denied = Self { keys: Vec::new(), certificates: Vec::new(), models: Vec::new() };
        for (hex, entry) in denied_ek {
            let fingerprint = fingerprint(&hex).map_err(|problem| entry.refuse(problem))?;
            denied.keys.push(DeniedEk { fingerprint, reason: entry.value.reason });
        }
        for (hex, entry) in denied_certificate {
            let serial = serial(&hex).ok_or_else(|| {
                entry.refuse(format_args!("{hex:?} is no serial number: expected hexadecimal digits, in pairs"))
            })?;
            let Located { value: RawDeniedCertificate { issuer_paths, reason }, place } = entry;
            if issuer_paths.is_empty() {
                let problem =
                    "issuer_paths must name the certificate of the issuer: a serial number alone denies nothing";
                return Err(place.refuse(problem).into());
            }
            denied.certificates.push(Unread { serial, issuer_paths, reason, place });
        }
        for (model, entry) in denied_model {
            let Located { value: RawDeniedModel { manufacturer, firmware_versions, reason }, place } = entry;
            if model.trim().is_empty() {
                return Err(place
                    .refuse("a model must be named, as EK certificates state it: this denies nothing")
                    .into());
            }
            let manufacturer = manufacturer
                .ok_or_else(|| place.refuse("manufacturer must be configured, such as STM or id:53544D20"))?;
            let ids = manufacturer_ids(&manufacturer.value).map_err(|problem| manufacturer.refuse(problem))?;
            let mut versions = firmware_versions
                .iter()
                .map(|text| firmware_version(&text.value).map(Some).map_err(|problem| text.refuse(problem)))
                .collect::<Result<Vec<_>, _>>()?;
            if versions.is_empty() {
                versions.push(None);
            }
            for manufacturer_id in ids {
                denied.models.extend(versions.iter().map(|firmware_version| DeniedModel {
                    manufacturer_id,
                    model: model.clone(),
                    firmware_version: *firmware_version,
                    reason: reason.clone(),
                }));
            }
        }
        Ok(denied)
    }

    /// Reads the issuers' certificates.
    pub(super) fn open(&self) -> Result<DenyList, PoolsError> {
        let mut certificates = Vec::new();
        for Unread { serial, issuer_paths, reason, place } in &self.certificates {
            for der in Loaded::certificates(issuer_paths)?.der {
                let issuer = certificate_subject(&der).map_err(|source| PoolsError::Denied {
                    place: Box::new(place.clone()),
                    source: Box::new(source),
                })?;
                certificates.push(DeniedCertificate { issuer, serial: serial.clone(), reason: reason.clone() });
            }
        }
        Ok(DenyList { keys: self.keys.clone(), certificates, models: self.models.clone() })
    }
}

/// Without the zeros and colons that tools print.
fn serial(text: &str) -> Option<Vec<u8>> {
    let bytes = bytes_of_hex(&text.replace(':', ""))?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).filter(|serial| !serial.is_empty()).map(<[u8]>::to_vec)
}

/// TCG vendor IDs: `id:` with eight digits, or one to four letters, which certificates fill up with zeros or spaces.
fn manufacturer_ids(text: &str) -> Result<Vec<u32>, String> {
    let refused =
        || format!("{text:?} is no TPM manufacturer: expected up to four letters such as STM, or id:53544D20");
    if let Some(digits) = text.strip_prefix("id:") {
        let is_id = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_id.then(|| u32::from_str_radix(digits, 16).ok()).flatten();
        return id.map(|id| vec![id]).ok_or_else(refused);
    }
    if !(1..=4).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(refused());
    }
    let filled =
        |fill| text.bytes().chain(std::iter::repeat(fill)).take(4).fold(0, |id, byte| id << 8 | u32::from(byte));
    let mut ids = vec![filled(0), filled(b' ')];
    ids.dedup();
    Ok(ids)
}

fn firmware_version(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let version = (digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten();
    version.ok_or_else(|| {
        format!("{text:?} is no firmware version: expected up to 16 hexadecimal digits, as audit lines show it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manufacturers_serials_and_firmware_are_read_as_people_write_them() {
        assert_eq!(manufacturer_ids("IFX"), Ok(vec![0x4946_5800, 0x4946_5820]));
        assert_eq!(manufacturer_ids("INTC"), Ok(vec![0x494e_5443]));
        assert_eq!(manufacturer_ids("id:53544D20"), Ok(vec![0x5354_4d20]));
        for bad in ["", "id:", "id:+3544D20", "STMicro", "ST\u{e9}"] {
            assert!(manufacturer_ids(bad).is_err(), "{bad}");
        }
        assert_eq!(serial("00:ab:01").as_deref(), Some([0xab, 0x01].as_slice()));
        for bad in ["", "00", "abc", "zz"] {
            assert_eq!(serial(bad), None, "{bad}");
        }
        assert_eq!(firmware_version("0x0007003d0000ab12"), Ok(0x0007_003d_0000_ab12));
        for bad in ["", "0x", "7.61", "0x1ffffffffffffffff", "+1"] {
            assert!(firmware_version(bad).is_err(), "{bad}");
        }
    }
}
