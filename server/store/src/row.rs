//! Reads columns of one row; what does not read as it was written is named with table, row and column.

use plastron_server_core::store::StoreError;
use plastron_spiffe::{Selector, SpiffeId, TrustDomain};
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row as _, Sqlite, Type};

use crate::SqliteStore;

/// A row of a table, with its key for errors.
pub(crate) struct Columns<'a> {
    store: &'a SqliteStore,
    table: &'static str,
    key: &'static str,
    row: &'a SqliteRow,
}

impl<'a> Columns<'a> {
    /// `key` is the column that tells rows of this table apart.
    pub(crate) fn new(store: &'a SqliteStore, table: &'static str, key: &'static str, row: &'a SqliteRow) -> Self {
        Self { store, table, key, row }
    }

    pub(crate) fn get<T>(&self, column: &str) -> Result<T, StoreError>
    where
        T: Decode<'a, Sqlite> + Type<Sqlite>,
    {
        self.row.try_get(column).map_err(|error| self.damaged(column, &error))
    }

    pub(crate) fn flag(&self, column: &str) -> Result<bool, StoreError> {
        Ok(self.get::<i64>(column)? != 0)
    }

    pub(crate) fn number<T>(&self, column: &str) -> Result<T, StoreError>
    where
        T: TryFrom<i64>,
        T::Error: std::fmt::Display,
    {
        T::try_from(self.get::<i64>(column)?).map_err(|error| self.damaged(column, &error))
    }

    pub(crate) fn spiffe_id(&self, column: &str) -> Result<SpiffeId, StoreError> {
        SpiffeId::parse(self.get(column)?).map_err(|error| self.damaged(column, &error))
    }

    pub(crate) fn trust_domain(&self, column: &str) -> Result<TrustDomain, StoreError> {
        TrustDomain::parse(self.get(column)?).map_err(|error| self.damaged(column, &error))
    }

    /// A JSON list of texts.
    pub(crate) fn texts(&self, column: &str) -> Result<Vec<String>, StoreError> {
        // Most lists of most entries are empty.
        let text: &str = self.get(column)?;
        if text == "[]" {
            return Ok(Vec::new());
        }
        serde_json::from_str(text).map_err(|error| self.damaged(column, &error))
    }

    pub(crate) fn selectors(&self, column: &str) -> Result<Vec<Selector>, StoreError> {
        let texts = self.texts(column)?;
        texts.iter().map(|text| Selector::parse(text).map_err(|error| self.damaged(column, &error))).collect()
    }

    pub(crate) fn damaged(&self, column: &str, reason: &dyn std::fmt::Display) -> StoreError {
        let key = match self.row.try_get::<String, _>(self.key) {
            Ok(text) => text,
            Err(_not_text) => self.row.try_get::<Vec<u8>, _>(self.key).map(hex::encode).unwrap_or_default(),
        };
        self.store.corrupt(self.table, &key, &format!("column {column}: {reason}"))
    }
}

/// A list of texts as JSON.
pub(crate) fn json_list<T: std::fmt::Display>(items: &[T]) -> String {
    serde_json::Value::from(items.iter().map(ToString::to_string).collect::<Vec<_>>()).to_string()
}
