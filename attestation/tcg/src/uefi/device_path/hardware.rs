//! Hardware device path nodes (UEFI Specification 2.10, section 10.3.2).

use super::vendor;
use crate::Reader;

/// The text of a node; `None` where type or shape is unknown.
pub(super) fn text(sub_type: u8, mut reader: Reader<'_>) -> Option<String> {
    let text = match sub_type {
        1 => {
            let (function, device) = (reader.u8().ok()?, reader.u8().ok()?);
            format!("Pci({device:#x},{function:#x})")
        }
        2 => format!("PcCard({:#x})", reader.u8().ok()?),
        3 => {
            let memory_type = reader.u32_le().ok()?;
            let (start, end) = (reader.u64_le().ok()?, reader.u64_le().ok()?);
            format!("MemoryMapped({memory_type:#x},{start:#x},{end:#x})")
        }
        4 => return vendor("VenHw", reader),
        5 => format!("Ctrl({:#x})", reader.u32_le().ok()?),
        6 => {
            let interface = reader.u8().ok()?;
            format!("BMC({interface:#x},{:#x})", reader.u64_le().ok()?)
        }
        _ => return None,
    };
    reader.end().ok()?;
    Some(text)
}
