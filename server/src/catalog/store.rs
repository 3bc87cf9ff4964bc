//! `DataStore "sql"`

use std::path::PathBuf;

use plastron_daemon::config::{LoadError, Strictness};
use plastron_daemon::plugins::Plugin;
use plastron_hcl1::{Located, Notice};
use serde::Deserialize;

#[derive(Debug)]
pub(super) struct DataStore {
    pub(super) path: PathBuf,
}

#[derive(Deserialize)]
struct Raw {
    database_type: Option<Located<String>>,
    connection_string: Option<Located<String>>,
}

impl DataStore {
    pub(super) fn read(plugin: &Plugin, strictness: &Strictness<'_>) -> Result<(Self, Vec<Notice>), LoadError> {
        let (Raw { database_type, connection_string }, notices) = plugin.decode(strictness)?;
        let missing = |key: &str| LoadError::from(plugin.place.refuse(format_args!("{key} must be configured")));
        let database_type = database_type.ok_or_else(|| missing("database_type"))?;
        if database_type.value != "sqlite3" {
            let problem = format!("this server has no database type {:?}; it has sqlite3", database_type.value);
            return Err(database_type.refuse(problem).into());
        }
        let connection_string = connection_string.ok_or_else(|| missing("connection_string"))?;
        let path = connection_string.value.strip_prefix("file:").unwrap_or(&connection_string.value);
        if path.is_empty() || path.contains(['?', '\0']) || path == ":memory:" {
            return Err(connection_string.refuse("expected the path of a file, without parameters").into());
        }
        Ok((Self { path: PathBuf::from(path) }, notices))
    }
}
