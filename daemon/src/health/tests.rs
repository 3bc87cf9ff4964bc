//! Health over real connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

async fn started(checks: Checks) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<io::Result<()>>) {
    let raw = RawHealthChecks {
        listener_enabled: true,
        bind_address: "127.0.0.1".to_owned(),
        bind_port: 0,
        ready_path: "/is-ready".to_owned(),
        ..RawHealthChecks::default()
    };
    let server = raw.bind().await.unwrap().unwrap();
    let address = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    (address, stop.clone(), tokio::spawn(server.serve(checks, stop)))
}

/// The status and the body.
async fn asked(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn every_named_check_is_shown() {
    let broken = Arc::new(AtomicBool::new(true));
    let probe = Arc::clone(&broken);
    let checks = Checks::builder()
        .live("server", || async { Ok(()) })
        .ready("server.ca", move || {
            let broken = probe.load(Ordering::SeqCst);
            async move { if broken { Err("token \"x\" is gone".to_owned()) } else { Ok(()) } }
        })
        .build();
    let (address, stop, task) = started(checks).await;
    assert_eq!(asked(address, "/live").await, (200, "{\"server\":{\"status\":\"ok\"}}".to_owned()));
    let (status, body) = asked(address, "/is-ready").await;
    assert_eq!(status, 500);
    assert_eq!(
        body,
        "{\"server\":{\"status\":\"ok\"},\"server.ca\":{\"status\":\"failed\",\"error\":\"token \\\"x\\\" is gone\"}}"
    );
    assert_eq!(asked(address, "/ready").await.0, 404);
    stop.cancel();
    task.await.unwrap().unwrap();
}

/// 503 says that work should go elsewhere; 500 outweighs it, and `/live` knows nothing of it, so that nobody restarts the program.
#[tokio::test]
async fn serving_from_cache_is_not_ready_and_alive() {
    let cached = || async {
        CheckOutcome::FromCache(FromCache {
            since: 1_780_272_000,
            reason: "token gone".to_owned(),
            remedy: "plug it in".to_owned(),
        })
    };
    let checks = |broken: bool| {
        Checks::builder()
            .live("server", || async { Ok(()) })
            .ready_or_from_cache("server.ca", cached)
            .ready("store", move || async move { if broken { Err("disk full".to_owned()) } else { Ok(()) } })
            .detail("keys", || serde_json::json!({ "sessions": 2 }))
            .build()
    };
    let (address, _stop, _task) = started(checks(false)).await;
    let (status, body) = asked(address, "/is-ready").await;
    assert_eq!(status, 503);
    assert_eq!(
        body,
        "{\"keys\":{\"sessions\":2},\"server\":{\"status\":\"ok\"},\"server.ca\":{\"status\":\"serving from cache\",\"error\":\"token gone\",\
         \"since\":\"2026-06-01T00:00:00Z\",\"remedy\":\"plug it in\"},\"store\":{\"status\":\"ok\"}}"
    );
    assert_eq!(asked(address, "/live").await, (200, "{\"server\":{\"status\":\"ok\"}}".to_owned()));
    let (address, _stop, _task) = started(checks(true)).await;
    assert_eq!(asked(address, "/is-ready").await.0, 500);
}

#[tokio::test(start_paused = true)]
async fn a_check_runs_at_most_once_a_second_and_may_not_hang() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let checks = Checks::builder()
        .ready("counted", move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        })
        .build();
    for _ in 0..100 {
        checks.ready().await;
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    tokio::time::sleep(std::time::Duration::from_millis(1001)).await;
    checks.ready().await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);

    let hanging = Checks::builder().live("hanging", std::future::pending).build();
    let outcome = CheckOutcome::Failed("no answer within 5 s".to_owned());
    assert_eq!(hanging.live().await, [("hanging", outcome)]);
}

/// Threat 45
#[tokio::test]
async fn silent_connections_do_not_keep_others_out() {
    let checks = Checks::builder().live("server", || async { Ok(()) }).build();
    let (address, _stop, _task) = started(checks).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
        silent.push(socket.connect(address).await.unwrap());
    }
    assert_eq!(asked(address, "/live").await.0, 200);
}

#[test]
fn paths_that_are_patterns_or_the_same_are_refused() {
    let with = |live: &str, ready: &str| RawHealthChecks {
        live_path: live.to_owned(),
        ready_path: ready.to_owned(),
        ..RawHealthChecks::default()
    };
    assert!(matches!(with("live", "/r").validate(), Err(HealthError::Path { .. })));
    assert!(matches!(with("/{live}", "/r").validate(), Err(HealthError::Path { .. })));
    assert!(matches!(with("/a", "/a").validate(), Err(HealthError::SamePath { .. })));
    assert!(with("/a", "/b").validate().is_ok());
}
