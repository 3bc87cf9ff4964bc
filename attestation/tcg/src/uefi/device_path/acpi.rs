//! ACPI device path nodes (UEFI Specification 2.10, section 10.3.3).

use super::printable;
use crate::Reader;

/// The compressed form of `PNP`.
const PNP: u16 = 0x41d0;

/// The text of a node; `None` where type or shape is unknown.
pub(super) fn text(sub_type: u8, mut reader: Reader<'_>) -> Option<String> {
    let text = match sub_type {
        1 => {
            let (hid, uid) = (reader.u32_le().ok()?, reader.u32_le().ok()?);
            match pnp(hid) {
                Some(0x0a03) => format!("PciRoot({uid:#x})"),
                Some(0x0a08) => format!("PcieRoot({uid:#x})"),
                Some(0x0604) => format!("Floppy({uid:#x})"),
                Some(0x0301) => format!("Keyboard({uid:#x})"),
                Some(0x0501) => format!("Serial({uid:#x})"),
                Some(0x0401) => format!("ParallelPort({uid:#x})"),
                _ => format!("Acpi({},{uid:#x})", eisa(hid)),
            }
        }
        2 => {
            let (hid, uid, cid) = (reader.u32_le().ok()?, reader.u32_le().ok()?, reader.u32_le().ok()?);
            let strings = reader.take(reader.left()).ok()?;
            let strings = std::str::from_utf8(strings).ok()?;
            let mut strings = strings.split('\0').map(printable);
            let (hid_text, uid_text, cid_text) = (strings.next()?, strings.next()?, strings.next()?);
            let or = |text: String, number: String| if text.is_empty() { number } else { text };
            format!(
                "AcpiEx({},{},{})",
                or(hid_text, eisa(hid)),
                or(cid_text, eisa(cid)),
                or(uid_text, format!("{uid:#x}"))
            )
        }
        3 => {
            let mut addresses = vec![format!("{:#x}", reader.u32_le().ok()?)];
            while reader.left() > 0 {
                addresses.push(format!("{:#x}", reader.u32_le().ok()?));
            }
            format!("AcpiAdr({})", addresses.join(","))
        }
        _ => return None,
    };
    reader.end().ok()?;
    Some(text)
}

/// Product number of a `PNP` identifier.
fn pnp(id: u32) -> Option<u16> {
    let [a, b, c, d] = id.to_le_bytes();
    (u16::from_le_bytes([a, b]) == PNP).then(|| u16::from_le_bytes([c, d]))
}

/// An EISA identifier as text: three letters of five bits each, and a number.
fn eisa(id: u32) -> String {
    let letters: Option<String> = [10, 5, 0]
        .iter()
        .map(|shift| char::from_u32(0x40 + (id >> shift & 0x1f)).filter(char::is_ascii_uppercase))
        .collect();
    match letters {
        Some(letters) => format!("{letters}{:04X}", id >> 16),
        None => format!("{id:#x}"),
    }
}
