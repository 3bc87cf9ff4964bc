//! TPMs that wait for a person.

use std::sync::Arc;

use plastron_server_core::limits::{MAX_PENDING_PER_POOL, MAX_PENDING_PER_SOURCE};
use plastron_server_core::store::{
    AdmitError, Committed, Decision, DecisionVerdict, Event, NeedsApproval, PendingError, PendingStore, PendingTpm,
    StoreError, WaitRecord,
};
use plastron_spiffe::SpiffeId;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::Purpose;
use crate::row::Columns;
use crate::write::Write;

/// Numbers of the column `asks_for`.
const NEW_NODE: i64 = 1;
const NEW_AK: i64 = 2;

/// Numbers of the column `decision`.
const UNDECIDED: i64 = 0;
const APPROVED: i64 = 1;
const REJECTED: i64 = 2;

#[async_trait::async_trait]
impl PendingStore for SqliteStore {
    async fn wait(&self, record: WaitRecord) -> Result<Committed<PendingTpm>, AdmitError> {
        const PURPOSE: Purpose = Purpose("keep a TPM that waits");
        let WaitRecord { id, asks_for, proved, source, now } = record;
        let mut write = Write::begin(self, PURPOSE).await?;
        let known = self.pending_with_id(write.connection(), &id).await?;
        let (first_seen, attempts) =
            known.as_ref().map_or((now, 1), |known| (known.first_seen, known.attempts.saturating_add(1)));
        let is_counted =
            known.as_ref().is_some_and(|known| known.decision.is_none() && known.proved.pool == proved.pool);
        let decision = known.and_then(|known| kept(known, asks_for, &proved.pool));
        if decision.is_none() && !is_counted {
            self.check_quota(write.connection(), "pool", &proved.pool, MAX_PENDING_PER_POOL).await?;
            self.check_quota(write.connection(), "source", &source, MAX_PENDING_PER_SOURCE).await?;
        }
        let pending = PendingTpm { id, asks_for, proved, source, first_seen, last_seen: now, attempts, decision };
        self.replace_pending(write.connection(), &pending).await?;
        write.note(Event::PendingTpm { id: pending.id.clone() });
        Ok(Committed { value: pending, changes: write.commit(PURPOSE).await? })
    }

    async fn pending(&self) -> Result<Vec<PendingTpm>, StoreError> {
        const PURPOSE: Purpose = Purpose("list the TPMs that wait");
        self.count_read();
        let rows = sqlx::query("SELECT * FROM pending_tpms ORDER BY first_seen, id").fetch_all(&self.readers).await;
        let rows = rows.map_err(|error| self.failed(PURPOSE, &error))?;
        rows.iter().map(|row| self.pending_tpm(row)).collect()
    }

    async fn decide(&self, id: SpiffeId, decision: Decision) -> Result<Committed<PendingTpm>, PendingError> {
        const PURPOSE: Purpose = Purpose("decide on a TPM that waits");
        let mut write = Write::begin(self, PURPOSE).await?;
        let known = self.pending_with_id(write.connection(), &id).await?.ok_or(PendingError::NotFound { id })?;
        let decided = PendingTpm { decision: Some(decision), ..known };
        self.replace_pending(write.connection(), &decided).await?;
        write.note(Event::PendingTpm { id: decided.id.clone() });
        Ok(Committed { value: decided, changes: write.commit(PURPOSE).await? })
    }
}

/// The decision that counts for what a TPM asks now. A rejection counts in every pool: a TPM that two of them trust chooses between them
/// by the certificate that it shows or hides.
fn kept(known: PendingTpm, asks_for: NeedsApproval, pool: &str) -> Option<Decision> {
    let PendingTpm { asks_for: asked_for, proved, decision, .. } = known;
    decision.filter(|decision| {
        asked_for == asks_for && (decision.verdict == DecisionVerdict::Rejected || proved.pool == pool)
    })
}

/// Refuses a new node whose TPM was rejected, also where its pool asks nobody. Else nothing is left to ask about it, and no approval
/// that a later enrolment could use up.
pub(crate) async fn settle(write: &mut Write<'_>, id: &SpiffeId) -> Result<(), AdmitError> {
    let store = write.store;
    let known = store.pending_with_id(write.connection(), id).await?;
    let Some(PendingTpm { asks_for, decision, .. }) = known else { return Ok(()) };
    if let (NeedsApproval::NewNode, Some(Decision { verdict: DecisionVerdict::Rejected, by, at: _, reason })) =
        (asks_for, decision)
    {
        return Err(AdmitError::Rejected { id: id.clone(), asks_for, by, reason });
    }
    sqlx::query("DELETE FROM pending_tpms WHERE id = ?")
        .bind(id.as_str())
        .execute(write.connection())
        .await
        .map_err(|error| store.failed(Purpose("forget a TPM that waits"), &error))?;
    write.note(Event::PendingTpm { id: id.clone() });
    Ok(())
}

/// Uses an approval up, in the transaction that admits the node: the number of rows that the DELETE took decides.
pub(crate) async fn use_up(
    write: &mut Write<'_>,
    id: &SpiffeId,
    asks_for: NeedsApproval,
    pool: &str,
) -> Result<(), AdmitError> {
    let store = write.store;
    let done = sqlx::query("DELETE FROM pending_tpms WHERE id = ? AND asks_for = ? AND pool = ? AND decision = ?")
        .bind(id.as_str())
        .bind(number(asks_for))
        .bind(pool)
        .bind(APPROVED)
        .execute(write.connection())
        .await
        .map_err(|error| store.failed(Purpose("use an approval up"), &error))?;
    if done.rows_affected() != 1 {
        return Err(AdmitError::Pending { id: id.clone(), asks_for });
    }
    write.note(Event::PendingTpm { id: id.clone() });
    Ok(())
}

impl SqliteStore {
    /// `column` is one of ours, never text from outside.
    async fn check_quota(
        &self,
        connection: &mut SqliteConnection,
        column: &'static str,
        value: &str,
        limit: u32,
    ) -> Result<(), AdmitError> {
        let statement = match column {
            "pool" => "SELECT COUNT(*) FROM pending_tpms WHERE decision = ? AND pool = ?",
            _ => "SELECT COUNT(*) FROM pending_tpms WHERE decision = ? AND source = ?",
        };
        self.count_read();
        let waiting: i64 = sqlx::query_scalar(statement)
            .bind(UNDECIDED)
            .bind(value)
            .fetch_one(connection)
            .await
            .map_err(|error| self.failed(Purpose("count the TPMs that wait"), &error))?;
        if waiting >= i64::from(limit) {
            return Err(AdmitError::TooManyPending { what: column, of: value.to_owned(), limit });
        }
        Ok(())
    }

    async fn pending_with_id(
        &self,
        connection: &mut SqliteConnection,
        id: &SpiffeId,
    ) -> Result<Option<PendingTpm>, StoreError> {
        const PURPOSE: Purpose = Purpose("read a TPM that waits");
        self.count_read();
        let row =
            sqlx::query("SELECT * FROM pending_tpms WHERE id = ?").bind(id.as_str()).fetch_optional(connection).await;
        row.map_err(|error| self.failed(PURPOSE, &error))?.map(|row| self.pending_tpm(&row)).transpose()
    }

    /// Writes a TPM in place of the row with its ID, if there is one.
    async fn replace_pending(&self, connection: &mut SqliteConnection, pending: &PendingTpm) -> Result<(), StoreError> {
        const PURPOSE: Purpose = Purpose("write a TPM that waits");
        let fail = |error: sqlx::Error| self.failed(PURPOSE, &error);
        let PendingTpm { id, asks_for, proved, source, first_seen, last_seen, attempts, decision } = pending;
        let document = serde_json::to_string(proved.as_ref())
            .map_err(|error| self.corrupt("pending_tpms", id.as_str(), &error.to_string()))?;
        let (verdict, by, at, reason) = match decision {
            None => (UNDECIDED, "", 0, ""),
            Some(Decision { verdict, by, at, reason }) => {
                let verdict = if *verdict == DecisionVerdict::Approved { APPROVED } else { REJECTED };
                (verdict, by.as_str(), *at, reason.as_str())
            }
        };
        sqlx::query("DELETE FROM pending_tpms WHERE id = ?")
            .bind(id.as_str())
            .execute(&mut *connection)
            .await
            .map_err(fail)?;
        sqlx::query(
            "INSERT INTO pending_tpms (id, asks_for, pool, tpm, source, first_seen, last_seen, attempts, decision, \
             decided_by, decided_at, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.as_str())
        .bind(number(*asks_for))
        .bind(&proved.pool)
        .bind(document)
        .bind(source)
        .bind(first_seen)
        .bind(last_seen)
        .bind(attempts)
        .bind(verdict)
        .bind(by)
        .bind(at)
        .bind(reason)
        .execute(connection)
        .await
        .map_err(fail)?;
        Ok(())
    }

    fn pending_tpm(&self, row: &SqliteRow) -> Result<PendingTpm, StoreError> {
        let columns = Columns::new(self, "pending_tpms", "id", row);
        let proved = serde_json::from_str(columns.get("tpm")?).map_err(|error| columns.damaged("tpm", &error))?;
        let decided = |verdict| -> Result<Option<Decision>, StoreError> {
            let (by, at, reason) = (columns.get("decided_by")?, columns.get("decided_at")?, columns.get("reason")?);
            Ok(Some(Decision { verdict, by, at, reason }))
        };
        Ok(PendingTpm {
            id: columns.spiffe_id("id")?,
            asks_for: match columns.get::<i64>("asks_for")? {
                NEW_NODE => NeedsApproval::NewNode,
                NEW_AK => NeedsApproval::NewAk,
                other => return Err(columns.damaged("asks_for", &format!("unknown number {other}"))),
            },
            proved: Arc::new(proved),
            source: columns.get("source")?,
            first_seen: columns.get("first_seen")?,
            last_seen: columns.get("last_seen")?,
            attempts: columns.get("attempts")?,
            decision: match columns.get::<i64>("decision")? {
                UNDECIDED => None,
                APPROVED => decided(DecisionVerdict::Approved)?,
                REJECTED => decided(DecisionVerdict::Rejected)?,
                other => return Err(columns.damaged("decision", &format!("unknown number {other}"))),
            },
        })
    }
}

fn number(asks_for: NeedsApproval) -> i64 {
    match asks_for {
        NeedsApproval::NewNode => NEW_NODE,
        NeedsApproval::NewAk => NEW_AK,
    }
}
