//! Bundles as rows: that of the servers' own trust domain, and those of foreign ones.

use plastron_server_core::store::StoreError;
use plastron_spiffe::{Bundle, JwtAuthority, TrustDomain, X509Authority};
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::Purpose;
use crate::row::Columns;
use crate::write::to_i64;

impl SqliteStore {
    /// The bundle of the server's own trust domain.
    pub(crate) async fn own_bundle(&self, connection: &mut SqliteConnection) -> Result<Option<Bundle>, StoreError> {
        const PURPOSE: Purpose = Purpose("read the bundle");
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        self.count_read();
        let row =
            sqlx::query("SELECT * FROM bundles WHERE own = 1").fetch_optional(&mut *connection).await.map_err(fail)?;
        match row {
            Some(row) => self.read_bundle(connection, &row).await.map(Some),
            None => Ok(None),
        }
    }

    /// The bundle of a foreign trust domain.
    pub(crate) async fn federated_bundle(
        &self,
        connection: &mut SqliteConnection,
        trust_domain: &TrustDomain,
    ) -> Result<Option<Bundle>, StoreError> {
        const PURPOSE: Purpose = Purpose("read a federated bundle");
        self.count_read();
        let row = sqlx::query("SELECT * FROM bundles WHERE own = 0 AND trust_domain = ?")
            .bind(trust_domain.as_str())
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| self.failed(PURPOSE, &error))?;
        match row {
            Some(row) => self.read_bundle(connection, &row).await.map(Some),
            None => Ok(None),
        }
    }

    /// The bundles of all foreign trust domains.
    pub(crate) async fn federated_bundles(&self, connection: &mut SqliteConnection) -> Result<Vec<Bundle>, StoreError> {
        const PURPOSE: Purpose = Purpose("read the federated bundles");
        self.count_read();
        let rows =
            sqlx::query("SELECT * FROM bundles WHERE own = 0 ORDER BY trust_domain").fetch_all(&mut *connection).await;
        let mut bundles = Vec::new();
        for row in rows.map_err(|error| self.failed(PURPOSE, &error))? {
            bundles.push(self.read_bundle(connection, &row).await?);
        }
        Ok(bundles)
    }

    async fn read_bundle(&self, connection: &mut SqliteConnection, row: &SqliteRow) -> Result<Bundle, StoreError> {
        const PURPOSE: Purpose = Purpose("read a bundle");
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        let columns = Columns::new(self, "bundles", "trust_domain", row);
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
        Ok(bundle)
    }

    /// Writes the whole bundle: a handful of rows, a few times a day. `known`: there is a row for its trust domain.
    pub(crate) async fn write_bundle(
        &self,
        connection: &mut SqliteConnection,
        bundle: &Bundle,
        known: bool,
    ) -> Result<(), StoreError> {
        self.write_rows(connection, bundle, true, known).await
    }

    /// The same for a foreign trust domain.
    pub(crate) async fn write_federated_bundle(
        &self,
        connection: &mut SqliteConnection,
        bundle: &Bundle,
        known: bool,
    ) -> Result<(), StoreError> {
        self.write_rows(connection, bundle, false, known).await
    }

    /// Removes the bundle of a foreign trust domain.
    pub(crate) async fn remove_federated_bundle(
        &self,
        connection: &mut SqliteConnection,
        trust_domain: &TrustDomain,
    ) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("delete a federated bundle");
        for table in [
            "DELETE FROM x509_authorities WHERE trust_domain = ?",
            "DELETE FROM jwt_authorities WHERE trust_domain = ?",
            "DELETE FROM bundles WHERE own = 0 AND trust_domain = ?",
        ] {
            let done = sqlx::query(table).bind(trust_domain.as_str()).execute(&mut *connection).await;
            done.map_err(|error| self.failed(PURPOSE, &error))?;
        }
        Ok(())
    }

    async fn write_rows(
        &self,
        connection: &mut SqliteConnection,
        bundle: &Bundle,
        own: bool,
        known: bool,
    ) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("write the bundle");
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        let Bundle { trust_domain, x509_authorities, jwt_authorities, refresh_hint, sequence_number } = bundle;
        let trust_domain = trust_domain.as_str();
        let row = if known {
            sqlx::query("UPDATE bundles SET refresh_hint = ?, sequence_number = ? WHERE trust_domain = ? AND own = ?")
        } else {
            sqlx::query("INSERT INTO bundles (refresh_hint, sequence_number, trust_domain, own) VALUES (?, ?, ?, ?)")
        };
        row.bind(*refresh_hint)
            .bind(to_i64(*sequence_number))
            .bind(trust_domain)
            .bind(i64::from(own))
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
}
