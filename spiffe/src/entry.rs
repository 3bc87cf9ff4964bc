//! Registration entries, as SPIRE defines them (`spire.api.types.Entry`).

use crate::{Selector, SpiffeId, TrustDomain};

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
