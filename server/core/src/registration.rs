//! Registration entries: validated, stored, listed, and found for agents.

mod filter;

use std::sync::Arc;

use plastron_spiffe::{EntryError as EntryRule, RegistrationEntry, Selector, SpiffeId, TrustDomain};

pub use filter::{EntryFilter, MatchBehavior};

use crate::audit;
use crate::authorization::{Agent, Permit, Rpc, rpc};
use crate::clock::{Clock, unix_seconds};
use crate::ledger::{Ledger, Write};
use crate::limits::{MAX_ENTRIES_PER_CALL, MAX_SELECTOR_LEN};
use crate::page::{Page, PageRequest, PageTokenError};
use crate::store::{EntryConflict, StoreError};

/// How often an update is tried again after someone else changed the entry first.
const UPDATE_ATTEMPTS: usize = 4;

/// An entry's new values; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of RegistrationEntry")]
pub struct EntryPatch {
    pub id: String,
    pub spiffe_id: Option<SpiffeId>,
    pub parent_id: Option<SpiffeId>,
    pub selectors: Option<Vec<Selector>>,
    pub x509_svid_ttl: Option<u32>,
    pub jwt_svid_ttl: Option<u32>,
    pub federates_with: Option<Vec<TrustDomain>>,
    pub admin: Option<bool>,
    pub downstream: Option<bool>,
    pub expires_at: Option<i64>,
    pub dns_names: Option<Vec<String>>,
    pub store_svid: Option<bool>,
    pub hint: Option<String>,
    pub disable_x509_svid_prefetch: Option<bool>,
    pub jwt_svid_include_jti: Option<bool>,
}

/// Creates, changes, lists and finds entries.
pub struct Registration {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    trust_domain: TrustDomain,
}

impl Registration {
    pub(crate) fn new(ledger: Arc<Ledger>, clock: Arc<dyn Clock>, trust_domain: TrustDomain) -> Self {
        Self { ledger, clock, trust_domain }
    }

    /// Creates entries, in one transaction; results are in the order of `entries`.
    ///
    /// An empty identifier is replaced by a UUID; `revision_number` and `created_at` are set here.
    pub async fn create(
        &self,
        permit: Permit<rpc::BatchCreateEntry>,
        entries: Vec<RegistrationEntry>,
    ) -> Result<Vec<Result<Arc<RegistrationEntry>, EntryError>>, RegistrationError> {
        check_count(entries.len())?;
        let now = unix_seconds(self.clock.now());
        let (mut valid, mut results) = (Vec::new(), Vec::new());
        for mut entry in entries {
            if entry.id.is_empty() {
                entry.id = uuid::Uuid::new_v4().to_string();
            }
            entry.revision_number = 0;
            entry.created_at = now;
            match self.validated(entry) {
                Ok(entry) => {
                    valid.push(entry);
                    results.push(None);
                }
                Err(fault) => results.push(Some(Err(EntryError::Invalid(fault)))),
            }
        }
        let stored: Vec<Result<Arc<RegistrationEntry>, EntryConflict>> = if valid.is_empty() {
            Vec::new()
        } else {
            self.ledger
                .write(Write::CreateEntries, move |store| async move { store.create_entries(valid).await })
                .await
                .inspect_err(|error| audit_failure(&permit, "entry create", error))?
        };
        let results = merge(results, stored);
        for result in &results {
            audit_entry(&permit, "entry create", result);
        }
        Ok(results)
    }

    /// Changes entries; results are in the order of `patches`. Each is checked as a whole after its change.
    pub async fn update(
        &self,
        permit: Permit<rpc::BatchUpdateEntry>,
        patches: Vec<EntryPatch>,
    ) -> Result<Vec<Result<Arc<RegistrationEntry>, EntryError>>, RegistrationError> {
        check_count(patches.len())?;
        let mut results: Vec<Option<Result<Arc<RegistrationEntry>, EntryError>>> = Vec::new();
        results.resize_with(patches.len(), || None);
        for _attempt in 0..UPDATE_ATTEMPTS {
            let mut changed = Vec::new();
            for (result, patch) in results.iter_mut().zip(&patches) {
                if result.is_none() {
                    match self.patched(patch) {
                        Ok(entry) => changed.push(entry),
                        Err(error) => *result = Some(Err(error)),
                    }
                }
            }
            if changed.is_empty() {
                break;
            }
            let stored: Vec<Result<Arc<RegistrationEntry>, EntryConflict>> = self
                .ledger
                .write(Write::UpdateEntries, move |store| async move { store.update_entries(changed).await })
                .await
                .inspect_err(|error| audit_failure(&permit, "entry update", error))?;
            let mut moved = false;
            let open = results.iter_mut().filter(|result| result.is_none());
            for (result, stored) in open.zip(stored) {
                match stored {
                    Err(EntryConflict::Moved { .. }) => moved = true,
                    stored => *result = Some(stored.map_err(EntryError::from)),
                }
            }
            if !moved {
                break;
            }
            self.ledger.catch_up().await?;
        }
        let moved = |patch: &EntryPatch| Err(EntryError::Moved { id: patch.id.clone() });
        let results: Vec<_> =
            results.into_iter().zip(&patches).map(|(result, patch)| result.unwrap_or_else(|| moved(patch))).collect();
        for result in &results {
            audit_entry(&permit, "entry update", result);
        }
        Ok(results)
    }

    /// Deletes entries, in one transaction; results are in the order of `ids`.
    pub async fn delete(
        &self,
        permit: Permit<rpc::BatchDeleteEntry>,
        ids: Vec<String>,
    ) -> Result<Vec<Result<(), EntryError>>, RegistrationError> {
        check_count(ids.len())?;
        let deleted = ids.clone();
        let results: Vec<Result<(), EntryConflict>> = self
            .ledger
            .write(Write::DeleteEntries, move |store| async move { store.delete_entries(deleted).await })
            .await
            .inspect_err(|error| audit_failure(&permit, "entry delete", error))?;
        let results: Vec<_> = results.into_iter().map(|result| result.map_err(EntryError::from)).collect();
        for (id, result) in ids.iter().zip(&results) {
            let outcome = audit::outcome(result);
            audit::change(permit.identity(), "entry delete", id, &outcome);
        }
        Ok(results)
    }

    /// One entry.
    pub fn get(&self, _permit: Permit<rpc::GetEntry>, id: &str) -> Result<Arc<RegistrationEntry>, EntryError> {
        self.ledger.state().entry(id).ok_or_else(|| EntryError::NotFound { id: id.to_owned() })
    }

    /// The entries that the filter wants, by identifier.
    pub fn list(
        &self,
        _permit: Permit<rpc::ListEntries>,
        filter: &EntryFilter,
        page: &PageRequest,
    ) -> Result<Page<Arc<RegistrationEntry>>, PageTokenError> {
        let after = page.after()?;
        let limit = page.limit();
        let wanted = |entry: &RegistrationEntry| filter.wants(entry);
        let entries = self.ledger.state().entries_after(after.as_deref(), limit.saturating_add(1), wanted);
        Ok(Page::gather(entries.into_iter(), limit, |entry| entry.id.as_str()))
    }

    /// How many entries the filter wants.
    pub fn count(&self, _permit: Permit<rpc::CountEntries>, filter: &EntryFilter) -> usize {
        self.ledger.state().count_entries(|entry| filter.wants(entry))
    }

    /// The entries that the calling agent may serve, by identifier (GetAuthorizedEntries, SyncAuthorizedEntries). Reads no
    /// database.
    pub fn authorized_entries<R: Rpc<Caller = Agent>>(&self, permit: &Permit<R>) -> Vec<Arc<RegistrationEntry>> {
        self.ledger.state().authorized_entries(permit.caller().id(), unix_seconds(self.clock.now()))
    }

    /// SPIRE's rules for entries; besides, selectors have a reasonable length, and there is a bundle for each foreign trust domain.
    /// Selectors and foreign trust domains come back sorted and without duplicates.
    fn validated(&self, mut entry: RegistrationEntry) -> Result<RegistrationEntry, EntryFault> {
        entry.validate(&self.trust_domain)?;
        entry.selectors.sort_unstable();
        entry.selectors.dedup();
        entry.federates_with.sort_unstable();
        entry.federates_with.dedup();
        let lengths = entry.selectors.iter().map(|selector| selector.kind().len() + selector.value().len());
        if let Some(len) = lengths.into_iter().find(|len| *len > MAX_SELECTOR_LEN) {
            return Err(EntryFault::SelectorTooLong { len });
        }
        let state = self.ledger.state();
        // The store looks again: a bundle may be deleted until the entry is there.
        let known = |trust_domain: &&TrustDomain| {
            **trust_domain == self.trust_domain || state.federated_bundle(trust_domain).is_some()
        };
        match entry.federates_with.iter().find(|trust_domain| !known(trust_domain)) {
            Some(unknown) => Err(EntryFault::NoFederatedBundle { trust_domain: unknown.clone() }),
            None => Ok(entry),
        }
    }

    fn patched(&self, patch: &EntryPatch) -> Result<RegistrationEntry, EntryError> {
        let present = self.ledger.state().entry(&patch.id);
        let present = present.ok_or_else(|| EntryError::NotFound { id: patch.id.clone() })?;
        Ok(self.validated(patch.apply(&present))?)
    }
}

impl EntryPatch {
    fn apply(&self, present: &RegistrationEntry) -> RegistrationEntry {
        fn new<T: Clone>(wanted: &Option<T>, present: &T) -> T {
            wanted.as_ref().unwrap_or(present).clone()
        }
        RegistrationEntry {
            id: present.id.clone(),
            spiffe_id: new(&self.spiffe_id, &present.spiffe_id),
            parent_id: new(&self.parent_id, &present.parent_id),
            selectors: new(&self.selectors, &present.selectors),
            x509_svid_ttl: new(&self.x509_svid_ttl, &present.x509_svid_ttl),
            jwt_svid_ttl: new(&self.jwt_svid_ttl, &present.jwt_svid_ttl),
            federates_with: new(&self.federates_with, &present.federates_with),
            admin: new(&self.admin, &present.admin),
            downstream: new(&self.downstream, &present.downstream),
            expires_at: new(&self.expires_at, &present.expires_at),
            dns_names: new(&self.dns_names, &present.dns_names),
            revision_number: present.revision_number,
            store_svid: new(&self.store_svid, &present.store_svid),
            hint: new(&self.hint, &present.hint),
            created_at: present.created_at,
            disable_x509_svid_prefetch: new(&self.disable_x509_svid_prefetch, &present.disable_x509_svid_prefetch),
            jwt_svid_include_jti: new(&self.jwt_svid_include_jti, &present.jwt_svid_include_jti),
        }
    }
}

fn check_count(got: usize) -> Result<(), RegistrationError> {
    if got > MAX_ENTRIES_PER_CALL { Err(RegistrationError::TooMany { got }) } else { Ok(()) }
}

/// Puts what the store answered into the places that validation left open.
fn merge(
    results: Vec<Option<Result<Arc<RegistrationEntry>, EntryError>>>,
    stored: Vec<Result<Arc<RegistrationEntry>, EntryConflict>>,
) -> Vec<Result<Arc<RegistrationEntry>, EntryError>> {
    let mut stored = stored.into_iter();
    results
        .into_iter()
        .filter_map(|result| match result {
            Some(result) => Some(result),
            None => stored.next().map(|stored| stored.map_err(EntryError::from)),
        })
        .collect()
}

/// The whole call failed.
fn audit_failure<R: Rpc>(permit: &Permit<R>, action: &'static str, error: &StoreError) {
    audit::change(permit.identity(), action, "", &audit::chain(error));
}

fn audit_entry<R: Rpc>(permit: &Permit<R>, action: &'static str, result: &Result<Arc<RegistrationEntry>, EntryError>) {
    match result {
        Ok(entry) => {
            let subject = format!("{} {} parent {}", entry.id, entry.spiffe_id, entry.parent_id);
            audit::change(permit.identity(), action, &subject, "ok");
        }
        Err(error) => audit::change(permit.identity(), action, "", &audit::chain(error)),
    }
}

/// Why nothing of a call was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// More items than one call may have: InvalidArgument.
    #[error("{got} entries in one call, of at most {MAX_ENTRIES_PER_CALL}")]
    TooMany {
        /// How many there were.
        got: usize,
    },
    /// The store failed.
    #[error("the entries can't be stored")]
    Store(#[from] StoreError),
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// It breaks a rule that every entry keeps.
    #[error(transparent)]
    Rule(#[from] EntryRule),
    /// A selector that is too long.
    #[error("a selector of {len} bytes, of at most {MAX_SELECTOR_LEN}")]
    SelectorTooLong {
        /// Its length.
        len: usize,
    },
    /// A foreign trust domain that this server has no bundle of.
    #[error("unable to find federated bundle \"spiffe://{trust_domain}\"")]
    NoFederatedBundle {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
}

/// Why one entry was not created, changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It is not valid: InvalidArgument.
    #[error("invalid entry")]
    Invalid(#[from] EntryFault),
    /// Another entry has this SPIFFE ID, parent and selectors: AlreadyExists, with that entry.
    #[error("similar entry already exists")]
    Exists(Arc<RegistrationEntry>),
    /// Another entry has this identifier: AlreadyExists.
    #[error("an entry with the ID {id:?} already exists")]
    IdTaken {
        /// The identifier.
        id: String,
    },
    /// No such entry: NotFound.
    #[error("entry not found")]
    NotFound {
        /// The identifier.
        id: String,
    },
    /// Others changed it again and again at the same time: Aborted.
    #[error("entry {id:?} is being changed by others")]
    Moved {
        /// The identifier.
        id: String,
    },
}

impl From<EntryConflict> for EntryError {
    fn from(conflict: EntryConflict) -> Self {
        match conflict {
            EntryConflict::Exists(entry) => Self::Exists(entry),
            EntryConflict::IdTaken { id } => Self::IdTaken { id },
            EntryConflict::NotFound { id } => Self::NotFound { id },
            EntryConflict::NoBundle { trust_domain } => Self::Invalid(EntryFault::NoFederatedBundle { trust_domain }),
            EntryConflict::Moved { id } => Self::Moved { id },
        }
    }
}
