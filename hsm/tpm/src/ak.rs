//! The attestation key: a restricted signing key under the EK, kept as the blob that only this TPM can load.

use plastron_attestation::{AkBlob, EkTemplate, TpmDeviceError};
use plastron_attestation_tcg::{HashAlgorithm, TpmtPublic};
use tss_esapi::constants::{CapabilityType, EccCurveIdentifier};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::structures::{CapabilityData, HashScheme, RsaScheme};

use crate::child::{Parent, Wrapped};
use crate::key_template::{self, Use};
use crate::link::Link;
use crate::session::malformed;

/// How many curves are asked for; TPMs have fewer than ten.
const MAX_CURVES: u32 = 32;

/// Makes the key: ECDSA on P-256, or RSASSA with 2048 bits where the TPM has no P-256; SHA-256.
pub(crate) fn create(link: &mut Link, template: EkTemplate, ek: KeyHandle) -> Result<AkBlob, TpmDeviceError> {
    let public = if has_p256(link)? {
        key_template::ecdsa(Use::Attestation, EccCurve::NistP256, HashingAlgorithm::Sha256)
    } else {
        let scheme = RsaScheme::RsaSsa(HashScheme::new(HashingAlgorithm::Sha256));
        key_template::rsa(Use::Attestation, RsaKeyBits::Rsa2048, scheme)
    };
    let Wrapped { private, public } = Parent::Ek { template, handle: ek }.create(link, public)?;
    Ok(AkBlob { private, public })
}

/// The hash of the key's signing scheme, which is the hash of a quote's pcrDigest.
pub(crate) fn signing_hash(blob: &AkBlob) -> Result<HashAlgorithm, TpmDeviceError> {
    let public = TpmtPublic::parse(&blob.public).map_err(|error| not_loadable(error.to_string()))?;
    let hash = public.scheme.and_then(|scheme| scheme.hash).and_then(HashAlgorithm::from_id);
    hash.ok_or_else(|| not_loadable("it has no signing scheme with a hash".to_owned()))
}

/// Loads the key, runs `body` with it, and flushes it.
pub(crate) fn with<T>(
    link: &mut Link,
    template: EkTemplate,
    ek: KeyHandle,
    blob: &AkBlob,
    body: impl FnOnce(&mut Link, KeyHandle) -> Result<T, TpmDeviceError>,
) -> Result<T, TpmDeviceError> {
    let parent = Parent::Ek { template, handle: ek };
    parent.with_child(link, (&blob.private, &blob.public), not_loadable, body)
}

fn not_loadable(reason: String) -> TpmDeviceError {
    TpmDeviceError::AkNotLoadable { reason }
}

fn has_p256(link: &mut Link) -> Result<bool, TpmDeviceError> {
    let (data, _) = link.command("GetCapability", |context| {
        context.execute_without_session(|context| context.get_capability(CapabilityType::EccCurves, 0, MAX_CURVES))
    })?;
    let CapabilityData::EccCurves(curves) = data else {
        return Err(malformed("GetCapability", "not the curves that were asked for"));
    };
    Ok(curves.into_inner().contains(&EccCurveIdentifier::NistP256))
}
