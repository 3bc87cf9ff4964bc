//! The attestation key: a restricted signing key under the EK, kept as the blob that only this TPM can load.

use plastron_attestation::{AkBlob, EkTemplate, TpmDeviceError};
use plastron_attestation_tcg::{HashAlgorithm, TpmtPublic};
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::{CapabilityType, EccCurveIdentifier};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::structures::{
    CapabilityData, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, Private, Public, PublicBuilder,
    PublicEccParametersBuilder, PublicKeyRsa, PublicRsaParametersBuilder, RsaExponent, RsaScheme,
    SymmetricDefinitionObject,
};
use tss_esapi::traits::{Marshall, UnMarshall};

use crate::link::{Link, SendError};
use crate::response::{describe, refuses_parameter};
use crate::session::{authorising, malformed};

/// How many curves are asked for; TPMs have fewer than ten.
const MAX_CURVES: u32 = 32;

/// Makes the key: ECDSA on P-256, or RSASSA with 2048 bits where the TPM has no P-256; SHA-256; no dictionary-attack protection, so
/// that nobody locks the node out.
pub(crate) fn create(link: &mut Link, template: EkTemplate, ek: KeyHandle) -> Result<AkBlob, TpmDeviceError> {
    let public = if has_p256(link)? { ecdsa_p256() } else { rsassa_2048() };
    let public = public.map_err(|error| malformed("Create", error.to_string()))?;
    let made = authorising(link, template, ek, |link, session| {
        link.command("Create", |context| {
            context.execute_with_session(Some(session), |context| {
                context.create(ek, public.clone(), None, None, None, None)
            })
        })
    })?;
    let public = made.out_public.marshall().map_err(|error| malformed("Create", error.to_string()))?;
    TpmtPublic::parse(&public).map_err(|error| malformed("Create", error.to_string()))?;
    let private = made.out_private.to_vec();
    let length = u16::try_from(private.len()).map_err(|_| malformed("Create", "a private area that is too long"))?;
    Ok(AkBlob { private: [&length.to_be_bytes(), private.as_slice()].concat(), public })
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
    let (private, public) = parse(blob)?;
    // The session ends before the body begins: it would take a slot, and the body may need two of its own.
    let ak = authorising(link, template, ek, |link, session| {
        let loaded = link.send(|context| {
            context.execute_with_session(Some(session), |context| context.load(ek, private.clone(), public.clone()))
        });
        loaded.map_err(|error| match error {
            SendError::Answer(answer) if refuses_parameter(&answer) => not_loadable(describe(&answer)),
            other => other.of("Load"),
        })
    })?;
    link.flushing(ak.into(), |link| body(link, ak))
}

fn parse(blob: &AkBlob) -> Result<(Private, Public), TpmDeviceError> {
    let sized = blob.private.split_first_chunk::<2>();
    let private = sized.filter(|(length, rest)| usize::from(u16::from_be_bytes(**length)) == rest.len());
    let (_, private) = private.ok_or_else(|| not_loadable("the stored TPM2B_PRIVATE has another length".to_owned()))?;
    let private = Private::try_from(private.to_vec()).map_err(|error| not_loadable(error.to_string()))?;
    TpmtPublic::parse(&blob.public).map_err(|error| not_loadable(error.to_string()))?;
    let public = Public::unmarshall(&blob.public).map_err(|error| not_loadable(error.to_string()))?;
    Ok((private, public))
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

fn restricted_signing(algorithm: PublicAlgorithm) -> tss_esapi::Result<PublicBuilder> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_sign_encrypt(true)
        .build()?;
    Ok(PublicBuilder::new()
        .with_public_algorithm(algorithm)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes))
}

fn ecdsa_p256() -> tss_esapi::Result<Public> {
    let parameters = PublicEccParametersBuilder::new()
        .with_symmetric(SymmetricDefinitionObject::Null)
        .with_ecc_scheme(EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)))
        .with_curve(EccCurve::NistP256)
        .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
        .with_is_signing_key(true)
        .with_restricted(true)
        .build()?;
    restricted_signing(PublicAlgorithm::Ecc)?
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

fn rsassa_2048() -> tss_esapi::Result<Public> {
    let parameters = PublicRsaParametersBuilder::new()
        .with_symmetric(SymmetricDefinitionObject::Null)
        .with_scheme(RsaScheme::RsaSsa(HashScheme::new(HashingAlgorithm::Sha256)))
        .with_key_bits(RsaKeyBits::Rsa2048)
        .with_exponent(RsaExponent::default())
        .with_is_signing_key(true)
        .with_restricted(true)
        .build()?;
    restricted_signing(PublicAlgorithm::Rsa)?
        .with_rsa_parameters(parameters)
        .with_rsa_unique_identifier(PublicKeyRsa::default())
        .build()
}
