//! The key of the node's SVID: an unrestricted ECDSA P-256 key under the EK, certified by the AK (TPM2_Certify) and used for TLS
//! client authentication (TPM2_Sign).

use plastron_attestation::{CertifyBytes, EkTemplate, SvidKeyBlob, TpmDeviceError};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{AttestInfo, Data, SignatureScheme};
use tss_esapi::traits::Marshall;

use crate::child::{Parent, Wrapped};
use crate::key_template::{self, Use};
use crate::link::Link;
use crate::session::malformed;
use crate::sign;

pub(crate) fn create(link: &mut Link, template: EkTemplate, ek: KeyHandle) -> Result<SvidKeyBlob, TpmDeviceError> {
    let public = key_template::ecdsa(Use::Signing, EccCurve::NistP256, HashingAlgorithm::Sha256);
    let Wrapped { private, public } = Parent::Ek { template, handle: ek }.create(link, public)?;
    Ok(SvidKeyBlob { private, public })
}

/// Loads the key, runs `body` with it, and flushes it.
pub(crate) fn with<T>(
    link: &mut Link,
    template: EkTemplate,
    ek: KeyHandle,
    blob: &SvidKeyBlob,
    body: impl FnOnce(&mut Link, KeyHandle) -> Result<T, TpmDeviceError>,
) -> Result<T, TpmDeviceError> {
    let parent = Parent::Ek { template, handle: ek };
    parent.with_child(link, (&blob.private, &blob.public), not_loadable, body)
}

fn not_loadable(reason: String) -> TpmDeviceError {
    TpmDeviceError::SvidKeyNotLoadable { reason }
}

/// TPM2_Certify. Both keys have empty values; what the answer proves is in the AK's signature.
pub(crate) fn certify(
    link: &mut Link,
    ak: KeyHandle,
    key: KeyHandle,
    extra_data: &[u8],
) -> Result<CertifyBytes, TpmDeviceError> {
    let extra_data = Data::try_from(extra_data.to_vec())
        .map_err(|error| TpmDeviceError::Command { command: "Certify", reason: format!("qualifyingData: {error}") })?;
    let (attest, signature) = link.command("Certify", |context| {
        let passwords = (Some(AuthSession::Password), Some(AuthSession::Password), None);
        context.execute_with_sessions(passwords, |context| {
            context.certify(key.into(), ak, extra_data.clone(), SignatureScheme::Null)
        })
    })?;
    let AttestInfo::Certify { .. } = attest.attested() else {
        return Err(malformed("Certify", "an attestation of another type"));
    };
    let attest = attest.marshall().map_err(|error| malformed("Certify", error.to_string()))?;
    let signature = signature.marshall().map_err(|error| malformed("Certify", error.to_string()))?;
    Ok(CertifyBytes { attest, signature })
}

/// TPMT_SIGNATURE over a digest.
pub(crate) fn sign_digest(link: &mut Link, key: KeyHandle, digest: &[u8; 32]) -> Result<Vec<u8>, TpmDeviceError> {
    sign::run(link, key, digest, SignatureScheme::Null)
}
