//! UEFI_GPT_DATA (TCG PC Client Platform Firmware Profile 1.06, section 10.2.4) with EFI_PARTITION_TABLE_HEADER and EFI_PARTITION_ENTRY
//! (UEFI Specification 2.10, section 5.3).

use super::{Guid, char16};
use crate::{ReadError, Reader};

/// Most partitions: firmware measures those in use, and a table has room for 128 unless somebody made it larger.
pub const MAX_PARTITIONS: usize = 1024;

/// `EFI PART`.
const SIGNATURE: u64 = 0x5452_4150_2049_4645;

/// Bytes of an entry as the specification has it; SizeOfPartitionEntry can be a multiple of it.
const ENTRY_LEN: usize = 128;

/// Longest SizeOfPartitionEntry.
const MAX_ENTRY_LEN: usize = 4096;

/// Characters of a PartitionName, NUL included.
const NAME_LEN: usize = 36;

/// The partition table of the disk that was booted from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GptData {
    /// DiskGUID.
    pub disk_guid: Guid,
    /// Partitions in use, in their order.
    pub partitions: Vec<PartitionEntry>,
}

/// One EFI_PARTITION_ENTRY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionEntry {
    /// PartitionTypeGUID.
    pub type_guid: Guid,
    /// UniquePartitionGUID.
    pub unique_guid: Guid,
    /// StartingLBA.
    pub starting_lba: u64,
    /// EndingLBA.
    pub ending_lba: u64,
    /// Attributes.
    pub attributes: u64,
    /// PartitionName, up to its NUL.
    pub name: String,
}

impl GptData {
    /// Reads a structure that fills `bytes`. The CRCs in the header are not recomputed: the disk's readers did, and a digest covers it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("UEFI_GPT_DATA", bytes);
        let signature = reader.u64_le()?;
        if signature != SIGNATURE {
            return Err(reader.value("Signature", signature));
        }
        // Revision, HeaderSize, HeaderCRC32, Reserved; MyLBA, AlternateLBA, FirstUsableLBA, LastUsableLBA.
        reader.take(4 * 4 + 4 * 8)?;
        let disk_guid = Guid::read(&mut reader)?;
        // PartitionEntryLBA, NumberOfPartitionEntries.
        reader.take(8 + 4)?;
        let entry_len = reader.length_u32_le("bytes of SizeOfPartitionEntry", MAX_ENTRY_LEN)?;
        if entry_len < ENTRY_LEN {
            return Err(reader.value("SizeOfPartitionEntry", u64::try_from(entry_len).unwrap_or(u64::MAX)));
        }
        // PartitionEntryArrayCRC32.
        reader.take(4)?;
        let count = reader.length_u64_le("NumberOfPartitions", MAX_PARTITIONS)?;
        let mut partitions = Vec::new();
        for _ in 0..count {
            partitions.push(read_entry(&mut reader, entry_len)?);
        }
        reader.end()?;
        Ok(Self { disk_guid, partitions })
    }
}

fn read_entry(reader: &mut Reader<'_>, entry_len: usize) -> Result<PartitionEntry, ReadError> {
    let type_guid = Guid::read(reader)?;
    let unique_guid = Guid::read(reader)?;
    let (starting_lba, ending_lba, attributes) = (reader.u64_le()?, reader.u64_le()?, reader.u64_le()?);
    let mut name = char16::read(reader, "PartitionName", NAME_LEN)?;
    if let Some(end) = name.find('\0') {
        name.truncate(end);
    }
    reader.take(entry_len.saturating_sub(ENTRY_LEN))?;
    Ok(PartitionEntry { type_guid, unique_guid, starting_lba, ending_lba, attributes, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReadFault;
    use crate::uefi::EFI_SYSTEM_PARTITION_GUID;

    fn table(entry_len: u32, count: u64) -> Vec<u8> {
        let mut bytes = b"EFI PART".to_vec();
        bytes.extend([0; 48]);
        bytes.extend([0xd1; 16]);
        bytes.extend([0; 12]);
        bytes.extend(entry_len.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(count.to_le_bytes());
        bytes
    }

    fn entry(padding: usize) -> Vec<u8> {
        let mut bytes = EFI_SYSTEM_PARTITION_GUID.to_bytes().to_vec();
        bytes.extend([0xe1; 16]);
        [2048u64, 4095, 1].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        let mut name = b"E\0S\0P\0".to_vec();
        name.resize(72, 0);
        bytes.extend(name);
        bytes.resize(128 + padding, 0);
        bytes
    }

    #[test]
    fn partitions_are_read_whatever_their_entries_length() {
        for padding in [0, 128] {
            let bytes = [table(128 + u32::try_from(padding).unwrap(), 2), entry(padding), entry(padding)].concat();
            let gpt = GptData::parse(&bytes).unwrap();
            assert_eq!(gpt.disk_guid, Guid::from_bytes([0xd1; 16]));
            assert_eq!(gpt.partitions.len(), 2);
            let PartitionEntry { type_guid, unique_guid, starting_lba, ending_lba, attributes, name } =
                &gpt.partitions[1];
            assert_eq!((*type_guid, *unique_guid), (EFI_SYSTEM_PARTITION_GUID, Guid::from_bytes([0xe1; 16])));
            assert_eq!((*starting_lba, *ending_lba, *attributes, name.as_str()), (2048, 4095, 1, "ESP"));
        }
    }

    #[test]
    fn a_table_that_promises_too_much_is_refused() {
        let error = GptData::parse(&table(128, u64::MAX)).unwrap_err();
        assert_eq!(error.offset, 92);
        assert!(matches!(error.reason, ReadFault::TooMany { what: "NumberOfPartitions", .. }));
        assert!(matches!(GptData::parse(&table(128, 1)).unwrap_err().reason, ReadFault::Short { .. }));
        assert!(matches!(
            GptData::parse(&table(127, 0)).unwrap_err().reason,
            ReadFault::Value { field: "SizeOfPartitionEntry", value: 127 }
        ));
        assert!(matches!(
            GptData::parse(&[table(128, 0), vec![0]].concat()).unwrap_err().reason,
            ReadFault::Trailing { left: 1 }
        ));
    }

    #[test]
    fn another_signature_is_refused() {
        let mut bytes = table(128, 0);
        bytes[7] = b'X';
        assert!(matches!(GptData::parse(&bytes).unwrap_err().reason, ReadFault::Value { field: "Signature", .. }));
    }
}
