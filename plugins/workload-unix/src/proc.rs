//! A handle of one process in procfs (proc(5)) that can't come to mean another process.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use plastron_plugins::workload::{WorkloadAttestError, WorkloadProcess};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// Most bytes of `status` that are read. Linux lets a process have 65,536 supplementary groups of up to eleven bytes.
const MAX_STATUS: u64 = 1024 * 1024;

/// `/proc/PID` of the process that connected.
pub(crate) struct ProcessHandle<'a> {
    process: &'a WorkloadProcess,
    dir: OwnedFd,
}

/// Effective ids, as the kernel checks them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) supplementary: Vec<u32>,
}

impl<'a> ProcessHandle<'a> {
    /// Opens the directory and proves that it belongs to the process: that one still runs after the directory was opened.
    pub(crate) fn open(process: &'a WorkloadProcess, proc_root: &Path) -> Result<Self, WorkloadAttestError> {
        let gone = || WorkloadAttestError::Gone { pid: process.pid };
        if process.pid <= 0 || !process.liveness.is_same_process() {
            return Err(gone());
        }
        let path = proc_root.join(process.pid.to_string());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(CWD, &path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT | Errno::SRCH => gone(),
            other => unreadable(process.pid, "the procfs directory", other),
        })?;
        let handle = Self { process, dir };
        handle.still_the_same()?;
        Ok(handle)
    }

    /// The PID, for messages.
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid
    }

    /// The directory, to open what is in it.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Fails once the process that connected is gone.
    pub(crate) fn still_the_same(&self) -> Result<(), WorkloadAttestError> {
        if self.process.liveness.is_same_process() { Ok(()) } else { Err(self.gone()) }
    }

    /// An error of a system call on something in the directory.
    pub(crate) fn error(&self, what: &'static str, errno: Errno) -> WorkloadAttestError {
        if errno == Errno::SRCH { self.gone() } else { unreadable(self.pid(), what, errno) }
    }

    /// The credentials now. Fails if they are not those of the connection.
    pub(crate) fn credentials(&self) -> Result<Credentials, WorkloadAttestError> {
        let status = self.status()?;
        let credentials = parse_status(&status).map_err(|reason| match reason {
            StatusError::Exited => self.gone(),
            other => unreadable(self.pid(), "credentials", other),
        })?;
        let (connected, now) = ((self.process.uid, self.process.gid), (credentials.uid, credentials.gid));
        if connected != now {
            return Err(WorkloadAttestError::OtherCredentials { pid: self.pid(), connected, now });
        }
        Ok(credentials)
    }

    fn status(&self) -> Result<String, WorkloadAttestError> {
        const WHAT: &str = "status";
        let file = openat(&self.dir, "status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| if errno == Errno::NOENT { self.gone() } else { self.error(WHAT, errno) })?;
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(MAX_STATUS).read_to_end(&mut bytes).map_err(|error| {
            match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(errno) => self.error(WHAT, errno),
                None => unreadable(self.pid(), WHAT, error),
            }
        })?;
        // The name of the program, which the program chooses, need not be UTF-8; the lines that matter are ASCII.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn gone(&self) -> WorkloadAttestError {
        WorkloadAttestError::Gone { pid: self.pid() }
    }
}

/// An error about a fact of a process.
pub(crate) fn unreadable(pid: i32, what: &'static str, reason: impl std::fmt::Display) -> WorkloadAttestError {
    WorkloadAttestError::Unreadable { pid, what, reason: reason.to_string() }
}

/// Why `status` does not tell the credentials.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum StatusError {
    #[error("the process has exited")]
    Exited,
    #[error("status has {count} lines {field:?}, not one")]
    Count { field: &'static str, count: usize },
    #[error("status line {field:?} is malformed: {line:?}")]
    Malformed { field: &'static str, line: String },
}

/// Reads `State`, `Uid`, `Gid` and `Groups`, each exactly once.
fn parse_status(status: &str) -> Result<Credentials, StatusError> {
    // A zombie has lost its program and its files, and waits only for its parent.
    if only_line(status, "State:")?.starts_with(['Z', 'X', 'x']) {
        return Err(StatusError::Exited);
    }
    let supplementary = only_line(status, "Groups:")?;
    Ok(Credentials {
        uid: effective(status, "Uid:")?,
        gid: effective(status, "Gid:")?,
        supplementary: supplementary
            .split_ascii_whitespace()
            .map(|gid| gid.parse().map_err(|_| malformed("Groups:", supplementary)))
            .collect::<Result<_, _>>()?,
    })
}

/// The second of the four ids: real, effective, saved, file system.
fn effective(status: &str, field: &'static str) -> Result<u32, StatusError> {
    let line = only_line(status, field)?;
    let ids: Vec<u32> = line
        .split_ascii_whitespace()
        .map(|id| id.parse().map_err(|_| malformed(field, line)))
        .collect::<Result<_, _>>()?;
    match ids.as_slice() {
        [_real, effective, _saved, _fs] => Ok(*effective),
        _ => Err(malformed(field, line)),
    }
}

fn only_line<'a>(status: &'a str, field: &'static str) -> Result<&'a str, StatusError> {
    let mut lines = status.split('\n').filter_map(|line| line.strip_prefix(field));
    match (lines.next(), lines.count()) {
        (Some(line), 0) => Ok(line.trim()),
        (first, more) => Err(StatusError::Count { field, count: usize::from(first.is_some()) + more }),
    }
}

fn malformed(field: &'static str, line: &str) -> StatusError {
    StatusError::Malformed { field, line: line.chars().take(64).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tx\nState:\tS (sleeping)\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nNStgid:\t1\n";

    #[test]
    fn the_effective_ids_are_read() {
        let expected = Credentials { uid: 2, gid: 6, supplementary: vec![9, 10] };
        assert_eq!(parse_status(STATUS), Ok(expected));
        let none = parse_status(&STATUS.replace("9 10 ", " ")).unwrap();
        assert_eq!(none.supplementary, Vec::<u32>::new());
    }

    #[test]
    fn a_zombie_has_exited() {
        assert_eq!(parse_status(&STATUS.replace("S (sleeping)", "Z (zombie)")), Err(StatusError::Exited));
    }

    #[test]
    fn a_second_line_of_a_kind_is_refused() {
        let twice = STATUS.replace("Name:\tx", "Name:\tx\nUid:\t0\t0\t0\t0");
        assert_eq!(parse_status(&twice), Err(StatusError::Count { field: "Uid:", count: 2 }));
        assert_eq!(parse_status("State:\tS\n"), Err(StatusError::Count { field: "Groups:", count: 0 }));
    }

    #[test]
    fn ids_that_are_no_numbers_are_refused() {
        for (from, to) in [("\t1\t2\t3\t4", "\t1\t-2\t3\t4"), ("\t5\t6\t7\t8", "\t5\t6"), ("9 10", "9 4294967296")] {
            let error = parse_status(&STATUS.replace(from, to)).unwrap_err();
            assert!(matches!(error, StatusError::Malformed { .. }), "{to}: {error}");
        }
    }
}
