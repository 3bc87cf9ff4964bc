//! The three messages, JSON as SPIRE's halves write it: octets are base64 with padding, and of two kinds of key the other one is null.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Octets as Go's `encoding/json` writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) Vec<u8>);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Node to server: the chain, leaf first, each certificate DER.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Payload {
    pub(crate) certificates: Vec<Octets>,
}

/// Server to node: one of the two.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Challenge {
    #[serde(default)]
    pub(crate) rsa_signature: Option<Nonce>,
    #[serde(default)]
    pub(crate) ecdsa_signature: Option<Nonce>,
}

/// What the server drew.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Nonce {
    pub(crate) nonce: Octets,
}

/// Node to server: that one, signed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Response {
    #[serde(default)]
    pub(crate) rsa_signature: Option<RsaResponse>,
    #[serde(default)]
    pub(crate) ecdsa_signature: Option<EcdsaResponse>,
}

/// What an RSA key signed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RsaResponse {
    /// What the node drew.
    pub(crate) nonce: Octets,
    /// RSASSA-PSS with SHA-256 over both nonces.
    pub(crate) signature: Octets,
}

/// What an elliptic curve key signed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EcdsaResponse {
    /// What the node drew.
    pub(crate) nonce: Octets,
    /// ECDSA with SHA-256 over both nonces: `r`, big endian, no longer than it has to be.
    pub(crate) r: Octets,
    /// The same for `s`.
    pub(crate) s: Octets,
}
