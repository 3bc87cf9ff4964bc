//! Rows of the table `nodes`.

use plastron_server_core::store::{Node, NodeSvid, Standing, StoreError};
use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::SerialNumber;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::Purpose;
use crate::row::{Columns, json_list};
use crate::write::to_i64;

const ACTIVE: i64 = 1;
const CUT_OFF: i64 = 2;
const QUARANTINED: i64 = 3;
const BANNED: i64 = 4;

/// `standing` as its columns.
struct StandingColumns<'a> {
    number: i64,
    reason: &'a str,
    serial: Option<&'a [u8]>,
    not_after: i64,
    pending: Option<&'a NodeSvid>,
}

impl<'a> From<&'a Standing> for StandingColumns<'a> {
    fn from(standing: &'a Standing) -> Self {
        let without_svid = |number, reason, not_after: &u64| Self {
            number,
            reason,
            serial: None,
            not_after: to_i64(*not_after),
            pending: None,
        };
        match standing {
            Standing::Active { current, pending } => Self {
                number: ACTIVE,
                reason: "",
                serial: Some(current.serial.as_bytes()),
                not_after: to_i64(current.not_after),
                pending: pending.as_ref(),
            },
            Standing::CutOff { not_after, reason } => without_svid(CUT_OFF, reason, not_after),
            Standing::Quarantined { not_after, reason } => without_svid(QUARANTINED, reason, not_after),
            Standing::Banned { not_after } => without_svid(BANNED, "", not_after),
        }
    }
}

impl SqliteStore {
    pub(crate) async fn all_nodes(&self, connection: &mut SqliteConnection) -> Result<Vec<Node>, StoreError> {
        const PURPOSE: Purpose = Purpose("read the nodes");
        self.count_read();
        let rows = sqlx::query("SELECT * FROM nodes").fetch_all(connection).await;
        rows.map_err(|error| self.failed(PURPOSE, &error))?.iter().map(|row| self.node(row)).collect()
    }

    pub(crate) async fn node_with_id(
        &self,
        connection: &mut SqliteConnection,
        id: &SpiffeId,
    ) -> Result<Option<Node>, StoreError> {
        const PURPOSE: Purpose = Purpose("read a node");
        self.count_read();
        let row = sqlx::query("SELECT * FROM nodes WHERE id = ?").bind(id.as_str()).fetch_optional(connection).await;
        row.map_err(|error| self.failed(PURPOSE, &error))?.map(|row| self.node(&row)).transpose()
    }

    /// Writes a node in place of the row with its ID, if there is one.
    pub(crate) async fn replace_node(&self, connection: &mut SqliteConnection, node: &Node) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("write a node");
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        let Node { id, attestation_type, standing, can_reattest, selectors, agent_version, tpm } = node;
        let StandingColumns { number, reason, serial, not_after, pending } = standing.into();
        let ak_name = tpm.as_ref().and_then(|tpm| tpm.ak_name());
        let event_log = tpm.as_ref().and_then(|tpm| tpm.event_log_sha256);
        let document = tpm.as_ref().map(|tpm| serde_json::to_string(tpm.as_ref())).transpose();
        let document = document.map_err(|error| self.corrupt("nodes", id.as_str(), &error.to_string()))?;
        sqlx::query("DELETE FROM nodes WHERE id = ?")
            .bind(id.as_str())
            .execute(&mut *connection)
            .await
            .map_err(fail)?;
        sqlx::query(
            "INSERT INTO nodes (id, attestation_type, standing, standing_reason, serial, not_after, pending_serial, \
             pending_not_after, can_reattest, selectors, agent_version, ak_name, tpm, event_log_sha256) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.as_str())
        .bind(attestation_type)
        .bind(number)
        .bind(reason)
        .bind(serial)
        .bind(not_after)
        .bind(pending.map(|pending| pending.serial.as_bytes()))
        .bind(pending.map(|pending| to_i64(pending.not_after)))
        .bind(i64::from(*can_reattest))
        .bind(json_list(selectors))
        .bind(agent_version)
        .bind(ak_name.as_ref().map(|name| name.as_bytes()))
        .bind(document)
        .bind(event_log.as_ref().map(<[u8; 32]>::as_slice))
        .execute(connection)
        .await
        .map_err(fail)?;
        Ok(())
    }

    fn node(&self, row: &SqliteRow) -> Result<Node, StoreError> {
        let columns = Columns::new(self, "nodes", "id", row);
        let document: Option<&str> = columns.get("tpm")?;
        let tpm = document.map(serde_json::from_str).transpose().map_err(|error| columns.damaged("tpm", &error))?;
        Ok(Node {
            id: columns.spiffe_id("id")?,
            attestation_type: columns.get("attestation_type")?,
            standing: standing(&columns)?,
            can_reattest: columns.flag("can_reattest")?,
            selectors: columns.selectors("selectors")?,
            agent_version: columns.get("agent_version")?,
            tpm,
        })
    }
}

fn standing(columns: &Columns<'_>) -> Result<Standing, StoreError> {
    let not_after: u64 = columns.number("not_after")?;
    let reason = || columns.get::<String>("standing_reason");
    Ok(match columns.get::<i64>("standing")? {
        ACTIVE => Standing::Active {
            current: svid(columns, "serial", not_after)?
                .ok_or_else(|| columns.damaged("serial", &"an active node has one"))?,
            pending: match columns.get::<Option<i64>>("pending_not_after")? {
                Some(_) => svid(columns, "pending_serial", columns.number("pending_not_after")?)?,
                None => None,
            },
        },
        CUT_OFF => Standing::CutOff { not_after, reason: reason()? },
        QUARANTINED => Standing::Quarantined { not_after, reason: reason()? },
        BANNED => Standing::Banned { not_after },
        other => return Err(columns.damaged("standing", &format!("unknown number {other}"))),
    })
}

fn svid(columns: &Columns<'_>, column: &str, not_after: u64) -> Result<Option<NodeSvid>, StoreError> {
    let Some(octets) = columns.get::<Option<&[u8]>>(column)? else { return Ok(None) };
    let serial = SerialNumber::from_bytes(octets).ok_or_else(|| columns.damaged(column, &"not a serial number"))?;
    Ok(Some(NodeSvid { serial, not_after }))
}
