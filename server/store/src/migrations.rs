//! The schema: an ordered list of steps, each applied once, in a transaction.

use std::time::{SystemTime, UNIX_EPOCH};

use plastron_server_core::store::StoreError;
use sqlx::SqlitePool;

use crate::error::{Purpose, failed};

/// Step `n` leads from version `n` to `n + 1`. Steps are never changed once released; new ones are appended.
const STEPS: &[&str] = &[
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_event_logs.sql"),
    include_str!("../migrations/0003_pending_tpms.sql"),
    include_str!("../migrations/0004_ca_journals.sql"),
    include_str!("../migrations/0005_federation.sql"),
    include_str!("../migrations/0006_jwt_publishers.sql"),
];

const PURPOSE: Purpose = Purpose("bring the schema up to date");

pub(crate) async fn run(store: &str, writer: &SqlitePool) -> Result<(), StoreError> {
    let fail = |error: sqlx::Error| failed(store, PURPOSE, &error);
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(fail)?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS migrations (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)",
    )
    .execute(&mut *transaction)
    .await
    .map_err(fail)?;
    let found: Option<i64> =
        sqlx::query_scalar("SELECT MAX(version) FROM migrations").fetch_one(&mut *transaction).await.map_err(fail)?;
    let found = found.unwrap_or(0);
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::NewerSchema { store: store.to_owned(), found, known });
    }
    for (version, step) in (1i64..).zip(STEPS) {
        if version <= found {
            continue;
        }
        sqlx::raw_sql(*step).execute(&mut *transaction).await.map_err(fail)?;
        sqlx::query("INSERT INTO migrations (version, applied_at) VALUES (?, ?)")
            .bind(version)
            .bind(unix_seconds())
            .execute(&mut *transaction)
            .await
            .map_err(fail)?;
        tracing::info!(version, "Database schema brought up to date");
    }
    transaction.commit().await.map_err(fail)
}

/// When something was committed, for people: nothing is decided by it.
pub(crate) fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
