//! CPU time.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::error::BenchError;

/// CPU time of this thread, to the nanosecond.
pub(crate) fn of_this_thread() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

/// User and system time of a process and all its threads so far (proc(5), fields 14 and 15 of `stat`), in steps of 10 ms.
pub(crate) fn of_process(pid: u32) -> Result<Duration, BenchError> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(BenchError::io(format!("read {path}")))?;
    // The name in parentheses may hold anything, also parentheses.
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: Vec<u64> =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let [user, system] = ticks.as_slice() else {
        return Err(BenchError::wrong(format!("{path} has no CPU times")));
    };
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_millis((user + system) * 1000 / per_second))
}
