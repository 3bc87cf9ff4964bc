//! The public areas that TPM2_Create and TPM2_CreatePrimary are given, apart from EKs. Every one has noDA, so that nobody locks the
//! node out.

use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::structures::{
    EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, Public, PublicBuilder, PublicEccParametersBuilder,
    PublicKeyRsa, PublicRsaParametersBuilder, RsaExponent, RsaScheme, SymmetricDefinitionObject,
};

/// What a key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Only what the TPM itself made: an attestation key.
    Attestation,
    /// Any digest.
    Signing,
}

/// ECDSA on that curve with that hash.
pub(crate) fn ecdsa(usage: Use, curve: EccCurve, hash: HashingAlgorithm) -> tss_esapi::Result<Public> {
    let parameters = PublicEccParametersBuilder::new()
        .with_symmetric(SymmetricDefinitionObject::Null)
        .with_ecc_scheme(EccScheme::EcDsa(HashScheme::new(hash)))
        .with_curve(curve)
        .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
        .with_is_signing_key(true)
        .with_restricted(usage == Use::Attestation)
        .build()?;
    signing(usage, PublicAlgorithm::Ecc)?
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

/// RSA with that scheme, whose exponent is 65537.
pub(crate) fn rsa(usage: Use, bits: RsaKeyBits, scheme: RsaScheme) -> tss_esapi::Result<Public> {
    let parameters = PublicRsaParametersBuilder::new()
        .with_symmetric(SymmetricDefinitionObject::Null)
        .with_scheme(scheme)
        .with_key_bits(bits)
        .with_exponent(RsaExponent::default())
        .with_is_signing_key(true)
        .with_restricted(usage == Use::Attestation)
        .build()?;
    signing(usage, PublicAlgorithm::Rsa)?
        .with_rsa_parameters(parameters)
        .with_rsa_unique_identifier(PublicKeyRsa::default())
        .build()
}

fn signing(usage: Use, algorithm: PublicAlgorithm) -> tss_esapi::Result<PublicBuilder> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(usage == Use::Attestation)
        .with_sign_encrypt(true)
        .build()?;
    Ok(PublicBuilder::new()
        .with_public_algorithm(algorithm)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes))
}

/// A storage key: P-256, AES-128-CFB (the storage root of TCG's TPM v2.0 Provisioning Guidance, section 7.5.1).
pub(crate) fn storage_p256() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    let parameters = PublicEccParametersBuilder::new()
        .with_symmetric(SymmetricDefinitionObject::AES_128_CFB)
        .with_ecc_scheme(EccScheme::Null)
        .with_curve(EccCurve::NistP256)
        .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
        .with_is_decryption_key(true)
        .with_restricted(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}
