//! Certificate signing requests as SPIRE's agent makes them (RFC 2986): subject C=US, O=SPIRE; a workload's names its SPIFFE ID.

use std::str::FromStr as _;
use std::sync::Arc;

use der::asn1::{Any, BitString, Ia5String, Null, ObjectIdentifier, OctetString, SetOfVec};
use der::{Decode as _, Encode as _};
use plastron_plugins::node::{HeldKey, HeldKeyError};
use plastron_spiffe::SpiffeId;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};

use crate::key::{KeyError, KeyPair, SignatureAlgorithm};

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// RFC 4514 writes the last RDN first, so this is C=US followed by O=SPIRE.
const SUBJECT: &str = "O=SPIRE,C=US";

/// A key that signs requests for itself.
pub(crate) trait SignsCsr {
    /// SubjectPublicKeyInfo, DER.
    fn public_key(&self) -> &[u8];

    /// Signs with the algorithm that [`Self::signature_algorithm`] names.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CsrBuildError>;

    fn signature_algorithm(&self) -> SignatureAlgorithm;
}

impl SignsCsr for KeyPair {
    fn public_key(&self) -> &[u8] {
        self.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CsrBuildError> {
        Ok(self.sign(message)?)
    }

    fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature_algorithm()
    }
}

impl SignsCsr for Arc<dyn HeldKey> {
    fn public_key(&self) -> &[u8] {
        (**self).public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CsrBuildError> {
        Ok((**self).sign(message)?)
    }

    fn signature_algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::EcdsaSha256
    }
}

/// A request signed by `key`, DER. Without an ID for the agent's own SVID: the server decides its ID.
pub(crate) fn sign_csr(key: &impl SignsCsr, spiffe_id: Option<&SpiffeId>) -> Result<Vec<u8>, CsrBuildError> {
    let mut attributes = SetOfVec::<Attribute>::new();
    if let Some(id) = spiffe_id {
        let uri = GeneralName::UniformResourceIdentifier(Ia5String::new(id.as_str())?);
        let extension = Extension {
            extn_id: SUBJECT_ALT_NAME,
            critical: false,
            extn_value: OctetString::new(SubjectAltName(vec![uri]).to_der()?)?,
        };
        attributes.insert(Attribute::try_from(ExtensionReq(vec![extension]))?)?;
    }
    let info = CertReqInfo {
        version: Version::V1,
        subject: Name::from_str(SUBJECT)?,
        public_key: SubjectPublicKeyInfoOwned::from_der(key.public_key())?,
        attributes,
    };
    let signature = key.sign(&info.to_der()?)?;
    let request = CertReq {
        info,
        algorithm: algorithm_identifier(key.signature_algorithm())?,
        signature: BitString::from_bytes(&signature)?,
    };
    Ok(request.to_der()?)
}

fn algorithm_identifier(algorithm: SignatureAlgorithm) -> Result<AlgorithmIdentifierOwned, der::Error> {
    let (oid, parameters) = match algorithm {
        SignatureAlgorithm::EcdsaSha256 => (ECDSA_WITH_SHA256, None),
        SignatureAlgorithm::EcdsaSha384 => (ECDSA_WITH_SHA384, None),
        SignatureAlgorithm::RsaPkcs1Sha256 => (SHA256_WITH_RSA, Some(Any::encode_from(&Null)?)),
    };
    Ok(AlgorithmIdentifierOwned { oid, parameters })
}

/// A request that can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrBuildError {
    /// It can't be encoded.
    #[error("can't encode a CSR")]
    Encode(#[from] der::Error),
    /// It can't be signed.
    #[error("can't sign a CSR")]
    Key(#[from] KeyError),
    /// The hardware that holds the key does not sign it.
    #[error("can't sign a CSR")]
    Held(#[from] HeldKeyError),
}
