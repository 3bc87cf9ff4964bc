//! Registration entries.

use std::collections::HashMap;
use std::sync::Arc;

use plastron_server_core::store::{Committed, EntryConflict, EntryStore, Event, StoreError};
use plastron_spiffe::{RegistrationEntry, TrustDomain};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::SqliteStore;
use crate::error::Purpose;
use crate::federation::entries::WithBundle;
use crate::row::{Columns, json_list};
use crate::write::{ROWS_PER_STATEMENT, Write};

const COLUMNS: &str = "id, identity_hash, spiffe_id, parent_id, selectors, x509_svid_ttl, jwt_svid_ttl, federates_with, admin, \
    downstream, expires_at, dns_names, revision_number, store_svid, hint, created_at, disable_x509_svid_prefetch, \
    jwt_svid_include_jti";

#[async_trait::async_trait]
impl EntryStore for SqliteStore {
    async fn create_entries(
        &self,
        entries: Vec<RegistrationEntry>,
    ) -> Result<Committed<Vec<Result<Arc<RegistrationEntry>, EntryConflict>>>, StoreError> {
        const PURPOSE: Purpose = Purpose("create entries");
        let mut write = Write::begin(self, PURPOSE).await?;
        let entries: Vec<Arc<RegistrationEntry>> = entries.into_iter().map(Arc::new).collect();
        let mut known = Known::look_up(&mut write, &entries).await?;
        let with_bundle = WithBundle::look_up(&mut write, entries.iter().map(Arc::as_ref)).await?;
        let mut results = Vec::with_capacity(entries.len());
        let mut created = Vec::with_capacity(entries.len());
        for entry in entries {
            match known.conflict(&entry).or_else(|| with_bundle.conflict(&entry)) {
                Some(conflict) => results.push(Err(conflict)),
                None => {
                    known.add(&entry);
                    created.push(Arc::clone(&entry));
                    results.push(Ok(entry));
                }
            }
        }
        insert(&mut write, &created).await?;
        for entry in created {
            write.note(Event::Entry(entry));
        }
        Ok(Committed { value: results, changes: write.commit(PURPOSE).await? })
    }

    async fn update_entries(
        &self,
        entries: Vec<RegistrationEntry>,
    ) -> Result<Committed<Vec<Result<Arc<RegistrationEntry>, EntryConflict>>>, StoreError> {
        const PURPOSE: Purpose = Purpose("update entries");
        let mut write = Write::begin(self, PURPOSE).await?;
        let mut results = Vec::with_capacity(entries.len());
        for entry in entries {
            results.push(update(&mut write, entry).await?);
        }
        Ok(Committed { value: results, changes: write.commit(PURPOSE).await? })
    }

    async fn delete_entries(&self, ids: Vec<String>) -> Result<Committed<Vec<Result<(), EntryConflict>>>, StoreError> {
        const PURPOSE: Purpose = Purpose("delete entries");
        let mut write = Write::begin(self, PURPOSE).await?;
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            results.push(delete(&mut write, id).await?);
        }
        Ok(Committed { value: results, changes: write.commit(PURPOSE).await? })
    }

    async fn prune_entries(&self, ids: Vec<String>, moment: i64) -> Result<Committed<Vec<String>>, StoreError> {
        const PURPOSE: Purpose = Purpose("prune expired entries");
        let mut write = Write::begin(self, PURPOSE).await?;
        let mut pruned = Vec::new();
        for id in ids {
            let done = sqlx::query("DELETE FROM entries WHERE id = ? AND expires_at <> 0 AND expires_at <= ?")
                .bind(&id)
                .bind(moment)
                .execute(write.connection())
                .await
                .map_err(|error| self.failed(PURPOSE, &error))?;
            if done.rows_affected() > 0 {
                write.note(Event::EntryDeleted { id: id.clone() });
                pruned.push(id);
            }
        }
        Ok(Committed { value: pruned, changes: write.commit(PURPOSE).await? })
    }
}

/// The entries that new ones could collide with.
#[derive(Default)]
struct Known {
    by_identity: HashMap<[u8; 32], Arc<RegistrationEntry>>,
    by_id: HashMap<String, Arc<RegistrationEntry>>,
}

impl Known {
    async fn look_up(write: &mut Write<'_>, wanted: &[Arc<RegistrationEntry>]) -> Result<Self, StoreError> {
        const PURPOSE: Purpose = Purpose("look for entries that exist already");
        let store = write.store;
        let mut known = Self::default();
        for chunk in wanted.chunks(ROWS_PER_STATEMENT) {
            let mut select =
                QueryBuilder::<Sqlite>::new(format!("SELECT {COLUMNS} FROM entries WHERE identity_hash IN ("));
            let mut list = select.separated(", ");
            for entry in chunk {
                list.push_bind(identity_hash(entry).to_vec());
            }
            select.push(") OR id IN (");
            let mut list = select.separated(", ");
            for entry in chunk {
                list.push_bind(entry.id.as_str());
            }
            select.push(")");
            store.count_read();
            let rows = select.build().fetch_all(write.connection()).await;
            for row in rows.map_err(|error| store.failed(PURPOSE, &error))? {
                known.add(&Arc::new(store.entry(&row)?));
            }
        }
        Ok(known)
    }

    fn add(&mut self, entry: &Arc<RegistrationEntry>) {
        self.by_identity.insert(identity_hash(entry), Arc::clone(entry));
        self.by_id.insert(entry.id.clone(), Arc::clone(entry));
    }

    fn conflict(&self, entry: &RegistrationEntry) -> Option<EntryConflict> {
        if let Some(existing) = self.by_identity.get(&identity_hash(entry)) {
            return Some(EntryConflict::Exists(Arc::clone(existing)));
        }
        self.by_id.contains_key(&entry.id).then(|| EntryConflict::IdTaken { id: entry.id.clone() })
    }
}

/// Inserts entries that collide with none.
pub(crate) async fn insert(write: &mut Write<'_>, entries: &[Arc<RegistrationEntry>]) -> Result<(), StoreError> {
    const PURPOSE: Purpose = Purpose("insert entries");
    let store = write.store;
    for chunk in entries.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::<Sqlite>::new(format!("INSERT INTO entries ({COLUMNS}) "));
        insert.push_values(chunk, |mut row, entry| {
            let RegistrationEntry {
                id,
                spiffe_id,
                parent_id,
                selectors,
                x509_svid_ttl,
                jwt_svid_ttl,
                federates_with,
                admin,
                downstream,
                expires_at,
                dns_names,
                revision_number,
                store_svid,
                hint,
                created_at,
                disable_x509_svid_prefetch,
                jwt_svid_include_jti,
            } = entry.as_ref();
            row.push_bind(id.as_str())
                .push_bind(identity_hash(entry).to_vec())
                .push_bind(spiffe_id.as_str())
                .push_bind(parent_id.as_str())
                .push_bind(json_list(selectors))
                .push_bind(i64::from(*x509_svid_ttl))
                .push_bind(i64::from(*jwt_svid_ttl))
                .push_bind(json_list(federates_with))
                .push_bind(i64::from(*admin))
                .push_bind(i64::from(*downstream))
                .push_bind(*expires_at)
                .push_bind(json_list(dns_names))
                .push_bind(*revision_number)
                .push_bind(i64::from(*store_svid))
                .push_bind(hint.as_str())
                .push_bind(*created_at)
                .push_bind(i64::from(*disable_x509_svid_prefetch))
                .push_bind(i64::from(*jwt_svid_include_jti));
        });
        insert.build().execute(write.connection()).await.map_err(|error| store.failed(PURPOSE, &error))?;
    }
    Ok(())
}

/// Replaces one entry if it still has the revision that `entry` carries.
async fn update(
    write: &mut Write<'_>,
    entry: RegistrationEntry,
) -> Result<Result<Arc<RegistrationEntry>, EntryConflict>, StoreError> {
    let store = write.store;
    let present = store.entries_with_ids(write.connection(), std::slice::from_ref(&entry.id)).await?;
    match present.first() {
        None => return Ok(Err(EntryConflict::NotFound { id: entry.id })),
        Some(present) if present.revision_number != entry.revision_number => {
            return Ok(Err(EntryConflict::Moved { id: entry.id }));
        }
        Some(_present) => {}
    }
    if let Some(other) = store.entry_with_identity(write.connection(), &identity_hash(&entry)).await?
        && other.id != entry.id
    {
        return Ok(Err(EntryConflict::Exists(Arc::new(other))));
    }
    if let Some(conflict) = WithBundle::look_up(write, [&entry]).await?.conflict(&entry) {
        return Ok(Err(conflict));
    }
    Ok(Ok(replace(write, entry).await?))
}

/// Puts an entry in the place of the one with its identifier; its revision rises.
pub(crate) async fn replace(
    write: &mut Write<'_>,
    mut entry: RegistrationEntry,
) -> Result<Arc<RegistrationEntry>, StoreError> {
    remove(write, &entry.id).await?;
    entry.revision_number = entry.revision_number.saturating_add(1);
    let entry = Arc::new(entry);
    insert(write, std::slice::from_ref(&entry)).await?;
    write.note(Event::Entry(Arc::clone(&entry)));
    Ok(entry)
}

/// Deletes an entry.
pub(crate) async fn delete(write: &mut Write<'_>, id: String) -> Result<Result<(), EntryConflict>, StoreError> {
    if !remove(write, &id).await? {
        return Ok(Err(EntryConflict::NotFound { id }));
    }
    write.note(Event::EntryDeleted { id });
    Ok(Ok(()))
}

/// Whether there was such a row.
async fn remove(write: &mut Write<'_>, id: &str) -> Result<bool, StoreError> {
    const PURPOSE: Purpose = Purpose("delete an entry");
    let store = write.store;
    let done = sqlx::query("DELETE FROM entries WHERE id = ?").bind(id).execute(write.connection()).await;
    Ok(done.map_err(|error| store.failed(PURPOSE, &error))?.rows_affected() > 0)
}

impl SqliteStore {
    pub(crate) async fn all_entries(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<RegistrationEntry>, StoreError> {
        use futures_util::TryStreamExt as _;
        const PURPOSE: Purpose = Purpose("read the entries");
        self.count_read();
        let mut select = QueryBuilder::<Sqlite>::new(format!("SELECT {COLUMNS} FROM entries"));
        let query = select.build();
        let mut rows = query.fetch(connection);
        let mut entries = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(|error| self.failed(PURPOSE, &error))? {
            entries.push(self.entry(&row)?);
        }
        Ok(entries)
    }

    pub(crate) async fn entries_with_ids(
        &self,
        connection: &mut SqliteConnection,
        ids: &[String],
    ) -> Result<Vec<RegistrationEntry>, StoreError> {
        const PURPOSE: Purpose = Purpose("read entries by their identifiers");
        self.count_read();
        let mut select = QueryBuilder::<Sqlite>::new(format!("SELECT {COLUMNS} FROM entries WHERE id IN ("));
        let mut list = select.separated(", ");
        for id in ids {
            list.push_bind(id.as_str());
        }
        select.push(")");
        let rows = select.build().fetch_all(connection).await.map_err(|error| self.failed(PURPOSE, &error))?;
        rows.iter().map(|row| self.entry(row)).collect()
    }

    /// The entries whose list of trust domains looks like this.
    pub(crate) async fn entries_like(
        &self,
        connection: &mut SqliteConnection,
        federates_with: &str,
    ) -> Result<Vec<RegistrationEntry>, StoreError> {
        const PURPOSE: Purpose = Purpose("read the entries that federate with a trust domain");
        self.count_read();
        let mut select =
            QueryBuilder::<Sqlite>::new(format!("SELECT {COLUMNS} FROM entries WHERE federates_with LIKE "));
        select.push_bind(federates_with);
        let rows = select.build().fetch_all(connection).await.map_err(|error| self.failed(PURPOSE, &error))?;
        rows.iter().map(|row| self.entry(row)).collect()
    }

    pub(crate) async fn entry_with_identity(
        &self,
        connection: &mut SqliteConnection,
        identity: &[u8; 32],
    ) -> Result<Option<RegistrationEntry>, StoreError> {
        const PURPOSE: Purpose = Purpose("look for an entry with the same identity");
        self.count_read();
        let mut select = QueryBuilder::<Sqlite>::new(format!("SELECT {COLUMNS} FROM entries WHERE identity_hash = "));
        select.push_bind(identity.to_vec());
        let row = select.build().fetch_optional(connection).await.map_err(|error| self.failed(PURPOSE, &error))?;
        row.map(|row| self.entry(&row)).transpose()
    }

    fn entry(&self, row: &SqliteRow) -> Result<RegistrationEntry, StoreError> {
        let columns = Columns::new(self, "entries", "id", row);
        let domain =
            |text: &String| TrustDomain::parse(text).map_err(|error| columns.damaged("federates_with", &error));
        Ok(RegistrationEntry {
            id: columns.get("id")?,
            spiffe_id: columns.spiffe_id("spiffe_id")?,
            parent_id: columns.spiffe_id("parent_id")?,
            selectors: columns.selectors("selectors")?,
            x509_svid_ttl: columns.number("x509_svid_ttl")?,
            jwt_svid_ttl: columns.number("jwt_svid_ttl")?,
            federates_with: columns.texts("federates_with")?.iter().map(domain).collect::<Result<_, _>>()?,
            admin: columns.flag("admin")?,
            downstream: columns.flag("downstream")?,
            expires_at: columns.get("expires_at")?,
            dns_names: columns.texts("dns_names")?,
            revision_number: columns.get("revision_number")?,
            store_svid: columns.flag("store_svid")?,
            hint: columns.get("hint")?,
            created_at: columns.get("created_at")?,
            disable_x509_svid_prefetch: columns.flag("disable_x509_svid_prefetch")?,
            jwt_svid_include_jti: columns.flag("jwt_svid_include_jti")?,
        })
    }
}

/// What no two entries share: SPIFFE ID, parent and the set of selectors, each with its length before it.
pub(crate) fn identity_hash(entry: &RegistrationEntry) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text.as_bytes());
    };
    part(entry.spiffe_id.as_str());
    part(entry.parent_id.as_str());
    let mut selectors: Vec<_> = entry.selectors.iter().collect();
    selectors.sort_unstable();
    selectors.dedup();
    for selector in selectors {
        part(selector.kind());
        part(selector.value());
    }
    hash.finalize().into()
}
