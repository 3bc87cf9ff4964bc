//! Pages of a list: the caller gets an opaque token that says where the next one begins.

use plastron_spiffe::TrustDomain;

use crate::limits::MAX_PAGE;

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Items at most; 0 for the server's own limit.
    pub size: usize,
    /// The token of the page before, or empty for the first page.
    pub token: String,
}

/// Some items of a list, in a fixed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; empty after the last.
    pub next_token: String,
}

/// A page token that this server did not make.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not parse page token {token:?}")]
pub struct PageTokenError {
    /// What the caller sent, cut to a length that an answer can carry.
    pub token: String,
}

/// Characters of a refused token that are shown: our own are longer only for long SPIFFE IDs.
const MAX_SHOWN: usize = 64;

impl PageTokenError {
    pub(crate) fn of(token: &str) -> Self {
        Self { token: token.chars().take(MAX_SHOWN).collect() }
    }
}

impl PageRequest {
    pub(crate) fn limit(&self) -> usize {
        if self.size == 0 { MAX_PAGE } else { self.size.min(MAX_PAGE) }
    }

    /// The key of the last item of the page before.
    pub(crate) fn after(&self) -> Result<Option<String>, PageTokenError> {
        if self.token.is_empty() {
            return Ok(None);
        }
        let refused = || PageTokenError::of(&self.token);
        let bytes = hex::decode(&self.token).map_err(|_| refused())?;
        String::from_utf8(bytes).map(Some).map_err(|_| refused())
    }

    /// The same, where items are in the order of trust domains.
    pub(crate) fn after_trust_domain(&self) -> Result<Option<TrustDomain>, PageTokenError> {
        let refused = |_fault| PageTokenError::of(&self.token);
        self.after()?.map(|name| TrustDomain::parse(&name).map_err(refused)).transpose()
    }
}

impl<T> Page<T> {
    /// Takes one item more than `limit` to learn whether there is another page. `items` come in the order of their keys, and
    /// all of them lie after the page before.
    pub(crate) fn gather(items: impl Iterator<Item = T>, limit: usize, key: impl Fn(&T) -> &str) -> Self {
        let mut gathered: Vec<T> = items.take(limit.saturating_add(1)).collect();
        let more = gathered.len() > limit;
        gathered.truncate(limit);
        let next_token = match gathered.last() {
            Some(last) if more => hex::encode(key(last)),
            _ => String::new(),
        };
        Self { items: gathered, next_token }
    }
}
