//! UEFI_HANDOFF_TABLE_POINTERS and UEFI_HANDOFF_TABLE_POINTERS2 (TCG PC Client Platform Firmware Profile 1.06, section 10.2.7).
//!
//! The digest of such an event is that of the tables: what stands here is not covered by it.

use super::Guid;
use crate::{ReadError, Reader};

/// Most tables: firmware has about twenty in all.
pub const MAX_HANDOFF_TABLES: usize = 256;

/// Which tables were handed to the operating system, as firmware says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandoffTables<'a> {
    /// TableDescription: mostly ASCII; empty in the first form, which has none.
    pub description: &'a [u8],
    /// Tables, in their order.
    pub tables: Vec<ConfigurationTable>,
}

/// EFI_CONFIGURATION_TABLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigurationTable {
    /// VendorGuid: which table it is.
    pub vendor_guid: Guid,
    /// VendorTable: its address.
    pub vendor_table: u64,
}

impl<'a> HandoffTables<'a> {
    /// Reads UEFI_HANDOFF_TABLE_POINTERS, of an EV_EFI_HANDOFF_TABLES event.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("UEFI_HANDOFF_TABLE_POINTERS", bytes);
        let tables = read_tables(&mut reader)?;
        reader.end()?;
        Ok(Self { description: &[], tables })
    }

    /// Reads UEFI_HANDOFF_TABLE_POINTERS2, of an EV_EFI_HANDOFF_TABLES2 event.
    pub fn parse2(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("UEFI_HANDOFF_TABLE_POINTERS2", bytes);
        let description_len = usize::from(reader.u8()?);
        let description = reader.take(description_len)?;
        let tables = read_tables(&mut reader)?;
        reader.end()?;
        Ok(Self { description, tables })
    }
}

fn read_tables(reader: &mut Reader<'_>) -> Result<Vec<ConfigurationTable>, ReadError> {
    let count = reader.length_u64_le("NumberOfTables", MAX_HANDOFF_TABLES)?;
    let mut tables = Vec::new();
    for _ in 0..count {
        tables.push(ConfigurationTable { vendor_guid: Guid::read(reader)?, vendor_table: reader.u64_le()? });
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReadFault;
    use crate::uefi::SMBIOS_TABLE_GUID;

    fn tables(count: u64) -> Vec<u8> {
        let mut bytes = count.to_le_bytes().to_vec();
        bytes.extend(SMBIOS_TABLE_GUID.to_bytes());
        bytes.extend(0x7f00_0000u64.to_le_bytes());
        bytes
    }

    #[test]
    fn both_forms_are_read() {
        let table = ConfigurationTable { vendor_guid: SMBIOS_TABLE_GUID, vendor_table: 0x7f00_0000 };
        let bytes = tables(1);
        assert_eq!(HandoffTables::parse(&bytes), Ok(HandoffTables { description: &[], tables: vec![table] }));
        let bytes = [b"\x06SmbiosX".get(..7).unwrap(), &bytes].concat();
        assert_eq!(HandoffTables::parse2(&bytes), Ok(HandoffTables { description: b"Smbios", tables: vec![table] }));
    }

    #[test]
    fn a_count_beyond_limit_or_bytes_is_refused() {
        let error = HandoffTables::parse(&tables(257)).unwrap_err();
        assert_eq!(error.offset, 0);
        assert!(matches!(error.reason, ReadFault::TooMany { what: "NumberOfTables", got: 257, .. }));
        assert!(matches!(HandoffTables::parse(&tables(2)).unwrap_err().reason, ReadFault::Short { .. }));
        assert!(matches!(HandoffTables::parse(&tables(0)).unwrap_err().reason, ReadFault::Trailing { left: 24 }));
    }
}
