//! What a crash leaves: everything that was acknowledged, and nothing in halves.

use std::future::Future as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::{Context, Poll, Waker};

use plastron_server_core::store::{
    EntryStore as _, JoinTokenRecord, NodeStore as _, Store as _, TokenHash, TokenStore as _,
};

use crate::fixture::{NOW, Place, attested, entry, id, tpm};

/// Where a child of this test writes.
const CHILD: &str = "PLASTRON_CRASH_WRITER";

/// The body of the child process: writes entries for ever, and says so after each commit. Not a test of its own.
#[tokio::test]
async fn crash_writer() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = plastron_server_store::SqliteStore::open(path.as_ref()).await.unwrap();
    for n in 0_u64.. {
        let name = format!("{}-{n}", std::process::id());
        if let Err(error) = store.create_entries(vec![entry(&name)]).await {
            writeln!(std::io::stdout(), "refused {error}").unwrap();
            return;
        }
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "wrote {name}").unwrap();
        stdout.flush().unwrap();
    }
}

/// Threat 55: kill -9 in the middle of writing, and start again.
#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill() {
    let place = Place::new();
    let mut acknowledged = Vec::new();
    for _round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::crash_writer", "--exact", "--nocapture"])
            .env(CHILD, place.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut wrote = |line: String| line.strip_prefix("wrote ").map(|name| acknowledged.push(name.to_owned()));
        let seen = lines.by_ref().filter_map(&mut wrote).take(40).count();
        assert_eq!(seen, 40);
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said before it died counts too.
        lines.filter_map(&mut wrote).for_each(drop);
    }
    let snapshot = place.open().await.load().await.unwrap();
    for name in &acknowledged {
        assert!(snapshot.entries.iter().any(|entry| entry.id == *name), "{name} is lost");
    }
    assert_eq!(snapshot.revision, snapshot.entries.len() as u64, "one row of the log for each entry");
}

/// Threat 55: no room for the file to grow, as on a full disk.
#[tokio::test]
async fn a_full_disk_is_named_and_loses_nothing() {
    let place = Place::new();
    place.open().await.close().await;
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" crash::crash_writer --exact --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, place.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let refused = text.lines().find_map(|line| line.strip_prefix("refused ")).unwrap();
    assert!(refused.starts_with("the store could not "), "{refused}");
    assert!(refused.contains("the disk that holds the database"), "{refused}");
    let store = place.open().await;
    let acknowledged: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("wrote ")).collect();
    let snapshot = store.load().await.unwrap();
    assert!(!acknowledged.is_empty());
    assert!(acknowledged.iter().all(|name| snapshot.entries.iter().any(|entry| entry.id == *name)));
    store.create_entries(vec![entry("with-room-again")]).await.unwrap();
}

/// An admission that is dropped at any of its awaits is there as a whole or not at all, and the next one works.
#[tokio::test]
async fn an_admission_dropped_half_way_leaves_nothing_or_all() {
    let place = Place::new();
    let store = place.open().await;
    // The last one is not dropped.
    for awaits in (0..60).chain([u32::MAX]) {
        let token = format!("t{awaits}");
        let hash = TokenHash::of(&token);
        let alias = Some(id(&format!("/alias/{awaits}")));
        store.create_join_token(JoinTokenRecord { hash, expires_at: NOW + 60, alias }).await.unwrap();
        let path = format!("/spire/agent/join_token/{token}");
        let mut record = attested(&path, 1, &tpm(1, 1, 1), None);
        (record.tpm, record.token) = (None, Some(hash));
        {
            let mut admission = pin!(store.admit(record));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..awaits {
                if let Poll::Ready(result) = admission.as_mut().poll(&mut context) {
                    result.unwrap();
                    break;
                }
                // SQLite works on a thread of its own; the next poll finds its answer.
                tokio::time::sleep(std::time::Duration::from_micros(200)).await;
            }
        }
        // This waits for the writer, and so for the end of what was dropped.
        store.create_entries(vec![entry(&format!("after{awaits}"))]).await.unwrap();
        let spent = !store.has_join_token(hash, NOW).await.unwrap();
        let snapshot = store.load().await.unwrap();
        let node = snapshot.nodes.iter().any(|node| node.id == id(&path));
        let alias = snapshot.entries.iter().any(|entry| entry.parent_id == id(&path));
        assert_eq!((spent, spent), (node, alias), "after {awaits} polls");
    }
    let last = id(&format!("/spire/agent/join_token/t{}", u32::MAX));
    assert!(store.load().await.unwrap().nodes.iter().any(|node| node.id == last));
}
