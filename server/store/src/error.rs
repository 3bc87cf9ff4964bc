//! What SQLite's answers mean to an operator.

use plastron_server_core::store::StoreError;

use crate::SqliteStore;

/// What a statement is for, as a verb phrase.
#[derive(Clone, Copy)]
pub(crate) struct Purpose(pub(crate) &'static str);

/// What to do about a damaged file.
const RESTORE: &str =
    "restore it from a backup, or move it away: nodes then attest again and entries have to be created again";

/// Primary result codes (sqlite.org/rescode.html).
mod code {
    pub(super) const BUSY: u32 = 5;
    pub(super) const READONLY: u32 = 8;
    pub(super) const IOERR: u32 = 10;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANTOPEN: u32 = 14;
    pub(super) const NOTADB: u32 = 26;
}

impl SqliteStore {
    pub(crate) fn failed(&self, purpose: Purpose, error: &sqlx::Error) -> StoreError {
        failed(&self.name, purpose, error)
    }

    /// A value that does not read as what was written.
    pub(crate) fn corrupt(&self, table: &str, key: &str, reason: &str) -> StoreError {
        StoreError::Corrupt {
            store: self.name.clone(),
            reason: format!("table {table}, row {key:?}: {reason}"),
            remedy: RESTORE.to_owned(),
        }
    }
}

pub(crate) fn failed(store: &str, purpose: Purpose, error: &sqlx::Error) -> StoreError {
    let remedy = match primary_code(error) {
        Some(code::CORRUPT | code::NOTADB) => {
            let (store, reason, remedy) = (store.to_owned(), error.to_string(), RESTORE.to_owned());
            return StoreError::Corrupt { store, reason, remedy };
        }
        Some(code::BUSY) => "another process has held the database for long: find out which, and try again",
        Some(code::READONLY) => "make the database file and its directory writable for the server",
        Some(code::IOERR) => "look at the disk that holds the database",
        Some(code::FULL) => "free some space on the disk that holds the database",
        Some(code::CANTOPEN) => "make the database's directory accessible for the server",
        _ => "try again; if it stays, look at the database file with the sqlite3 program",
    };
    StoreError::Statement { purpose: purpose.0, reason: error.to_string(), remedy }
}

/// The lowest eight bits of SQLite's extended result code.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|extended| extended & 0xff)
}
