//! SVIDs that an administrator mints, and every CSR that gets none.

use std::process::Command;

use plastron_server_core::audit::Recorded;
use plastron_server_core::authorization::rpc;
use plastron_server_core::ca::IssuedSvid;
use plastron_server_core::minting::MintError;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use crate::fixture::{CA_TTL, Disk, START, Server, id, local};

const WEB: &str = "spiffe://example.org/web";

async fn mint(server: &Server, csr: &[u8], ttl: i32) -> Result<Recorded<IssuedSvid>, MintError> {
    let permit = server.permit::<rpc::MintX509Svid>(&local()).await;
    server.services.minting.mint_x509_svid(permit, csr, ttl).await
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// A CSR with these SANs and this common name.
fn csr_named(sans: &[SanType], common_name: Option<&str>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.subject_alt_names = sans.to_vec();
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn csr(sans: &[SanType]) -> Vec<u8> {
    csr_named(sans, None)
}

/// A CSR that openssl makes: nothing else here makes such keys and names.
fn by_openssl(key: &[&str], san: &str) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(["req", "-new", "-nodes", "-keyout", "/dev/null", "-subj", "/", "-outform", "DER"])
        .args(["-addext", &format!("subjectAltName={san}"), "-newkey"])
        .args(key)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test]
async fn what_is_minted_is_what_was_asked_for() {
    let server = Disk::new().start().await.unwrap();
    let asked = csr_named(&[uri(WEB), dns("web.example.org"), dns("*.web.example.org")], Some("asked"));
    let svid = mint(&server, &asked, 600).await.unwrap();
    assert_eq!(server.verified(&svid).id(), &id("/web"));
    assert_eq!(svid.not_after, START + 600);
    let has = |text: &str| svid.chain.first().unwrap().windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("*.web.example.org") && !has("SPIRE"));
    assert!(!has("asked"), "the first DNS name is the common name, as in SPIRE");
    let named = mint(&server, &csr_named(&[uri(WEB)], Some("asked")), 600).await.unwrap();
    assert!(named.chain.first().unwrap().windows(5).any(|window| window == b"asked"));
    let plain = mint(&server, &csr(&[uri(WEB)]), 600).await.unwrap();
    assert!(plain.chain.first().unwrap().windows(5).any(|window| window == b"SPIRE"));
}

#[tokio::test]
async fn a_lifetime_is_the_default_or_the_cas_at_most() {
    let server = Disk::new().start().await.unwrap();
    for (ttl, lifetime) in [(0, 3600), (-1, 3600), (i32::MIN, 3600), (1, 1), (i32::MAX, CA_TTL)] {
        let svid = mint(&server, &csr(&[uri(WEB)]), ttl).await.unwrap();
        assert_eq!(svid.not_after, START + lifetime, "{ttl}");
    }
}

#[tokio::test]
async fn keys_of_every_kind_that_svids_may_have() {
    let server = Disk::new().start().await.unwrap();
    for key in [&["rsa:2048"][..], &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], &["ed25519"]] {
        let svid = mint(&server, &by_openssl(key, &format!("URI:{WEB}")), 0).await.unwrap();
        assert_eq!(server.verified(&svid).id(), &id("/web"));
    }
}

/// The refusal with its causes, as the caller reads it.
fn text(error: &MintError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Threats 19 and 37: the wrong name, the wrong key, the wrong signature.
#[tokio::test]
async fn every_csr_that_gets_nothing() {
    let server = Disk::new().start().await.unwrap();
    let good = csr(&[uri(WEB)]);
    let mut forged = csr(&[uri(WEB), dns("name.example.org")]);
    let at = forged.windows(4).rposition(|window| window == b"name").unwrap();
    forged[at] = b'f';
    let other_name = SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "a@b".into()));
    let too_long = uri(&format!("spiffe://example.org/{}", "a".repeat(2048)));
    let openssl = |key: &[&str]| by_openssl(key, &format!("URI:{WEB}"));
    let workload = "is not a workload in trust domain \"example.org\"";
    let reserved = |id: &str| {
        let path = "path is in the reserved namespace";
        (csr(&[uri(id)]), format!("CSR URI SAN is invalid: \"{id}\" {workload}; {path}"))
    };
    let asks = |sans: &[SanType], text: &str| (csr(sans), text.to_owned());
    let is = |csr: Vec<u8>, text: &str| (csr, text.to_owned());
    let no_san_of = |kind| format!("the CSR asks for {kind} as SAN, and an SVID has URI and DNS names only");
    let key = "the CSR's key can't be certified: ";
    let no_key = format!("{key}not a P-256, P-384, P-521, RSA or Ed25519 key");
    let cases = [
        is(Vec::new(), "missing CSR"),
        is(b"garbage".to_vec(), "malformed CSR: "),
        is([good.as_slice(), &[0]].concat(), "malformed CSR: "),
        is(good[..good.len() - 1].to_vec(), "malformed CSR: "),
        is(vec![0x30; 16_385], "CSR has 16385 bytes, of at most 16384"),
        is(forged, "failed to verify CSR signature"),
        is(openssl(&["rsa:1024"]), &format!("{key}RSA modulus of 1024 bits, where 2048 to 8192 are allowed")),
        is(openssl(&["ec", "-pkeyopt", "ec_paramgen_curve:secp224r1"]), &no_key),
        is(openssl(&["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"]), &no_key),
        is(openssl(&["ed448"]), &no_key),
        is(openssl(&["rsa:2048", "-sha1"]), "unsupported CSR signature algorithm for its key"),
        asks(&[], "CSR URI SAN is required"),
        asks(&[dns("web.example.org")], "CSR URI SAN is required"),
        asks(&[uri(WEB), uri("spiffe://example.org/b")], "only one URI SAN is expected, and the CSR has 2"),
        asks(&[uri(WEB), uri(WEB)], "only one URI SAN is expected, and the CSR has 2"),
        asks(&vec![uri(WEB); 17], "CSR has 17 URI SANs, of at most 16"),
        asks(&[uri("https://example.org/web")], "CSR URI SAN is invalid: "),
        asks(&[uri("spiffe://example.org/web/")], "CSR URI SAN is invalid: "),
        asks(&[uri("spiffe://Example.org/web")], "CSR URI SAN is invalid: "),
        asks(&[too_long], "CSR URI SAN is invalid: "),
        asks(
            &[uri("spiffe://example.com/web")],
            "CSR URI SAN is invalid: \"spiffe://example.com/web\" is not a member of trust domain \"example.org\"",
        ),
        asks(
            &[uri("spiffe://example.org")],
            &format!("CSR URI SAN is invalid: \"spiffe://example.org\" {workload}; path is empty"),
        ),
        reserved("spiffe://example.org/spire/server"),
        reserved("spiffe://example.org/spire/agent/x"),
        reserved("spiffe://example.org/spire"),
        asks(&[uri(WEB), SanType::IpAddress("192.0.2.1".parse().unwrap())], &no_san_of("an IP address")),
        asks(&[SanType::Rfc822Name("a@b".try_into().unwrap()), uri(WEB)], &no_san_of("an email address")),
        asks(&[uri(WEB), other_name], &no_san_of("another name")),
        is(by_openssl(&["rsa:2048"], &format!("URI:{WEB},RID:1.2.3")), &no_san_of("a registered ID")),
        asks(&[&vec![dns("a"); 129][..], &[uri(WEB)]].concat(), "CSR has 129 DNS SANs, of at most 128"),
        asks(&[uri(WEB), dns("web.")], "CSR DNS name is invalid: DNS name \"web.\" ends with a dot"),
        asks(&[uri(WEB), dns("a..b")], "CSR DNS name is invalid: "),
        asks(&[uri(WEB), dns("a.*.b")], "CSR DNS name is invalid: "),
        asks(&[uri(WEB), dns("we b")], "CSR DNS name is invalid: "),
        asks(
            &[uri(WEB), dns("*.example.org"), dns("web.example.org")],
            "CSR DNS name contains a wildcard that covers another non-wildcard name: \
             DNS name \"web.example.org\" is covered by \"*.example.org\"",
        ),
        is(csr_named(&[uri(WEB)], Some(&"a".repeat(2048))), "CSR subject is invalid: subject has "),
    ];
    for (csr, expected) in cases {
        let got = text(&mint(&server, &csr, 0).await.expect_err(&expected));
        assert!(got.starts_with(&expected), "{got:?}, where {expected:?} was expected");
        // What ends in a colon goes on with a reason that is a library's.
        assert!(got == expected || expected.ends_with([':', ' ']), "{got:?} says more than {expected:?}");
    }
}

/// No audit, no issuance.
#[tokio::test]
async fn nothing_is_minted_unrecorded() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    mint(&server, &csr(&[uri(WEB)]), 0).await.unwrap();
    let line = disk.audit.lines().pop().unwrap();
    assert!(line.contains("x509-svid issue") && line.contains("mint") && line.contains(WEB), "{line}");
    disk.audit.fill();
    let refused = mint(&server, &csr(&[uri(WEB)]), 0).await.unwrap_err();
    assert!(matches!(refused, MintError::Audit(_)), "{refused}");
}
