//! EFI_DEVICE_PATH_PROTOCOL (UEFI Specification 2.10, section 10), read and written as text (section 10.6.1).
//!
//! A path names a place; whether anything that a digest covers came from there, it does not say. A node of unknown type or shape
//! stays readable as hexadecimal bytes, so that one odd node does not hide the rest.

mod acpi;
mod hardware;
mod media;
mod messaging;

use std::fmt;

use crate::{ReadError, Reader};

/// Most nodes of one path: real ones have about ten.
pub const MAX_DEVICE_PATH_NODES: usize = 128;

/// Most bytes of an unknown node that are shown.
const MAX_SHOWN: usize = 64;

/// Type, SubType, Length.
const HEADER_LEN: usize = 4;

const HARDWARE: u8 = 1;
const ACPI: u8 = 2;
const MESSAGING: u8 = 3;
const MEDIA: u8 = 4;
const BIOS_BOOT: u8 = 5;
const END: u8 = 0x7f;
/// Some old firmware ends paths with this type.
const END_OLD: u8 = 0xff;
const END_ENTIRE: u8 = 0xff;

/// One node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePathNode<'a> {
    /// Type.
    pub node_type: u8,
    /// SubType.
    pub sub_type: u8,
    /// What follows the header.
    pub data: &'a [u8],
}

impl DevicePathNode<'_> {
    fn is_end(&self) -> bool {
        matches!(self.node_type, END | END_OLD)
    }

    fn is_end_entire(&self) -> bool {
        self.is_end() && self.sub_type == END_ENTIRE
    }
}

/// A path from hardware to a file, or part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePath<'a> {
    nodes: Vec<DevicePathNode<'a>>,
}

impl<'a> DevicePath<'a> {
    /// Reads a path that fills `bytes`. No bytes are an empty path; the end node may be missing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("EFI_DEVICE_PATH_PROTOCOL", bytes);
        let path = Self::read(&mut reader, bytes.len())?;
        reader.end()?;
        Ok(path)
    }

    /// The nodes, without the one that ends the path; those that separate instances are among them.
    pub fn nodes(&self) -> &[DevicePathNode<'a>] {
        &self.nodes
    }

    /// The file that the path ends in: the text of its Media File Path nodes, joined by `\`. Not escaped.
    pub fn file_path(&self) -> Option<String> {
        let mut parts = self.nodes.iter().filter_map(media::file_path).peekable();
        parts.peek()?;
        Some(parts.fold(String::new(), |path, part| {
            match (path.is_empty(), path.ends_with('\\') || part.starts_with('\\')) {
                (true, _) => part,
                (false, true) => path + &part,
                (false, false) => path + "\\" + &part,
            }
        }))
    }

    /// Reads the next `len` bytes as one path.
    pub(crate) fn read(reader: &mut Reader<'a>, len: usize) -> Result<Self, ReadError> {
        let before = reader.left();
        let path = Self::read_first(reader, len)?;
        match len.saturating_sub(before.saturating_sub(reader.left())) {
            0 => Ok(path),
            left => {
                Err(reader.value("length of a device path after its end node", u64::try_from(left).unwrap_or(u64::MAX)))
            }
        }
    }

    /// Reads a path that lies in the next `len` bytes, up to its end node or theirs.
    pub(crate) fn read_first(reader: &mut Reader<'a>, len: usize) -> Result<Self, ReadError> {
        if len > reader.left() {
            reader.take(len)?;
        }
        let mut left = len;
        let mut nodes = Vec::new();
        while left > 0 {
            if nodes.len() == MAX_DEVICE_PATH_NODES {
                return Err(reader.too_many("nodes of a device path", nodes.len() + 1, MAX_DEVICE_PATH_NODES));
            }
            let before = reader.clone();
            let (node_type, sub_type, node_len) = (reader.u8()?, reader.u8()?, reader.u16_le()?);
            let size = usize::from(node_len);
            if size < HEADER_LEN || size > left {
                return Err(before.value("Length of a device path node", node_len.into()));
            }
            let node = DevicePathNode { node_type, sub_type, data: reader.take(size - HEADER_LEN)? };
            left -= size;
            if node.is_end_entire() {
                break;
            }
            nodes.push(node);
        }
        Ok(Self { nodes })
    }
}

impl fmt::Display for DevicePath<'_> {
    /// Nodes by the text forms of the specification, separated by `/`, instances by `,`. Characters that do not print are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for node in &self.nodes {
            if node.is_end() {
                separator = ",";
                continue;
            }
            f.write_str(separator)?;
            separator = "/";
            write_node(f, node)?;
        }
        Ok(())
    }
}

/// A node's text, or `Path(type,subtype,bytes)` as the specification has it for nodes that have none.
fn write_node(f: &mut fmt::Formatter<'_>, node: &DevicePathNode<'_>) -> fmt::Result {
    let reader = Reader::new("device path node", node.data);
    let text = match node.node_type {
        HARDWARE => hardware::text(node.sub_type, reader),
        ACPI => acpi::text(node.sub_type, reader),
        MESSAGING => messaging::text(node.sub_type, reader),
        MEDIA => media::text(node.sub_type, reader),
        BIOS_BOOT => bios_boot(reader),
        _ => None,
    };
    match text {
        Some(text) => f.write_str(&text),
        None => write!(f, "Path({},{}{}{})", node.node_type, node.sub_type, comma(node.data), hex(node.data)),
    }
}

/// BIOS Boot Specification: DeviceType, StatusFlag, Description in ASCII.
fn bios_boot(mut reader: Reader<'_>) -> Option<String> {
    let (device_type, status) = (reader.u16_le().ok()?, reader.u16_le().ok()?);
    let description = reader.take(reader.left()).ok()?;
    let description = std::str::from_utf8(description).ok()?.trim_end_matches('\0');
    Some(format!("BBS({device_type:#x},{},{status:#x})", printable(description)))
}

/// A vendor's node: its GUID and bytes.
fn vendor(name: &str, mut reader: Reader<'_>) -> Option<String> {
    let guid = super::Guid::read(&mut reader).ok()?;
    let data = reader.take(reader.left()).ok()?;
    Some(format!("{name}({guid}{}{})", comma(data), hex(data)))
}

fn comma(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() { "" } else { "," }
}

/// The bytes in hexadecimal; of a long node only the beginning.
fn hex(bytes: &[u8]) -> String {
    let shown = bytes.get(..MAX_SHOWN).unwrap_or(bytes);
    let mut text: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}

/// The text with what does not print escaped; quotes and backslashes stay, for paths are full of them.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '"' | '\'') {
            printable.push(character);
        } else {
            printable.extend(character.escape_debug());
        }
    }
    printable
}

#[cfg(test)]
mod tests;
