//! Firmware event logs, by their SHA-256: each is kept once, as long as a node's record names it.

use plastron_server_core::store::StoreError;
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::Purpose;

impl SqliteStore {
    pub(crate) async fn read_event_log(&self, sha256: [u8; 32], len: u32) -> Result<Option<Vec<u8>>, StoreError> {
        const PURPOSE: Purpose = Purpose("read an event log");
        self.count_read();
        sqlx::query_scalar("SELECT log FROM event_logs WHERE sha256 = ? AND length(log) = ?")
            .bind(sha256.as_slice())
            .bind(len)
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.failed(PURPOSE, &error))
    }

    /// Keeps a log, unless it is kept already. What was damaged on the disk is written anew.
    pub(crate) async fn keep_event_log(
        &self,
        connection: &mut SqliteConnection,
        sha256: &[u8; 32],
        log: &[u8],
    ) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("keep an event log");
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        self.count_read();
        let kept: Option<i64> = sqlx::query_scalar("SELECT 1 FROM event_logs WHERE sha256 = ? AND log = ?")
            .bind(sha256.as_slice())
            .bind(log)
            .fetch_optional(&mut *connection)
            .await
            .map_err(fail)?;
        if kept.is_none() {
            sqlx::query("INSERT OR REPLACE INTO event_logs (sha256, log) VALUES (?, ?)")
                .bind(sha256.as_slice())
                .bind(log)
                .execute(connection)
                .await
                .map_err(fail)?;
        }
        Ok(())
    }

    /// Drops a log that no node names any more.
    pub(crate) async fn drop_event_log(
        &self,
        connection: &mut SqliteConnection,
        sha256: [u8; 32],
    ) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("drop an event log");
        sqlx::query(
            "DELETE FROM event_logs WHERE sha256 = ? \
             AND NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.event_log_sha256 = event_logs.sha256)",
        )
        .bind(sha256.as_slice())
        .execute(connection)
        .await
        .map_err(|error| self.failed(PURPOSE, &error))?;
        Ok(())
    }
}
