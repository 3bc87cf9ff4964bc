//! Registration entries, as SPIRE defines them (`spire.api.types.Entry`).

use crate::x509::MAX_DNS_NAMES;
use crate::{DnsNameError, Selector, SpiffeId, TrustDomain, dns_name};

/// Longest entry ID, in bytes, as in SPIRE.
pub const MAX_ENTRY_ID_LEN: usize = 255;
/// Longest hint, in bytes (SPIFFE_Workload_API.md, section 8).
pub const MAX_HINT_LEN: usize = 1024;
/// Most selectors of one entry: matching looks at each, and no attestor finds that many.
pub const MAX_SELECTORS: usize = 1024;
/// Most foreign trust domains of one entry: the bundle of each goes to the workload.
pub const MAX_FEDERATES_WITH: usize = 1024;

/// Who may have which SPIFFE ID: a workload below `parent_id` that has all of `selectors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationEntry {
    /// Identifier, unique in the server: `[A-Za-z0-9-_.]`, at most 255 bytes.
    pub id: String,
    /// The ID to be issued.
    pub spiffe_id: SpiffeId,
    /// The agent, alias or server under which the entry stands.
    pub parent_id: SpiffeId,
    /// At least one; a workload must have them all. Sorted, no duplicates.
    pub selectors: Vec<Selector>,
    /// Lifetime of X.509-SVIDs in seconds; 0 for the server's default.
    pub x509_svid_ttl: u32,
    /// Lifetime of JWT-SVIDs in seconds; 0 for the server's default.
    pub jwt_svid_ttl: u32,
    /// Foreign trust domains whose bundles the workload also receives.
    pub federates_with: Vec<TrustDomain>,
    /// Whether the ID may call the admin API.
    pub admin: bool,
    /// Whether the ID is that of a downstream server.
    pub downstream: bool,
    /// When the entry is pruned, Unix seconds; 0 for never.
    pub expires_at: i64,
    /// DNS names for the SVID; the first is also its common name.
    pub dns_names: Vec<String>,
    /// Counts changes, from 0.
    pub revision_number: i64,
    /// Whether the SVID goes to an SVID store instead of a workload.
    pub store_svid: bool,
    /// What tells one identity of a workload from another; at most 1,024 bytes.
    pub hint: String,
    /// When it was created, Unix seconds.
    pub created_at: i64,
    /// Agents do not fetch the SVID before a workload asks.
    pub disable_x509_svid_prefetch: bool,
    /// JWT-SVIDs carry a `jti`.
    pub jwt_svid_include_jti: bool,
}

impl RegistrationEntry {
    /// Checks a complete entry of a server of `trust_domain` by SPIRE's rules, in the order of `EntryError`. Whether bundles of
    /// the foreign trust domains exist is not known here.
    pub fn validate(&self, trust_domain: &TrustDomain) -> Result<(), EntryError> {
        let Self {
            id,
            spiffe_id,
            parent_id,
            selectors,
            x509_svid_ttl: _,
            jwt_svid_ttl: _,
            federates_with,
            admin: _,
            downstream: _,
            expires_at,
            dns_names,
            revision_number: _,
            store_svid,
            hint,
            created_at: _,
            disable_x509_svid_prefetch,
            jwt_svid_include_jti: _,
        } = self;
        check_id(id)?;
        for (what, member) in [("SPIFFE ID", spiffe_id), ("parent ID", parent_id)] {
            if member.trust_domain() != trust_domain {
                return Err(EntryError::TrustDomain { what, id: member.clone(), trust_domain: trust_domain.clone() });
            }
        }
        if spiffe_id.is_trust_domain() {
            return Err(EntryError::RootPath { id: spiffe_id.clone() });
        }
        if spiffe_id.is_reserved() {
            return Err(EntryError::Reserved { id: spiffe_id.clone() });
        }
        if selectors.is_empty() {
            return Err(EntryError::NoSelector);
        }
        for (what, got, limit) in [
            ("selectors", selectors.len(), MAX_SELECTORS),
            ("DNS names", dns_names.len(), MAX_DNS_NAMES),
            ("federated trust domains", federates_with.len(), MAX_FEDERATES_WITH),
            ("bytes of hint", hint.len(), MAX_HINT_LEN),
        ] {
            if got > limit {
                return Err(EntryError::TooMany { what, got, limit });
            }
        }
        dns_name::check_dns_names(dns_names)?;
        if *expires_at < 0 {
            return Err(EntryError::Expiry { expires_at: *expires_at });
        }
        if *store_svid {
            if *disable_x509_svid_prefetch {
                return Err(EntryError::StoreWithoutPrefetch);
            }
            let mut kinds = selectors.iter().map(Selector::kind);
            let first = kinds.next().unwrap_or_default();
            if let Some(second) = kinds.find(|kind| *kind != first) {
                return Err(EntryError::StoreSelectorTypes { first: first.to_owned(), second: second.to_owned() });
            }
        }
        Ok(())
    }
}

fn check_id(id: &str) -> Result<(), EntryError> {
    if id.is_empty() || id.len() > MAX_ENTRY_ID_LEN {
        return Err(EntryError::IdLength { len: id.len() });
    }
    match id.bytes().position(|b| !(b.is_ascii_alphanumeric() || b"-_.".contains(&b))) {
        Some(at) => Err(EntryError::IdCharacter { id: id.to_owned(), at }),
        None => Ok(()),
    }
}

/// Which rule a registration entry breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// An entry ID that is empty or too long.
    #[error("entry ID has {len} bytes, where 1 to {MAX_ENTRY_ID_LEN} are allowed")]
    IdLength {
        /// Its length.
        len: usize,
    },
    /// An entry ID with another character.
    #[error("entry ID {id:?} may have letters, digits, dashes, underscores and dots; byte {at} is none of them")]
    IdCharacter {
        /// The entry ID.
        id: String,
        /// Index of the byte.
        at: usize,
    },
    /// An ID of another trust domain.
    #[error("{what} {id} is not a member of trust domain {trust_domain}")]
    TrustDomain {
        /// SPIFFE ID or parent ID.
        what: &'static str,
        /// The ID.
        id: SpiffeId,
        /// The server's trust domain.
        trust_domain: TrustDomain,
    },
    /// The trust domain's own ID.
    #[error("SPIFFE ID {id} is not that of a workload; its path is empty")]
    RootPath {
        /// The ID.
        id: SpiffeId,
    },
    /// An ID that servers and agents have.
    #[error("SPIFFE ID {id} is not that of a workload; paths under /spire are reserved")]
    Reserved {
        /// The ID.
        id: SpiffeId,
    },
    /// An entry that any workload would match.
    #[error("selector list is empty")]
    NoSelector,
    /// Too much of something.
    #[error("{got} {what}, of at most {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How much.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// A DNS name that is none.
    #[error("a DNS name is refused")]
    DnsName(#[from] DnsNameError),
    /// A time before 1970.
    #[error("expiry {expires_at} is negative")]
    Expiry {
        /// Unix seconds.
        expires_at: i64,
    },
    /// A stored SVID is fetched ahead by nature.
    #[error("an entry for an SVID store can't disable the prefetch of X.509-SVIDs")]
    StoreWithoutPrefetch,
    /// An SVID store knows its own selectors only.
    #[error("an entry for an SVID store has selectors of types {first:?} and {second:?}; one type is allowed")]
    StoreSelectorTypes {
        /// One type.
        first: String,
        /// Another.
        second: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn td() -> TrustDomain {
        TrustDomain::parse("example.org").unwrap()
    }

    fn id(path: &str) -> SpiffeId {
        td().with_path(path).unwrap()
    }

    fn good() -> RegistrationEntry {
        RegistrationEntry {
            id: "d5c1b8c0-web_1.x".to_owned(),
            spiffe_id: id("/web"),
            parent_id: id("/spire/agent/tpm/ab"),
            selectors: vec![Selector::parse("unix:uid:1000").unwrap(), Selector::parse("unix:gid:1").unwrap()],
            x509_svid_ttl: 0,
            jwt_svid_ttl: 0,
            federates_with: Vec::new(),
            admin: false,
            downstream: false,
            expires_at: 0,
            dns_names: vec!["web.example.org".to_owned()],
            revision_number: 0,
            store_svid: false,
            hint: String::new(),
            created_at: 0,
            disable_x509_svid_prefetch: false,
            jwt_svid_include_jti: false,
        }
    }

    fn refusal(change: impl FnOnce(&mut RegistrationEntry)) -> EntryError {
        let mut entry = good();
        change(&mut entry);
        entry.validate(&td()).unwrap_err()
    }

    #[test]
    fn good_entries() {
        good().validate(&td()).unwrap();
        for parent in [td().id(), id("/spire/server"), id("/alias")] {
            RegistrationEntry { parent_id: parent, ..good() }.validate(&td()).unwrap();
        }
        RegistrationEntry { spiffe_id: id("/spirex"), store_svid: true, hint: "h".repeat(1024), ..good() }
            .validate(&td())
            .unwrap();
    }

    #[test]
    fn each_rule_has_its_error() {
        assert_eq!(refusal(|e| e.id = String::new()), EntryError::IdLength { len: 0 });
        assert_eq!(refusal(|e| e.id = "x".repeat(256)), EntryError::IdLength { len: 256 });
        assert_eq!(refusal(|e| e.id = "a/b".to_owned()), EntryError::IdCharacter { id: "a/b".to_owned(), at: 1 });
        let foreign = SpiffeId::parse("spiffe://other.org/web").unwrap();
        for what in ["SPIFFE ID", "parent ID"] {
            let error = refusal(|e| {
                let field = if what == "parent ID" { &mut e.parent_id } else { &mut e.spiffe_id };
                *field = foreign.clone();
            });
            assert_eq!(error, EntryError::TrustDomain { what, id: foreign.clone(), trust_domain: td() });
        }
        assert_eq!(refusal(|e| e.spiffe_id = td().id()), EntryError::RootPath { id: td().id() });
        for reserved in ["/spire", "/spire/server", "/spire/agent/x"] {
            assert_eq!(refusal(|e| e.spiffe_id = id(reserved)), EntryError::Reserved { id: id(reserved) });
        }
        assert_eq!(refusal(|e| e.selectors.clear()), EntryError::NoSelector);
        let too_many = |what, got, limit| EntryError::TooMany { what, got, limit };
        assert_eq!(refusal(|e| e.hint = "h".repeat(1025)), too_many("bytes of hint", 1025, 1024));
        assert_eq!(refusal(|e| e.dns_names = vec!["a".to_owned(); 129]), too_many("DNS names", 129, 128));
        assert_eq!(
            refusal(|e| e.selectors = vec![e.selectors.first().unwrap().clone(); 1025]),
            too_many("selectors", 1025, 1024)
        );
        assert_eq!(refusal(|e| e.federates_with = vec![td(); 1025]), too_many("federated trust domains", 1025, 1024));
        assert_eq!(refusal(|e| e.dns_names.push(String::new())), EntryError::DnsName(DnsNameError::Empty));
        assert_eq!(refusal(|e| e.expires_at = -1), EntryError::Expiry { expires_at: -1 });
        let no_prefetch = refusal(|e| (e.store_svid, e.disable_x509_svid_prefetch) = (true, true));
        assert_eq!(no_prefetch, EntryError::StoreWithoutPrefetch);
        let mixed = refusal(|e| {
            e.store_svid = true;
            e.selectors.push(Selector::parse("k8s:ns:a").unwrap());
        });
        assert_eq!(mixed, EntryError::StoreSelectorTypes { first: "unix".to_owned(), second: "k8s".to_owned() });
    }
}
