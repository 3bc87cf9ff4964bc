//! On real processes: `sleep` copied to a directory of the test's own.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use plastron_plugins::workload::Liveness;
use sha2::{Digest, Sha256};

use super::*;
use crate::exe::discover_with;

/// Kills and reaps.
struct Process(Child);

impl Process {
    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// True for the first `lives` questions.
struct Lives {
    lives: usize,
    asked: AtomicUsize,
}

impl Liveness for Lives {
    fn is_same_process(&self) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst) < self.lives
    }
}

fn lives(lives: usize) -> Arc<Lives> {
    Arc::new(Lives { lives, asked: AtomicUsize::new(0) })
}

fn ever() -> Arc<Lives> {
    lives(usize::MAX)
}

/// Runs a copy of sleep under `name`. The kernel refuses to run a file that is open for writing anywhere, and a sibling test's fork
/// may hold ours for a moment.
fn sleeper(dir: &Path, name: &str) -> Process {
    let program = dir.join(name);
    std::fs::copy("/bin/sleep", &program).unwrap();
    loop {
        let started = Command::new(&program).arg("600").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        match started {
            Ok(child) => return Process(child),
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(error) => panic!("{}: {error}", program.display()),
        }
    }
}

fn workload(pid: i32, liveness: Arc<Lives>) -> WorkloadProcess {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    WorkloadProcess { pid, uid, gid, liveness }
}

fn sha256_hex(path: &Path) -> String {
    hex::encode(Sha256::digest(std::fs::read(path).unwrap()))
}

fn values(selectors: &[Selector]) -> BTreeSet<String> {
    assert!(selectors.iter().all(|selector| selector.kind() == "unix"));
    selectors.iter().map(|selector| selector.value().to_owned()).collect()
}

const ALL: ProgramDiscovery = ProgramDiscovery::PathAndHash(HashLimit::None);

#[tokio::test]
async fn a_process_has_ids_names_path_and_hash() {
    let dir = tempfile::tempdir().unwrap();
    let child = sleeper(dir.path(), "worker");
    let process = workload(child.pid(), ever());
    let (passwd, group) = (dir.path().join("passwd"), dir.path().join("group"));
    std::fs::write(&passwd, format!("alice:x:{}:{}::/:/bin/sh\n", process.uid, process.gid)).unwrap();
    std::fs::write(&group, format!("staff:x:{}:\n", process.gid)).unwrap();
    let attestor = UnixWorkloadAttestor::with_roots(ALL, Roots { proc: "/proc".into(), passwd, group });

    let found = values(&attestor.attest(&process).await.unwrap());
    for expected in [
        format!("uid:{}", process.uid),
        "user:alice".to_owned(),
        format!("gid:{}", process.gid),
        "group:staff".to_owned(),
        format!("path:{}", dir.path().join("worker").display()),
        format!("sha256:{}", sha256_hex(Path::new("/bin/sleep"))),
    ] {
        assert!(found.contains(&expected), "{expected} in {found:?}");
    }
    let groups: BTreeSet<String> =
        rustix::process::getgroups().unwrap().iter().map(|gid| format!("supplementary_gid:{}", gid.as_raw())).collect();
    assert!(groups.is_subset(&found), "{groups:?} in {found:?}");
}

#[tokio::test]
async fn an_unknown_user_has_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let child = sleeper(dir.path(), "worker");
    let nowhere = dir.path().join("absent");
    let roots = Roots { proc: "/proc".into(), passwd: nowhere.clone(), group: nowhere };
    let attestor = UnixWorkloadAttestor::with_roots(ProgramDiscovery::Off, roots);
    let found = values(&attestor.attest(&workload(child.pid(), ever())).await.unwrap());
    assert!(!found.iter().any(|value| value.starts_with("user:") || value.contains("group:")), "{found:?}");
    assert!(!found.iter().any(|value| value.starts_with("path:") || value.starts_with("sha256:")), "{found:?}");
}

/// Threat 38: a process that is gone has no selectors.
#[tokio::test]
async fn a_process_that_ended_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = sleeper(dir.path(), "worker");
    let pid = child.pid();
    child.end();
    // The liveness lies: even so the directory is not there.
    let error = UnixWorkloadAttestor::new(ALL).attest(&workload(pid, ever())).await.unwrap_err();
    assert!(matches!(error, WorkloadAttestError::Gone { .. }), "{error}");
}

/// Threat 38: a zombie still has a directory, but is gone.
#[tokio::test]
async fn a_zombie_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = sleeper(dir.path(), "worker");
    child.0.kill().unwrap();
    let status = format!("/proc/{}/status", child.pid());
    while !std::fs::read_to_string(&status).unwrap().contains("State:\tZ") {
        std::thread::yield_now();
    }
    let error = UnixWorkloadAttestor::new(ALL).attest(&workload(child.pid(), ever())).await.unwrap_err();
    assert!(matches!(error, WorkloadAttestError::Gone { .. }), "{error}");
}

/// Threat 38: whenever the PID changes hands between two reads, nothing of what was read gets out.
#[tokio::test]
async fn a_pid_that_changes_hands_at_any_moment_yields_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let child = sleeper(dir.path(), "worker");
    // Before, once the handle is open, and after; while hashing, before each chunk and before the end of the file.
    for (program, at_least) in [(ProgramDiscovery::Off, 3), (ProgramDiscovery::Path, 3), (ALL, 5)] {
        let attestor = UnixWorkloadAttestor::new(program);
        let whole = ever();
        attestor.attest(&workload(child.pid(), whole.clone())).await.unwrap();
        let questions = whole.asked.load(Ordering::SeqCst);
        assert!(questions >= at_least, "{program:?}: {questions}");
        for honest in 0..questions {
            let error = attestor.attest(&workload(child.pid(), lives(honest))).await.unwrap_err();
            assert!(matches!(error, WorkloadAttestError::Gone { .. }), "{program:?}, {honest} answers: {error}");
        }
    }
}

/// Threat 38: a handle that was opened for one process never answers for the next one with its PID.
#[test]
fn a_handle_outlives_its_process_without_meaning_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = sleeper(dir.path(), "worker");
    let process = workload(child.pid(), ever());
    let handle = ProcessHandle::open(&process, Path::new("/proc")).unwrap();
    handle.credentials().unwrap();
    let (_waiting, patience) = Patience::begin();
    child.end();
    assert!(matches!(handle.credentials(), Err(WorkloadAttestError::Gone { .. })));
    assert!(exe::discover(&handle, ALL, &patience).is_err());
}

/// Connect as one user, run a set-uid program as another, leave the connection to an accomplice.
#[tokio::test]
async fn credentials_other_than_those_of_the_connection_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let child = sleeper(dir.path(), "worker");
    let honest = workload(child.pid(), ever());
    for other in [
        WorkloadProcess { uid: honest.uid.wrapping_add(1), ..honest.clone() },
        WorkloadProcess { gid: honest.gid.wrapping_add(1), ..honest.clone() },
    ] {
        let error = UnixWorkloadAttestor::new(ALL).attest(&other).await.unwrap_err();
        assert!(matches!(error, WorkloadAttestError::OtherCredentials { .. }), "{error}");
    }
}

#[test]
fn a_program_replaced_while_it_is_judged_is_judged_by_the_file_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let child = sleeper(dir.path(), "worker");
    let process = workload(child.pid(), ever());
    let handle = ProcessHandle::open(&process, Path::new("/proc")).unwrap();
    let (path, other) = (dir.path().join("worker"), dir.path().join("other"));
    std::fs::write(&other, b"#!/bin/false").unwrap();
    let (_waiting, patience) = Patience::begin();
    let found = discover_with(&handle, ALL, &patience, &mut || std::fs::rename(&other, &path).unwrap()).unwrap();
    assert_eq!(
        found,
        [format!("path:{} (deleted)", path.display()), format!("sha256:{}", sha256_hex(Path::new("/bin/sleep")))]
    );
}

#[tokio::test]
async fn a_deleted_program_says_so_and_still_has_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let child = sleeper(dir.path(), "worker");
    let path = dir.path().join("worker");
    std::fs::remove_file(&path).unwrap();
    let found = values(&UnixWorkloadAttestor::new(ALL).attest(&workload(child.pid(), ever())).await.unwrap());
    assert!(found.contains(&format!("path:{} (deleted)", path.display())), "{found:?}");
    assert!(found.contains(&format!("sha256:{}", sha256_hex(Path::new("/bin/sleep")))), "{found:?}");
}

#[tokio::test]
async fn the_size_limit_refuses_and_a_negative_one_never_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let child = sleeper(dir.path(), "worker");
    let size = i64::try_from(std::fs::metadata("/bin/sleep").unwrap().len()).unwrap();
    for (limit, expected) in [(size, Some(true)), (size - 1, None), (0, Some(true)), (-1, Some(false))] {
        let attestor = UnixWorkloadAttestor::new(ProgramDiscovery::from_settings(true, limit));
        let outcome = attestor.attest(&workload(child.pid(), ever())).await;
        let hashed =
            outcome.as_deref().ok().map(|found| values(found).iter().any(|value| value.starts_with("sha256:")));
        assert_eq!(hashed, expected, "limit {limit}: {outcome:?}");
    }
    assert_eq!(ProgramDiscovery::from_settings(false, 0), ProgramDiscovery::Off);
}

#[tokio::test]
async fn a_path_that_is_not_text_has_a_hash_and_no_path() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"w\xffx"));
    std::fs::create_dir(&odd).unwrap();
    std::fs::set_permissions(&odd, std::fs::Permissions::from_mode(0o755)).unwrap();
    let child = sleeper(&odd, "worker");
    let found = values(&UnixWorkloadAttestor::new(ALL).attest(&workload(child.pid(), ever())).await.unwrap());
    assert!(!found.iter().any(|value| value.starts_with("path:")), "{found:?}");
    assert!(found.iter().any(|value| value.starts_with("sha256:")), "{found:?}");
}

#[tokio::test]
async fn no_pid_at_all_is_gone() {
    for pid in [0, -1, i32::MIN] {
        let error = UnixWorkloadAttestor::new(ALL).attest(&workload(pid, ever())).await.unwrap_err();
        assert!(matches!(error, WorkloadAttestError::Gone { .. }), "{pid}: {error}");
    }
}

/// Blocks its first question until it is told to go on, as a file system in user space can block a read.
struct Stuck {
    reached: std::sync::mpsc::SyncSender<()>,
    go_on: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Liveness for Stuck {
    fn is_same_process(&self) -> bool {
        let _ = self.reached.try_send(());
        // An error means that the test ended.
        let _ = self.go_on.lock().unwrap().recv();
        false
    }
}

/// One user who gives up its calls while they hang does not come to hold all of the agent's blocking threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_lasts_as_long_as_its_work_even_if_nobody_waits() {
    let (reached, is_reached) = std::sync::mpsc::sync_channel(1);
    let (release, go_on) = std::sync::mpsc::channel();
    let liveness = Arc::new(Stuck { reached, go_on: std::sync::Mutex::new(go_on) });
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let process = WorkloadProcess { pid: i32::try_from(std::process::id()).unwrap(), uid, gid, liveness };
    let attestor = Arc::new(UnixWorkloadAttestor::new(ProgramDiscovery::Off));

    let call = tokio::spawn({
        let (attestor, process) = (attestor.clone(), process.clone());
        async move { attestor.attest(&process).await }
    });
    tokio::task::spawn_blocking(move || is_reached.recv().unwrap()).await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());

    let mut next = Box::pin(attestor.turns.take(uid));
    let pending =
        std::future::poll_fn(|context| std::task::Poll::Ready(next.as_mut().poll(context).is_pending())).await;
    assert!(pending, "the work of the call that was given up still runs");
    release.send(()).unwrap();
    drop(release);
    next.await;
}
