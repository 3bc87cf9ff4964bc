//! A writing transaction and the change log in it.

use std::borrow::Cow;

use plastron_server_core::store::{Change, Event, StoreError};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, Transaction};

use crate::SqliteStore;
use crate::error::Purpose;
use crate::migrations::unix_seconds;

/// Rows in one INSERT. PostgreSQL's limit of 65,535 variables is the lowest; an entry has 18.
pub(crate) const ROWS_PER_STATEMENT: usize = 1_000;

/// What a row of the change log is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Entry,
    EntryDeleted,
    Node,
    NodeDeleted,
    JoinTokenCreated,
    JoinTokenDeleted,
    PendingTpm,
    Bundle,
    FederatedBundle,
    Relationship,
    CaSlot,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Entry,
        Self::EntryDeleted,
        Self::Node,
        Self::NodeDeleted,
        Self::JoinTokenCreated,
        Self::JoinTokenDeleted,
        Self::PendingTpm,
        Self::Bundle,
        Self::FederatedBundle,
        Self::Relationship,
        Self::CaSlot,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::EntryDeleted => "entry_deleted",
            Self::Node => "node",
            Self::NodeDeleted => "node_deleted",
            Self::JoinTokenCreated => "join_token_created",
            Self::JoinTokenDeleted => "join_token_deleted",
            Self::PendingTpm => "pending_tpm",
            Self::Bundle => "bundle",
            Self::FederatedBundle => "federated_bundle",
            Self::Relationship => "relationship",
            Self::CaSlot => "ca_slot",
        }
    }
}

fn describe(event: &Event) -> (Kind, Cow<'_, str>) {
    let (kind, subject): (Kind, &str) = match event {
        Event::Entry(entry) => (Kind::Entry, &entry.id),
        Event::EntryDeleted { id } => (Kind::EntryDeleted, id),
        Event::Node(node) => (Kind::Node, node.id.as_str()),
        Event::NodeDeleted { id } => (Kind::NodeDeleted, id.as_str()),
        Event::JoinTokenCreated => (Kind::JoinTokenCreated, ""),
        Event::JoinTokenDeleted => (Kind::JoinTokenDeleted, ""),
        Event::PendingTpm { id } => (Kind::PendingTpm, id.as_str()),
        Event::Bundle(bundle) => (Kind::Bundle, bundle.trust_domain.as_str()),
        Event::FederatedBundle(bundle) => (Kind::FederatedBundle, bundle.trust_domain.as_str()),
        Event::FederatedBundleDeleted { trust_domain } => (Kind::FederatedBundle, trust_domain.as_str()),
        Event::Relationship(relationship) => (Kind::Relationship, relationship.trust_domain.as_str()),
        Event::RelationshipDeleted { trust_domain } => (Kind::Relationship, trust_domain.as_str()),
        Event::Journal(entry) => return (Kind::CaSlot, format!("{}/{}", entry.server, entry.slot).into()),
        Event::JournalDeleted { server, slot } => return (Kind::CaSlot, format!("{server}/{slot}").into()),
    };
    (kind, subject.into())
}

/// A transaction that changes state. Dropped before `commit`, it leaves nothing behind.
pub(crate) struct Write<'s> {
    pub(crate) store: &'s SqliteStore,
    transaction: Transaction<'static, Sqlite>,
    last: u64,
    changes: Vec<Change>,
}

impl<'s> Write<'s> {
    /// Begins: from here on no one else writes, in whatever process.
    pub(crate) async fn begin(store: &'s SqliteStore, purpose: Purpose) -> Result<Self, StoreError> {
        let begun = store.writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(|error| store.failed(purpose, &error))?;
        let last = store.last_sequence(&mut transaction).await?;
        Ok(Self { store, transaction, last, changes: Vec::new() })
    }

    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    /// Notes a change; its row is written by `commit`.
    pub(crate) fn note(&mut self, event: Event) {
        self.last = self.last.saturating_add(1);
        self.changes.push(Change { sequence: self.last, event });
    }

    /// Commits what changed no state beside what did.
    pub(crate) async fn commit_beside(self, purpose: Purpose) -> Result<Vec<Change>, StoreError> {
        if !self.changes.is_empty() {
            return self.commit(purpose).await;
        }
        self.transaction.commit().await.map_err(|error| self.store.failed(purpose, &error))?;
        self.store.count_commit();
        Ok(self.changes)
    }

    /// Writes the rows of the change log and commits. Without a change there is nothing to commit.
    pub(crate) async fn commit(mut self, purpose: Purpose) -> Result<Vec<Change>, StoreError> {
        let fail = |error: sqlx::Error| self.store.failed(purpose, &error);
        if self.changes.is_empty() {
            self.transaction.rollback().await.map_err(fail)?;
            return Ok(self.changes);
        }
        let now = unix_seconds();
        for chunk in self.changes.chunks(ROWS_PER_STATEMENT) {
            let mut insert =
                QueryBuilder::<Sqlite>::new("INSERT INTO change_log (sequence, committed_at, kind, subject) ");
            insert.push_values(chunk, |mut row, Change { sequence, event }| {
                let (kind, subject) = describe(event);
                row.push_bind(to_i64(*sequence)).push_bind(now).push_bind(kind.as_str()).push_bind(subject);
            });
            insert.build().execute(&mut *self.transaction).await.map_err(fail)?;
        }
        sqlx::query("UPDATE change_log_head SET last_sequence = ? WHERE id = 1")
            .bind(to_i64(self.last))
            .execute(&mut *self.transaction)
            .await
            .map_err(fail)?;
        self.transaction.commit().await.map_err(fail)?;
        self.store.count_commit();
        Ok(self.changes)
    }
}

impl SqliteStore {
    /// The sequence number of the last change.
    pub(crate) async fn last_sequence(&self, connection: &mut SqliteConnection) -> Result<u64, StoreError> {
        const PURPOSE: Purpose = Purpose("read the head of the change log");
        self.count_read();
        let last: i64 = sqlx::query_scalar("SELECT last_sequence FROM change_log_head WHERE id = 1")
            .fetch_one(connection)
            .await
            .map_err(|error| self.failed(PURPOSE, &error))?;
        u64::try_from(last).map_err(|error| self.corrupt("change_log_head", "1", &error.to_string()))
    }

    /// The rows of the change log after a revision.
    pub(crate) async fn log_after(
        &self,
        connection: &mut SqliteConnection,
        revision: u64,
    ) -> Result<Vec<(u64, Kind, String)>, StoreError> {
        const PURPOSE: Purpose = Purpose("read the change log");
        self.count_read();
        let rows = sqlx::query("SELECT sequence, kind, subject FROM change_log WHERE sequence > ? ORDER BY sequence")
            .bind(to_i64(revision))
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| self.failed(PURPOSE, &error))?;
        let mut log = Vec::with_capacity(rows.len());
        for row in rows {
            let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
            let sequence: i64 = row.try_get(0).map_err(fail)?;
            let (kind, subject): (String, String) = (row.try_get(1).map_err(fail)?, row.try_get(2).map_err(fail)?);
            let damaged = |reason: &str| self.corrupt("change_log", &sequence.to_string(), reason);
            let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
            let known = known.ok_or_else(|| damaged(&format!("unknown kind {kind:?}")))?;
            let sequence = u64::try_from(sequence).map_err(|error| damaged(&error.to_string()))?;
            log.push((sequence, known, subject));
        }
        let head = self.last_sequence(connection).await?;
        let oldest = log.first().map_or(head.saturating_add(1), |(sequence, ..)| *sequence);
        if revision < head && oldest != revision.saturating_add(1) {
            return Err(StoreError::LogTruncated { store: self.name.clone(), after: revision, oldest });
        }
        Ok(log)
    }
}

impl SqliteStore {
    /// Drops old rows of the change log; no change of state, so no row of its own.
    pub(crate) async fn prune_log(&self, before: i64) -> Result<u64, StoreError> {
        const PURPOSE: Purpose = Purpose("prune the change log");
        let done = sqlx::query("DELETE FROM change_log WHERE committed_at < ?")
            .bind(before)
            .execute(&self.writer)
            .await
            .map_err(|error| self.failed(PURPOSE, &error))?;
        self.count_commit();
        Ok(done.rows_affected())
    }
}

/// Counters and times stay far below 2^63.
pub(crate) fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
