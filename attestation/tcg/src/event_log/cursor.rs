//! A position in a log. Its integers are little-endian, unlike those of the TPM's own structures.

use super::{LogError, LogFault};

#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// Where `bytes` begins in the file.
    base: usize,
    at: usize,
    event: Option<u32>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, base: 0, at: 0, event: None }
    }

    /// Over part of the same event, which ends where this cursor stands.
    pub(super) fn within(&self, part: &'a [u8]) -> Self {
        Self { bytes: part, base: self.offset().saturating_sub(part.len()), at: 0, event: self.event }
    }

    /// Names the event that is read from here on.
    pub(super) fn begin(&mut self, event: u32) {
        self.event = Some(event);
    }

    /// Where this is in the file.
    pub(super) fn offset(&self) -> usize {
        self.base + self.at
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub(super) fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], LogError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or_else(|| {
            let reason = LogFault::Short { field, needed: count, left: rest.len() };
            self.fault(self.offset(), reason)
        })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], LogError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, LogError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, LogError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, LogError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// An error about the field at this offset.
    pub(super) fn fault(&self, offset: usize, reason: LogFault) -> LogError {
        LogError { offset, event: self.event, reason }
    }
}
