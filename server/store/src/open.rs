//! Opens the file: permissions, journal mode, schema.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use plastron_server_core::store::StoreError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::error::{Purpose, failed};
use crate::{SqliteStore, migrations};

/// Connections that read: loading and following the log are rare, and SQLite readers share the page cache of the system.
const READERS: u32 = 4;
/// How long a statement waits for another process that writes. A write takes milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an operation waits for a connection of ours. Writes queue for the one writer: at 5,000 commits/s that is a long queue.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

impl SqliteStore {
    /// Opens or makes the database, and brings its schema up to date. The file has mode 0600, and a directory that has to be made
    /// has mode 0700. Refuses a database that a newer version wrote. Blocks shortly on the file system.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        prepare_file(path).map_err(|error| StoreError::Open {
            store: name.clone(),
            reason: error.to_string(),
            remedy: "make its directory writable for the server, or change connection_string".to_owned(),
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let opening = |error: sqlx::Error| failed(&name, Purpose("open the database"), &error);
        let writer = pool(1).connect_with(options.clone()).await.map_err(opening)?;
        migrations::run(&name, &writer).await?;
        let readers = pool(READERS).min_connections(0).connect_lazy_with(options);
        Ok(Self { name, writer, readers, reads: AtomicU64::new(0), commits: AtomicU64::new(0) })
    }
}

/// Makes the directory and the file where they are missing, and closes a file that others can read. SQLite gives the write-ahead
/// log the mode of the file.
fn prepare_file(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}
