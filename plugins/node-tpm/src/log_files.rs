//! The logs of a boot as the kernel shows them to root: the firmware's event log, and the list of what IMA measured since.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plastron_attestation::LogKind;
use plastron_attestation_appraise::MAX_EVENT_LOG_LEN;
use plastron_attestation_tcg::ima::MAX_IMA_LIST_LEN;

/// Where Linux shows the log of the first TPM.
pub const EVENT_LOG_PATH: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";

/// Where Linux shows the list of IMA.
pub const IMA_LOG_PATH: &str = "/sys/kernel/security/ima/binary_runtime_measurements";

/// Both files of a machine.
#[derive(Clone, Debug)]
pub struct LogFiles {
    /// Read for every attestation.
    pub event_log: LogFile,
    /// Read when a server asks for it, after the quote.
    pub ima_list: LogFile,
}

impl LogFiles {
    /// At these paths, usually [`EVENT_LOG_PATH`] and [`IMA_LOG_PATH`]. Not opened yet.
    pub fn at(event_log: impl Into<PathBuf>, ima_list: impl Into<PathBuf>) -> Self {
        Self {
            event_log: LogFile { log: LogKind::EventLog, path: event_log.into() },
            ima_list: LogFile { log: LogKind::ImaList, path: ima_list.into() },
        }
    }
}

/// A file of the kernel. Nothing of it is kept, and a kernel that has nothing to show shows none.
#[derive(Clone, Debug)]
pub struct LogFile {
    log: LogKind,
    path: PathBuf,
}

impl LogFile {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log; `None` where there is no such file, or an empty one. One that is there and can't be read is an error: a machine must not
    /// pass for one without a log because of its permissions.
    pub fn read(&self) -> Result<Option<Arc<[u8]>>, LogFileError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let max = match self.log {
            LogKind::EventLog => MAX_EVENT_LOG_LEN,
            LogKind::ImaList => MAX_IMA_LIST_LEN,
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(max).unwrap_or(u64::MAX);
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| self.failed(error))?;
        if bytes.len() > max {
            return Err(LogFileError::TooLong { log: self.log, path: self.path.clone(), max });
        }
        Ok((!bytes.is_empty()).then(|| Arc::from(bytes)))
    }

    fn failed(&self, source: io::Error) -> LogFileError {
        let (log, path) = (self.log, self.path.clone());
        match source.kind() {
            ErrorKind::PermissionDenied => LogFileError::Denied { log, path, source },
            _ => LogFileError::Read { log, path, source },
        }
    }
}

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    /// The file, or a directory on the way, is for root only.
    #[error(
        "may not read the {log} {}; it is root's: give the agent CAP_DAC_READ_SEARCH (AmbientCapabilities= in its systemd unit)",
        path.display()
    )]
    Denied {
        /// Which log.
        log: LogKind,
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Something else.
    #[error("can't read the {log} {}", path.display())]
    Read {
        /// Which log.
        log: LogKind,
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// No server takes it.
    #[error("the {log} {} has more than {max} bytes", path.display())]
    TooLong {
        /// Which log.
        log: LogKind,
        /// The file.
        path: PathBuf,
        /// The longest that is sent.
        max: usize,
    },
}
