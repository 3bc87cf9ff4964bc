//! Who is at the other end of a Unix socket, and whether it still is (Threat 38: a PID is only a number, and Linux gives it away again).
//!
//! The kernel notes PID, user and group of the process that connects (`SO_PEERCRED`). A pidfd is the handle on that very process: from
//! Linux 6.5 the socket gives it (`SO_PEERPIDFD`), and nothing can come between. Before, it is opened by PID and compared with the
//! noted credentials; then a process that connects and exits can be mistaken for another of the same user and group that gets its PID
//! before the connection is accepted.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::{getsockopt, sockopt};
use plastron_plugins::workload::{Liveness, WorkloadProcess};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The peer of a Unix socket as it was when it connected. Found in the extensions of a request.
#[derive(Clone)]
pub struct PeerCredentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// The process, where there is a handle on it.
    pub process: Result<WorkloadProcess, PeerError>,
}

impl fmt::Debug for PeerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, gid, process } = self;
        let pid = process.as_ref().map(|process| process.pid);
        f.debug_struct("PeerCredentials").field("uid", uid).field("gid", gid).field("pid", &pid).finish()
    }
}

/// Why nothing can be said about a peer's process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The peer is in another PID namespace that is not below ours.
    #[error("the peer has no PID in this PID namespace; run the agent in the host's PID namespace")]
    NoPid,
    /// It ended before it could be looked at.
    #[error("process {pid} is gone")]
    Gone {
        /// Its PID.
        pid: i32,
    },
    /// A process of this PID that is not the one that connected.
    #[error("process {pid} is not the one that connected: it has user {uid} and group {gid}")]
    Replaced {
        /// The PID.
        pid: i32,
        /// Effective user of the process that has it now.
        uid: u32,
        /// Effective group of the process that has it now.
        gid: u32,
    },
    /// The kernel does not tell.
    #[error("can't get a handle on process {pid}: {reason}")]
    Unavailable {
        /// The PID.
        pid: i32,
        /// What the kernel answered.
        reason: String,
    },
}

/// A handle on a process. It never refers to another process, whoever has the PID by now.
struct PidFd(OwnedFd);

impl Liveness for PidFd {
    /// A pidfd becomes readable when its process exits.
    fn is_same_process(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }
}

impl PeerCredentials {
    /// Of the process that connected. Call it once, right after accepting.
    pub(super) fn of(socket: &impl AsFd) -> std::io::Result<Self> {
        let credentials = getsockopt(socket, sockopt::PeerCredentials)?;
        let (uid, gid) = (credentials.uid(), credentials.gid());
        Ok(Self { uid, gid, process: handle(socket, credentials.pid(), uid, gid) })
    }
}

fn handle(socket: &impl AsFd, raw: i32, uid: u32, gid: u32) -> Result<WorkloadProcess, PeerError> {
    // Zero stands for a process that has no PID here.
    let pid = Pid::from_raw(raw).ok_or(PeerError::NoPid)?;
    let pidfd = match getsockopt(socket, sockopt::PeerPidfd) {
        Ok(pidfd) => pidfd,
        Err(nix::errno::Errno::ENOPROTOOPT) => by_pid(pid, uid, gid)?,
        // The process was already reaped when the socket was asked.
        Err(nix::errno::Errno::ESRCH | nix::errno::Errno::EINVAL) => return Err(PeerError::Gone { pid: raw }),
        Err(error) => return Err(PeerError::Unavailable { pid: raw, reason: error.to_string() }),
    };
    let liveness = PidFd(pidfd);
    if !liveness.is_same_process() {
        return Err(PeerError::Gone { pid: raw });
    }
    Ok(WorkloadProcess { pid: raw, uid, gid, liveness: Arc::new(liveness) })
}

/// A handle on the process that has this PID now, for somebody who is trusted to say whom it acts for. Its user and group are the
/// effective ones of this moment.
pub fn process_of(raw: i32) -> Result<WorkloadProcess, PeerError> {
    let pid = (raw > 0).then(|| Pid::from_raw(raw)).flatten().ok_or(PeerError::NoPid)?;
    let liveness = PidFd(open_pidfd(pid)?);
    let ids = effective_ids(pid)?;
    if !liveness.is_same_process() {
        return Err(PeerError::Gone { pid: raw });
    }
    let (uid, gid) = ids;
    Ok(WorkloadProcess { pid: raw, uid, gid, liveness: Arc::new(liveness) })
}

/// Linux before 6.5.
fn by_pid(pid: Pid, uid: u32, gid: u32) -> Result<OwnedFd, PeerError> {
    let pidfd = open_pidfd(pid)?;
    match effective_ids(pid)? {
        ids if ids == (uid, gid) => Ok(pidfd),
        (uid, gid) => Err(PeerError::Replaced { pid: pid.as_raw_nonzero().get(), uid, gid }),
    }
}

fn open_pidfd(pid: Pid) -> Result<OwnedFd, PeerError> {
    let raw = pid.as_raw_nonzero().get();
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
        rustix::io::Errno::SRCH => PeerError::Gone { pid: raw },
        error => PeerError::Unavailable { pid: raw, reason: error.to_string() },
    })
}

/// Effective user and group. They are about a pidfd's process if that process still runs afterwards, which the caller checks.
fn effective_ids(pid: Pid) -> Result<(u32, u32), PeerError> {
    let raw = pid.as_raw_nonzero().get();
    let status = std::fs::read(format!("/proc/{raw}/status"))
        .map_err(|error| PeerError::Unavailable { pid: raw, reason: error.to_string() })?;
    // A process names itself as it likes. The kernel escapes line ends in the name, so it can't pass for another line.
    let status = String::from_utf8_lossy(&status);
    let effective = |field: &str| -> Option<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    match (effective("Uid:"), effective("Gid:")) {
        (Some(uid), Some(gid)) => Ok((uid, gid)),
        _ => Err(PeerError::Unavailable { pid: raw, reason: "its status has no user or group".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command};

    use super::*;

    fn pid_of(child: &Child) -> Pid {
        Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
    }

    fn own_ids() -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = PeerCredentials::of(&one).unwrap();
        assert_eq!((peer.uid, peer.gid), own_ids());
        let process = peer.process.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(u32::try_from(process.pid).unwrap(), std::process::id());
        assert!(process.liveness.is_same_process());
    }

    /// Threat 38: after the exit, before and after the zombie is reaped. Both ways to a pidfd.
    #[test]
    fn a_process_that_ended_is_no_longer_the_same() {
        let (uid, gid) = own_ids();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = PidFd(by_pid(pid_of(&child), uid, gid).unwrap());
        assert!(pidfd.is_same_process());
        child.kill().unwrap();
        for _ in 0..1000 {
            if !pidfd.is_same_process() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!pidfd.is_same_process(), "a zombie is not alive");
        child.wait().unwrap();
        assert!(!pidfd.is_same_process());
        let gone = PeerError::Gone { pid: pid_of(&child).as_raw_nonzero().get() };
        assert_eq!(by_pid(pid_of(&child), uid, gid).unwrap_err(), gone);
    }

    #[test]
    fn a_process_is_found_by_its_pid_and_known_when_it_is_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = pid_of(&child).as_raw_nonzero().get();
        let process = process_of(pid).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((process.pid, (process.uid, process.gid)), (pid, own_ids()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.liveness.is_same_process());
        assert_eq!(process_of(pid).err(), Some(PeerError::Gone { pid }));
        for impossible in [0, -1, i32::MIN] {
            assert_eq!(process_of(impossible).err(), Some(PeerError::NoPid), "{impossible}");
        }
    }

    #[test]
    fn a_process_without_pid_here_has_no_handle() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(handle(&one, 0, 0, 0).err(), Some(PeerError::NoPid));
    }

    /// A process may call itself what it likes, text or not.
    #[test]
    fn a_process_whose_name_is_not_text_has_a_handle() {
        use std::os::unix::ffi::OsStrExt as _;
        let (uid, gid) = own_ids();
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join(std::ffi::OsStr::from_bytes(b"w\xffx"));
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut child = Command::new(&program).arg("60").spawn().unwrap();
        // The kernel lets go of the parent before it has noted the new name.
        let status = format!("/proc/{}/status", child.id());
        while !std::fs::read(&status).unwrap().starts_with(b"Name:\tw\xffx\n") {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let found = by_pid(pid_of(&child), uid, gid);
        child.kill().unwrap();
        child.wait().unwrap();
        found.unwrap();
    }

    /// Threat 38: on Linux before 6.5, a PID that now belongs to another user.
    #[test]
    fn a_process_of_another_user_is_not_the_one_that_connected() {
        let (uid, gid) = own_ids();
        let own = rustix::process::getpid();
        let pid = own.as_raw_nonzero().get();
        assert_eq!(by_pid(own, uid + 1, gid).unwrap_err(), PeerError::Replaced { pid, uid, gid });
        assert_eq!(by_pid(own, uid, gid + 1).unwrap_err(), PeerError::Replaced { pid, uid, gid });
    }
}
