//! UEFI_VARIABLE_DATA (TCG PC Client Platform Firmware Profile 1.06, section 10.2.6).

use super::{Guid, char16};
use crate::{ReadError, Reader};

/// Longest name of a variable in characters of 16 bits: the longest that real logs hold has under 40.
pub const MAX_VARIABLE_NAME: usize = 512;

/// Longest content of a variable: an event's data is at most 1 MiB.
pub const MAX_VARIABLE_DATA: usize = 1 << 20;

/// A variable and what it held, or what somebody says that it held: the digest of the event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable<'a> {
    /// VariableName: the GUID of its vendor.
    pub vendor_guid: Guid,
    /// UnicodeName, as long as it says: a NUL in it is part of it.
    pub name: String,
    /// VariableData.
    pub data: &'a [u8],
}

impl<'a> Variable<'a> {
    /// Reads a structure that fills `bytes`. UnicodeNameLength counts characters of 16 bits, VariableDataLength bytes; both are UINT64.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let (variable, reader) = Self::read(bytes)?;
        reader.end()?;
        Ok(variable)
    }

    /// Reads a structure and gives the bytes after its end, which old versions of shim left there.
    pub fn parse_with_trailing(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ReadError> {
        let (variable, mut reader) = Self::read(bytes)?;
        let trailing = reader.take(reader.left())?;
        Ok((variable, trailing))
    }

    fn read(bytes: &'a [u8]) -> Result<(Self, Reader<'a>), ReadError> {
        let mut reader = Reader::new("UEFI_VARIABLE_DATA", bytes);
        let vendor_guid = Guid::read(&mut reader)?;
        let name_len = reader.length_u64_le("characters of UnicodeName", MAX_VARIABLE_NAME)?;
        let data_len = reader.length_u64_le("bytes of VariableData", MAX_VARIABLE_DATA)?;
        let name = char16::read(&mut reader, "UnicodeName", name_len)?;
        let data = reader.take(data_len)?;
        Ok((Self { vendor_guid, name, data }, reader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReadFault;
    use crate::uefi::EFI_GLOBAL_VARIABLE;

    fn bytes(name_len: u64, data_len: u64, rest: &[u8]) -> Vec<u8> {
        let mut bytes = EFI_GLOBAL_VARIABLE.to_bytes().to_vec();
        bytes.extend(name_len.to_le_bytes());
        bytes.extend(data_len.to_le_bytes());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn a_variable_is_read() {
        let bytes = bytes(2, 1, &[b'P', 0, b'K', 0, 7]);
        let variable = Variable::parse(&bytes).unwrap();
        assert_eq!(variable, Variable { vendor_guid: EFI_GLOBAL_VARIABLE, name: "PK".into(), data: &[7] });
    }

    #[test]
    fn an_absent_variable_has_no_data() {
        assert_eq!(Variable::parse(&bytes(2, 0, &[b'P', 0, b'K', 0])).unwrap().data, []);
    }

    #[test]
    fn a_nul_is_part_of_the_name() {
        assert_eq!(Variable::parse(&bytes(3, 0, &[b'd', 0, 0, 0, b'b', 0])).unwrap().name, "d\0b");
        assert_eq!(Variable::parse(&bytes(2, 0, &[b'd', 0, 0, 0])).unwrap().name, "d\0");
    }

    #[test]
    fn a_huge_length_is_refused_where_it_stands() {
        let error = Variable::parse(&bytes(u64::MAX, 1, &[])).unwrap_err();
        assert_eq!(error.offset, 16);
        assert!(matches!(error.reason, ReadFault::TooMany { what: "characters of UnicodeName", .. }));
        let error = Variable::parse(&bytes(0, 1 << 40, &[])).unwrap_err();
        assert_eq!(error.offset, 24);
        assert!(matches!(error.reason, ReadFault::TooMany { what: "bytes of VariableData", .. }));
    }

    #[test]
    fn a_short_or_long_variable_is_refused() {
        let error = Variable::parse(&bytes(0, 2, &[1])).unwrap_err();
        assert_eq!((error.offset, error.reason), (32, ReadFault::Short { needed: 2, left: 1 }));
        assert_eq!(Variable::parse(&bytes(0, 0, &[1])).unwrap_err().reason, ReadFault::Trailing { left: 1 });
        assert!(Variable::parse(&[]).is_err());
    }

    #[test]
    fn trailing_bytes_are_given_where_they_are_asked_for() {
        let bytes = bytes(0, 1, &[7, 8, 9]);
        let (variable, trailing) = Variable::parse_with_trailing(&bytes).unwrap();
        assert_eq!((variable.data, trailing), ([7].as_slice(), [8, 9].as_slice()));
    }

    #[test]
    fn a_name_that_is_no_text_is_refused() {
        let error = Variable::parse(&bytes(1, 0, &[0, 0xdc])).unwrap_err();
        assert_eq!((error.offset, error.reason), (32, ReadFault::Value { field: "UnicodeName", value: 0xdc00 }));
    }
}
