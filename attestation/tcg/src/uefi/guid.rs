//! EFI_GUID (UEFI Specification 2.10, section 2.3.1 and appendix A).

use std::fmt;

use crate::{ReadError, Reader};

/// An EFI_GUID as it lies in memory: the first three fields little-endian, the last eight bytes as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid([u8; 16]);

impl Guid {
    /// From the fields of its C definition, the last eight bytes as one number: `8be4df61-93ca-11d2-aa0d-00e098032b8c` is
    /// `Guid::new(0x8be4df61, 0x93ca, 0x11d2, 0xaa0d_00e098032b8c)`.
    pub const fn new(data1: u32, data2: u16, data3: u16, data4: u64) -> Self {
        let [a0, a1, a2, a3] = data1.to_le_bytes();
        let [b0, b1] = data2.to_le_bytes();
        let [c0, c1] = data3.to_le_bytes();
        let [d0, d1, d2, d3, d4, d5, d6, d7] = data4.to_be_bytes();
        Self([a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7])
    }

    /// From its sixteen bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its sixteen bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The next sixteen bytes of a structure.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self(reader.array()?))
    }
}

impl fmt::Display for Guid {
    /// Lower case with hyphens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7] = self.0;
        let (data1, data2, data3) =
            (u32::from_le_bytes([a0, a1, a2, a3]), u16::from_le_bytes([b0, b1]), u16::from_le_bytes([c0, c1]));
        let (clock, node) = (u16::from_be_bytes([d0, d1]), u64::from_be_bytes([0, 0, d2, d3, d4, d5, d6, d7]));
        write!(f, "{data1:08x}-{data2:04x}-{data3:04x}-{clock:04x}-{node:012x}")
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_mixed_endian_in_memory_and_text() {
        let guid = Guid::new(0x8be4_df61, 0x93ca, 0x11d2, 0xaa0d_00e0_9803_2b8c);
        assert_eq!(guid.to_string(), "8be4df61-93ca-11d2-aa0d-00e098032b8c");
        let bytes = hex::decode("61dfe48bca93d211aa0d00e098032b8c").unwrap();
        assert_eq!(guid.to_bytes().as_slice(), bytes);
        assert_eq!(Guid::read(&mut Reader::new("EFI_GUID", &bytes)), Ok(guid));
        assert_eq!(Guid::from_bytes(guid.to_bytes()), guid);
    }
}
