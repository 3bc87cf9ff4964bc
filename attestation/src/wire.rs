//! The encoding of every message: `"PLTP" ‖ version u8 ‖ (tag u16, length u32, value)*`, big-endian.
//!
//! One encoding per message: tags strictly ascend, an unknown tag is refused, and what is over its limit is refused before it is
//! looked at. Messages themselves are in `message` and `log_transfer`.

/// How every message begins.
const MAGIC: [u8; 4] = *b"PLTP";

/// The version that this code speaks. Version 1 knew neither event logs nor SVID keys in the TPM.
const VERSION: u8 = 2;

/// Longest message of any kind: what whoever carries messages has to let through. Each kind has its own limit, and none is longer.
pub const MAX_MESSAGE_LEN: usize = 192 * 1024;

/// The frame of a message that carries bytes of a log: magic, version, tag and length, with room to spare.
const FRAME_LEN: usize = 64;

/// A kind of message: how errors call it, and how long it may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) limit: usize,
}

impl Kind {
    /// Certificates with their chain are the bulk: nine of at most 16 KiB each. Anyone may send one.
    pub(crate) const PAYLOAD: Self = Self { name: "payload", limit: MAX_MESSAGE_LEN };
    /// A credential for an EK of RSA-8192 takes some 1.2 KiB, and nothing else in it is as long.
    pub(crate) const CHALLENGE: Self = Self { name: "challenge", limit: 4 * 1024 };
    /// PCR values of four banks take 8 KiB, two attestations with their signatures at most 6 KiB; the rest is the first part of a log,
    /// which is the whole log of every machine known. More is not taken from a node before its quote is verified.
    pub(crate) const RESPONSE: Self = Self { name: "response", limit: MAX_LOG_CHUNK_LEN + 32 * 1024 };
    /// One number.
    pub(crate) const LOG_REQUEST: Self = Self { name: "log request", limit: FRAME_LEN };
    /// One part of a log. Sent only by a node whose quote is verified.
    pub(crate) const LOG_CHUNK: Self = Self { name: "log chunk", limit: MAX_LOG_CHUNK_LEN + FRAME_LEN };
}

/// Longest part of a log in one message. The largest real log of a TPM that is known has 72,817 bytes, so that one part is the rule; the
/// largest log allowed, 4 MiB, comes in 26 parts.
pub(crate) const MAX_LOG_CHUNK_LEN: usize = 160 * 1024;

/// Most items of a list value: PCR values of four banks, or a chain.
const MAX_ITEMS: usize = 128;

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// No magic: another project's plugin, or none.
    #[error("the payload does not begin with \"PLTP\": the agent's tpm plugin is not this project's")]
    NotOurs,
    /// A version that is not spoken here.
    #[error("the message is of version {got}, this program speaks version {VERSION}")]
    Version {
        /// The version.
        got: u8,
    },
    /// Too long.
    #[error("the {message} has {len} bytes, at most {limit}")]
    TooLong {
        /// The message.
        message: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// It ends in the middle of a field.
    #[error("the message ends within {what}")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// Tags out of order or twice.
    #[error("tag {tag} after tag {after}")]
    Order {
        /// The tag.
        tag: u16,
        /// The one before.
        after: u16,
    },
    /// A tag that the message does not have.
    #[error("unknown tag {tag} in {message}")]
    UnknownTag {
        /// The message.
        message: &'static str,
        /// The tag.
        tag: u16,
    },
    /// A tag that the message must have.
    #[error("{message} lacks {field}")]
    Missing {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A value of the wrong length or form.
    #[error("{field}: {reason}")]
    Value {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Writes a message.
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        Self { bytes }
    }

    /// Callers write tags in ascending order; the round-trip tests hold them to it.
    pub(crate) fn field(mut self, tag: u16, value: &[u8]) -> Self {
        self.bytes.extend(tag.to_be_bytes());
        self.bytes.extend(length(value));
        self.bytes.extend_from_slice(value);
        self
    }

    pub(crate) fn optional(self, tag: u16, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.field(tag, value),
            None => self,
        }
    }

    /// A list; an empty one is not written.
    pub(crate) fn list<T: AsRef<[u8]>>(self, tag: u16, items: &[T]) -> Self {
        if items.is_empty() {
            return self;
        }
        let mut value = Vec::new();
        for item in items {
            value.extend(length(item.as_ref()));
            value.extend_from_slice(item.as_ref());
        }
        self.field(tag, &value)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// A value over 4 GiB can't be in memory that a message limit allows; its length then fails to read.
fn length(value: &[u8]) -> [u8; 4] {
    u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// The fields of a message, in ascending order of their tags.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    message: &'static str,
    fields: std::iter::Peekable<std::vec::IntoIter<(u16, &'a [u8])>>,
}

impl<'a> Fields<'a> {
    /// Reads the frame of a message of this kind.
    pub(crate) fn read(kind: Kind, bytes: &'a [u8]) -> Result<Self, WireError> {
        let Kind { name: message, limit } = kind;
        let rest = bytes.strip_prefix(&MAGIC).ok_or(WireError::NotOurs)?;
        if bytes.len() > limit {
            return Err(WireError::TooLong { message, len: bytes.len(), limit });
        }
        let (version, mut rest) = rest.split_first().ok_or(WireError::Truncated { what: "the version" })?;
        if *version != VERSION {
            return Err(WireError::Version { got: *version });
        }
        let mut fields: Vec<(u16, &[u8])> = Vec::new();
        while !rest.is_empty() {
            let tag = u16::from_be_bytes(*take(&mut rest, "a tag")?);
            if let Some((after, _)) = fields.last()
                && tag <= *after
            {
                return Err(WireError::Order { tag, after: *after });
            }
            fields.push((tag, take_sized(&mut rest, "a value")?));
        }
        Ok(Self { message, fields: fields.into_iter().peekable() })
    }

    pub(crate) fn optional(&mut self, tag: u16) -> Option<&'a [u8]> {
        self.fields.next_if(|(next, _)| *next == tag).map(|(_, value)| value)
    }

    pub(crate) fn required(&mut self, tag: u16, field: &'static str) -> Result<&'a [u8], WireError> {
        self.optional(tag).ok_or(WireError::Missing { message: self.message, field })
    }

    /// A value of exactly this length.
    pub(crate) fn sized<const N: usize>(
        &mut self,
        tag: u16,
        field: &'static str,
    ) -> Result<Option<&'a [u8; N]>, WireError> {
        let Some(value) = self.optional(tag) else { return Ok(None) };
        value.try_into().map(Some).map_err(|_| WireError::Value { field, reason: "of another length" })
    }

    /// At most `limit` items; none where the field is absent. An empty list is not written, so it is not read either.
    pub(crate) fn list(&mut self, tag: u16, field: &'static str, limit: usize) -> Result<Vec<Vec<u8>>, WireError> {
        let Some(mut rest) = self.optional(tag) else { return Ok(Vec::new()) };
        let mut items = Vec::new();
        if rest.is_empty() {
            return Err(WireError::Value { field, reason: "an empty list is left out" });
        }
        while !rest.is_empty() {
            if items.len() == limit.min(MAX_ITEMS) {
                return Err(WireError::Value { field, reason: "too many items" });
            }
            items.push(take_sized(&mut rest, "an item of a list")?.to_vec());
        }
        Ok(items)
    }

    /// Every field was asked for.
    pub(crate) fn finish(mut self) -> Result<(), WireError> {
        match self.fields.next() {
            Some((tag, _)) => Err(WireError::UnknownTag { message: self.message, tag }),
            None => Ok(()),
        }
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8], what: &'static str) -> Result<&'a [u8; N], WireError> {
    let (taken, left) = rest.split_first_chunk().ok_or(WireError::Truncated { what })?;
    *rest = left;
    Ok(taken)
}

fn take_sized<'a>(rest: &mut &'a [u8], what: &'static str) -> Result<&'a [u8], WireError> {
    let len = u32::from_be_bytes(*take(rest, what)?);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let (taken, left) = rest.split_at_checked(len).ok_or(WireError::Truncated { what })?;
    *rest = left;
    Ok(taken)
}
