//! Which servers are on this database.

use std::collections::BTreeSet;

use plastron_server_core::store::{Committed, Event, JournalEntry, ServerId, ServerRecord, ServerStore, StoreError};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::Purpose;
use crate::row::Columns;
use crate::write::{Write, to_i64};

#[async_trait::async_trait]
impl ServerStore for SqliteStore {
    async fn see_server(&self, record: ServerRecord) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("note that a server is there");
        let ServerRecord { id, seen_at, revision } = record;
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fail)?;
        sqlx::query("DELETE FROM servers WHERE id = ?")
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(fail)?;
        sqlx::query("INSERT INTO servers (id, seen_at, revision) VALUES (?, ?, ?)")
            .bind(id.to_string())
            .bind(seen_at)
            .bind(to_i64(revision))
            .execute(&mut *transaction)
            .await
            .map_err(fail)?;
        transaction.commit().await.map_err(fail)?;
        self.count_commit();
        Ok(())
    }

    async fn servers(&self) -> Result<Vec<ServerRecord>, StoreError> {
        const PURPOSE: Purpose = Purpose("read which servers there are");
        let mut connection = self.readers.acquire().await.map_err(|error| self.failed(PURPOSE, &error))?;
        self.all_servers(&mut connection).await
    }

    async fn remove_server(&self, id: ServerId) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("note that a server left");
        let done = sqlx::query("DELETE FROM servers WHERE id = ?").bind(id.to_string()).execute(&self.writer).await;
        done.map_err(|error| self.failed(PURPOSE, &error))?;
        self.count_commit();
        Ok(())
    }

    async fn prune_servers(&self, before: i64) -> Result<Committed<usize>, StoreError> {
        const PURPOSE: Purpose = Purpose("remove servers that are gone");
        let mut write = Write::begin(self, PURPOSE).await?;
        sqlx::query("DELETE FROM servers WHERE seen_at < ?")
            .bind(before)
            .execute(write.connection())
            .await
            .map_err(|error| self.failed(PURPOSE, &error))?;
        let servers = self.all_servers(write.connection()).await?;
        let journal = self.journal(write.connection()).await?;
        let lasts = |entry: &&JournalEntry| to_i64(entry.not_after) >= before;
        let mut kept: BTreeSet<ServerId> = servers.iter().map(|record| record.id).collect();
        kept.extend(journal.iter().filter(lasts).map(|entry| entry.server));
        let gone: Vec<_> = journal.iter().filter(|entry| !kept.contains(&entry.server)).collect();
        for JournalEntry { server, slot, .. } in &gone {
            self.delete_slot(write.connection(), *server, *slot).await?;
            write.note(Event::JournalDeleted { server: *server, slot: *slot });
        }
        let gone = gone.len();
        Ok(Committed { value: gone, changes: write.commit_beside(PURPOSE).await? })
    }
}

impl SqliteStore {
    async fn all_servers(&self, connection: &mut SqliteConnection) -> Result<Vec<ServerRecord>, StoreError> {
        const PURPOSE: Purpose = Purpose("read which servers there are");
        self.count_read();
        let rows = sqlx::query("SELECT * FROM servers ORDER BY id").fetch_all(connection).await;
        let rows = rows.map_err(|error| self.failed(PURPOSE, &error))?;
        let read = |row| {
            let columns = Columns::new(self, "servers", "id", row);
            Ok(ServerRecord {
                id: ServerId::parse(columns.get("id")?)
                    .ok_or_else(|| columns.damaged("id", &"no server identifier"))?,
                seen_at: columns.get("seen_at")?,
                revision: columns.number("revision")?,
            })
        };
        rows.iter().map(read).collect()
    }
}
