//! Which program the process runs: the path and the SHA-256 of its file, both from one handle.

use std::io::Read;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, OwnedFd};

use plastron_plugins::workload::WorkloadAttestError;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};
use sha2::{Digest, Sha256};

use crate::proc::{ProcessHandle, unreadable};

/// How much is read at once; also how often the process is asked whether it still runs.
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
) -> Result<Vec<String>, WorkloadAttestError> {
    discover_with(handle, program, &mut || {})
}

/// `opened` is called once the file is open: a test replaces the file then.
pub(crate) fn discover_with(
    handle: &ProcessHandle<'_>,
    program: ProgramDiscovery,
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
        values.push(format!("sha256:{}", sha256_of(handle, file, limit)?));
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

fn sha256_of(handle: &ProcessHandle<'_>, file: OwnedFd, limit: HashLimit) -> Result<String, WorkloadAttestError> {
    const WHAT: &str = "the hash of the program";
    let refuse = |reason: String| unreadable(handle.pid(), WHAT, reason);
    let stat = fstat(&file).map_err(|errno| handle.error(WHAT, errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refuse("it is not a regular file".to_owned()));
    }
    let limit = match limit {
        HashLimit::None => u64::MAX,
        HashLimit::Bytes(limit) => limit.get(),
    };
    let too_large = |size: u64| {
        refuse(format!("it has {size} bytes, workload_size_limit is {limit}; raise it or set it to -1 for no hash"))
    };
    // Refused before a byte is read; the loop counts again, because the size is only what the file system says.
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > limit {
        return Err(too_large(size));
    }

    let (mut file, mut digest, mut total) = (std::fs::File::from(file), Sha256::new(), 0_u64);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(refuse(error.to_string())),
        };
        total = total.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if total > limit {
            return Err(too_large(total));
        }
        digest.update(chunk.get(..read).unwrap_or_default());
        // Nobody waits for the hash of a program that ended.
        handle.still_the_same()?;
    }
    Ok(hex::encode(digest.finalize()))
}
