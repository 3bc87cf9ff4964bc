//! A real program that a test starts, watches, and never leaves behind.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{HarnessError, tool};

/// A child process with its output captured. Dropping it kills it; killing the test kills it too.
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    closed_pipes: u8,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts `command` under the name that errors will use. Standard input is empty; both outputs are captured line by line.
    pub fn spawn(name: &str, command: &Command) -> Result<Self, HarnessError> {
        let mut wrapped = dying_with_us(command)?;
        wrapped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn_from_lasting_thread(wrapped).map_err(HarnessError::io(format!("start {name}")))?;
        let log = Arc::new(Log::default());
        follow(child.stdout.take(), &log);
        follow(child.stderr.take(), &log);
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process identifier.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it printed so far, both outputs in the order of arrival.
    pub fn log(&self) -> String {
        self.log.lock().lines.join("\n")
    }

    /// Waits until a line contains `text`, also among the lines printed already, and returns that line.
    pub fn wait_for_line(&mut self, text: &str, timeout: Duration) -> Result<String, HarnessError> {
        self.wait_for_line_after(0, text, timeout).map(|(_, line)| line)
    }

    /// Like [`Self::wait_for_line`], but looks only at lines from number `first` on; returns the number after the line found,
    /// so that a test can wait for the next of its kind.
    pub fn wait_for_line_after(
        &mut self,
        first: usize,
        text: &str,
        timeout: Duration,
    ) -> Result<(usize, String), HarnessError> {
        let deadline = Instant::now() + timeout;
        let mut state = self.log.lock();
        loop {
            if let Some((index, line)) =
                state.lines.iter().enumerate().skip(first).find(|(_, line)| line.contains(text))
            {
                return Ok((index + 1, line.clone()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.closed_pipes == 2 {
                let what = format!("a line of {} with {text:?}", self.name);
                return Err(HarnessError::Timeout { what, seconds: timeout.as_secs(), log: state.lines.join("\n") });
            }
            state = self.log.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// True while it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) -> Result<(), HarnessError> {
        self.child.kill().map_err(HarnessError::io(format!("kill {}", self.name)))?;
        self.child.wait().map_err(HarnessError::io(format!("wait for {}", self.name)))?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus, HarnessError> {
        self.signal(Signal::TERM)?;
        self.wait(timeout)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), HarnessError> {
        let what = format!("signal {}", self.name);
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid =
            pid.ok_or_else(|| std::io::Error::other("no such process")).map_err(HarnessError::io(what.clone()))?;
        kill_process(pid, signal).map_err(|errno| HarnessError::Io { what, source: errno.into() })
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, HarnessError> {
        let deadline = Instant::now() + timeout;
        loop {
            let ended = self.child.try_wait().map_err(HarnessError::io(format!("wait for {}", self.name)))?;
            if let Some(status) = ended {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let what = format!("the end of {}", self.name);
                return Err(HarnessError::Timeout { what, seconds: timeout.as_secs(), log: self.log() });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it ended already; what matters is that it is gone and reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of {} ---\n{}\n--- end ---", self.name, self.log());
        }
    }
}

/// Closes what the program inherits beside its standard streams. libtss2 opens its sockets without FD_CLOEXEC: a program that is started
/// while another test talks to its TPM would hold that connection open, and swtpm, which serves one at a time, would serve no other.
const INHERIT_NOTHING: &str =
    "for entry in /proc/self/fd/*; do fd=${entry##*/}; ((fd > 2)) && eval \"exec $fd>&-\"; done; exec \"$0\" \"$@\"";

/// `setpriv --pdeathsig` in front, so that a test that is itself killed leaves nothing behind. It execs: the PID is the program's.
fn dying_with_us(command: &Command) -> Result<Command, HarnessError> {
    let mut wrapped = Command::new(tool("setpriv")?);
    wrapped.args(["--pdeathsig", "KILL", "--", "bash", "-c", INHERIT_NOTHING]);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    Ok(wrapped)
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// The death signal comes when the *thread* that forked ends, and test threads end long before the test's helpers do: so one
/// thread that lasts as long as the process starts all children.
fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // The receiver is the function below, which waits.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, result) = channel();
    let gone = || std::io::Error::other("the spawning thread is gone");
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

fn follow(pipe: Option<impl Read + Send + 'static>, log: &Arc<Log>) {
    let Some(pipe) = pipe else { return };
    let log = Arc::clone(log);
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            log.lock().lines.push(text);
            log.changed.notify_all();
            line.clear();
        }
        log.lock().closed_pipes += 1;
        log.changed.notify_all();
    });
}
