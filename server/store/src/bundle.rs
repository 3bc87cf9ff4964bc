//! The bundle of the servers' own trust domain, as rows.

use plastron_server_core::store::StoreError;
use plastron_spiffe::{Bundle, JwtAuthority, X509Authority};
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;

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
    pub(crate) async fn write_bundle(
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
}
