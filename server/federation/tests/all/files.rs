//! `serving_cert_file`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use plastron_server_federation::{CertificateFiles, CertificateFilesError, fetch};
use plastron_transport::{HttpsClientTls, HttpsServerTls};
use tokio_util::sync::CancellationToken;

use crate::fake::{Fake, document};
use crate::pki::{Ca, other};

fn files(dir: &Path) -> CertificateFiles {
    CertificateFiles {
        certificate: dir.join("cert.pem"),
        key: dir.join("key.pem"),
        interval: Duration::from_millis(20),
    }
}

fn put(dir: &Path, (certificate, key): &(String, String)) {
    fs::write(dir.join("cert.pem"), certificate).unwrap();
    fs::write(dir.join("key.pem"), key).unwrap();
}

#[tokio::test]
async fn files_that_change_are_served_and_a_half_replaced_pair_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Ca::new("web.test"), Ca::new("new.test"));
    put(dir.path(), &old.web_pem("localhost", true));
    let followed = files(dir.path()).open().unwrap();
    let tls = HttpsServerTls::presenting_certificate(followed.slot()).unwrap();
    let ended = CancellationToken::new();
    let task = tokio::spawn(followed.follow(ended.clone()));
    let fake = Fake::start(tls, |_| document(r#"{"keys": []}"#)).await;
    let url = fake.url("localhost", "/");
    let works = async |ca: &Ca| fetch(&other(), &url, &HttpsClientTls::Web(ca.roots())).await.is_ok();
    assert!(works(&old).await && !works(&new).await);

    let (certificate, key) = new.web_pem("localhost", true);
    fs::write(dir.path().join("cert.pem"), &certificate).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(works(&old).await, "what was served stays while the files do not belong together");
    fs::write(dir.path().join("key.pem"), &key).unwrap();
    while !works(&new).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fs::remove_file(dir.path().join("key.pem")).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(works(&new).await, "nor does it go with a file");
    ended.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn files_that_can_not_be_served_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let refused = || files(dir.path()).open().map(drop).unwrap_err();
    let error = refused();
    assert!(matches!(&error, CertificateFilesError::Read { path, .. } if path.ends_with("cert.pem")), "{error:?}");
    let ca = Ca::new("web.test");
    let (certificate, key) = ca.web_pem("localhost", true);
    let (_, foreign) = ca.web_pem("localhost", true);
    for pair in [
        (certificate.clone(), foreign),
        (certificate.clone(), String::new()),
        (certificate.clone(), certificate.clone()),
        (String::new(), key.clone()),
        (key.clone(), key.clone()),
    ] {
        put(dir.path(), &pair);
        assert!(matches!(refused(), CertificateFilesError::Certificate { .. }), "{pair:?}");
    }
    put(dir.path(), &(certificate, key));
    files(dir.path()).open().map(drop).unwrap();
}
