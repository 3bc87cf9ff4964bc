//! Keys of a key store: made under the storage root, kept by the caller as blobs, loaded for one signature.

use plastron_attestation::TpmDeviceError;
use plastron_attestation_tcg::{HashAlgorithm, ObjectAttributes, PublicKey, TpmtPublic, TpmtSignature, algorithm};
use plastron_hsm::{KeyType, SignatureScheme};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::structures::{self, HashScheme, Public, PublicParameters, RsaScheme};

use crate::child::{Parent, Wrapped};
use crate::key_template::{self, Use};
use crate::link::{Link, SendError};
use crate::response::refuses_parameter;
use crate::session::malformed;
use crate::{sign, storage_root};

/// What a stored key must have: it never leaves this TPM, signs digests, and nobody can lock it.
const NEEDED: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .with(ObjectAttributes::FIXED_PARENT)
    .with(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
    .with(ObjectAttributes::USER_WITH_AUTH)
    .with(ObjectAttributes::NO_DA)
    .with(ObjectAttributes::SIGN_ENCRYPT);

/// A key as a file keeps it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoredKey {
    /// Name of the storage root that it is a child of.
    pub(crate) parent: Vec<u8>,
    /// TPM2B_PRIVATE, with its size.
    pub(crate) private: Vec<u8>,
    /// TPMT_PUBLIC.
    pub(crate) public: Vec<u8>,
}

/// Makes a key; `None` where this TPM can't make one of that type.
pub(crate) fn create(link: &mut Link, key_type: KeyType) -> Result<Option<StoredKey>, TpmDeviceError> {
    let template = template(key_type).map_err(|error| malformed("Create", error.to_string()))?;
    if !is_supported(link, &template)? {
        return Ok(None);
    }
    storage_root::with(link, None, |link, handle, parent| {
        let Wrapped { private, public } = Parent::Storage { handle }.create(link, Ok(template.clone()))?;
        Ok(Some(StoredKey { parent: parent.to_vec(), private, public }))
    })
}

/// Signs a digest: the DER SEQUENCE's two numbers of ECDSA, or the octets of RSA.
pub(crate) fn sign(
    link: &mut Link,
    key: &StoredKey,
    scheme: SignatureScheme,
    digest: &[u8],
) -> Result<Vec<u8>, TpmDeviceError> {
    link.know(&key.public);
    storage_root::with(link, Some(&key.parent), |link, handle, _| {
        let blobs = (key.private.as_slice(), key.public.as_slice());
        Parent::Storage { handle }
            .with_child(link, blobs, not_loadable, |link, key| sign::run(link, key, digest, tpm_scheme(scheme)))
    })
}

/// The type of the key in a public area, if a store may use it.
pub(crate) fn judge(public: &TpmtPublic<'_>) -> Result<KeyType, String> {
    let attributes = public.attributes;
    if attributes != NEEDED {
        return Err(format!("its attributes are {attributes} instead of {NEEDED}"));
    }
    let hash = public.scheme.map(|scheme| (scheme.scheme, scheme.hash.and_then(HashAlgorithm::from_id)));
    match (&public.key, hash) {
        (PublicKey::Ecc { curve, .. }, Some((algorithm::ALG_ECDSA, Some(hash)))) => match (curve, hash) {
            (plastron_attestation_tcg::EccCurve::P256, HashAlgorithm::Sha256) => Ok(KeyType::EcP256),
            (plastron_attestation_tcg::EccCurve::P384, HashAlgorithm::Sha384) => Ok(KeyType::EcP384),
            (curve, hash) => Err(format!("it signs with {curve:?} and {hash}")),
        },
        (PublicKey::Rsa { key_bits: 2048, exponent: 65537, modulus }, None) if modulus.len() == 256 => {
            Ok(KeyType::Rsa2048)
        }
        (PublicKey::Rsa { key_bits: 4096, exponent: 65537, modulus }, None) if modulus.len() == 512 => {
            Ok(KeyType::Rsa4096)
        }
        _ => Err("it is of a type or scheme that this store never makes".to_owned()),
    }
}

/// The numbers or octets of a signature that the TPM made under this scheme.
pub(crate) fn signature<'a>(scheme: SignatureScheme, bytes: &'a [u8]) -> Option<TpmtSignature<'a>> {
    let signature = TpmtSignature::parse(bytes).ok()?;
    let fits = match (scheme, &signature) {
        (SignatureScheme::EcdsaSha256, TpmtSignature::Ecdsa { hash, .. })
        | (SignatureScheme::RsaPkcs1Sha256, TpmtSignature::RsaSsa { hash, .. }) => *hash == HashAlgorithm::Sha256,
        (SignatureScheme::EcdsaSha384, TpmtSignature::Ecdsa { hash, .. }) => *hash == HashAlgorithm::Sha384,
        (SignatureScheme::RsaPkcs1Sha512, TpmtSignature::RsaSsa { hash, .. }) => *hash == HashAlgorithm::Sha512,
        _ => false,
    };
    fits.then_some(signature)
}

fn template(key_type: KeyType) -> tss_esapi::Result<Public> {
    match key_type {
        KeyType::EcP256 => key_template::ecdsa(Use::Signing, EccCurve::NistP256, HashingAlgorithm::Sha256),
        KeyType::EcP384 => key_template::ecdsa(Use::Signing, EccCurve::NistP384, HashingAlgorithm::Sha384),
        // The scheme is chosen with each signature: a key signs with SHA-256 and SHA-512.
        KeyType::Rsa2048 => key_template::rsa(Use::Signing, RsaKeyBits::Rsa2048, RsaScheme::Null),
        KeyType::Rsa4096 => key_template::rsa(Use::Signing, RsaKeyBits::Rsa4096, RsaScheme::Null),
    }
}

/// TPM2_TestParms: many TPMs have no RSA-4096, and some no P-384.
fn is_supported(link: &mut Link, template: &Public) -> Result<bool, TpmDeviceError> {
    let parameters = match template {
        Public::Rsa { parameters, .. } => PublicParameters::Rsa(*parameters),
        Public::Ecc { parameters, .. } => PublicParameters::Ecc(*parameters),
        _ => return Ok(false),
    };
    match link.send(|context| context.execute_without_session(|context| context.test_parms(parameters))) {
        Ok(()) => Ok(true),
        Err(SendError::Answer(answer)) if refuses_parameter(&answer) => Ok(false),
        Err(error) => Err(error.of("TestParms")),
    }
}

fn tpm_scheme(scheme: SignatureScheme) -> structures::SignatureScheme {
    let rsa = |hash| structures::SignatureScheme::RsaSsa { hash_scheme: HashScheme::new(hash) };
    match scheme {
        // The key says it.
        SignatureScheme::EcdsaSha256 | SignatureScheme::EcdsaSha384 => structures::SignatureScheme::Null,
        SignatureScheme::RsaPkcs1Sha256 => rsa(HashingAlgorithm::Sha256),
        SignatureScheme::RsaPkcs1Sha512 => rsa(HashingAlgorithm::Sha512),
    }
}

fn not_loadable(reason: String) -> TpmDeviceError {
    TpmDeviceError::KeyNotLoadable { reason }
}
