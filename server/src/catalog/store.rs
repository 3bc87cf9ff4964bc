//! `DataStore "sql"`

use std::path::PathBuf;

use plastron_daemon::config::{LoadError, Strictness};
use plastron_daemon::plugins::Plugin;
use plastron_hcl1::{Located, Notice, NoticeKind, Place};
use serde::Deserialize;

#[derive(Debug)]
pub(super) struct DataStore {
    pub(super) path: PathBuf,
}

#[derive(Deserialize)]
struct Raw {
    database_type: Option<Located<String>>,
    connection_string: Option<Located<String>>,
    ro_connection_string: Option<Located<String>>,
    root_ca_path: Option<Located<String>>,
    client_cert_path: Option<Located<String>>,
    client_key_path: Option<Located<String>>,
    max_open_conns: Option<Located<i64>>,
    max_idle_conns: Option<Located<i64>>,
    conn_max_lifetime: Option<Located<String>>,
    disable_migration: Option<Located<bool>>,
    log_sql: Option<Located<bool>>,
}

impl DataStore {
    pub(super) fn read(plugin: &Plugin, strictness: &Strictness<'_>) -> Result<(Self, Vec<Notice>), LoadError> {
        let (raw, mut notices) = plugin.decode::<Raw>(strictness)?;
        raw.refuse_what_servers_have()?;
        notices.extend(raw.without_effect());
        let Raw { database_type, connection_string, .. } = raw;
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

impl Raw {
    /// SPIRE has these for databases in other processes, and passes over them where there is none.
    fn refuse_what_servers_have(&self) -> Result<(), LoadError> {
        let asked_for = [&self.ro_connection_string, &self.root_ca_path, &self.client_cert_path, &self.client_key_path];
        let first = asked_for.into_iter().flatten().find(|text| !text.value.is_empty());
        first.map_or(Ok(()), |text| {
            Err(text.refuse("is for databases on servers, which this server does not have").into())
        })
    }

    /// Connections and migrations are this server's own business.
    fn without_effect(&self) -> impl Iterator<Item = Notice> + use<> {
        fn place<T>(value: &Option<Located<T>>) -> Option<Place> {
            value.as_ref().map(|located| located.place.clone())
        }
        let places = [
            place(&self.max_open_conns),
            place(&self.max_idle_conns),
            place(&self.conn_max_lifetime),
            place(&self.disable_migration),
            place(&self.log_sql),
        ];
        places.into_iter().flatten().map(|place| Notice { place, kind: NoticeKind::WithoutEffect })
    }
}
