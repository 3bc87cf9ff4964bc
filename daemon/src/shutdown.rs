//! Signals that end a program, and the time it has to finish what it began.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long running work may take after the signal. Supervisors commonly kill after ten seconds, and SPIRE's scripts count
/// on that number; what is not done by then is done again after the next start.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// A token that SIGTERM or SIGINT cancels. SIGUSR1, on which SPIRE reads its plugins' files again, is told of and ends nothing.
/// A second signal ends the process at once, for the operator who will not wait.
///
/// Must be called within a Tokio runtime.
pub fn stop_token() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reconfigure = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        while reconfigure.recv().await.is_some() {
            tracing::warn!("SIGUSR1 has no effect: restart to have plugin_data_file read again");
        }
    });
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let mut name = wait(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "Stopping");
        cancelled.cancel();
        name = wait(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "Second signal: ending without draining");
        std::process::exit(1);
    });
    Ok(token)
}

async fn wait(
    terminate: &mut tokio::signal::unix::Signal,
    interrupt: &mut tokio::signal::unix::Signal,
) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// How draining ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every task ended.
    Complete,
    /// Some tasks still ran at the limit.
    LimitReached {
        /// How many.
        left: usize,
    },
}

/// Waits until every task of `tasks` has ended, at most `limit`; new tasks are still counted, so cancel them first.
pub async fn drain(tasks: &TaskTracker, limit: Duration) -> Drained {
    tasks.close();
    match tokio::time::timeout(limit, tasks.wait()).await {
        Ok(()) => Drained::Complete,
        Err(_) => {
            let left = tasks.len();
            tracing::warn!(left, limit_seconds = limit.as_secs(), "Stopped before all work was done");
            Drained::LimitReached { left }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn draining_waits_for_work_but_not_for_ever() {
        let tasks = TaskTracker::new();
        tasks.spawn(tokio::time::sleep(Duration::from_secs(9)));
        assert_eq!(drain(&tasks, DRAIN_LIMIT).await, Drained::Complete);

        let tasks = TaskTracker::new();
        tasks.spawn(std::future::pending::<()>());
        assert_eq!(drain(&tasks, DRAIN_LIMIT).await, Drained::LimitReached { left: 1 });
    }

    #[tokio::test]
    async fn sigterm_cancels_the_token() {
        let token = stop_token().unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
        token.cancelled().await;
    }
}
