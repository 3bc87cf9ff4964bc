//! Join tokens, by their hashes.

use plastron_server_core::store::{Committed, Event, JoinTokenRecord, StoreError, TokenError, TokenHash, TokenStore};

use crate::SqliteStore;
use crate::error::Purpose;
use crate::write::Write;

#[async_trait::async_trait]
impl TokenStore for SqliteStore {
    async fn create_join_token(&self, record: JoinTokenRecord) -> Result<Committed<()>, TokenError> {
        const PURPOSE: Purpose = Purpose("keep a join token");
        let JoinTokenRecord { hash, expires_at, alias } = record;
        let mut write = Write::begin(self, PURPOSE).await?;
        let result = sqlx::query("INSERT INTO join_tokens (hash, expires_at, alias) VALUES (?, ?, ?)")
            .bind(hash.as_bytes().as_slice())
            .bind(expires_at)
            .bind(alias.as_ref().map(|alias| alias.as_str()))
            .execute(write.connection())
            .await;
        match result {
            Ok(_done) => {}
            Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => {
                return Err(TokenError::Exists);
            }
            Err(error) => return Err(self.failed(PURPOSE, &error).into()),
        }
        write.note(Event::JoinTokenCreated);
        Ok(Committed { value: (), changes: write.commit(PURPOSE).await? })
    }

    async fn has_join_token(&self, hash: TokenHash, now: i64) -> Result<bool, StoreError> {
        const PURPOSE: Purpose = Purpose("look for a join token");
        self.count_read();
        let found: Option<i64> = sqlx::query_scalar("SELECT expires_at FROM join_tokens WHERE hash = ?")
            .bind(hash.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.failed(PURPOSE, &error))?;
        Ok(found.is_some_and(|expires_at| expires_at > now))
    }

    async fn prune_join_tokens(&self, now: i64) -> Result<Committed<u64>, StoreError> {
        const PURPOSE: Purpose = Purpose("prune expired join tokens");
        let mut write = Write::begin(self, PURPOSE).await?;
        let done = sqlx::query("DELETE FROM join_tokens WHERE expires_at <= ?")
            .bind(now)
            .execute(write.connection())
            .await
            .map_err(|error| self.failed(PURPOSE, &error))?;
        for _token in 0..done.rows_affected() {
            write.note(Event::JoinTokenDeleted);
        }
        Ok(Committed { value: done.rows_affected(), changes: write.commit(PURPOSE).await? })
    }
}
