//! Certificate signing requests: parsed and proven in one step (RFC 2986).

/// A request whose own signature was verified, so its sender holds the private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCsr {
    /// SubjectPublicKeyInfo as it stood in the request, DER.
    pub public_key: Vec<u8>,
    /// URI SANs asked for, in order.
    pub uris: Vec<String>,
    /// DNS SANs asked for, in order.
    pub dns_names: Vec<String>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Not a PKCS#10 request.
    #[error("malformed CSR: {reason}")]
    Malformed {
        /// What does not parse.
        reason: String,
    },
    /// The signature is not by the key in the request.
    #[error("CSR signature verification failed")]
    Signature,
    /// A key that SVIDs may not have.
    #[error("unsupported CSR key: {reason}")]
    UnsupportedKey {
        /// Type or size.
        reason: String,
    },
}

/// Parses a DER request and verifies its signature over the bytes that arrived.
pub fn verify_csr(_der: &[u8]) -> Result<VerifiedCsr, CsrError> {
    todo!()
}
