//! A key of our own, and a request for an SVID of it (RFC 2986) as SPIRE's `x509 mint` makes it: no subject, one URI, DNS names.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use const_oid::db::rfc5912::ECDSA_WITH_SHA_256;
use der::asn1::{BitString, Ia5String, OctetString, SetOfVec};
use der::{Decode as _, Encode as _};
use plastron_spiffe::SpiffeId;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use zeroize::Zeroizing;

use crate::CliError;

/// A P-256 key that was just made.
pub(super) struct NewKey(EcdsaKeyPair);

impl NewKey {
    pub(super) fn generate() -> Result<Self, CliError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Self).map_err(failed)
    }

    /// PKCS#8, DER.
    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CliError> {
        Ok(Zeroizing::new(self.0.to_pkcs8v1().map_err(failed)?.as_ref().to_vec()))
    }

    /// A request signed by the key, DER.
    pub(super) fn sign_csr(&self, id: &SpiffeId, dns_names: &[String]) -> Result<Vec<u8>, CliError> {
        let public_key: PublicKeyX509Der<'_> = self.0.public_key().as_der().map_err(failed)?;
        let info = request_info(public_key.as_ref(), id, dns_names).map_err(not_encoded)?;
        let signature = self.0.sign(&SystemRandom::new(), &info.to_der().map_err(not_encoded)?).map_err(failed)?;
        let algorithm = AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA_256, parameters: None };
        let signature = BitString::from_bytes(signature.as_ref()).map_err(not_encoded)?;
        CertReq { info, algorithm, signature }.to_der().map_err(not_encoded)
    }
}

fn request_info(public_key: &[u8], id: &SpiffeId, dns_names: &[String]) -> der::Result<CertReqInfo> {
    let mut names = vec![GeneralName::UniformResourceIdentifier(Ia5String::new(id.as_str())?)];
    for name in dns_names {
        names.push(GeneralName::DnsName(Ia5String::new(name)?));
    }
    let extension = Extension {
        extn_id: ID_CE_SUBJECT_ALT_NAME,
        // Nothing else names whoever asks (RFC 5280, section 4.2.1.6).
        critical: true,
        extn_value: OctetString::new(SubjectAltName(names).to_der()?)?,
    };
    let mut attributes = SetOfVec::<Attribute>::new();
    attributes.insert(Attribute::try_from(ExtensionReq(vec![extension]))?)?;
    Ok(CertReqInfo {
        version: Version::V1,
        subject: Name::default(),
        public_key: SubjectPublicKeyInfoOwned::from_der(public_key)?,
        attributes,
    })
}

fn failed(_: Unspecified) -> CliError {
    CliError::Crypto
}

fn not_encoded(error: der::Error) -> CliError {
    CliError::Csr { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use plastron_spiffe::x509::verify_csr;

    use super::*;

    #[test]
    fn the_request_is_one_that_the_server_takes() {
        let id = SpiffeId::parse("spiffe://example.org/web").unwrap();
        let names = ["web.example.org".to_owned(), "*.example.org".to_owned()];
        let csr = NewKey::generate().unwrap().sign_csr(&id, &names).unwrap();
        let csr = verify_csr(&csr).unwrap();
        assert_eq!(csr.uris, [id.as_str()]);
        assert_eq!(csr.dns_names, names);
        assert!(csr.other_names.is_empty());
        assert_eq!(csr.subject, [0x30, 0]);
        let error = NewKey::generate().unwrap().sign_csr(&id, &["ü".to_owned()]).unwrap_err();
        assert!(matches!(error, CliError::Csr { .. }), "{error}");
    }
}
