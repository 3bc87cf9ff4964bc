//! The operator's deny list: it refuses what a pool would trust.

use crate::certificate::without_leading_zeros;
use crate::ek::tpm_identity::TpmIdentity;
use crate::{AppraiseError, EkFingerprint};

/// What is denied, each with the reason that the audit shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyList {
    /// Endorsement keys.
    pub keys: Vec<DeniedEk>,
    /// EK certificates.
    pub certificates: Vec<DeniedCertificate>,
    /// TPM models, all of a model or one firmware version of it.
    pub models: Vec<DeniedModel>,
}

/// A denied EK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedEk {
    /// Its fingerprint.
    pub fingerprint: EkFingerprint,
    /// Why.
    pub reason: String,
}

/// A denied EK certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedCertificate {
    /// The issuer's Name, DER as the certificate has it.
    pub issuer: Vec<u8>,
    /// Serial number, big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// Why.
    pub reason: String,
}

/// A denied TPM model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedModel {
    /// TCG vendor ID.
    pub manufacturer_id: u32,
    /// Model, as the EK certificate states it; case and white space do not matter.
    pub model: String,
    /// The firmware version that is denied, as TPMS_ATTEST states it; every version where absent.
    pub firmware_version: Option<u64>,
    /// Why.
    pub reason: String,
}

impl DenyList {
    pub(crate) fn check_key(&self, fingerprint: EkFingerprint) -> Result<(), AppraiseError> {
        match self.keys.iter().find(|denied| denied.fingerprint == fingerprint) {
            Some(denied) => Err(AppraiseError::DeniedEk { fingerprint, reason: denied.reason.clone() }),
            None => Ok(()),
        }
    }

    pub(crate) fn check_certificate(&self, issuer: &[u8], serial: &[u8]) -> Result<(), AppraiseError> {
        let serial = without_leading_zeros(serial);
        match self.certificates.iter().find(|denied| denied.issuer == issuer && denied.serial == serial) {
            Some(denied) => {
                let reason = denied.reason.clone();
                Err(AppraiseError::DeniedCertificate { serial: hex::encode(serial), reason })
            }
            None => Ok(()),
        }
    }

    /// A model of which every firmware is denied; asked before a credential is made.
    pub(crate) fn check_model(&self, identity: &TpmIdentity) -> Result<(), AppraiseError> {
        match self.of_model(identity).find(|denied| denied.firmware_version.is_none()) {
            Some(DeniedModel { model, reason, .. }) => {
                Err(AppraiseError::DeniedModel { model: model.clone(), reason: reason.clone() })
            }
            None => Ok(()),
        }
    }

    /// A firmware version of a model; asked when a quote has proven the version.
    pub(crate) fn check_firmware(&self, identity: &TpmIdentity, firmware_version: u64) -> Result<(), AppraiseError> {
        match self.of_model(identity).find(|denied| denied.firmware_version == Some(firmware_version)) {
            Some(DeniedModel { model, reason, .. }) => {
                Err(AppraiseError::DeniedFirmware { model: model.clone(), firmware_version, reason: reason.clone() })
            }
            None => Ok(()),
        }
    }

    fn of_model<'s>(&'s self, identity: &'s TpmIdentity) -> impl Iterator<Item = &'s DeniedModel> {
        self.models.iter().filter(|denied| {
            denied.manufacturer_id == identity.manufacturer_id && is_same(&denied.model, &identity.model)
        })
    }

    /// Whether something is denied that only a certificate shows.
    pub(crate) fn needs_certificate(&self) -> bool {
        !(self.certificates.is_empty() && self.models.is_empty())
    }
}

/// Models are compared without case and white space: certificates of one chip say `SLB 9670` and `SLB9670`, and an entry that is
/// spelled in the other way must not deny nothing.
fn is_same(denied: &str, certified: &str) -> bool {
    let letters = |text: &str| -> String {
        text.chars().filter(|letter| !letter.is_whitespace()).flat_map(char::to_lowercase).collect()
    };
    letters(denied) == letters(certified)
}
