//! The files of an upstream: every kind of key, every way in which they do not fit, and their replacement.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use plastron_plugins::upstream::{MintX509Ca, MintedX509Ca, UpstreamAuthority as _, UpstreamError};
use plastron_plugins_upstream_disk::{DiskConfig, DiskUpstream};
use plastron_spiffe::TrustDomain;
use plastron_spiffe::x509::{CertificateFacts, verify_authority};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::UnixTime;

/// 2026-06-01.
const NOW: u64 = 1_780_272_000;
const HOUR: u64 = 3600;

struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Ca {
    fn root(name: &str) -> Self {
        let (params, key) = (params(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (params(name), KeyPair::generate().unwrap());
        change(&mut params);
        let pem = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap().pem();
        Self { params, key, pem }
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = time::OffsetDateTime::from_unix_timestamp(i64::try_from(NOW - HOUR).unwrap()).unwrap();
    params.not_after = time::OffsetDateTime::from_unix_timestamp(i64::try_from(NOW + 24 * HOUR).unwrap()).unwrap();
    params
}

/// A folder with the upstream's files.
struct Files(tempfile::TempDir);

impl Files {
    fn new(certificates: &str, key: &str, bundle: Option<&str>) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("cert.pem", certificates);
        files.write("key.pem", key);
        if let Some(bundle) = bundle {
            files.write("bundle.pem", bundle);
        }
        files
    }

    /// As `mv` replaces a file.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::set_permissions(self.path("new"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self) -> DiskConfig {
        let bundle_file = Some(self.path("bundle.pem")).filter(|path| path.exists());
        DiskConfig { cert_file: self.path("cert.pem"), key_file: self.path("key.pem"), bundle_file }
    }

    fn start(&self) -> Arc<DiskUpstream> {
        DiskUpstream::start(self.config(), domain(), now)
    }

    /// Why it does not start, in one line.
    fn refusal(&self) -> String {
        let error = DiskUpstream::check(&self.config(), now()).unwrap_err();
        explain(&error).replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn explain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", explain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

fn csr(uris: &[&str]) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::OrganizationName, "SPIFFE");
    for uri in uris {
        params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
    }
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn request(ttl: u64) -> MintX509Ca {
    MintX509Ca { csr: csr(&["spiffe://example.org"]), preferred_ttl: Duration::from_secs(ttl), now: now() }
}

async fn minted(upstream: &DiskUpstream) -> MintedX509Ca {
    upstream.mint_x509_ca(request(HOUR)).await.unwrap()
}

fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn der(pem: &str) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject as _;
    rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// Keys as OpenSSL writes them: PKCS#8, SEC 1 and PKCS#1.
#[tokio::test]
async fn every_kind_and_form_of_key_signs() {
    for (generate, traditional) in [
        (&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..], "ec"),
        (&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"][..], "ec"),
        (&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..], "rsa"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let openssl = |arguments: &[&str]| openssl(folder.path(), arguments);
        openssl(&[generate, &["-out", "pkcs8.pem"]].concat());
        openssl(
            &[traditional, "-in", "pkcs8.pem", "-out", "traditional.pem", "-traditional"]
                [..if traditional == "rsa" { 6 } else { 5 }],
        );
        let extensions =
            "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";
        let config = format!("[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\n{extensions}");
        fs::write(folder.path().join("req.cnf"), config).unwrap();
        openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            "pkcs8.pem",
            "-subj",
            "/CN=up",
            "-days",
            "9000",
            "-config",
            "req.cnf",
            "-out",
            "cert.pem",
        ]);
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let not_yet = |text: &str| text.contains("BEGIN EC PRIVATE KEY") || text.contains("BEGIN RSA PRIVATE KEY");
        assert!(read("pkcs8.pem").contains("BEGIN PRIVATE KEY") && not_yet(&read("traditional.pem")));
        for key in ["pkcs8.pem", "traditional.pem"] {
            let files = Files::new(&read("cert.pem"), &read(key), None);
            let at = || UnixTime::now();
            let upstream = DiskUpstream::start(files.config(), domain(), at);
            let minted = upstream.mint_x509_ca(MintX509Ca { now: at(), ..request(HOUR) }).await.unwrap();
            assert_eq!(minted.chain.len(), 1, "without the root");
            verify_authority(minted.chain, &minted.roots, 0, at()).unwrap();
        }
    }
}

#[tokio::test]
async fn an_intermediate_upstream_gives_its_chain_without_the_root() {
    let root = Ca::root("root");
    let middle = root.below("middle", |_| {});
    let lower = middle.below("lower", |_| {});
    let extra = Ca::root("extra");
    let chain = [lower.pem.as_str(), &middle.pem, &root.pem].concat();
    let bundle = [extra.pem.as_str(), &root.pem].concat();
    let files = Files::new(&chain, &lower.key.serialize_pem(), Some(&bundle));
    let upstream = files.start();
    let answer = minted(&upstream).await;
    assert_eq!(answer.chain.get(1..).unwrap(), [der(&lower.pem), der(&middle.pem)]);
    assert_eq!(answer.roots, [der(&extra.pem), der(&root.pem)]);
    assert_eq!(upstream.roots().borrow().as_ref(), answer.roots.as_slice());
    let verified = verify_authority(answer.chain, &answer.roots, 0, now()).unwrap();
    assert_eq!(verified.root(), der(&root.pem));
}

/// Subject, names, usages and lifetime are those that SPIRE's plugin gives.
#[tokio::test]
async fn the_certificate_is_the_one_that_was_asked_for_and_ends_with_the_upstream() {
    let root = Ca::root("root");
    let short = root.below("short", |params| params.not_after -= time::Duration::hours(12));
    let files = Files::new(&short.pem, &short.key.serialize_pem(), Some(&root.pem));
    let upstream = files.start();
    let mut serials = std::collections::BTreeSet::new();
    for (ttl, end) in [(HOUR, NOW + HOUR), (100 * HOUR, NOW + 12 * HOUR)] {
        let answer = upstream.mint_x509_ca(request(ttl)).await.unwrap();
        let leaf = answer.chain.first().unwrap();
        assert_eq!(CertificateFacts::read(leaf).unwrap().not_after, end);
        fs::write(files.path("minted.der"), leaf).unwrap();
        let text = openssl(files.0.path(), &["x509", "-inform", "DER", "-in", "minted.der", "-noout", "-text"]);
        for part in [
            "O = SPIFFE",
            "URI:spiffe://example.org",
            "Certificate Sign, CRL Sign",
            "CA:TRUE",
            "Issuer: CN = short",
            "Not Before: May 31 23:59:50 2026 GMT",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        serials.insert(openssl(files.0.path(), &["x509", "-inform", "DER", "-in", "minted.der", "-noout", "-serial"]));
    }
    assert_eq!(serials.len(), 2, "serial numbers of its own");
    let late = UnixTime::since_unix_epoch(Duration::from_secs(NOW + 12 * HOUR - 30));
    let refused = upstream.mint_x509_ca(MintX509Ca { now: late, ..request(HOUR) }).await.unwrap_err();
    assert!(explain(&refused).contains("too soon to sign for a server"), "{refused}");
}

#[tokio::test]
async fn a_csr_that_asks_for_anything_else_is_refused() {
    let root = Ca::root("root");
    let upstream = Files::new(&root.pem, &root.key.serialize_pem(), None);
    let upstream = (upstream.start(), upstream).0;
    let mut forged = csr(&["spiffe://example.org"]);
    let at = forged.windows(6).position(|window| window == b"SPIFFE").unwrap();
    *forged.get_mut(at).unwrap() = b'X';
    for csr in [
        csr(&[]),
        csr(&["spiffe://other.example"]),
        csr(&["spiffe://example.org/path"]),
        csr(&["spiffe://example.org", "spiffe://other.example"]),
        forged,
        vec![0x30],
    ] {
        let refused = upstream.mint_x509_ca(MintX509Ca { csr, ..request(HOUR) }).await;
        assert!(matches!(refused, Err(UpstreamError::Refused { .. })), "{refused:?}");
    }
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let middle = root.below("middle", |_| {});
    let (root_key, middle_key) = (root.key.serialize_pem(), middle.key.serialize_pem());
    let refused = |certificates: &str, key: &str, bundle: Option<&str>| Files::new(certificates, key, bundle).refusal();
    let expect = |text: String, part: &str| assert!(text.contains(part), "{part:?} in {text:?}");

    expect(refused(&root.pem, &middle_key, None), "the key in key.pem is not that of the certificate in cert.pem");
    expect(
        refused(&middle.pem, &middle_key, None),
        "can't sign for a server: certificate \"CN=middle\" leads to none of the 1 roots",
    );
    expect(
        refused(&middle.pem, &middle_key, Some(&other.pem)),
        "leads to none of the 1 roots; its issuer is \"CN=root\"",
    );
    expect(refused(&[middle.pem.as_str(), &root.pem].concat(), &middle_key, None), "without bundle_file_path");
    expect(refused(&root.pem, "", None), "key.pem has to hold one private key as PEM: there is none");
    expect(refused(&root.pem, &[root_key.as_str(), &middle_key].concat(), None), "there is more than one");
    expect(refused("", &root_key, None), "cert.pem has to hold certificates as PEM: there is none");
    expect(refused(&root.pem, &root_key, Some("nothing")), "bundle.pem has to hold certificates");
    let broken = root.pem.replacen("MII", "!!!", 1);
    expect(refused(&broken, &root_key, None), "cert.pem has to hold certificates as PEM: ");
    expect(refused(&"x".repeat((1 << 20) + 1), &root_key, None), "cert.pem is longer than 1048576 bytes");

    let expired = root.below("expired", |params| params.not_after -= time::Duration::hours(25));
    let text = refused(&expired.pem, &expired.key.serialize_pem(), Some(&root.pem));
    expect(text, "\"CN=expired\" expired: not valid after 2026-05-31T23:00:00Z, now 2026-06-01T00:00:00Z");
    let leaf = root.below("leaf", |params| params.is_ca = IsCa::ExplicitNoCa);
    expect(refused(&leaf.pem, &leaf.key.serialize_pem(), Some(&root.pem)), "\"CN=leaf\" is not a CA");
    let usage = root.below("usage", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    expect(refused(&usage.pem, &usage.key.serialize_pem(), Some(&root.pem)), "keyCertSign");
    let full = root.below("full", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    expect(
        refused(&full.pem, &full.key.serialize_pem(), Some(&root.pem)),
        "\"CN=full\" allows 0 CAs below it, and there are 1",
    );

    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    expect(refused(&root.pem, &ed25519, None), "the key in key.pem can't be used: it is no P-256 or P-384 key");
    let folder = tempfile::tempdir().unwrap();
    openssl(folder.path(), &["genrsa", "-out", "weak.pem", "1024"]);
    let weak = fs::read_to_string(folder.path().join("weak.pem")).unwrap();
    expect(refused(&root.pem, &weak, None), "no RSA key of 2048 to 8192 bits");
    assert!(!refused(&root.pem, &middle_key, None).contains(middle_key.lines().nth(1).unwrap()));
}

/// Threat 39
#[test]
fn a_key_that_everyone_can_read_is_refused() {
    let root = Ca::root("root");
    let files = Files::new(&root.pem, &root.key.serialize_pem(), None);
    for (mode, open) in [(0o600, false), (0o640, false), (0o604, true), (0o644, true), (0o602, true)] {
        fs::set_permissions(files.path("key.pem"), fs::Permissions::from_mode(mode)).unwrap();
        let refused = DiskUpstream::check(&files.config(), now()).err().map(|error| error.to_string());
        assert_eq!(refused.is_some(), open, "{mode:o}: {refused:?}");
        assert!(refused.is_none_or(|text| text.contains(&format!("its mode is {mode:04o}"))));
    }
}

/// A root in these files comes into the trust domain's bundle by itself.
#[test]
fn certificates_that_everyone_can_write_are_refused() {
    let root = Ca::root("root");
    let files = Files::new(&root.pem, &root.key.serialize_pem(), Some(&root.pem));
    for name in ["cert.pem", "bundle.pem"] {
        for (mode, open) in [(0o666, true), (0o602, true), (0o664, false), (0o644, false)] {
            fs::set_permissions(files.path(name), fs::Permissions::from_mode(mode)).unwrap();
            let refused = DiskUpstream::check(&files.config(), now()).err().map(|error| error.to_string());
            assert_eq!(refused.is_some(), open, "{name} {mode:o}: {refused:?}");
            assert!(refused.is_none_or(|text| text.contains(&format!("{name}: its mode is {mode:04o}"))));
        }
    }
}

/// The upstream is replaced file by file: nothing is signed by half of it, and its roots are told before anything below them is.
#[tokio::test(start_paused = true)]
async fn an_upstream_is_replaced_by_replacing_its_files() {
    let (old, new) = (Ca::root("old"), Ca::root("new"));
    let files = Files::new(&old.pem, &old.key.serialize_pem(), Some(&old.pem));
    let upstream = files.start();
    let mut roots = upstream.roots();
    assert_eq!(roots.borrow_and_update().as_ref(), [der(&old.pem)]);
    minted(&upstream).await;
    assert!(!roots.has_changed().unwrap());

    // A root is added first, and told without anyone asking for a certificate.
    files.write("bundle.pem", &[old.pem.as_str(), &new.pem].concat());
    tokio::time::timeout(Duration::from_secs(10), roots.changed()).await.unwrap().unwrap();
    assert_eq!(roots.borrow_and_update().as_ref(), [der(&old.pem), der(&new.pem)]);
    assert_eq!(minted(&upstream).await.roots.len(), 2);

    files.write("cert.pem", &new.pem);
    let refused = upstream.mint_x509_ca(request(HOUR)).await.unwrap_err();
    assert!(matches!(refused, UpstreamError::Unavailable { .. }), "{refused}");
    assert!(explain(&refused).contains("replace the other one too"), "{}", explain(&refused));
    files.write("key.pem", &new.key.serialize_pem());
    let answer = minted(&upstream).await;
    let verified = verify_authority(answer.chain, &answer.roots, 0, now()).unwrap();
    assert_eq!(verified.root(), der(&new.pem));

    // What is gone signs nothing any more.
    fs::remove_file(files.path("key.pem")).unwrap();
    upstream.mint_x509_ca(request(HOUR)).await.unwrap_err();
    assert_eq!(roots.borrow_and_update().len(), 2, "its roots stay known");
}

/// Roots of files that do not fit together are not told: only what could sign belongs into the bundle.
#[tokio::test(start_paused = true)]
async fn roots_of_half_a_replacement_are_not_told() {
    let (old, new) = (Ca::root("old"), Ca::root("new"));
    let files = Files::new(&old.pem, &old.key.serialize_pem(), None);
    let upstream = files.start();
    let mut roots = upstream.roots();
    files.write("cert.pem", &new.pem);
    tokio::time::timeout(Duration::from_secs(60), roots.changed()).await.unwrap_err();
    files.write("key.pem", &new.key.serialize_pem());
    tokio::time::timeout(Duration::from_secs(10), roots.changed()).await.unwrap().unwrap();
    assert_eq!(roots.borrow_and_update().as_ref(), [der(&new.pem)]);
}

/// A server whose CA is good starts without its upstream, which heals when its files do.
#[tokio::test(start_paused = true)]
async fn files_that_come_later_are_used() {
    let root = Ca::root("root");
    let files = Files::new("", &root.key.serialize_pem(), None);
    let upstream = files.start();
    assert!(upstream.roots().borrow().is_empty());
    upstream.mint_x509_ca(request(HOUR)).await.unwrap_err();
    files.write("cert.pem", &root.pem);
    let mut roots = upstream.roots();
    tokio::time::timeout(Duration::from_secs(10), roots.changed()).await.unwrap().unwrap();
    minted(&upstream).await;
}
