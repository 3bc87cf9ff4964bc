//! The rules for an EK certificate itself (TCG EK Credential Profile 2.5, section 3.2), apart from its issuer.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_BASIC_CONSTRAINTS, ID_CE_CERTIFICATE_POLICIES, ID_CE_CRL_DISTRIBUTION_POINTS,
    ID_CE_EXT_KEY_USAGE, ID_CE_KEY_USAGE, ID_CE_SUBJECT_ALT_NAME, ID_CE_SUBJECT_DIRECTORY_ATTRIBUTES,
    ID_CE_SUBJECT_KEY_IDENTIFIER,
};
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, SECP_256_R_1, SECP_384_R_1};
use der::Decode;
use plastron_attestation_tcg::{EccCurve, PublicKey, TpmtPublic, sec1_point};
use x509_cert::ext::pkix::ExtendedKeyUsage;

use crate::certificate::{Certificate, RsaPublicKey, without_leading_zeros};
use crate::ek::container::certificate_in_container;
use crate::ek::rsa_key;
use crate::ek::tpm_identity::TpmIdentity;
use crate::{AppraiseError, Check, Checklist};

/// tcg-kp-EKCertificate.
const KP_EK: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
/// tcg-kp-PlatformAttributeCertificate.
const KP_PLATFORM: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.2");
/// tcg-kp-AIKCertificate.
const KP_AK: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.3");

/// Critical extensions that are judged here or say nothing that could make the certificate less.
const UNDERSTOOD: [ObjectIdentifier; 9] = [
    ID_CE_BASIC_CONSTRAINTS,
    ID_CE_KEY_USAGE,
    ID_CE_EXT_KEY_USAGE,
    ID_CE_SUBJECT_ALT_NAME,
    ID_CE_SUBJECT_DIRECTORY_ATTRIBUTES,
    ID_CE_AUTHORITY_KEY_IDENTIFIER,
    ID_CE_SUBJECT_KEY_IDENTIFIER,
    ID_CE_CERTIFICATE_POLICIES,
    ID_CE_CRL_DISTRIBUTION_POINTS,
];

/// The TPM that a certificate names, if it has the form of an EK certificate. Who issued it, and to which key, is not asked: this is
/// for people who look at a certificate, and proves nothing.
pub fn claimed_identity(container: &[u8]) -> Result<TpmIdentity, AppraiseError> {
    check_form(&Certificate::parse("EK", certificate_in_container("EK", container)?)?, &mut Checklist::new())
}

/// Checks, in order: the key is the EK; the form.
pub(crate) fn check(
    certificate: &Certificate<'_>,
    ek: &TpmtPublic<'_>,
    checks: &mut Checklist,
) -> Result<TpmIdentity, AppraiseError> {
    check_key(certificate, &ek.key)?;
    checks.pass(Check::EkCertificateKey, "");
    check_form(certificate, checks)
}

/// Checks, in order: X.509 v3; not a CA; key usage; extended key usage; critical extensions; the TPM's identity.
fn check_form(certificate: &Certificate<'_>, checks: &mut Checklist) -> Result<TpmIdentity, AppraiseError> {
    if certificate.version() != 3 {
        return Err(AppraiseError::EkCertificateVersion { version: certificate.version() });
    }
    checks.pass(Check::EkCertificate, format!("serial number {}", hex::encode(certificate.serial())));
    if certificate.basic_constraints()?.is_some_and(|constraints| constraints.ca) {
        return Err(AppraiseError::EkIsCa);
    }
    checks.pass(Check::EkBasicConstraints, "");
    check_key_usage(certificate)?;
    checks.pass(Check::EkKeyUsage, "");
    check_extended_key_usage(certificate)?;
    checks.pass(Check::EkExtendedKeyUsage, "");
    certificate.check_critical(&UNDERSTOOD)?;
    checks.pass(Check::EkCriticalExtension, "");
    let identity = TpmIdentity::of(certificate)?;
    checks.pass(
        Check::EkTpmIdentity,
        format!("manufacturer {}, model {:?}, version {:?}", identity.manufacturer(), identity.model, identity.version),
    );
    Ok(identity)
}

/// Compares the keys themselves: encodings differ (id-RSAES-OAEP, leading zeros), keys do not.
fn check_key(certificate: &Certificate<'_>, ek: &PublicKey<'_>) -> Result<(), AppraiseError> {
    let other = |reason| AppraiseError::EkCertificateKey { reason };
    let spki = certificate.spki();
    let key = spki.subject_public_key.as_bytes().ok_or_else(|| other("its bits are not whole octets"))?;
    match ek {
        PublicKey::Rsa { exponent, modulus, .. } => {
            rsa_key::check(&spki.algorithm).map_err(other)?;
            let certified = RsaPublicKey::from_der(key).map_err(|_| other("its RSAPublicKey does not parse"))?;
            let exponent = exponent.to_be_bytes();
            if without_leading_zeros(certified.exponent.as_bytes()) != without_leading_zeros(&exponent) {
                return Err(other("the exponents differ"));
            }
            if without_leading_zeros(certified.modulus.as_bytes()) != without_leading_zeros(modulus) {
                return Err(other("the moduli differ"));
            }
        }
        PublicKey::Ecc { curve, x, y } => {
            let named = match curve {
                EccCurve::P256 => SECP_256_R_1,
                EccCurve::P384 => SECP_384_R_1,
            };
            if spki.algorithm.oid != ID_EC_PUBLIC_KEY || spki.algorithm.parameters_oid() != Ok(named) {
                return Err(other("it is not a key on the EK's curve"));
            }
            if sec1_point(*curve, x, y).as_deref() != Some(key) {
                return Err(other("the points differ"));
            }
        }
    }
    Ok(())
}

fn check_key_usage(certificate: &Certificate<'_>) -> Result<(), AppraiseError> {
    let is_ec = certificate.spki().algorithm.oid == ID_EC_PUBLIC_KEY;
    let wanted = if is_ec { "keyAgreement" } else { "keyEncipherment" };
    let Some(usage) = certificate.key_usage()? else {
        return Err(AppraiseError::EkKeyUsage { got: "absent".to_owned(), wanted });
    };
    let has = if is_ec { usage.key_agreement() } else { usage.key_encipherment() };
    if !has || usage.key_cert_sign() || usage.crl_sign() {
        return Err(AppraiseError::EkKeyUsage { got: format!("{:?}", usage.0), wanted });
    }
    Ok(())
}

fn check_extended_key_usage(certificate: &Certificate<'_>) -> Result<(), AppraiseError> {
    let refused = |got: String| AppraiseError::EkExtendedKeyUsage { got };
    let value = certificate.extension(ID_CE_EXT_KEY_USAGE).ok_or_else(|| refused("absent".to_owned()))?;
    let usage = ExtendedKeyUsage::from_der(value).map_err(|error| AppraiseError::CertificateMalformed {
        which: certificate.which(),
        reason: format!("extended key usage: {error}"),
    })?;
    let written = usage.0.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if usage.0.contains(&KP_PLATFORM) {
        return Err(refused(format!("that of a platform certificate ({written})")));
    }
    if usage.0.contains(&KP_AK) {
        return Err(refused(format!("that of an AK certificate ({written})")));
    }
    if !usage.0.contains(&KP_EK) {
        return Err(refused(if written.is_empty() { "empty".to_owned() } else { written }));
    }
    Ok(())
}
