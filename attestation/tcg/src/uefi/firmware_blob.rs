//! UEFI_PLATFORM_FIRMWARE_BLOB and UEFI_PLATFORM_FIRMWARE_BLOB2 (TCG PC Client Platform Firmware Profile 1.06, section 10.2.5).
//!
//! The digest of such an event is that of the blob: address, length and description are not covered by it.

use crate::{ReadError, Reader};

/// Where a blob lay, as firmware says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformFirmwareBlob<'a> {
    /// BlobDescription: mostly ASCII; empty in the first form, which has none.
    pub description: &'a [u8],
    /// BlobBase.
    pub base: u64,
    /// BlobLength, in bytes.
    pub length: u64,
}

impl<'a> PlatformFirmwareBlob<'a> {
    /// Reads UEFI_PLATFORM_FIRMWARE_BLOB, of an EV_EFI_PLATFORM_FIRMWARE_BLOB event.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("UEFI_PLATFORM_FIRMWARE_BLOB", bytes);
        let (base, length) = (reader.u64_le()?, reader.u64_le()?);
        reader.end()?;
        Ok(Self { description: &[], base, length })
    }

    /// Reads UEFI_PLATFORM_FIRMWARE_BLOB2, of an EV_EFI_PLATFORM_FIRMWARE_BLOB2 event.
    pub fn parse2(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("UEFI_PLATFORM_FIRMWARE_BLOB2", bytes);
        let description_len = usize::from(reader.u8()?);
        let description = reader.take(description_len)?;
        let (base, length) = (reader.u64_le()?, reader.u64_le()?);
        reader.end()?;
        Ok(Self { description, base, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_not_taken_for_one_another() {
        let mut bytes = 0xffe0_0000u64.to_le_bytes().to_vec();
        bytes.extend(0x1000u64.to_le_bytes());
        let blob = PlatformFirmwareBlob { description: &[], base: 0xffe0_0000, length: 0x1000 };
        assert_eq!(PlatformFirmwareBlob::parse(&bytes), Ok(blob));
        assert!(PlatformFirmwareBlob::parse2(&bytes).is_err());
        let bytes = [b"\x04POST".as_slice(), &bytes].concat();
        assert_eq!(PlatformFirmwareBlob::parse2(&bytes), Ok(PlatformFirmwareBlob { description: b"POST", ..blob }));
        assert!(PlatformFirmwareBlob::parse(&bytes).is_err());
    }
}
