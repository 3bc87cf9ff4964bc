//! Where an endpoint may send its client (SPIFFE_Federation.md, sections 5.2.1.3 and 5.2.1.4).

use plastron_server_federation::{FetchError, fetch};
use plastron_transport::{HttpGetError, HttpsClientTls, HttpsConnectError, MAX_REDIRECTS};

use crate::fake::{Fake, document, redirect};
use crate::pki::{Ca, SERVER, id, other};

const DOCUMENT: &str = r#"{"keys": [], "spiffe_sequence": 7}"#;

#[tokio::test]
async fn https_web_follows_to_https_and_asks_the_configured_url_again_next_time() {
    let ca = Ca::new("web.test");
    let goal = Fake::start(ca.web("127.0.0.1", true), |_| document(DOCUMENT)).await;
    let away = format!("https://127.0.0.1:{}/moved?x=1", goal.address.port());
    let fake = Fake::start(ca.web("localhost", true), move |path| match path {
        "/" => redirect("301 Moved Permanently", "/elsewhere"),
        _ => redirect("302 Found", &away),
    })
    .await;
    let tls = HttpsClientTls::Web(ca.roots());
    for _ in 0..2 {
        assert_eq!(fetch(&other(), &fake.url("localhost", "/"), &tls).await.unwrap().sequence_number, 7);
    }
    assert_eq!((fake.asked().len(), goal.asked().len()), (4, 2));
    assert!(goal.asked()[0].starts_with("GET /moved?x=1 HTTP/1.1\r\nhost: 127.0.0.1:"));
}

#[tokio::test]
async fn https_web_goes_nowhere_but_to_https_urls_of_endpoints() {
    let ca = Ca::new("web.test");
    let tls = HttpsClientTls::Web(ca.roots());
    for location in [
        "http://localhost/",
        "HTTP://localhost/",
        "file:///etc/passwd",
        "https://user@localhost/",
        "https:localhost",
        "elsewhere",
        "",
        "//",
        "https://local host/",
    ] {
        let fake = Fake::start(ca.web("localhost", true), move |_| redirect("302 Found", location)).await;
        let got = fetch(&other(), &fake.url("localhost", "/"), &tls).await;
        assert!(matches!(got, Err(FetchError::Get(HttpGetError::RedirectTarget { .. }))), "{location}: {got:?}");
        assert_eq!(fake.asked().len(), 1);
    }
}

#[tokio::test]
async fn the_goal_of_a_redirect_is_authenticated_by_its_own_name() {
    let ca = Ca::new("web.test");
    let goal = Fake::start(ca.web("localhost", true), |_| document(DOCUMENT)).await;
    let away = format!("https://127.0.0.1:{}/", goal.address.port());
    let fake = Fake::start(ca.web("localhost", true), move |_| redirect("307 Temporary Redirect", &away)).await;
    let got = fetch(&other(), &fake.url("localhost", "/"), &HttpsClientTls::Web(ca.roots())).await;
    assert!(matches!(got, Err(FetchError::Get(HttpGetError::Connect(HttpsConnectError::Tls { .. })))), "{got:?}");
    assert!(goal.asked().is_empty());
}

#[tokio::test]
async fn a_loop_ends() {
    let ca = Ca::new("web.test");
    let fake = Fake::start(ca.web("localhost", true), |_| redirect("308 Permanent Redirect", "/")).await;
    let got = fetch(&other(), &fake.url("localhost", "/"), &HttpsClientTls::Web(ca.roots())).await;
    assert!(matches!(got, Err(FetchError::Get(HttpGetError::TooManyRedirects))), "{got:?}");
    assert_eq!(fake.asked().len(), MAX_REDIRECTS + 1);
}

#[tokio::test]
async fn https_spiffe_is_not_redirected_even_to_the_same_server() {
    let ca = Ca::new("other.test");
    let tls = HttpsClientTls::Spiffe { server: id(SERVER), bundle: ca.bundle.clone() };
    for status in ["301 x", "302 x", "303 x", "307 x", "308 x"] {
        let fake = Fake::start(ca.svid(SERVER, true), move |path| match path {
            "/" => redirect(status, "/elsewhere"),
            _ => document(DOCUMENT),
        })
        .await;
        let got = fetch(&other(), &fake.url("localhost", "/"), &tls).await;
        assert!(
            matches!(&got, Err(FetchError::Get(HttpGetError::Redirected { location })) if location == "/elsewhere"),
            "{got:?}"
        );
        assert_eq!(fake.asked().len(), 1);
    }
}
