//! JWT authorities that downstream servers published, and who published which.

use std::collections::BTreeSet;
use std::sync::Arc;

use plastron_server_core::store::{Committed, PublishError, Published, StoreError};
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::authorities::{append, rewrite};
use crate::error::Purpose;
use crate::write::Write;

const PURPOSE: Purpose = Purpose("publish a JWT authority");

impl SqliteStore {
    pub(crate) async fn publish(
        &self,
        trust_domain: TrustDomain,
        Published { authority, publisher, share, now }: Published,
    ) -> Result<Committed<Arc<Bundle>>, PublishError> {
        let mut write = Write::begin(self, PURPOSE).await?;
        let present = self.own_bundle(write.connection()).await?;
        let mut bundle = present.unwrap_or_else(|| Bundle::empty(trust_domain.clone()));
        if bundle.jwt_authorities.iter().any(|known| known.key_id == authority.key_id) {
            let changes = write.commit(PURPOSE).await?;
            return Ok(Committed { value: Arc::new(bundle), changes });
        }
        let mine = self.keys_of(write.connection(), Some(&publisher)).await?;
        let count = |bundle: &Bundle| bundle.jwt_authorities.iter().filter(|key| mine.contains(&key.key_id)).count();
        if count(&bundle) >= share {
            let is_useless = |key_id: &String, end: i64| mine.contains(key_id) && end < now;
            bundle.jwt_authorities.retain(|key| !is_useless(&key.key_id, key.expires_at));
            let got = count(&bundle);
            if got >= share {
                return Err(PublishError::ShareUsed { got, share });
            }
            rewrite(&mut write, bundle).await?;
        }
        self.note_publisher(write.connection(), &authority.key_id, &publisher).await?;
        let bundle = append(&mut write, trust_domain, Vec::new(), vec![authority]).await?;
        Ok(Committed { value: bundle, changes: write.commit(PURPOSE).await? })
    }

    pub(crate) async fn living_keys(&self, publisher: Option<SpiffeId>, now: i64) -> Result<usize, StoreError> {
        const PURPOSE: Purpose = Purpose("count published JWT authorities");
        let mut connection = self.readers.acquire().await.map_err(|error| self.failed(PURPOSE, &error))?;
        let published = self.keys_of(&mut connection, publisher.as_ref()).await?;
        let bundle = self.own_bundle(&mut connection).await?;
        let keys = bundle.iter().flat_map(|bundle| &bundle.jwt_authorities);
        Ok(keys.filter(|key| key.expires_at >= now && published.contains(&key.key_id)).count())
    }

    /// What this one published, or anyone.
    async fn keys_of(
        &self,
        connection: &mut SqliteConnection,
        publisher: Option<&SpiffeId>,
    ) -> Result<BTreeSet<String>, StoreError> {
        self.count_read();
        let keys = sqlx::query_scalar("SELECT key_id FROM jwt_publishers WHERE publisher = coalesce(?, publisher)")
            .bind(publisher.map(SpiffeId::as_str));
        let keys: Vec<String> = keys.fetch_all(&mut *connection).await.map_err(|error| self.failed(PURPOSE, &error))?;
        Ok(keys.into_iter().collect())
    }

    async fn note_publisher(
        &self,
        connection: &mut SqliteConnection,
        key_id: &str,
        publisher: &SpiffeId,
    ) -> Result<(), StoreError> {
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        sqlx::query(
            "DELETE FROM jwt_publishers WHERE key_id = ? OR key_id NOT IN (SELECT key_id FROM jwt_authorities)",
        )
        .bind(key_id)
        .execute(&mut *connection)
        .await
        .map_err(fail)?;
        sqlx::query("INSERT INTO jwt_publishers (key_id, publisher) VALUES (?, ?)")
            .bind(key_id)
            .bind(publisher.as_str())
            .execute(&mut *connection)
            .await
            .map_err(fail)?;
        Ok(())
    }
}
