//! Where lines go: standard error or a file, one write per line, nothing kept back.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where lines go.
pub(super) struct Sink(Arc<Mutex<Output>>);

enum Output {
    Stderr,
    File { path: PathBuf, file: File },
}

/// Opens the log file anew, after something has moved it away.
#[derive(Clone)]
pub struct Reopen(Arc<Mutex<Output>>);

impl Sink {
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let output = match path {
            None => Output::Stderr,
            Some(path) => Output::File { path: path.to_owned(), file: open(path)? },
        };
        Ok(Self(Arc::new(Mutex::new(output))))
    }

    pub(super) fn reopener(&self) -> Reopen {
        Reopen(Arc::clone(&self.0))
    }

    /// Where a line can't be written there is nobody to tell.
    pub(super) fn write(&self, line: &str) {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = match &mut *output {
            Output::Stderr => io::stderr().lock().write_all(line.as_bytes()),
            Output::File { file, .. } => file.write_all(line.as_bytes()),
        };
    }
}

impl Reopen {
    /// Opens the file anew; the old one stays in use if that fails. Standard error stays as it is.
    pub fn reopen(&self) -> io::Result<()> {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Output::File { path, file } = &mut *output {
            *file = open(path)?;
        }
        Ok(())
    }

    /// Reopens the file on every SIGUSR2, as SPIRE does. Must be called within a Tokio runtime.
    pub fn on_signal(self) -> io::Result<()> {
        let mut signals = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined2())?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                match self.reopen() {
                    Ok(()) => tracing::info!("Log file reopened"),
                    Err(error) => tracing::error!(%error, "Log file can't be reopened; the old one stays in use"),
                }
            }
        });
        Ok(())
    }
}

/// Logs can name workloads and nodes: readable by the owner and its group only.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}
