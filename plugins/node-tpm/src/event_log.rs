//! The firmware event log as the kernel shows it to root.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plastron_attestation_appraise::MAX_EVENT_LOG_LEN;

/// Where Linux shows the log of the first TPM.
pub const EVENT_LOG_PATH: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";

/// Read for every attestation: nothing of it is kept, and a kernel that got none shows none.
#[derive(Clone, Debug)]
pub struct EventLogFile {
    path: PathBuf,
}

impl EventLogFile {
    /// At this path, usually [`EVENT_LOG_PATH`]. Not opened yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log; `None` where there is no such file, or an empty one. One that is there and can't be read is an error: a machine must not
    /// pass for one without a log because of its permissions.
    pub fn read(&self) -> Result<Option<Arc<[u8]>>, EventLogFileError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let mut log = Vec::new();
        let limit = u64::try_from(MAX_EVENT_LOG_LEN).unwrap_or(u64::MAX);
        file.take(limit.saturating_add(1)).read_to_end(&mut log).map_err(|error| self.failed(error))?;
        if log.len() > MAX_EVENT_LOG_LEN {
            return Err(EventLogFileError::TooLong { path: self.path.clone() });
        }
        Ok((!log.is_empty()).then(|| Arc::from(log)))
    }

    fn failed(&self, source: io::Error) -> EventLogFileError {
        let path = self.path.clone();
        match source.kind() {
            ErrorKind::PermissionDenied => EventLogFileError::Denied { path, source },
            _ => EventLogFileError::Read { path, source },
        }
    }
}

/// Why the log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum EventLogFileError {
    /// The file, or a directory on the way, is for root only.
    #[error(
        "may not read the event log {}; it is root's: give the agent CAP_DAC_READ_SEARCH (AmbientCapabilities= in its systemd unit)",
        path.display()
    )]
    Denied {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Something else.
    #[error("can't read the event log {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// No server takes it.
    #[error("the event log {} has more than {MAX_EVENT_LOG_LEN} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
}
