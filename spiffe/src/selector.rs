//! Selectors: what an attestor found out about a node or a workload, as `type:value`.

use std::fmt;

/// One property of a node or workload. The type is the attestor's name and holds no colon; the value may hold any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    kind: String,
    value: String,
}

impl Selector {
    /// Makes a selector from its two parts.
    pub fn new(kind: impl Into<String>, value: impl Into<String>) -> Result<Self, SelectorError> {
        let (kind, value) = (kind.into(), value.into());
        if kind.is_empty() {
            return Err(SelectorError::MissingType);
        }
        if kind.contains(':') {
            return Err(SelectorError::ColonInType { kind });
        }
        if value.is_empty() {
            return Err(SelectorError::MissingValue { kind });
        }
        Ok(Self { kind, value })
    }

    /// Parses `type:value`; the first colon separates.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let (kind, value) = text.split_once(':').ok_or_else(|| SelectorError::NoColon { text: text.to_owned() })?;
        Self::new(kind, value)
    }

    /// The part before the first colon.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The part after the first colon.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

/// Why something is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// `text` has no colon.
    #[error("selector {text:?} must be formatted as type:value")]
    NoColon {
        /// The input.
        text: String,
    },
    /// Nothing before the colon.
    #[error("missing selector type")]
    MissingType,
    /// A colon in the type.
    #[error("selector type contains ':': {kind:?}")]
    ColonInType {
        /// The type.
        kind: String,
    },
    /// Nothing after the colon.
    #[error("missing selector value of type {kind:?}")]
    MissingValue {
        /// The type.
        kind: String,
    },
}
