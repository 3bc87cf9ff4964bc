//! Which program the process runs: the path and the SHA-256 of its file, both from one handle.

use std::io::Read;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, OwnedFd};

use plastron_plugins::workload::WorkloadAttestError;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};
use sha2::{Digest, Sha256};

use crate::patience::{OutOfPatience, Patience};
use crate::proc::{ProcessHandle, unreadable};

/// How much is read at once; also how often it is asked whether the process still runs and somebody waits for the answer.
const CHUNK: usize = 256 * 1024;

/// What is found out about the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramDiscovery {
    /// Nothing.
    Off,
    /// Its path.
    Path,
    /// Its path and its hash.
    PathAndHash(HashLimit),
}

/// Up to which size a program is hashed. A larger program has no selectors at all, as in SPIRE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashLimit {
    /// Any size.
    None,
    /// At most this many bytes.
    Bytes(NonZeroU64),
}

impl ProgramDiscovery {
    /// From SPIRE's two settings: `discover_workload_path`, and `workload_size_limit`, where 0 is no limit and less is no hash.
    pub fn from_settings(discover_workload_path: bool, workload_size_limit: i64) -> Self {
        match (discover_workload_path, u64::try_from(workload_size_limit).map(NonZeroU64::new)) {
            (false, _) => Self::Off,
            (true, Err(_)) => Self::Path,
            (true, Ok(None)) => Self::PathAndHash(HashLimit::None),
            (true, Ok(Some(limit))) => Self::PathAndHash(HashLimit::Bytes(limit)),
        }
    }
}

/// The selector values for the program.
pub(crate) fn discover(
    handle: &ProcessHandle<'_>,
    program: ProgramDiscovery,
    patience: &Patience,
) -> Result<Vec<String>, WorkloadAttestError> {
    discover_with(handle, program, patience, &mut || {})
}

/// `opened` is called once the file is open: a test replaces the file then.
pub(crate) fn discover_with(
    handle: &ProcessHandle<'_>,
    program: ProgramDiscovery,
    patience: &Patience,
    opened: &mut dyn FnMut(),
) -> Result<Vec<String>, WorkloadAttestError> {
    let (access, limit) = match program {
        ProgramDiscovery::Off => return Ok(Vec::new()),
        ProgramDiscovery::Path => (OFlags::PATH, None),
        ProgramDiscovery::PathAndHash(limit) => (OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Some(limit)),
    };
    // `exe` is no ordinary link: opening it opens the file that runs, even if its name is gone or belongs to another file.
    let file = openat(handle.dir(), "exe", access | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| handle.error("the program", errno))?;
    opened();

    let mut values = Vec::new();
    match path_of(handle, &file)? {
        Some(path) => values.push(format!("path:{path}")),
        None => {
            tracing::debug!(pid = handle.pid(), "The path of the program is not UTF-8: no path selector can name it")
        }
    }
    if let Some(limit) = limit {
        values.push(format!("sha256:{}", sha256_of(handle, file, limit, patience)?));
    }
    Ok(values)
}

/// The kernel's name for the open file; it ends in ` (deleted)` once the name is gone. `None` if it is not UTF-8.
fn path_of(handle: &ProcessHandle<'_>, file: &OwnedFd) -> Result<Option<String>, WorkloadAttestError> {
    const WHAT: &str = "the path of the program";
    let path = readlinkat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), Vec::new())
        .map_err(|errno| unreadable(handle.pid(), WHAT, errno))?;
    Ok(path.into_string().ok())
}

fn sha256_of(
    handle: &ProcessHandle<'_>,
    file: OwnedFd,
    limit: HashLimit,
    patience: &Patience,
) -> Result<String, WorkloadAttestError> {
    const WHAT: &str = "the hash of the program";
    let stat = fstat(&file).map_err(|errno| handle.error(WHAT, errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(unreadable(handle.pid(), WHAT, "it is not a regular file"));
    }
    let stated = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    // Nobody waits for the hash of a program that ended.
    let mut alive = || handle.still_the_same();
    hash(&mut std::fs::File::from(file), stated, limit, patience, &mut alive).map_err(|error| match error {
        HashError::Ended(gone) => gone,
        other => unreadable(handle.pid(), WHAT, other),
    })
}

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
enum HashError {
    #[error("it has {size} bytes, workload_size_limit is {limit}; raise it, or set it to -1 for no hash")]
    TooLarge { size: u64, limit: u64 },
    #[error("reading it failed: {0}")]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    OutOfPatience(#[from] OutOfPatience),
    #[error("the process ended")]
    Ended(WorkloadAttestError),
}

/// Hashes to the end. A size above the limit is refused before a byte is read; what is read is counted as well, because the stated
/// size is only what the file system says. Without a limit the time bounds the work.
fn hash(
    file: &mut dyn Read,
    stated: u64,
    limit: HashLimit,
    patience: &Patience,
    alive: &mut dyn FnMut() -> Result<(), WorkloadAttestError>,
) -> Result<String, HashError> {
    let within = |size: u64| match limit {
        HashLimit::Bytes(limit) if size > limit.get() => Err(HashError::TooLarge { size, limit: limit.get() }),
        HashLimit::Bytes(_) | HashLimit::None => Ok(()),
    };
    within(stated)?;
    let (mut digest, mut total, mut chunk) = (Sha256::new(), 0_u64, vec![0; CHUNK]);
    loop {
        alive().map_err(HashError::Ended)?;
        patience.check()?;
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok(hex::encode(digest.finalize())),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        total = total.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        within(total)?;
        digest.update(chunk.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::patience::Waiting;

    /// Gives zeros for ever, or fails the test when it must not be read.
    struct Zeros {
        readable: bool,
    }

    impl Read for Zeros {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            assert!(self.readable, "read although its size is over the limit");
            buffer.fill(0);
            Ok(buffer.len())
        }
    }

    fn limit(bytes: u64) -> HashLimit {
        HashLimit::Bytes(NonZeroU64::new(bytes).unwrap())
    }

    fn patient() -> (Waiting, Patience) {
        Patience::until(Instant::now() + Duration::from_secs(3600))
    }

    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let (_waiting, patience) = patient();
        let error = hash(&mut Zeros { readable: false }, 11, limit(10), &patience, &mut || Ok(())).unwrap_err();
        assert!(matches!(error, HashError::TooLarge { size: 11, limit: 10 }), "{error}");
    }

    #[test]
    fn a_file_that_lies_about_its_size_is_cut_off() {
        let (_waiting, patience) = patient();
        let error = hash(&mut Zeros { readable: true }, 1, limit(1 << 20), &patience, &mut || Ok(())).unwrap_err();
        assert!(matches!(error, HashError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn hashing_stops_when_the_process_ends() {
        let mut asked = 0;
        let mut alive = || {
            asked += 1;
            if asked < 3 { Ok(()) } else { Err(WorkloadAttestError::Gone { pid: 1 }) }
        };
        let (_waiting, patience) = patient();
        let error = hash(&mut Zeros { readable: true }, 1, HashLimit::None, &patience, &mut alive).unwrap_err();
        assert!(matches!(error, HashError::Ended(WorkloadAttestError::Gone { pid: 1 })), "{error}");
    }
    /// An endless program without a size limit: it is not read for ever.
    #[test]
    fn hashing_stops_when_the_time_is_over() {
        let (_waiting, patience) = Patience::until(Instant::now());
        let error =
            hash(&mut Zeros { readable: true }, 1, HashLimit::None, &patience, &mut within_reads(3)).unwrap_err();
        assert!(matches!(error, HashError::OutOfPatience(OutOfPatience::TooSlow)), "{error}");
    }

    #[test]
    fn hashing_stops_when_nobody_waits_for_it() {
        let (waiting, patience) = patient();
        drop(waiting);
        let error =
            hash(&mut Zeros { readable: true }, 1, HashLimit::None, &patience, &mut within_reads(3)).unwrap_err();
        assert!(matches!(error, HashError::OutOfPatience(OutOfPatience::Unwanted)), "{error}");
    }

    /// A process that ends after some chunks, so that hashing that goes on is seen and ends all the same.
    fn within_reads(mut reads: u32) -> impl FnMut() -> Result<(), WorkloadAttestError> {
        move || {
            reads = reads.checked_sub(1).ok_or(WorkloadAttestError::Gone { pid: 1 })?;
            Ok(())
        }
    }
}
