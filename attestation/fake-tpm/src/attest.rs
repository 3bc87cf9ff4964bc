//! TPMS_ATTEST, field by field, so that a test can have any of them forged before it is signed.

use plastron_attestation_tcg::{
    PcrBank, ST_ATTEST_CERTIFY, ST_ATTEST_QUOTE, TPM_GENERATED_VALUE, encode_pcr_selection,
};

use crate::ek::tpm2b;

/// The fields of a TPMS_ATTEST.
#[derive(Clone, Debug)]
pub struct AttestParts {
    /// TPM_GENERATED_VALUE.
    pub magic: u32,
    /// TPM_ST.
    pub attest_type: u16,
    /// Qualified Name of the AK.
    pub qualified_signer: Vec<u8>,
    /// qualifyingData.
    pub extra_data: Vec<u8>,
    /// Milliseconds.
    pub clock: u64,
    /// TPM resets.
    pub reset_count: u32,
    /// TPM restarts.
    pub restart_count: u32,
    /// Whether the clock is safe.
    pub safe: bool,
    /// Firmware.
    pub firmware_version: u64,
    /// What is attested.
    pub attested: AttestedParts,
    /// Bytes after the end.
    pub trailing: Vec<u8>,
}

/// TPMU_ATTEST.
#[derive(Clone, Debug)]
pub enum AttestedParts {
    /// A quote.
    Quote {
        /// Banks.
        select: Vec<PcrBank>,
        /// pcrDigest.
        digest: Vec<u8>,
    },
    /// A certification.
    Certify {
        /// Name of the certified key.
        name: Vec<u8>,
        /// Its Qualified Name.
        qualified_name: Vec<u8>,
    },
    /// Anything.
    Raw(Vec<u8>),
}

impl AttestParts {
    pub(crate) fn quote(qualified_signer: Vec<u8>, extra_data: Vec<u8>, select: Vec<PcrBank>, digest: Vec<u8>) -> Self {
        Self {
            magic: TPM_GENERATED_VALUE,
            attest_type: ST_ATTEST_QUOTE,
            qualified_signer,
            extra_data,
            clock: 0,
            reset_count: 0,
            restart_count: 0,
            safe: true,
            firmware_version: 0,
            attested: AttestedParts::Quote { select, digest },
            trailing: Vec::new(),
        }
    }

    pub(crate) fn certify(
        qualified_signer: Vec<u8>,
        extra_data: Vec<u8>,
        name: Vec<u8>,
        qualified_name: Vec<u8>,
    ) -> Self {
        Self {
            attest_type: ST_ATTEST_CERTIFY,
            attested: AttestedParts::Certify { name, qualified_name },
            ..Self::quote(qualified_signer, extra_data, Vec::new(), Vec::new())
        }
    }

    /// The bytes that are signed.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_be_bytes().to_vec();
        bytes.extend(self.attest_type.to_be_bytes());
        bytes.extend(tpm2b(&self.qualified_signer));
        bytes.extend(tpm2b(&self.extra_data));
        bytes.extend(self.clock.to_be_bytes());
        bytes.extend(self.reset_count.to_be_bytes());
        bytes.extend(self.restart_count.to_be_bytes());
        bytes.push(self.safe.into());
        bytes.extend(self.firmware_version.to_be_bytes());
        match &self.attested {
            AttestedParts::Quote { select, digest } => {
                bytes.extend(encode_pcr_selection(select));
                bytes.extend(tpm2b(digest));
            }
            AttestedParts::Certify { name, qualified_name } => {
                bytes.extend(tpm2b(name));
                bytes.extend(tpm2b(qualified_name));
            }
            AttestedParts::Raw(raw) => bytes.extend_from_slice(raw),
        }
        bytes.extend_from_slice(&self.trailing);
        bytes
    }
}
