//! The `unix` workload attestor: which user, groups and program a process on the other end of a Unix socket is.
//!
//! Selectors and their spelling are SPIRE's: `unix:uid`, `user`, `gid`, `group`, `supplementary_gid`, `supplementary_group`, and, where
//! the configuration asks for the program, `path` and `sha256`.
//!
//! A PID is only a number, and Linux gives it away again (Threat 38). So everything is read through one handle of `/proc/PID` that is
//! opened between two checks that the process which connected still runs: such a handle answers `ESRCH` once its process is gone,
//! whoever has the PID by then. The path and the hash come from one handle of the program's file. The credentials are compared with
//! those of the moment of the connection, so that a process can't connect as one user, run a set-uid program as another, and leave the
//! connection to an accomplice.
//!
//! Deliberately not done: `path` is the path in the workload's own mount namespace and says nothing about who may write there; an
//! entry should name `uid` or `sha256` beside it. Nothing is cached, because a file system in user space can lie about a file's identity.

mod exe;
mod names;
mod patience;
mod proc;
mod turns;

use std::path::PathBuf;
use std::sync::Arc;

use plastron_plugins::workload::{WorkloadAttestError, WorkloadAttestor, WorkloadProcess};
use plastron_spiffe::Selector;

pub use crate::exe::{HashLimit, ProgramDiscovery};
use crate::names::{group_names, user_name};
use crate::patience::Patience;
use crate::proc::ProcessHandle;
use crate::turns::Turns;

/// The selector type.
pub const NAME: &str = "unix";

/// The attestor.
pub struct UnixWorkloadAttestor {
    roots: Arc<Roots>,
    program: ProgramDiscovery,
    turns: Turns,
}

/// Where the system's files are; elsewhere in tests.
struct Roots {
    proc: PathBuf,
    passwd: PathBuf,
    group: PathBuf,
}

impl UnixWorkloadAttestor {
    /// Makes the attestor. `program` says whether `path` and `sha256` are found out as well.
    pub fn new(program: ProgramDiscovery) -> Self {
        let roots = Roots { proc: "/proc".into(), passwd: "/etc/passwd".into(), group: "/etc/group".into() };
        Self::with_roots(program, roots)
    }

    fn with_roots(program: ProgramDiscovery, roots: Roots) -> Self {
        Self { roots: Arc::new(roots), program, turns: Turns::default() }
    }
}

#[async_trait::async_trait]
impl WorkloadAttestor for UnixWorkloadAttestor {
    fn name(&self) -> &str {
        NAME
    }

    async fn attest(&self, process: &WorkloadProcess) -> Result<Vec<Selector>, WorkloadAttestError> {
        // A program on a file system in user space can make its reader wait for ever: it then holds up its own user and nobody else.
        let turn = self.turns.take(process.uid).await;
        let (process, roots, program) = (process.clone(), self.roots.clone(), self.program);
        let pid = process.pid;
        // Held until the answer is there, or until this future is dropped because nobody waits for it any more.
        let (_waiting, patience) = Patience::begin();
        let work = move || {
            // The turn ends with the work and not with whoever waits for it: a blocking thread can't be taken back, and a user who
            // gives up its calls and makes them again would otherwise come to hold all of them.
            let _turn = turn;
            selectors(&process, &roots, program, &patience)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|failure| {
            Err(WorkloadAttestError::Unreadable { pid, what: "anything", reason: failure.to_string() })
        })
    }
}

fn selectors(
    process: &WorkloadProcess,
    roots: &Roots,
    program: ProgramDiscovery,
    patience: &Patience,
) -> Result<Vec<Selector>, WorkloadAttestError> {
    let handle = ProcessHandle::open(process, &roots.proc)?;
    let before = handle.credentials()?;

    let mut values = vec![format!("uid:{}", before.uid)];
    values.extend(user_name(&roots.passwd, before.uid).map(|name| format!("user:{name}")));
    let groups = group_names(&roots.group, std::iter::once(before.gid).chain(before.supplementary.iter().copied()));
    values.push(format!("gid:{}", before.gid));
    values.extend(groups.get(&before.gid).map(|name| format!("group:{name}")));
    for gid in &before.supplementary {
        values.push(format!("supplementary_gid:{gid}"));
        values.extend(groups.get(gid).map(|name| format!("supplementary_group:{name}")));
    }
    values.extend(exe::discover(&handle, program, patience)?);

    // Running another program changes credentials and program together; what was read must be true of one moment.
    if handle.credentials()? != before {
        return Err(WorkloadAttestError::Changed { pid: process.pid, what: "credentials" });
    }
    handle.still_the_same()?;
    values.into_iter().map(|value| selector(process.pid, value)).collect()
}

fn selector(pid: i32, value: String) -> Result<Selector, WorkloadAttestError> {
    Selector::new(NAME, value).map_err(|refusal| WorkloadAttestError::Unreadable {
        pid,
        what: "a selector",
        reason: refusal.to_string(),
    })
}

#[cfg(test)]
mod tests;
