//! The thread that writes: what is owed, then how much was lost, then the line.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{DEADLINE, Output, Shared, WriteFailure};

/// Between two attempts at a descriptor that someone else made non-blocking.
const RETRY_PERIOD: Duration = Duration::from_millis(10);

/// Lines to be written in one go.
pub(super) struct Job {
    pub(super) bytes: Vec<u8>,
    pub(super) unwritten: Unwritten,
    pub(super) reply: Reply,
}

/// What becomes of lines that can't be written.
#[derive(Clone, Copy)]
pub(super) enum Unwritten {
    /// They are written as soon as anything is; where more bytes than this would be owed, they are counted.
    Owed { within: usize },
    /// How many there were is written.
    Counted,
    /// Whoever had them is told, and what they were to record does not happen.
    Told,
}

/// Who waits for the result.
pub(super) enum Reply {
    Thread(SyncSender<()>),
    Task(oneshot::Sender<Result<(), WriteFailure>>),
}

impl Reply {
    /// Someone who asked for the result and was told that it takes too long: what was to be recorded does not happen.
    fn is_withdrawn(&self) -> bool {
        matches!(self, Self::Task(reply) if reply.is_closed())
    }

    /// Whoever has stopped waiting does not hear it.
    fn send(self, result: Result<(), WriteFailure>) {
        match self {
            Self::Thread(reply) => drop(reply.try_send(())),
            Self::Task(reply) => drop(reply.send(result)),
        }
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    lost: fn(u64) -> String,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, lost: fn(u64) -> String) -> Self {
        Self { shared, lost }
    }

    /// Runs until there is no writer any more.
    pub(super) fn start(self, queue: Receiver<Job>) -> io::Result<()> {
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            for Job { bytes, unwritten, reply } in queue {
                self.shared.queued.fetch_sub(bytes.len(), Ordering::SeqCst);
                if reply.is_withdrawn() {
                    continue;
                }
                *self.shared.busy_since() = Some(Instant::now());
                let result = self.write_after_owed(&bytes);
                *self.shared.busy_since() = None;
                let result = match result {
                    Ok(()) => {
                        let mut standing = self.shared.standing();
                        // What became owed meanwhile is written by the next write, and all is well after it.
                        if standing.owed.is_empty() {
                            standing.broken = None;
                        }
                        Ok(())
                    }
                    Err(error) => {
                        self.shared.give_up(bytes, unwritten);
                        Err(self.shared.failed(&error.to_string()))
                    }
                };
                reply.send(result);
            }
        })?;
        Ok(())
    }

    fn write_after_owed(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            // Taken while it is written, so that no lock is held; it goes back to the front if it was not.
            let owed = {
                let mut standing = self.shared.standing();
                let owed = standing.owed.pop_front();
                standing.owed_len = standing.owed_len.saturating_sub(owed.as_ref().map_or(0, Vec::len));
                owed
            };
            let Some(owed) = owed else { break };
            if let Err(error) = self.write(&owed) {
                let mut standing = self.shared.standing();
                standing.owed_len = standing.owed_len.saturating_add(owed.len());
                standing.owed.push_front(owed);
                return Err(error);
            }
        }
        let lost = self.shared.standing().lost;
        if lost > 0 {
            self.write((self.lost)(lost).as_bytes())?;
            let mut standing = self.shared.standing();
            standing.lost = standing.lost.saturating_sub(lost);
        }
        self.write(bytes)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let output = self.shared.output();
        let Output { file, torn } = output.as_ref();
        if torn.load(Ordering::SeqCst) {
            write_all(file, b"\n").map_err(|(_written, error)| error)?;
            torn.store(false, Ordering::SeqCst);
        }
        write_all(file, bytes).map_err(|(written, error)| {
            torn.store(written > 0, Ordering::SeqCst);
            error
        })
    }
}

/// Where it fails, how much was written comes with the reason.
fn write_all(mut output: &File, mut bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let (len, begun) = (bytes.len(), Instant::now());
    while !bytes.is_empty() {
        let error = match output.write(bytes) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && begun.elapsed() < DEADLINE => {
                sleep(RETRY_PERIOD);
                continue;
            }
            Err(error) => error,
        };
        return Err((len - bytes.len(), error));
    }
    Ok(())
}
