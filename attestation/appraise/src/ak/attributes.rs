//! The attributes of an AK. A credential activates for unrestricted keys too, so nothing else makes `magic` mean anything
//! (CVE-2024-29038, CVE-2024-29040).

use plastron_attestation_tcg::ObjectAttributes;

use crate::AppraiseError;

/// Each with why.
const REQUIRED: [(ObjectAttributes, &str); 5] = [
    (ObjectAttributes::RESTRICTED, "restricted must be set, or the key signs forged TPMS_ATTEST structures"),
    (ObjectAttributes::SIGN_ENCRYPT, "sign must be set"),
    (ObjectAttributes::FIXED_TPM, "fixedTPM must be set, or the key can leave the TPM"),
    (ObjectAttributes::FIXED_PARENT, "fixedParent must be set, or the key can leave the EK"),
    (ObjectAttributes::SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin must be set, or the key was made elsewhere"),
];

/// restricted, sign, fixedTPM, fixedParent and sensitiveDataOrigin set; decrypt clear.
pub(crate) fn check(got: ObjectAttributes) -> Result<(), AppraiseError> {
    for (attribute, wanted) in REQUIRED {
        if !got.contains(attribute) {
            return Err(AppraiseError::AkAttributes { got, wanted });
        }
    }
    if got.contains(ObjectAttributes::DECRYPT) {
        return Err(AppraiseError::AkAttributes { got, wanted: "decrypt must be clear" });
    }
    Ok(())
}
