//! The store on SQLite: one file per aggregate.
//!
//! One connection writes, a few read; the journal is a write-ahead log, and every commit is on the disk before it is reported
//! (`synchronous = FULL`). Each writing operation is one transaction, which also writes its rows of the change log. The SQL keeps
//! to what PostgreSQL and MySQL understand too: identifiers are made in Rust and nothing is returned by a statement that writes.
//! What it deliberately does not do: it caches nothing and decides nothing that the `Store` seam does not ask of a transaction.

mod authorities;
mod bundle;
mod entries;
mod error;
mod event_logs;
mod federation;
mod journal;
mod migrations;
mod nodes;
mod open;
mod pending;
mod publishers;
mod row;
mod servers;
mod tokens;
mod write;

use std::sync::atomic::{AtomicU64, Ordering};

use plastron_server_core::store::{Change, Event, ServerId, SlotName, Snapshot, Store, StoreError, StoreStatistics};
use plastron_spiffe::{SpiffeId, TrustDomain};
use sqlx::{SqliteConnection, SqlitePool};

use error::Purpose;
use write::Kind;

/// A store in one SQLite file.
pub struct SqliteStore {
    /// The file, for errors.
    name: String,
    /// One connection.
    writer: SqlitePool,
    readers: SqlitePool,
    reads: AtomicU64,
    commits: AtomicU64,
}

impl SqliteStore {
    /// Every statement that reads goes through here before it runs.
    fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn count_commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the connections after the work that they have, so that the file is whole and alone.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// The trust domain that a row of the change log is about.
    fn named(&self, subject: &str) -> Result<TrustDomain, StoreError> {
        TrustDomain::parse(subject).map_err(|error| self.corrupt("change_log", subject, &error.to_string()))
    }

    /// The value that a row of the change log is about, as it is now.
    async fn event(
        &self,
        connection: &mut SqliteConnection,
        kind: Kind,
        subject: String,
    ) -> Result<Option<Event>, StoreError> {
        Ok(match kind {
            Kind::Entry | Kind::EntryDeleted => {
                let found = self.entries_with_ids(connection, std::slice::from_ref(&subject)).await?;
                let deleted = || Event::EntryDeleted { id: subject.clone() };
                Some(found.into_iter().next().map_or_else(deleted, |entry| Event::Entry(entry.into())))
            }
            Kind::Node | Kind::NodeDeleted => {
                let id = SpiffeId::parse(&subject)
                    .map_err(|error| self.corrupt("change_log", &subject, &error.to_string()))?;
                let found = self.node_with_id(connection, &id).await?;
                Some(found.map_or(Event::NodeDeleted { id }, |node| Event::Node(node.into())))
            }
            Kind::JoinTokenCreated => Some(Event::JoinTokenCreated),
            Kind::JoinTokenDeleted => Some(Event::JoinTokenDeleted),
            Kind::PendingTpm => {
                let id = SpiffeId::parse(&subject)
                    .map_err(|error| self.corrupt("change_log", &subject, &error.to_string()))?;
                Some(Event::PendingTpm { id })
            }
            Kind::Bundle => self.own_bundle(connection).await?.map(|bundle| Event::Bundle(bundle.into())),
            Kind::FederatedBundle => {
                let trust_domain = self.named(&subject)?;
                let found = self.federated_bundle(connection, &trust_domain).await?;
                let deleted = || Event::FederatedBundleDeleted { trust_domain };
                Some(found.map_or_else(deleted, |bundle| Event::FederatedBundle(bundle.into())))
            }
            Kind::Relationship => {
                let trust_domain = self.named(&subject)?;
                let found = self.relationship(connection, &trust_domain).await?;
                let deleted = || Event::RelationshipDeleted { trust_domain };
                Some(found.map_or_else(deleted, |relationship| Event::Relationship(relationship.into())))
            }
            Kind::CaSlot => {
                let named = match subject.split_once('/') {
                    Some((server, slot)) => ServerId::parse(server).zip(SlotName::parse(slot)),
                    // Written when a database had one server.
                    None => SlotName::parse(&subject).map(|slot| (ServerId::FIRST, slot)),
                };
                let (server, slot) =
                    named.ok_or_else(|| self.corrupt("change_log", &subject, "no slot of a server"))?;
                let mut journal = self.journal(connection).await?.into_iter();
                let found = journal.find(|entry| entry.server == server && entry.slot == slot);
                Some(found.map_or(Event::JournalDeleted { server, slot }, |entry| Event::Journal(entry.into())))
            }
        })
    }
}

#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        const PURPOSE: Purpose = Purpose("read the whole state");
        let mut transaction = self.readers.begin().await.map_err(|error| self.failed(PURPOSE, &error))?;
        let snapshot = Snapshot {
            revision: self.last_sequence(&mut transaction).await?,
            entries: self.all_entries(&mut transaction).await?,
            nodes: self.all_nodes(&mut transaction).await?,
            bundle: self.own_bundle(&mut transaction).await?,
            federated_bundles: self.federated_bundles(&mut transaction).await?,
            relationships: self.relationships(&mut transaction).await?,
            journal: self.journal(&mut transaction).await?,
        };
        transaction.rollback().await.map_err(|error| self.failed(PURPOSE, &error))?;
        Ok(snapshot)
    }

    async fn changes_after(&self, revision: u64) -> Result<Vec<Change>, StoreError> {
        const PURPOSE: Purpose = Purpose("follow the change log");
        let mut transaction = self.readers.begin().await.map_err(|error| self.failed(PURPOSE, &error))?;
        let mut changes = Vec::new();
        for (sequence, kind, subject) in self.log_after(&mut transaction, revision).await? {
            if let Some(event) = self.event(&mut transaction, kind, subject).await? {
                changes.push(Change { sequence, event });
            }
        }
        transaction.rollback().await.map_err(|error| self.failed(PURPOSE, &error))?;
        Ok(changes)
    }

    async fn prune_change_log(&self, before: i64) -> Result<u64, StoreError> {
        self.prune_log(before).await
    }

    fn statistics(&self) -> StoreStatistics {
        StoreStatistics { reads: self.reads.load(Ordering::Relaxed), commits: self.commits.load(Ordering::Relaxed) }
    }
}
