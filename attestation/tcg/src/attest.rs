//! TPMS_ATTEST (TPM 2.0 Library part 2, section 10.12).
//!
//! Reading proves nothing: `magic` and the type are left for the verifier to judge, after the signature.

use crate::pcr_selection::{self, PcrBank};
use crate::{ReadError, Reader};

/// TPM_GENERATED_VALUE: what the TPM itself made begins so, and a restricted key signs nothing else that does.
pub const TPM_GENERATED_VALUE: u32 = 0xff54_4347;
/// TPM_ST_ATTEST_CERTIFY.
pub const ST_ATTEST_CERTIFY: u16 = 0x8017;
/// TPM_ST_ATTEST_QUOTE.
pub const ST_ATTEST_QUOTE: u16 = 0x8018;

/// Longest structure: 16 banks and SHA-512 everywhere stay under 500 bytes.
pub const MAX_ATTEST_LEN: usize = 1024;

/// A structure that a TPM signed, or that somebody says it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmsAttest<'a> {
    /// TPM_GENERATED_VALUE, if the TPM made it.
    pub magic: u32,
    /// TPM_ST of the attested part.
    pub attest_type: u16,
    /// Qualified Name of the signing key.
    pub qualified_signer: &'a [u8],
    /// What the caller had put in.
    pub extra_data: &'a [u8],
    /// Clock and counters.
    pub clock_info: ClockInfo,
    /// Vendor-specific firmware version.
    pub firmware_version: u64,
    /// What is attested.
    pub attested: Attested<'a>,
}

/// TPMS_CLOCK_INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds powered.
    pub clock: u64,
    /// Resets since TPM2_Clear.
    pub reset_count: u32,
    /// Restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Whether no higher clock value was ever reported.
    pub safe: bool,
}

/// TPMU_ATTEST, as far as it is read here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attested<'a> {
    /// TPMS_QUOTE_INFO.
    Quote {
        /// The PCRs that the digest covers, bank by bank.
        pcr_select: Vec<PcrBank>,
        /// Digest over their values.
        pcr_digest: &'a [u8],
    },
    /// TPMS_CERTIFY_INFO.
    Certify {
        /// Name of the certified object.
        name: &'a [u8],
        /// Its Qualified Name.
        qualified_name: &'a [u8],
    },
    /// Any other type: not read.
    Other {
        /// The bytes up to the end.
        body: &'a [u8],
    },
}

impl<'a> TpmsAttest<'a> {
    /// Reads a structure that fills `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("TPMS_ATTEST", bytes);
        if bytes.len() > MAX_ATTEST_LEN {
            return Err(reader.too_many("bytes", bytes.len(), MAX_ATTEST_LEN));
        }
        let magic = reader.u32()?;
        let attest_type = reader.u16()?;
        let qualified_signer = reader.tpm2b()?;
        let extra_data = reader.tpm2b()?;
        let clock_info = ClockInfo {
            clock: reader.u64()?,
            reset_count: reader.u32()?,
            restart_count: reader.u32()?,
            safe: reader.yes_no("safe")?,
        };
        let firmware_version = reader.u64()?;
        let attested = match attest_type {
            ST_ATTEST_QUOTE => {
                Attested::Quote { pcr_select: pcr_selection::read(&mut reader)?, pcr_digest: reader.tpm2b()? }
            }
            ST_ATTEST_CERTIFY => Attested::Certify { name: reader.tpm2b()?, qualified_name: reader.tpm2b()? },
            _ => Attested::Other { body: reader.take(reader.left())? },
        };
        reader.end()?;
        Ok(Self { magic, attest_type, qualified_signer, extra_data, clock_info, firmware_version, attested })
    }
}
