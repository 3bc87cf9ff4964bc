//! Sinks that are full, closed, slow and hung.

use std::io::Read;
use std::os::fd::OwnedFd;

use super::*;

/// A sink over one end of a pipe, and the other end.
fn over_pipe() -> (Sink, File) {
    let (reader, writer) = io::pipe().unwrap();
    (sink(File::from(OwnedFd::from(writer)), None), File::from(OwnedFd::from(reader)))
}

fn sink(output: File, path: Option<PathBuf>) -> Sink {
    let shared = Arc::new(Shared {
        path,
        output: Mutex::new(Arc::new(Output::new(output))),
        queued: AtomicUsize::new(0),
        busy_since: Mutex::new(None),
        standing: Mutex::default(),
    });
    let (jobs, queue) = mpsc::sync_channel(MAX_WAITING);
    Writer::new(Arc::clone(&shared), |lost| format!("lost={lost}\n")).start(queue).unwrap();
    Sink { jobs, shared }
}

/// A sink whose device is full until it is reopened, and the file that it has then.
fn full(folder: &Path) -> (Sink, PathBuf) {
    let path = folder.join("log");
    let sink = sink(File::options().write(true).open("/dev/full").unwrap(), Some(path.clone()));
    (sink, path)
}

async fn checked(sink: &Sink, line: &str) -> Result<(), WriteFailure> {
    sink.write_checked(line.to_owned()).await
}

#[tokio::test]
async fn a_full_disk_is_told_and_what_is_owed_is_written_first() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, path) = full(folder.path());
    assert_eq!(sink.state(), Ok(()), "nobody has tried");
    sink.write("ban\n".to_owned(), Keep::Change);
    assert!(sink.state().unwrap_err().reason.contains("No space left"), "an event that failed counts");
    sink.write("ordinary\n".to_owned(), Keep::No);
    let failure = checked(&sink, "issued\n").await.unwrap_err();
    assert!(failure.since > 1_700_000_000, "{failure:?}");
    sink.write("evict\n".to_owned(), Keep::Change);
    let since = sink.state().unwrap_err().since;
    assert_eq!(since, failure.since, "since it began, and not since it was last tried");
    sink.reopener().reopen().unwrap();
    checked(&sink, "resumed\n").await.unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "ban\nevict\nlost=1\nresumed\n");
    assert_eq!(sink.state(), Ok(()));
}

#[tokio::test]
async fn what_is_owed_is_bounded_and_the_rest_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, path) = full(folder.path());
    let line = format!("{}\n", "x".repeat(MAX_OWED / 4));
    for _ in 0..8 {
        sink.write(line.clone(), Keep::Change);
    }
    assert!(sink.shared.standing().owed_len <= MAX_OWED);
    sink.reopener().reopen().unwrap();
    checked(&sink, "resumed\n").await.unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.len(), 3 * line.len() + "lost=5\nresumed\n".len());
    assert!(text.ends_with("lost=5\nresumed\n"));
}

/// Anyone can cause refusals: they leave space for what was done, however many there are.
#[tokio::test]
async fn a_flood_of_refusals_does_not_push_out_a_ban() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, path) = full(folder.path());
    let refusal = format!("refused {}\n", "x".repeat(MAX_OWED / 16));
    for _ in 0..32 {
        sink.write(refusal.clone(), Keep::Refusal);
    }
    sink.write("ban\n".to_owned(), Keep::Change);
    sink.write(refusal, Keep::Refusal);
    sink.reopener().reopen().unwrap();
    checked(&sink, "resumed\n").await.unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text.starts_with("refused ") && text.matches("refused").count() == 7,
        "{}",
        text.matches("refused").count()
    );
    assert!(text.ends_with("\nban\nlost=26\nresumed\n"), "{:?}", text.get(text.len() - 100..));
}

#[tokio::test]
async fn a_closed_pipe_is_told() {
    let (sink, reader) = over_pipe();
    checked(&sink, "a\n").await.unwrap();
    drop(reader);
    let failure = checked(&sink, "b\n").await.unwrap_err();
    assert!(failure.reason.contains("Broken pipe"), "{failure:?}");
    assert_eq!(sink.state().unwrap_err(), failure);
}

/// Nobody reads: the first writer waits for the deadline, the others not at all, and memory does not grow. Once somebody reads, what
/// was withdrawn is not written, and what was owed is.
#[tokio::test]
async fn a_pipe_that_nobody_reads_holds_nobody_up() {
    let (sink, mut reader) = over_pipe();
    let begun = Instant::now();
    let failure = checked(&sink, &format!("{}\n", "x".repeat(1 << 20))).await.unwrap_err();
    assert_eq!(failure.reason, "a write took longer than 2 s");
    assert!(begun.elapsed() < 2 * DEADLINE, "{:?}", begun.elapsed());
    // The thread began that write a moment after its line was given to it.
    while !sink.shared.is_stuck() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begun = Instant::now();
    for _ in 0..10_000 {
        sink.write(format!("{}\n", "o".repeat(1 << 10)), Keep::No);
        checked(&sink, "issued\n").await.unwrap_err();
    }
    sink.write("ban\n".to_owned(), Keep::Change);
    assert!(begun.elapsed() < 10 * DEADLINE, "{:?}", begun.elapsed());
    assert_eq!(sink.shared.queued.load(Ordering::SeqCst), 0, "nothing is queued behind it");
    assert!(sink.state().is_err());

    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    while checked(&sink, "resumed\n").await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sink.state(), Ok(()));
    drop(sink);
    let text = read.join().unwrap();
    let rest = text.trim_start_matches('x');
    assert!(rest.starts_with("\nban\nlost="), "{:?}", rest.get(..200));
    assert!(rest.ends_with("\nresumed\n") && !rest.contains("issued") && rest.len() < 100, "{} bytes", rest.len());
}

/// Those who are behind a stuck write when it ends were told that theirs failed: it does not happen, so no line says that it did.
#[tokio::test]
async fn a_line_that_was_withdrawn_is_not_written() {
    let (sink, mut reader) = over_pipe();
    let first = checked(&sink, "first\n");
    let blocked = "x".repeat(1 << 20);
    let blocking = sink.write_checked(blocked.clone());
    let behind = checked(&sink, "issued\n");
    let (first, blocking, behind) = tokio::join!(first, blocking, behind);
    assert!(first.is_ok() && blocking.is_err() && behind.is_err());
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    drop(sink);
    assert_eq!(read.join().unwrap(), format!("first\n{blocked}"));
}

/// A line that was cut short does not swallow the next one.
#[tokio::test]
async fn a_torn_line_ends_before_the_next_begins() {
    let (sink, mut reader) = over_pipe();
    let output = sink.shared.output();
    let flags = fcntl_getfl(&output.file).unwrap();
    fcntl_setfl(&output.file, flags | OFlags::NONBLOCK).unwrap();
    // The pipe takes a part of it.
    sink.write(format!("{}\n", "x".repeat(1 << 20)), Keep::No);
    while sink.shared.busy_since().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    while checked(&sink, "next\n").await.is_err() {}
    drop((sink, output));
    let text = read.join().unwrap();
    assert!(text.starts_with('x') && text.ends_with("next\n"), "{} bytes", text.len());
    assert!(text.trim_start_matches('x').starts_with('\n'), "{:?}", text.trim_start_matches('x'));
}

/// Whoever wrote before was killed, or found the disk full.
#[tokio::test]
async fn a_torn_line_of_an_earlier_process_does_not_swallow_the_first_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    for (before, after) in [("half", "half\nnext\n"), ("whole\n", "whole\nnext\n"), ("", "next\n")] {
        std::fs::write(&path, before).unwrap();
        let sink = Sink::open(Some(&path), |_lost| String::new()).unwrap();
        checked(&sink, "next\n").await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
    }
}

/// Opening one would wait for a reader: at the start without a word, and at a SIGUSR2 with a thread of the server.
#[tokio::test]
async fn a_named_pipe_that_nobody_reads_is_refused_and_one_that_is_read_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    let Err(error) = Sink::open(Some(&path), |_lost| String::new()) else { unreachable!("it was opened") };
    assert!(error.to_string().contains("nobody reads it"), "{error}");
    let mut reader = File::options().read(true).write(true).open(&path).unwrap();
    let sink = Sink::open(Some(&path), |_lost| String::new()).unwrap();
    checked(&sink, "line\n").await.unwrap();
    assert!(!fcntl_getfl(&sink.shared.output().file).unwrap().contains(OFlags::NONBLOCK));
    let mut line = [0; 5];
    reader.read_exact(&mut line).unwrap();
    assert_eq!(line, *b"line\n");
}

/// Someone else may have made the same pipe non-blocking: a full one is waited for, and not taken for a fault at once.
#[tokio::test]
async fn a_non_blocking_pipe_is_waited_for() {
    let (reader, writer) = io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let (sink, mut reader) = (sink(File::from(OwnedFd::from(writer)), None), File::from(OwnedFd::from(reader)));
    let read = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text.len()
    });
    checked(&sink, &"x".repeat(1 << 20)).await.unwrap();
    drop(sink);
    assert_eq!(read.join().unwrap(), 1 << 20);
}
