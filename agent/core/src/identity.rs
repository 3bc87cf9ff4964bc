//! One identity of a workload: the SVID of a registration entry, with its key.

use std::sync::Arc;

use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::X509Svid;

use crate::PrivateKey;
use crate::upstream::AuthorizedEntry;

/// An X.509-SVID with its private key, as one registration entry gives it to every workload that matches.
#[derive(Debug)]
pub struct Identity {
    /// The registration entry that it comes from.
    pub entry_id: Arc<str>,
    /// The SPIFFE ID, equal to the leaf's URI SAN.
    pub spiffe_id: SpiffeId,
    /// The entry's hint; may be empty.
    pub hint: String,
    /// When the entry was created, Unix seconds: of two identities with one hint, the oldest entry's is kept.
    pub entry_created_at: i64,
    /// Whether someone who acts for the workload may have it ([`AuthorizedEntry::is_delegable`]).
    pub is_delegable: bool,
    /// The chain, leaf first, DER, without the root; with its validity and serial number.
    pub svid: Arc<X509Svid>,
    /// The leaf's key.
    pub private_key: Arc<PrivateKey>,
}

impl Identity {
    /// The SVID that the server issued for an entry.
    pub(crate) fn new(entry: &AuthorizedEntry, svid: Arc<X509Svid>, private_key: Arc<PrivateKey>) -> Self {
        Self {
            entry_id: Arc::clone(&entry.id),
            spiffe_id: entry.spiffe_id.clone(),
            hint: entry.hint.clone(),
            entry_created_at: entry.created_at,
            is_delegable: entry.is_delegable(),
            svid,
            private_key,
        }
    }
}
