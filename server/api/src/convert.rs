//! Between messages and the server's own types. A message is refused here, before any service sees it; nothing is guessed or mended.

pub(crate) mod agent;
pub(crate) mod bundle;
pub(crate) mod entry;
pub(crate) mod filter;
mod id;
pub(crate) mod relationship;

pub(crate) use id::{agent_id, member_id, spiffe_id_to_proto, workload_id};

use plastron_proto::types;
use plastron_spiffe::{
    DnsNameError, MAX_HINT_LEN, MAX_SELECTORS, Selector, SelectorError, SpiffeId, SpiffeIdError, TrustDomain,
};

/// What is wrong with a message: InvalidArgument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConvertError {
    /// A message without the ID that it is about.
    #[error("request must specify SPIFFE ID")]
    NoId,
    /// One part of a message.
    #[error("{what}")]
    In {
        /// What is wrong with it.
        what: &'static str,
        /// Why.
        source: Box<ConvertError>,
    },
    /// Not the hexadecimal digits of a key's identifier.
    #[error("a key's identifier is given in hexadecimal digits")]
    KeyId,
    /// The two parts make no SPIFFE ID.
    #[error(transparent)]
    Id(#[from] SpiffeIdError),
    /// An ID of another trust domain or of another kind.
    #[error("\"{id}\" is not {what} trust domain \"{trust_domain}\"{reason}")]
    Not {
        /// The ID.
        id: SpiffeId,
        /// What it should be.
        what: &'static str,
        /// The server's trust domain.
        trust_domain: TrustDomain,
        /// Empty, or why not.
        reason: &'static str,
    },
    /// An entry for whatever workload there is.
    #[error("selector list is empty")]
    NoSelector,
    /// A DNS name that is none.
    #[error("invalid DNS name")]
    DnsName(#[from] DnsNameError),
    /// A hint that is no hint.
    #[error("hint is too long, max length is {MAX_HINT_LEN} characters")]
    Hint,
    /// A selector that is none.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// More items than a list may have.
    #[error("{got} {what}, of at most {limit}")]
    TooMany {
        /// Items of which kind.
        what: &'static str,
        /// How many there were.
        got: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A list that must have items has none.
    #[error("empty {what} set")]
    Empty {
        /// Items of which kind.
        what: &'static str,
    },
    /// A number that is not in its range.
    #[error("{what} must not be negative, and is {got}")]
    Negative {
        /// Which number.
        what: &'static str,
        /// The number.
        got: i64,
    },
    /// An enum value that nobody knows.
    #[error("unknown match behavior {got}")]
    Match {
        /// The value.
        got: i32,
    },
    /// A moment in another form.
    #[error("{text:?} is not of the form \"2006-01-02 15:04:05 -0700 -07\"")]
    Time {
        /// What was sent.
        text: String,
    },
}

impl ConvertError {
    /// As a part of a message.
    fn within(self, what: &'static str) -> Self {
        Self::In { what, source: Box::new(self) }
    }
}

/// Selectors, sorted and without duplicates.
pub(crate) fn selectors(list: Vec<types::Selector>) -> Result<Vec<Selector>, ConvertError> {
    if list.len() > MAX_SELECTORS {
        return Err(ConvertError::TooMany { what: "selectors", got: list.len(), limit: MAX_SELECTORS });
    }
    let mut selectors = list
        .into_iter()
        .map(|types::Selector { r#type, value }| Selector::new(r#type, value))
        .collect::<Result<Vec<_>, _>>()?;
    selectors.sort_unstable();
    selectors.dedup();
    Ok(selectors)
}

pub(crate) fn selectors_to_proto(selectors: &[Selector]) -> Vec<types::Selector> {
    selectors.iter().map(|s| types::Selector { r#type: s.kind().to_owned(), value: s.value().to_owned() }).collect()
}

#[cfg(test)]
mod tests;
