//! A reader of structures: zero-copy, bounded by its input, and exact about what is wrong where. Numbers are the TPM's, big-endian,
//! unless the name ends in `_le`: firmware, boot loaders and Linux write little-endian.

use crate::HashAlgorithm;

/// Why bytes are not the structure that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{structure} at offset {offset}: {reason}")]
pub struct ReadError {
    /// The structure that was being read, by its name in the specification that its module names.
    pub structure: &'static str,
    /// Where in the input reading stopped.
    pub offset: usize,
    /// What is wrong there.
    pub reason: ReadFault,
}

/// What can be wrong with bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    /// The input ends too early.
    #[error("{needed} bytes needed, {left} left")]
    Short {
        /// How many were to be read.
        needed: usize,
        /// How many there were.
        left: usize,
    },
    /// The structure ends and the input does not.
    #[error("{left} bytes after the end")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A value that this field can't have.
    #[error("{field} is {value:#x}")]
    Value {
        /// The field, by the specification's name.
        field: &'static str,
        /// What stood there.
        value: u64,
    },
    /// More of something than the limit.
    #[error("{got} {what}, at most {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        got: usize,
        /// The limit.
        limit: usize,
    },
}

/// A position in bytes that hold one structure.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    structure: &'static str,
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// At the beginning of bytes that hold this structure and nothing else.
    pub fn new(structure: &'static str, bytes: &'a [u8]) -> Self {
        Self { structure, bytes, offset: 0 }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let left = self.bytes.get(self.offset..).unwrap_or_default();
        let taken =
            left.get(..count).ok_or_else(|| self.fault(ReadFault::Short { needed: count, left: left.len() }))?;
        self.offset += count;
        Ok(taken)
    }

    /// The next `N` bytes, as they are.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// UINT8.
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// UINT16.
    pub fn u16(&mut self) -> Result<u16, ReadError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// UINT32.
    pub fn u32(&mut self) -> Result<u32, ReadError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// UINT64.
    pub fn u64(&mut self) -> Result<u64, ReadError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// UINT16, little-endian.
    pub fn u16_le(&mut self) -> Result<u16, ReadError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// UINT32, little-endian.
    pub fn u32_le(&mut self) -> Result<u32, ReadError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// UINT64, little-endian.
    pub fn u64_le(&mut self) -> Result<u64, ReadError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length of at most `limit`, from a little-endian UINT32: an error names it and stands at its own offset.
    pub fn length_u32_le(&mut self, what: &'static str, limit: usize) -> Result<usize, ReadError> {
        let before = self.clone();
        let got = usize::try_from(self.u32_le()?).unwrap_or(usize::MAX);
        if got > limit { Err(before.too_many(what, got, limit)) } else { Ok(got) }
    }

    /// A length of at most `limit`, from a little-endian UINT64: an error names it and stands at its own offset.
    pub fn length_u64_le(&mut self, what: &'static str, limit: usize) -> Result<usize, ReadError> {
        let before = self.clone();
        let got = usize::try_from(self.u64_le()?).unwrap_or(usize::MAX);
        if got > limit { Err(before.too_many(what, got, limit)) } else { Ok(got) }
    }

    /// A TPM2B: a 16-bit size and as many bytes.
    pub fn tpm2b(&mut self) -> Result<&'a [u8], ReadError> {
        let size = self.u16()?;
        self.take(usize::from(size))
    }

    /// TPMI_YES_NO: nothing but 0 and 1.
    pub fn yes_no(&mut self, field: &'static str) -> Result<bool, ReadError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(self.value(field, value.into())),
        }
    }

    /// TPMI_ALG_HASH, of the functions that this crate knows.
    pub fn hash(&mut self, field: &'static str) -> Result<HashAlgorithm, ReadError> {
        let id = self.u16()?;
        HashAlgorithm::from_id(id).ok_or_else(|| self.value(field, id.into()))
    }

    /// Where the next byte is read from.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.offset)
    }

    /// The structure must end where its bytes end.
    pub fn end(self) -> Result<(), ReadError> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.fault(ReadFault::Trailing { left })),
        }
    }

    /// An error here.
    pub fn fault(&self, reason: ReadFault) -> ReadError {
        ReadError { structure: self.structure, offset: self.offset, reason }
    }

    /// An error about a count over its limit.
    pub fn too_many(&self, what: &'static str, got: usize, limit: usize) -> ReadError {
        self.fault(ReadFault::TooMany { what, got, limit })
    }

    /// An error about a value that was just read.
    pub fn value(&self, field: &'static str, value: u64) -> ReadError {
        self.fault(ReadFault::Value { field, value })
    }
}
