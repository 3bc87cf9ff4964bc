//! The CA slots and the bundle of the server's own trust domain.

use std::sync::Arc;

use plastron_hsm::KeyId;
use plastron_server_core::store::{AuthorityStore, Committed, Event, JournalEntry, SlotName, SlotStatus, StoreError};
use plastron_spiffe::{Bundle, JwtAuthority, TrustDomain, X509Authority};
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::Purpose;
use crate::row::Columns;
use crate::write::{Write, to_i64};

#[async_trait::async_trait]
impl AuthorityStore for SqliteStore {
    async fn prepare_authority(
        &self,
        trust_domain: TrustDomain,
        entry: JournalEntry,
    ) -> Result<Committed<Arc<Bundle>>, StoreError> {
        const PURPOSE: Purpose = Purpose("publish a CA certificate");
        let mut write = Write::begin(self, PURPOSE).await?;
        let authority = X509Authority { certificate: entry.certificate.clone(), tainted: false };
        self.write_slot(write.connection(), &entry).await?;
        write.note(Event::Journal(Arc::new(entry)));
        let bundle = append(&mut write, trust_domain, vec![authority], Vec::new()).await?;
        Ok(Committed { value: bundle, changes: write.commit(PURPOSE).await? })
    }

    async fn activate_authority(&self, slot: SlotName) -> Result<Committed<()>, StoreError> {
        const PURPOSE: Purpose = Purpose("activate a CA slot");
        let mut write = Write::begin(self, PURPOSE).await?;
        for mut entry in self.ca_slots(write.connection()).await? {
            let status = match entry.status {
                _ if entry.slot == slot => SlotStatus::Active,
                SlotStatus::Active => SlotStatus::Old,
                other => other,
            };
            if entry.status != status {
                entry.status = status;
                self.write_slot(write.connection(), &entry).await?;
                write.note(Event::Journal(Arc::new(entry)));
            }
        }
        Ok(Committed { value: (), changes: write.commit(PURPOSE).await? })
    }

    async fn append_authorities(
        &self,
        trust_domain: TrustDomain,
        x509: Vec<X509Authority>,
        jwt: Vec<JwtAuthority>,
    ) -> Result<Committed<Arc<Bundle>>, StoreError> {
        const PURPOSE: Purpose = Purpose("append to the bundle");
        let mut write = Write::begin(self, PURPOSE).await?;
        let bundle = append(&mut write, trust_domain, x509, jwt).await?;
        Ok(Committed { value: bundle, changes: write.commit(PURPOSE).await? })
    }

    async fn drop_authorities(&self, certificates: Vec<Vec<u8>>) -> Result<Committed<usize>, StoreError> {
        const PURPOSE: Purpose = Purpose("drop expired CA certificates");
        let mut write = Write::begin(self, PURPOSE).await?;
        let mut dropped = 0;
        if let Some(mut bundle) = self.own_bundle(write.connection()).await? {
            let slots = self.ca_slots(write.connection()).await?;
            let before = bundle.x509_authorities.len();
            bundle.x509_authorities.retain(|X509Authority { certificate, tainted: _ }| {
                !certificates.contains(certificate) || slots.iter().any(|entry| entry.certificate == *certificate)
            });
            let left = bundle.x509_authorities.len();
            if left > 0 && left < before {
                dropped = before - left;
                bundle.sequence_number = bundle.sequence_number.saturating_add(1);
                self.write_bundle(write.connection(), &bundle, true).await?;
                write.note(Event::Bundle(Arc::new(bundle)));
            }
        }
        Ok(Committed { value: dropped, changes: write.commit(PURPOSE).await? })
    }
}

/// Adds what the bundle does not have yet; its sequence number rises if there was something.
async fn append(
    write: &mut Write<'_>,
    trust_domain: TrustDomain,
    x509: Vec<X509Authority>,
    jwt: Vec<JwtAuthority>,
) -> Result<Arc<Bundle>, StoreError> {
    let store = write.store;
    let present = store.own_bundle(write.connection()).await?;
    let known = present.is_some();
    let mut bundle = present.unwrap_or_else(|| Bundle::empty(trust_domain));
    let before = bundle.clone();
    for authority in x509 {
        if !bundle.x509_authorities.iter().any(|known| known.certificate == authority.certificate) {
            bundle.x509_authorities.push(authority);
        }
    }
    for authority in jwt {
        if !bundle.jwt_authorities.iter().any(|known| known.key_id == authority.key_id) {
            bundle.jwt_authorities.push(authority);
        }
    }
    if bundle == before && known {
        return Ok(Arc::new(bundle));
    }
    bundle.sequence_number = bundle.sequence_number.saturating_add(1);
    store.write_bundle(write.connection(), &bundle, known).await?;
    let bundle = Arc::new(bundle);
    write.note(Event::Bundle(Arc::clone(&bundle)));
    Ok(bundle)
}

impl SqliteStore {
    /// The bundle of the server's own trust domain.
    pub(crate) async fn own_bundle(&self, connection: &mut SqliteConnection) -> Result<Option<Bundle>, StoreError> {
        const PURPOSE: Purpose = Purpose("read the bundle");
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        self.count_read();
        let row =
            sqlx::query("SELECT * FROM bundles WHERE own = 1").fetch_optional(&mut *connection).await.map_err(fail)?;
        let Some(row) = row else { return Ok(None) };
        let columns = Columns::new(self, "bundles", "trust_domain", &row);
        let mut bundle = Bundle {
            refresh_hint: columns.get("refresh_hint")?,
            sequence_number: columns.number("sequence_number")?,
            ..Bundle::empty(columns.trust_domain("trust_domain")?)
        };
        self.count_read();
        let rows = sqlx::query("SELECT * FROM x509_authorities WHERE trust_domain = ? ORDER BY position")
            .bind(bundle.trust_domain.as_str())
            .fetch_all(&mut *connection)
            .await
            .map_err(fail)?;
        for row in &rows {
            let columns = Columns::new(self, "x509_authorities", "certificate_sha256", row);
            let (certificate, tainted) = (columns.get("certificate")?, columns.flag("tainted")?);
            bundle.x509_authorities.push(X509Authority { certificate, tainted });
        }
        self.count_read();
        let rows = sqlx::query("SELECT * FROM jwt_authorities WHERE trust_domain = ? ORDER BY position")
            .bind(bundle.trust_domain.as_str())
            .fetch_all(&mut *connection)
            .await
            .map_err(fail)?;
        for row in &rows {
            let columns = Columns::new(self, "jwt_authorities", "key_id", row);
            bundle.jwt_authorities.push(JwtAuthority {
                key_id: columns.get("key_id")?,
                public_key: columns.get("public_key")?,
                expires_at: columns.get("expires_at")?,
                tainted: columns.flag("tainted")?,
            });
        }
        Ok(Some(bundle))
    }

    /// Writes the whole bundle: a handful of rows, a few times a day. `known`: there is a row for its trust domain.
    async fn write_bundle(
        &self,
        connection: &mut SqliteConnection,
        bundle: &Bundle,
        known: bool,
    ) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("write the bundle");
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        let Bundle { trust_domain, x509_authorities, jwt_authorities, refresh_hint, sequence_number } = bundle;
        let trust_domain = trust_domain.as_str();
        let row = if known {
            sqlx::query("UPDATE bundles SET refresh_hint = ?, sequence_number = ? WHERE trust_domain = ?")
        } else {
            sqlx::query("INSERT INTO bundles (refresh_hint, sequence_number, trust_domain, own) VALUES (?, ?, ?, 1)")
        };
        row.bind(*refresh_hint)
            .bind(to_i64(*sequence_number))
            .bind(trust_domain)
            .execute(&mut *connection)
            .await
            .map_err(fail)?;
        for table in [
            "DELETE FROM x509_authorities WHERE trust_domain = ?",
            "DELETE FROM jwt_authorities WHERE trust_domain = ?",
        ] {
            sqlx::query(table).bind(trust_domain).execute(&mut *connection).await.map_err(fail)?;
        }
        for (position, X509Authority { certificate, tainted }) in (0i64..).zip(x509_authorities) {
            sqlx::query(
                "INSERT INTO x509_authorities (trust_domain, certificate_sha256, position, certificate, tainted) \
                 VALUES (?, ?, ?, ?, ?)",
            )
            .bind(trust_domain)
            .bind(Sha256::digest(certificate).to_vec())
            .bind(position)
            .bind(certificate)
            .bind(i64::from(*tainted))
            .execute(&mut *connection)
            .await
            .map_err(fail)?;
        }
        for (position, JwtAuthority { key_id, public_key, expires_at, tainted }) in (0i64..).zip(jwt_authorities) {
            sqlx::query(
                "INSERT INTO jwt_authorities (trust_domain, key_id, position, public_key, expires_at, tainted) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(trust_domain)
            .bind(key_id)
            .bind(position)
            .bind(public_key)
            .bind(*expires_at)
            .bind(i64::from(*tainted))
            .execute(&mut *connection)
            .await
            .map_err(fail)?;
        }
        Ok(())
    }

    pub(crate) async fn ca_slots(&self, connection: &mut SqliteConnection) -> Result<Vec<JournalEntry>, StoreError> {
        const PURPOSE: Purpose = Purpose("read the CA journal");
        self.count_read();
        let rows = sqlx::query("SELECT * FROM ca_slots ORDER BY slot").fetch_all(connection).await;
        let mut slots = Vec::new();
        for row in rows.map_err(|error| self.failed(PURPOSE, &error))? {
            let columns = Columns::new(self, "ca_slots", "slot", &row);
            let slot = SlotName::parse(columns.get("slot")?);
            let status = SlotStatus::from_number(columns.get("status")?);
            slots.push(JournalEntry {
                slot: slot.ok_or_else(|| columns.damaged("slot", &"unknown slot"))?,
                key_id: KeyId::new(columns.get::<Vec<u8>>("key_id")?),
                spki_sha256: columns
                    .get::<Vec<u8>>("spki_sha256")?
                    .try_into()
                    .map_err(|_other_length| columns.damaged("spki_sha256", &"not 32 bytes"))?,
                certificate: columns.get("certificate")?,
                not_before: columns.number("not_before")?,
                not_after: columns.number("not_after")?,
                status: status.ok_or_else(|| columns.damaged("status", &"unknown status"))?,
            });
        }
        Ok(slots)
    }

    async fn write_slot(&self, connection: &mut SqliteConnection, entry: &JournalEntry) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("write the CA journal");
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        let JournalEntry { slot, key_id, spki_sha256, certificate, not_before, not_after, status } = entry;
        sqlx::query("DELETE FROM ca_slots WHERE slot = ?")
            .bind(slot.as_str())
            .execute(&mut *connection)
            .await
            .map_err(fail)?;
        sqlx::query(
            "INSERT INTO ca_slots (slot, key_id, spki_sha256, certificate, not_before, not_after, status) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(slot.as_str())
        .bind(key_id.as_bytes())
        .bind(spki_sha256.as_slice())
        .bind(certificate)
        .bind(to_i64(*not_before))
        .bind(to_i64(*not_after))
        .bind(status.number())
        .execute(connection)
        .await
        .map_err(fail)?;
        Ok(())
    }
}
