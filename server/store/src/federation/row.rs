//! Federation relationships as rows.

use plastron_server_core::store::StoreError;
use plastron_spiffe::{BundleEndpointUrl, EndpointProfile, FederationRelationship, SpiffeId, TrustDomain};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::Purpose;
use crate::row::Columns;

const HTTPS_WEB: i64 = 1;
const HTTPS_SPIFFE: i64 = 2;

impl SqliteStore {
    pub(crate) async fn relationships(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<FederationRelationship>, StoreError> {
        const PURPOSE: Purpose = Purpose("read the federation relationships");
        self.count_read();
        let rows =
            sqlx::query("SELECT * FROM federation_relationships ORDER BY trust_domain").fetch_all(connection).await;
        rows.map_err(|error| self.failed(PURPOSE, &error))?.iter().map(|row| self.read_relationship(row)).collect()
    }

    pub(crate) async fn relationship(
        &self,
        connection: &mut SqliteConnection,
        trust_domain: &TrustDomain,
    ) -> Result<Option<FederationRelationship>, StoreError> {
        const PURPOSE: Purpose = Purpose("read a federation relationship");
        self.count_read();
        let row = sqlx::query("SELECT * FROM federation_relationships WHERE trust_domain = ?")
            .bind(trust_domain.as_str())
            .fetch_optional(connection)
            .await
            .map_err(|error| self.failed(PURPOSE, &error))?;
        row.map(|row| self.read_relationship(&row)).transpose()
    }

    pub(super) async fn insert_relationship(
        &self,
        connection: &mut SqliteConnection,
        relationship: &FederationRelationship,
    ) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("write a federation relationship");
        let FederationRelationship { trust_domain, bundle_endpoint_url, profile } = relationship;
        let (profile, id) = match profile {
            EndpointProfile::HttpsWeb => (HTTPS_WEB, None),
            EndpointProfile::HttpsSpiffe { id } => (HTTPS_SPIFFE, Some(id.as_str())),
        };
        sqlx::query(
            "INSERT INTO federation_relationships (trust_domain, bundle_endpoint_url, profile, endpoint_spiffe_id) \
             VALUES (?, ?, ?, ?)",
        )
        .bind(trust_domain.as_str())
        .bind(bundle_endpoint_url.as_str())
        .bind(profile)
        .bind(id)
        .execute(connection)
        .await
        .map_err(|error| self.failed(PURPOSE, &error))?;
        Ok(())
    }

    /// Whether there was one.
    pub(super) async fn remove_relationship(
        &self,
        connection: &mut SqliteConnection,
        trust_domain: &TrustDomain,
    ) -> Result<bool, StoreError> {
        const PURPOSE: Purpose = Purpose("delete a federation relationship");
        let done = sqlx::query("DELETE FROM federation_relationships WHERE trust_domain = ?")
            .bind(trust_domain.as_str())
            .execute(connection)
            .await
            .map_err(|error| self.failed(PURPOSE, &error))?;
        Ok(done.rows_affected() > 0)
    }

    fn read_relationship(&self, row: &SqliteRow) -> Result<FederationRelationship, StoreError> {
        let columns = Columns::new(self, "federation_relationships", "trust_domain", row);
        let url: &str = columns.get("bundle_endpoint_url")?;
        let url = BundleEndpointUrl::parse(url).map_err(|error| columns.damaged("bundle_endpoint_url", &error))?;
        let profile = match (columns.get("profile")?, columns.get::<Option<&str>>("endpoint_spiffe_id")?) {
            (HTTPS_WEB, _) => EndpointProfile::HttpsWeb,
            (HTTPS_SPIFFE, Some(id)) => EndpointProfile::HttpsSpiffe {
                id: SpiffeId::parse(id).map_err(|error| columns.damaged("endpoint_spiffe_id", &error))?,
            },
            (profile, id) => return Err(columns.damaged("profile", &format!("{profile} with the ID {id:?}"))),
        };
        Ok(FederationRelationship {
            trust_domain: columns.trust_domain("trust_domain")?,
            bundle_endpoint_url: url,
            profile,
        })
    }
}
