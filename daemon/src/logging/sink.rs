//! Where lines go: standard error or a file. Each line is written before its writer goes on, and nobody waits for ever.
//!
//! One thread writes, so that a pipe that nobody reads, a stopped terminal or a hung file system holds that thread and no other. Whoever
//! has a line waits for its result, [`DEADLINE`] at most; while one write takes longer than that, nothing is queued behind it and
//! everyone is told at once. So memory is bounded: by the lines of those who wait, by [`MAX_QUEUED`], and by [`MAX_OWED`].
//!
//! What is lost and what is not: an ordinary line that can't be written is counted, and the count is written as soon as anything is. A
//! line that must be kept (an audit event: of something that was done already) is owed: it is written before any other line once
//! writing works. A line whose writer was told that it failed may still appear, in part or as a whole. Written means handed to the
//! kernel; nothing is synced.

mod thread;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use thread::{Job, Reply, Unwritten, Writer};

/// How long a line may take. A disk under load takes milliseconds; a caller that waits for an SVID gives up after seconds.
const DEADLINE: Duration = Duration::from_secs(2);
/// How many bytes may wait for the thread: ten batches of the largest kind.
const MAX_QUEUED: usize = 4 << 20;
/// How many writers may wait for the thread.
const MAX_WAITING: usize = 1024;
/// How many bytes of lines are kept until they can be written: some thousand changes. Nothing is issued meanwhile.
const MAX_OWED: usize = 1 << 20;
/// How many of them may be there when a refusal is to be kept too: whoever has no rights can cause any number of refusals, and must not
/// be able to push out the line of a ban.
const MAX_OWED_WITH_REFUSALS: usize = MAX_OWED / 2;

/// Where lines go.
#[derive(Clone)]
pub(super) struct Sink {
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
}

/// Whether a line of which nobody asks is to be kept until it can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is not; it is counted.
    No,
    /// Something was refused: it is kept while there is much space.
    Refusal,
    /// Something was done: it is kept while there is any space.
    Change,
}

/// What writers and the thread share. No lock is held during a write.
struct Shared {
    /// The configured file; `None` is standard error.
    path: Option<PathBuf>,
    output: Mutex<Arc<Output>>,
    queued: AtomicUsize,
    /// When the write began that the thread is in.
    busy_since: Mutex<Option<Instant>>,
    standing: Mutex<Standing>,
}

/// What lines are written to.
struct Output {
    file: File,
    /// Its last line was cut short, by this process or by one before it: the next one begins with a line feed.
    torn: AtomicBool,
}

/// How writing goes.
#[derive(Default)]
struct Standing {
    broken: Option<WriteFailure>,
    /// Lines to be written before any other, and their bytes.
    owed: std::collections::VecDeque<Vec<u8>>,
    owed_len: usize,
    /// Lines that were given up.
    lost: u64,
}

/// Lines are not being written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct WriteFailure {
    /// Since when, Unix seconds.
    pub since: u64,
    /// Why.
    pub reason: String,
}

/// Opens the log file anew, after something has moved it away.
#[derive(Clone)]
pub struct Reopen(Arc<Shared>);

impl Sink {
    /// `lost`: the line that tells how many lines were lost.
    pub(super) fn open(path: Option<&Path>, lost: fn(u64) -> String) -> io::Result<Self> {
        let output = match path {
            None => Output::new(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
            Some(path) => Output::open(path)?,
        };
        let shared = Arc::new(Shared {
            path: path.map(Path::to_owned),
            output: Mutex::new(Arc::new(output)),
            queued: AtomicUsize::new(0),
            busy_since: Mutex::new(None),
            standing: Mutex::default(),
        });
        let (jobs, queue) = mpsc::sync_channel(MAX_WAITING);
        Writer::new(Arc::clone(&shared), lost).start(queue)?;
        Ok(Self { jobs, shared })
    }

    pub(super) fn reopener(&self) -> Reopen {
        Reopen(Arc::clone(&self.shared))
    }

    /// Writes a line of which nobody asks whether it was written. `keep`: whether it is owed where it was not.
    pub(super) fn write(&self, line: String, keep: Keep) {
        let (reply, answer) = mpsc::sync_channel(1);
        let unwritten = match keep {
            Keep::No => Unwritten::Counted,
            Keep::Refusal => Unwritten::Owed { within: MAX_OWED_WITH_REFUSALS },
            Keep::Change => Unwritten::Owed { within: MAX_OWED },
        };
        if self.submit(line.into_bytes(), unwritten, Reply::Thread(reply)).is_err() {
            return;
        }
        if let Err(RecvTimeoutError::Timeout) = answer.recv_timeout(DEADLINE) {
            self.shared.stalled();
        }
    }

    /// Writes lines, and says whether they were written.
    pub(super) async fn write_checked(&self, lines: String) -> Result<(), WriteFailure> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.submit(lines.into_bytes(), Unwritten::Told, Reply::Task(reply))?;
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_gone)) => Err(self.shared.failed("the thread that writes the log has ended")),
            Err(_elapsed) => Err(self.shared.stalled()),
        }
    }

    /// What the last write came to.
    pub(super) fn state(&self) -> Result<(), WriteFailure> {
        if self.shared.is_stuck() {
            return Err(self.shared.stalled());
        }
        self.shared.standing().broken.clone().map_or(Ok(()), Err)
    }

    fn submit(&self, bytes: Vec<u8>, unwritten: Unwritten, reply: Reply) -> Result<(), WriteFailure> {
        let len = bytes.len();
        if self.shared.is_stuck() {
            self.shared.give_up(bytes, unwritten);
            return Err(self.shared.stalled());
        }
        let queued = self.shared.queued.fetch_add(len, Ordering::SeqCst);
        let job = Job { bytes, unwritten, reply };
        let rejected = if queued.saturating_add(len) > MAX_QUEUED {
            job
        } else {
            match self.jobs.try_send(job) {
                Ok(()) => return Ok(()),
                Err(mpsc::TrySendError::Full(job) | mpsc::TrySendError::Disconnected(job)) => job,
            }
        };
        self.shared.queued.fetch_sub(len, Ordering::SeqCst);
        self.shared.give_up(rejected.bytes, unwritten);
        Err(self.shared.failed("too many lines wait to be written"))
    }
}

impl Shared {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.busy_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn output(&self) -> Arc<Output> {
        Arc::clone(&self.output.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_stuck(&self) -> bool {
        self.busy_since().is_some_and(|since| since.elapsed() >= DEADLINE)
    }

    fn stalled(&self) -> WriteFailure {
        self.failed(&format!("a write took longer than {} s", DEADLINE.as_secs()))
    }

    /// Notes that a write failed; the reason is the latest one, the time that of the first since writing last worked.
    fn failed(&self, reason: &str) -> WriteFailure {
        let mut standing = self.standing();
        let since = standing.broken.as_ref().map_or_else(unix_now, |broken| broken.since);
        standing.broken.insert(WriteFailure { since, reason: reason.to_owned() }).clone()
    }

    /// A line that is not written now.
    fn give_up(&self, line: Vec<u8>, unwritten: Unwritten) {
        let mut standing = self.standing();
        let len = standing.owed_len.saturating_add(line.len());
        match unwritten {
            Unwritten::Told => {}
            Unwritten::Owed { within } if len <= within => {
                standing.owed_len = len;
                standing.owed.push_back(line);
            }
            Unwritten::Owed { within: _ } | Unwritten::Counted => standing.lost = standing.lost.saturating_add(1),
        }
    }
}

impl Reopen {
    /// Opens the file anew; the old one stays in use if that fails. Standard error stays as it is.
    pub fn reopen(&self) -> io::Result<()> {
        if let Some(path) = &self.0.path {
            let output = Arc::new(Output::open(path)?);
            *self.0.output.lock().unwrap_or_else(PoisonError::into_inner) = output;
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

fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Output {
    fn new(file: File) -> Self {
        Self { file, torn: AtomicBool::new(false) }
    }

    /// Logs can name workloads and nodes: readable by the owner and its group only. A pipe that nobody reads is an error, and not waited
    /// for; from then on writing waits as it does everywhere, because that is what the thread is for.
    fn open(path: &Path) -> io::Result<Self> {
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = match rustix::fs::open(path, flags, Mode::from_raw_mode(0o640)) {
            Ok(file) => File::from(file),
            Err(Errno::NXIO) => return Err(io::Error::other("it is a pipe or a socket, and nobody reads it")),
            Err(error) => return Err(error.into()),
        };
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
        let metadata = file.metadata()?;
        let torn = metadata.is_file() && metadata.len() > 0 && !ends_with_line_feed(path, metadata.len());
        Ok(Self { file, torn: AtomicBool::new(torn) })
    }
}

/// Whoever was killed, or found the disk full, may have left half a line. Where that can't be read, an empty line does no harm.
fn ends_with_line_feed(path: &Path, len: u64) -> bool {
    let mut last = [0];
    File::open(path).and_then(|file| file.read_exact_at(&mut last, len - 1)).is_ok() && last == *b"\n"
}

#[cfg(test)]
mod tests;
