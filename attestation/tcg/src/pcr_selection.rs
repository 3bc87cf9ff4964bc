//! TPML_PCR_SELECTION (TPM 2.0 Library part 2, sections 10.6 and 10.9.7).

use crate::{ReadError, Reader};

/// Most banks in a list (HASH_COUNT of the reference implementation is 16).
pub const MAX_BANKS: usize = 16;

/// Most bytes of a bitmap: PC Client TPMs have 24 PCRs, the library's structures carry at most 32.
const MAX_SELECT: usize = 4;

/// Bytes of a bitmap that we write: PCR_SELECT_MIN of the PC Client profile.
const SELECT: u8 = 3;

/// One bank and the PCRs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcrBank {
    /// TPM_ALG_ID of the bank.
    pub hash: u16,
    /// PCR 0 is the lowest bit.
    pub bitmap: u32,
}

/// Reads a list in the middle of a structure.
pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Vec<PcrBank>, ReadError> {
    let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    if count > MAX_BANKS {
        return Err(reader.too_many("PCR banks", count, MAX_BANKS));
    }
    (0..count).map(|_| read_bank(reader)).collect()
}

fn read_bank(reader: &mut Reader<'_>) -> Result<PcrBank, ReadError> {
    let hash = reader.u16()?;
    let size = usize::from(reader.u8()?);
    if size > MAX_SELECT {
        return Err(reader.too_many("bytes of sizeofSelect", size, MAX_SELECT));
    }
    let bitmap = reader.take(size)?.iter().rev().fold(0, |bitmap, byte| bitmap << 8 | u32::from(*byte));
    Ok(PcrBank { hash, bitmap })
}

/// Reads a TPML_PCR_SELECTION that fills `bytes`.
pub fn parse_pcr_selection(bytes: &[u8]) -> Result<Vec<PcrBank>, ReadError> {
    let mut reader = Reader::new("TPML_PCR_SELECTION", bytes);
    let banks = read(&mut reader)?;
    reader.end()?;
    Ok(banks)
}

/// Writes a TPML_PCR_SELECTION; only PCR 0 to 23 are written.
pub fn encode_pcr_selection(banks: &[PcrBank]) -> Vec<u8> {
    let banks = banks.get(..MAX_BANKS).unwrap_or(banks);
    let mut bytes = u32::try_from(banks.len()).unwrap_or_default().to_be_bytes().to_vec();
    for bank in banks {
        bytes.extend(bank.hash.to_be_bytes());
        bytes.push(SELECT);
        bytes.extend(bank.bitmap.to_le_bytes().into_iter().take(SELECT.into()));
    }
    bytes
}

/// The PCRs of a bitmap, rising.
pub fn pcr_indices(bitmap: u32) -> impl Iterator<Item = u8> {
    (0..32u8).filter(move |index| bitmap >> index & 1 == 1)
}
