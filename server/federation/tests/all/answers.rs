//! What an authenticated endpoint may answer, and what is not believed.

use plastron_server_federation::{FetchError, fetch};
use plastron_spiffe::{Bundle, BundleError};
use plastron_transport::{HttpGetError, HttpsClientTls};

use crate::fake::{Answer, Fake, Then, answer, document};
use crate::pki::{Ca, SERVER, id, other};

async fn get(script: Answer) -> (Result<Bundle, FetchError>, Vec<String>) {
    let ca = Ca::new("other.test");
    let fake = Fake::start(ca.svid(SERVER, true), move |_| script.clone()).await;
    let tls = HttpsClientTls::Spiffe { server: id(SERVER), bundle: ca.bundle.clone() };
    let got = fetch(&other(), &fake.url("127.0.0.1", "/bundle?a=b#c"), &tls).await;
    (got, fake.asked())
}

#[tokio::test]
async fn the_request_is_one_get_without_credentials() {
    let (bundle, asked) = get(document(r#"{"keys": []}"#)).await;
    assert_eq!(bundle.unwrap(), Bundle::empty(other()));
    let [head] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(head.starts_with("GET /bundle?a=b HTTP/1.1\r\nhost: 127.0.0.1:"), "{head}");
    let names: Vec<_> = head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    assert_eq!(names, ["host", "accept", "user-agent", "connection"]);
}

#[tokio::test]
async fn another_status_is_no_bundle_and_what_came_with_it_is_shown_short_and_escaped() {
    for status in ["404 Not Found", "500 Internal Server Error", "204 No Content", "304 Not Modified", "201 Created"] {
        let (got, _) = get(answer(status, "", br#"{"keys": []}"#)).await;
        assert!(matches!(got, Err(FetchError::Get(HttpGetError::Status { .. }))), "{status}: {got:?}");
    }
    let (got, _) = get(answer("503 x", "", b"the \x1b[31msystem\nis down")).await;
    let text = got.unwrap_err().to_string();
    assert_eq!(text, r"unexpected status 503 fetching bundle: the \u{1b}[31msystem\nis down");
    let (got, _) = get(answer("503 x", "", &[b'x'; 100_000])).await;
    assert!(got.unwrap_err().to_string().len() < 400);
}

#[tokio::test]
async fn a_redirect_without_a_place_is_no_bundle() {
    let (got, _) = get(answer("302 Found", "", br#"{"keys": []}"#)).await;
    assert!(matches!(got, Err(FetchError::Get(HttpGetError::Status { status: 302, .. }))), "{got:?}");
}

#[tokio::test]
async fn what_is_no_bundle_document_is_refused() {
    for body in ["", "<html></html>", "[]", "{}", r#"{"keys": [], "spiffe_sequence": -1}"#] {
        let (got, _) = get(document(body)).await;
        assert!(matches!(got, Err(FetchError::Bundle(BundleError::Json { .. }))), "{body}: {got:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let whole = |head: &str| Answer { bytes: head.as_bytes().to_vec(), then: Then::Repeat };
    // Announced, in chunks, and until the end of the connection.
    let (got, _) = get(whole("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n ")).await;
    assert!(matches!(got, Err(FetchError::Get(HttpGetError::TooLong))), "{got:?}");
    let (got, _) = get(whole("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n ")).await;
    assert!(matches!(got, Err(FetchError::Get(HttpGetError::TooLong))), "{got:?}");
    let (got, _) = get(whole("HTTP/1.1 200 OK\r\n\r\n ")).await;
    assert!(matches!(got, Err(FetchError::Get(HttpGetError::TooLong))), "{got:?}");
    // And a head without end.
    let (got, _) = get(whole("HTTP/1.1 200 OK\r\nx: y")).await;
    assert!(matches!(got, Err(FetchError::Get(HttpGetError::Http(_)))), "{got:?}");
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 12\r\n\r\n{{\"keys\": []}}", "a: b\r\n".repeat(100));
    let (got, _) = get(Answer { bytes: many.into_bytes(), then: Then::Close }).await;
    assert!(matches!(got, Err(FetchError::Get(HttpGetError::Http(_)))), "{got:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_not_waited_for() {
    for begun in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"keys\""] {
        let (got, _) = get(Answer { bytes: begun.as_bytes().to_vec(), then: Then::Hang }).await;
        assert!(matches!(got, Err(FetchError::Get(HttpGetError::TimedOut))), "{begun:?}: {got:?}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_bundle() {
    for (bytes, in_head) in [
        ("", true),
        ("HTTP/1.1 200", true),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\": []}", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nc\r\n{\"keys\": []}\r\n", false),
    ] {
        let (got, _) = get(Answer { bytes: bytes.as_bytes().to_vec(), then: Then::Close }).await;
        match got {
            Err(FetchError::Get(HttpGetError::Http(_))) if in_head => {}
            Err(FetchError::Get(HttpGetError::Body(_))) if !in_head => {}
            other => panic!("{bytes:?}: {other:?}"),
        }
    }
}
