//! The CA journals, as rows.

use plastron_hsm::KeyId;
use plastron_server_core::store::{
    JournalAuthority, JournalCa, JournalEntry, JournalJwtKey, ServerId, SlotKind, SlotName, SlotStatus, StoreError,
};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::Purpose;
use crate::row::{Columns, json_list};
use crate::write::to_i64;

impl SqliteStore {
    /// The slots of all servers.
    pub(crate) async fn journal(&self, connection: &mut SqliteConnection) -> Result<Vec<JournalEntry>, StoreError> {
        const PURPOSE: Purpose = Purpose("read the CA journal");
        self.count_read();
        let rows = sqlx::query("SELECT * FROM ca_journal ORDER BY server, slot").fetch_all(connection).await;
        let rows = rows.map_err(|error| self.failed(PURPOSE, &error))?;
        rows.iter().map(|row| read(&Columns::new(self, "ca_journal", "slot", row))).collect()
    }

    pub(crate) async fn write_slot(
        &self,
        connection: &mut SqliteConnection,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("write the CA journal");
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        let JournalEntry { server, slot, key_id, spki_sha256, authority, not_before, not_after, status } = entry;
        let (ca, jwt) = match authority {
            JournalAuthority::X509(ca) => (Some(ca), None),
            JournalAuthority::Jwt(key) => (None, Some(key)),
        };
        let intermediates: Vec<_> = ca.iter().flat_map(|ca| &ca.intermediates).map(hex::encode).collect();
        self.delete_slot(&mut *connection, *server, *slot).await?;
        sqlx::query(
            "INSERT INTO ca_journal (server, slot, key_id, spki_sha256, certificate, intermediates, \
             upstream_authority_id, jwt_key_id, jwt_public_key, not_before, not_after, status) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(server.to_string())
        .bind(slot.as_str())
        .bind(key_id.as_bytes())
        .bind(spki_sha256.as_slice())
        .bind(ca.map(|ca| ca.certificate.as_slice()))
        .bind(json_list(&intermediates))
        .bind(ca.and_then(|ca| ca.upstream_authority_id.as_deref()))
        .bind(jwt.map(|key| key.key_id.as_str()))
        .bind(jwt.map(|key| key.public_key.as_slice()))
        .bind(to_i64(*not_before))
        .bind(to_i64(*not_after))
        .bind(status.number())
        .execute(connection)
        .await
        .map_err(fail)?;
        Ok(())
    }

    pub(crate) async fn delete_slot(
        &self,
        connection: &mut SqliteConnection,
        server: ServerId,
        slot: SlotName,
    ) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("write the CA journal");
        let done = sqlx::query("DELETE FROM ca_journal WHERE server = ? AND slot = ?")
            .bind(server.to_string())
            .bind(slot.as_str())
            .execute(connection)
            .await;
        done.map(|_rows| ()).map_err(|error| self.failed(PURPOSE, &error))
    }
}

fn read(columns: &Columns<'_>) -> Result<JournalEntry, StoreError> {
    let slot = SlotName::parse(columns.get("slot")?).ok_or_else(|| columns.damaged("slot", &"unknown slot"))?;
    let missing = |column: &str| columns.damaged(column, &"not there");
    let authority = match slot.kind() {
        SlotKind::X509 => JournalAuthority::X509(JournalCa {
            certificate: columns.get::<Option<_>>("certificate")?.ok_or_else(|| missing("certificate"))?,
            intermediates: columns
                .texts("intermediates")?
                .iter()
                .map(|text| hex::decode(text).map_err(|error| columns.damaged("intermediates", &error)))
                .collect::<Result<_, _>>()?,
            upstream_authority_id: columns.get("upstream_authority_id")?,
        }),
        SlotKind::Jwt => JournalAuthority::Jwt(JournalJwtKey {
            key_id: columns.get::<Option<_>>("jwt_key_id")?.ok_or_else(|| missing("jwt_key_id"))?,
            public_key: columns.get::<Option<_>>("jwt_public_key")?.ok_or_else(|| missing("jwt_public_key"))?,
        }),
    };
    let status = SlotStatus::from_number(columns.get("status")?);
    Ok(JournalEntry {
        server: ServerId::parse(columns.get("server")?)
            .ok_or_else(|| columns.damaged("server", &"no server identifier"))?,
        slot,
        key_id: KeyId::new(columns.get::<Vec<u8>>("key_id")?),
        spki_sha256: columns
            .get::<Vec<u8>>("spki_sha256")?
            .try_into()
            .map_err(|_other_length| columns.damaged("spki_sha256", &"not 32 bytes"))?,
        authority,
        not_before: columns.number("not_before")?,
        not_after: columns.number("not_after")?,
        status: status.ok_or_else(|| columns.damaged("status", &"unknown status"))?,
    })
}
