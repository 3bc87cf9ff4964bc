//! The attributes of an SVID key that is in the TPM to stay.

use plastron_attestation_tcg::ObjectAttributes;

use crate::AppraiseError;

/// Each with why.
const REQUIRED: [(ObjectAttributes, &str); 4] = [
    (ObjectAttributes::SIGN_ENCRYPT, "sign must be set"),
    (ObjectAttributes::FIXED_TPM, "fixedTPM must be set, or the key can leave the TPM"),
    (ObjectAttributes::FIXED_PARENT, "fixedParent must be set, or the key can leave its parent"),
    (ObjectAttributes::SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin must be set, or the key was made elsewhere"),
];

/// Each with why.
const FORBIDDEN: [(ObjectAttributes, &str); 2] = [
    (ObjectAttributes::RESTRICTED, "restricted must be clear: a key of TLS signs what the TPM did not make"),
    (ObjectAttributes::DECRYPT, "decrypt must be clear"),
];

/// sign, fixedTPM, fixedParent and sensitiveDataOrigin set; restricted and decrypt clear.
pub(super) fn check(got: ObjectAttributes) -> Result<(), AppraiseError> {
    let missing = REQUIRED.iter().find(|(attribute, _)| !got.contains(*attribute));
    let surplus = FORBIDDEN.iter().find(|(attribute, _)| got.contains(*attribute));
    match missing.or(surplus) {
        Some((_, wanted)) => Err(AppraiseError::SvidKeyAttributes { got, wanted }),
        None => Ok(()),
    }
}
