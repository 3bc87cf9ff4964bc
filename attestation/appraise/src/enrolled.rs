//! What the server keeps of a TPM that was admitted: plain data, judged again at every renewal.
//!
//! The store writes it as one JSON document. Byte strings are lower-case hex in it. A document of version 1, which had neither event logs nor SVID keys in the TPM, is
//! read as one of version 2 without; one of a later version is refused.

use plastron_attestation_tcg::Name;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of the document that this code writes.
pub const ENROLLED_TPM_VERSION: u32 = 2;

/// The oldest version that it reads.
const OLDEST_VERSION: u32 = 1;

/// One enrolled TPM: EK and AK of one atomic record, so that the EK of one admission never meets the AK of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolledTpm {
    /// Version of this document.
    #[serde(deserialize_with = "this_version")]
    pub version: u32,
    /// The pool that trusted the EK; its policy judges renewals.
    pub pool: String,
    /// TPMT_PUBLIC of the EK.
    #[serde(with = "hex_bytes")]
    pub ek_public: Vec<u8>,
    /// The EK certificate, DER; absent where the EK is trusted by its pin alone.
    #[serde(with = "hex_optional")]
    pub ek_certificate: Option<Vec<u8>>,
    /// Intermediate certificates that came with it from the TPM, DER. They are links of a path and never trusted themselves.
    #[serde(with = "hex_list")]
    pub ek_intermediates: Vec<Vec<u8>>,
    /// TPMT_PUBLIC of the AK whose credential was activated.
    #[serde(with = "hex_bytes")]
    pub ak_public: Vec<u8>,
    /// SubjectPublicKeyInfo of the SVID's key that this AK certified to be in the TPM; absent where it is not, or not proven.
    #[serde(default, with = "hex_optional")]
    pub resident_svid_key: Option<Vec<u8>>,
    /// Names of AKs that this node had before. A quote by one of them means a copy or a rollback.
    #[serde(with = "hex_list")]
    pub retired_ak_names: Vec<Vec<u8>>,
    /// Where the TPM stood at its last accepted quote.
    pub state: TpmState,
    /// SHA-256 of the event log that was judged at its last attestation; the log itself is kept under it. Absent where the machine has none.
    #[serde(default, with = "hex_digest")]
    pub event_log_sha256: Option<[u8; 32]>,
    /// What the node says about itself: stored, shown as a claim, never a fact and never reachable by policy.
    pub claimed: Claims,
    /// When the node was first admitted, in Unix seconds.
    pub enrolled_at: u64,
    /// When it was last admitted, in Unix seconds.
    pub attested_at: u64,
}

impl EnrolledTpm {
    /// The Name of the current AK; `None` only if the record was damaged. An index by AK Name holds this one and the retired ones.
    pub fn ak_name(&self) -> Option<Name> {
        plastron_attestation_tcg::TpmtPublic::parse(&self.ak_public).ok().map(|public| public.name())
    }
}

/// TPMS_CLOCK_INFO and firmwareVersion of the last accepted quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmState {
    /// TPM resets since TPM2_Clear: with the AK's Name, the identity of a boot.
    pub reset_count: u32,
    /// TPM restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Milliseconds that the TPM has been powered.
    pub clock: u64,
    /// Whether no higher clock value can have been seen before.
    pub safe: bool,
    /// Vendor-specific firmware version.
    pub firmware_version: u64,
}

/// The node's own words, each at most [`MAX_CLAIM_LEN`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Its host name.
    pub claimed_host_name: Option<String>,
    /// Its hardware model.
    pub claimed_model: Option<String>,
    /// Its firmware version.
    pub claimed_firmware: Option<String>,
}

/// Longest claim, in bytes: a DNS name has at most 253.
pub const MAX_CLAIM_LEN: usize = 255;

fn this_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        OLDEST_VERSION..=ENROLLED_TPM_VERSION => Ok(ENROLLED_TPM_VERSION),
        other => Err(serde::de::Error::custom(format!(
            "enrolled TPM document has version {other}; this program reads versions {OLDEST_VERSION} to {ENROLLED_TPM_VERSION}"
        ))),
    }
}

mod hex_bytes {
    use super::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

mod hex_optional {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(hex::encode).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| hex::decode(text).map_err(serde::de::Error::custom))
            .transpose()
    }
}

mod hex_digest {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
        digest.map(hex::encode).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let bytes = hex::decode(text).map_err(serde::de::Error::custom)?;
        bytes.try_into().map(Some).map_err(|_| serde::de::Error::custom("a SHA-256 has 32 bytes"))
    }
}

mod hex_list {
    use super::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(hex::encode))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|text| hex::decode(text).map_err(serde::de::Error::custom))
            .collect()
    }
}
