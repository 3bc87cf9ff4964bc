//! Media device path nodes (UEFI Specification 2.10, section 10.3.5).

use super::{DevicePathNode, MEDIA, printable, vendor};
use crate::Reader;
use crate::uefi::{Guid, char16};

const FILE_PATH: u8 = 4;

/// Longest file path in characters: a node has at most 65,531 bytes.
const MAX_FILE_PATH: usize = 1 << 15;

/// The text of a node; `None` where type or shape is unknown.
pub(super) fn text(sub_type: u8, mut reader: Reader<'_>) -> Option<String> {
    let text = match sub_type {
        1 => hard_drive(&mut reader)?,
        2 => {
            let entry = reader.u32_le().ok()?;
            let (start, size) = (reader.u64_le().ok()?, reader.u64_le().ok()?);
            format!("CDROM({entry:#x},{start:#x},{size:#x})")
        }
        3 => return vendor("VenMedia", reader),
        FILE_PATH => printable(&file_path_text(&mut reader)?),
        5 => format!("Media({})", Guid::read(&mut reader).ok()?),
        6 => format!("FvFile({})", Guid::read(&mut reader).ok()?),
        7 => format!("Fv({})", Guid::read(&mut reader).ok()?),
        8 => {
            reader.u32_le().ok()?;
            let (start, end) = (reader.u64_le().ok()?, reader.u64_le().ok()?);
            format!("Offset({start:#x},{end:#x})")
        }
        9 => {
            let (start, end) = (reader.u64_le().ok()?, reader.u64_le().ok()?);
            let disk_type = Guid::read(&mut reader).ok()?;
            format!("RamDisk({start:#x},{end:#x},{},{disk_type})", reader.u16_le().ok()?)
        }
        _ => return None,
    };
    reader.end().ok()?;
    Some(text)
}

/// The path of a Media File Path node, not escaped.
pub(super) fn file_path(node: &DevicePathNode<'_>) -> Option<String> {
    if node.node_type != MEDIA || node.sub_type != FILE_PATH {
        return None;
    }
    let mut reader = Reader::new("Media File Path", node.data);
    let text = file_path_text(&mut reader)?;
    reader.end().ok()?;
    Some(text)
}

/// A NUL ends the text; some firmware pads what follows with more of them, and nothing else may.
fn file_path_text(reader: &mut Reader<'_>) -> Option<String> {
    let text = char16::read_until_nul(reader, "characters of PathName", MAX_FILE_PATH).ok()?;
    let padding = reader.take(reader.left()).ok()?;
    padding.iter().all(|byte| *byte == 0).then_some(text)
}

/// PartitionNumber, PartitionStart, PartitionSize, PartitionSignature, PartitionFormat, SignatureType.
fn hard_drive(reader: &mut Reader<'_>) -> Option<String> {
    let number = reader.u32_le().ok()?;
    let (start, size) = (reader.u64_le().ok()?, reader.u64_le().ok()?);
    let signature: [u8; 16] = reader.array().ok()?;
    let _format = reader.u8().ok()?;
    let signature = match reader.u8().ok()? {
        0 => "None,0".to_owned(),
        1 => {
            let [a, b, c, d, ..] = signature;
            format!("MBR,{:#010x}", u32::from_le_bytes([a, b, c, d]))
        }
        2 => format!("GPT,{}", Guid::from_bytes(signature)),
        _ => return None,
    };
    Some(format!("HD({number},{signature},{start:#x},{size:#x})"))
}
