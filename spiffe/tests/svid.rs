//! Vectors of X.509-SVIDs (V-X): each is accepted or refused for its own reason.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::disallowed_methods,
    reason = "openssl is asked for its opinion, and makes what nothing else here makes"
)]

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use plastron_spiffe::x509::{Purpose, SvidError, VerifiedSvid, X509Svid, verify_chain, verify_successor};
use plastron_spiffe::{Bundle, SpiffeIdError, TrustDomain, X509Authority};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose as Eku, IsCa, Issuer, KeyPair, KeyUsagePurpose as Ku, SanType,
};
use rustls_pki_types::UnixTime;
use time::OffsetDateTime;

/// 2026-06-01.
const NOW: i64 = 1_780_272_000;
const WEB: &str = "spiffe://example.org/web";

fn when(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![Ku::KeyCertSign, Ku::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (when(NOW - 100), when(NOW + 1000));
    params
}

fn ca_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = ca_params(name);
    change(&mut params);
    params
}

impl Ca {
    fn root(name: &str) -> Self {
        Self::root_until(name, NOW + 1000)
    }

    fn root_until(name: &str, not_after: i64) -> Self {
        let params = ca_with(name, |params| params.not_after = when(not_after));
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn intermediate(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn bundle(&self, trust_domain: &str) -> Bundle {
        let mut bundle = Bundle::empty(TrustDomain::parse(trust_domain).unwrap());
        bundle.x509_authorities.push(X509Authority::parse(self.der.clone()).unwrap());
        bundle
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        self.leaf_with(&KeyPair::generate().unwrap(), change)
    }

    fn leaf_with(&self, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![Ku::DigitalSignature];
        params.extended_key_usages = vec![Eku::ServerAuth, Eku::ClientAuth];
        params.subject_alt_names = uris(&[WEB]);
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (when(NOW - 10), when(NOW + 10));
        change(&mut params);
        let certificate: Certificate = params.signed_by(key, &self.issuer).unwrap();
        certificate.der().to_vec()
    }
}

fn uris(uris: &[&str]) -> Vec<SanType> {
    uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect()
}

fn custom(oid: &[u64], content: &[u8], critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    extension
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap()))
}

fn verify(chain: &[Vec<u8>], bundle: &Bundle, purpose: Purpose) -> Result<VerifiedSvid, SvidError> {
    verify_chain(X509Svid::parse(chain.to_vec())?, bundle, purpose, at(NOW))
}

/// The refusal of a leaf that differs from a good one by `change`.
fn form(change: impl FnOnce(&mut CertificateParams)) -> SvidError {
    X509Svid::parse(vec![Ca::root("ca").leaf(change)]).unwrap_err()
}

#[test]
fn good_leaves() {
    let ca = Ca::root("ca");
    let bundle = ca.bundle("example.org");
    for (name, leaf) in [
        ("plain", ca.leaf(|_| {})),
        ("DNS name", ca.leaf(|p| p.subject_alt_names.push(SanType::DnsName("web".try_into().unwrap())))),
        ("no subject", ca.leaf(|p| p.distinguished_name = DistinguishedName::new())),
        ("no extended key usage", ca.leaf(|p| p.extended_key_usages.clear())),
        ("more key usages", ca.leaf(|p| p.key_usages.extend([Ku::KeyEncipherment, Ku::KeyAgreement]))),
        ("more extended key usages", ca.leaf(|p| p.extended_key_usages.push(Eku::CodeSigning))),
        ("outlives its CA", ca.leaf(|p| p.not_after = when(NOW + 2000))),
        ("P-384", ca.leaf_with(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(), |_| {})),
        ("P-521", ca.leaf_with(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap(), |_| {})),
        ("Ed25519", ca.leaf_with(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(), |_| {})),
        ("RSA", ca.leaf_with(&KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(), |_| {})),
    ] {
        for purpose in [Purpose::ClientAuth, Purpose::ServerAuth, Purpose::Any] {
            let verified =
                verify(std::slice::from_ref(&leaf), &bundle, purpose).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(verified.id().as_str(), WEB);
            assert_eq!(verified.svid().chain(), std::slice::from_ref(&leaf));
        }
    }
}

/// Threat 20.
#[test]
fn exactly_one_uri_that_is_a_spiffe_id_with_a_path() {
    assert_eq!(form(|p| p.subject_alt_names = uris(&[WEB, "https://example.org"])), SvidError::UriSanCount { got: 2 });
    assert_eq!(form(|p| p.subject_alt_names = uris(&[WEB, WEB, "spiffe://a/b"])), SvidError::UriSanCount { got: 3 });
    assert_eq!(form(|p| p.subject_alt_names.clear()), SvidError::UriSanCount { got: 0 });
    let dns_only = form(|p| p.subject_alt_names = vec![SanType::DnsName("web".try_into().unwrap())]);
    assert_eq!(dns_only, SvidError::UriSanCount { got: 0 });
    assert_eq!(form(|p| p.subject_alt_names = uris(&["spiffe://example.org"])), SvidError::RootPath);
    for (uri, reason) in [
        ("https://example.org/web", SpiffeIdError::Scheme),
        ("spiffe://td:1/web", SpiffeIdError::TrustDomainCharacter { at: 2 }),
        ("spiffe://u@td/web", SpiffeIdError::TrustDomainCharacter { at: 1 }),
        ("spiffe://EXAMPLE.org/web", SpiffeIdError::TrustDomainCharacter { at: 0 }),
        ("spiffe://example.org/web/", SpiffeIdError::TrailingSlash),
        ("spiffe://example.org/web?x", SpiffeIdError::PathCharacter { segment: "web?x".to_owned(), at: 3 }),
        ("spiffe://example.org/%77eb", SpiffeIdError::PathCharacter { segment: "%77eb".to_owned(), at: 0 }),
        ("spiffe://example.org/a/../web", SpiffeIdError::DotSegment),
    ] {
        assert_eq!(form(|p| p.subject_alt_names = uris(&[uri])), SvidError::Id(reason));
    }
    let (longest, longer) =
        ("spiffe://td/".to_owned() + &"p".repeat(2036), "spiffe://td/".to_owned() + &"p".repeat(2037));
    X509Svid::parse(vec![Ca::root("ca").leaf(|p| p.subject_alt_names = uris(&[&longest]))]).unwrap();
    let too_long = form(|p| p.subject_alt_names = uris(&[&longer]));
    assert_eq!(too_long, SvidError::Id(SpiffeIdError::TooLong { len: 2049 }));
}

#[test]
fn the_only_name_is_critical() {
    let san = [&[0x30, 26, 0x86, 24], WEB.as_bytes()].concat();
    let empty = form(|p| {
        p.distinguished_name = DistinguishedName::new();
        p.subject_alt_names.clear();
        p.custom_extensions = vec![custom(&[2, 5, 29, 17], &san, false)];
    });
    assert_eq!(empty, SvidError::SanNotCritical);
    let twice = form(|p| p.custom_extensions = vec![custom(&[2, 5, 29, 17], &san, false)]);
    assert!(matches!(twice, SvidError::Malformed { .. }), "{twice}");
}

#[test]
fn a_leaf_signs_no_certificates_and_says_so() {
    assert_eq!(form(|p| p.is_ca = IsCa::NoCa), SvidError::CaLeaf, "no basic constraints");
    assert_eq!(form(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), SvidError::CaLeaf);
    let usage = |reason| SvidError::KeyUsage { reason };
    assert_eq!(form(|p| p.key_usages.clear()), usage("is absent"));
    assert_eq!(form(|p| p.key_usages = vec![Ku::KeyEncipherment]), usage("lacks digitalSignature"));
    assert_eq!(form(|p| p.key_usages.push(Ku::KeyCertSign)), usage("has keyCertSign"));
    assert_eq!(form(|p| p.key_usages.push(Ku::CrlSign)), usage("has cRLSign"));
    let not_critical = form(|p| {
        p.key_usages.clear();
        p.custom_extensions = vec![custom(&[2, 5, 29, 15], &[3, 2, 7, 0x80], false)];
    });
    assert_eq!(not_critical, usage("is not critical"));
}

#[test]
fn an_extended_key_usage_has_both_roles() {
    for usages in [vec![Eku::ServerAuth], vec![Eku::ClientAuth], vec![Eku::CodeSigning], vec![Eku::Any]] {
        let got = form(|p| p.extended_key_usages = usages);
        assert_eq!(got, SvidError::ExtendedKeyUsage { purpose: Purpose::Any });
    }
}

/// Threat 29.
#[test]
fn sizes_are_bounded_before_anything_is_parsed() {
    let leaf = Ca::root("ca").leaf(|_| {});
    assert_eq!(X509Svid::parse(Vec::new()).unwrap_err(), SvidError::ChainLength { got: 0 });
    assert_eq!(X509Svid::parse(vec![leaf.clone(); 17]).unwrap_err(), SvidError::ChainLength { got: 17 });
    X509Svid::parse(vec![leaf.clone(); 16]).unwrap();
    let long = vec![0x30; 16 * 1024 + 1];
    assert_eq!(X509Svid::parse(vec![leaf, long]).unwrap_err(), SvidError::CertificateLength { got: 16 * 1024 + 1 });
}

#[test]
fn what_is_not_a_certificate_is_malformed() {
    let leaf = Ca::root("ca").leaf(|_| {});
    for bytes in [b"".to_vec(), b"garbage".to_vec(), [leaf.as_slice(), &[0]].concat(), leaf[..leaf.len() - 1].to_vec()]
    {
        let got = X509Svid::parse(vec![bytes]).unwrap_err();
        assert!(matches!(got, SvidError::Malformed { .. }), "{got}");
    }
    // Every bit counts: nothing that differs from the certificate in one verifies.
    let ca = Ca::root("ca");
    let (leaf, bundle) = (ca.leaf(|_| {}), ca.bundle("example.org"));
    for at in 0..leaf.len() {
        let mut changed = leaf.clone();
        changed[at] ^= 1;
        verify(&[changed], &bundle, Purpose::Any).unwrap_err();
    }
}

#[test]
fn intermediates_lead_to_the_root_whatever_their_own_name() {
    let root = Ca::root("root");
    let bundle = root.bundle("example.org");
    for sans in [vec![], uris(&["spiffe://example.org"]), uris(&["spiffe://other.org"])] {
        let intermediate = root.intermediate(ca_with("sub", |p| p.subject_alt_names = sans));
        let leaf = intermediate.leaf(|_| {});
        verify(&[leaf.clone(), intermediate.der.clone()], &bundle, Purpose::Any).unwrap();
        verify(&[leaf.clone(), Ca::root("noise").der, intermediate.der], &bundle, Purpose::Any).unwrap();
        let missing = verify(&[leaf], &bundle, Purpose::Any).unwrap_err();
        assert!(matches!(missing, SvidError::UnknownAuthority { .. }), "{missing}");
    }
}

/// Threat 23: the bundle that counts is that of the domain that the leaf names.
#[test]
fn an_authority_speaks_for_its_own_domain_only() {
    let (own, other) = (Ca::root("ca"), Ca::root("other"));
    let bundles: HashMap<_, _> = [own.bundle("example.org"), other.bundle("other.test")]
        .into_iter()
        .map(|bundle| (bundle.trust_domain.clone(), bundle))
        .collect();
    let check = |chain: &[Vec<u8>]| {
        verify_chain(X509Svid::parse(chain.to_vec()).unwrap(), &bundles, Purpose::ClientAuth, at(NOW))
    };
    check(&[own.leaf(|_| {})]).unwrap();
    check(&[other.leaf(|p| p.subject_alt_names = uris(&["spiffe://other.test/web"]))]).unwrap();
    let forged = check(&[other.leaf(|_| {})]).unwrap_err();
    assert!(matches!(forged, SvidError::UnknownAuthority { .. }), "{forged}");
    let params = ca_with("ca", |p| p.subject_alt_names = uris(&["spiffe://example.org"]));
    let through = other.intermediate(params);
    let forged = check(&[through.leaf(|_| {}), through.der.clone(), own.der.clone()]).unwrap_err();
    assert!(matches!(forged, SvidError::UnknownAuthority { .. }), "{forged}");
    let unknown = check(&[own.leaf(|p| p.subject_alt_names = uris(&["spiffe://nobundle.test/x"]))]).unwrap_err();
    let trust_domain = TrustDomain::parse("nobundle.test").unwrap();
    assert_eq!(unknown, SvidError::UnknownTrustDomain { trust_domain });
    // A bundle alone is trusted for its own domain, too.
    let svid = X509Svid::parse(vec![own.leaf(|p| p.subject_alt_names = uris(&["spiffe://other.test/x"]))]).unwrap();
    let unknown = verify_chain(svid, &own.bundle("example.org"), Purpose::Any, at(NOW)).unwrap_err();
    assert!(matches!(unknown, SvidError::UnknownTrustDomain { .. }), "{unknown}");
    // A map that gives a domain another's bundle gives it none.
    let mut mixed = bundles.clone();
    mixed.insert(TrustDomain::parse("example.org").unwrap(), other.bundle("other.test"));
    let svid = X509Svid::parse(vec![other.leaf(|_| {})]).unwrap();
    let wrong = verify_chain(svid, &mixed, Purpose::Any, at(NOW)).unwrap_err();
    assert!(matches!(wrong, SvidError::UnknownTrustDomain { .. }), "{wrong}");
}

#[test]
fn another_authority_of_the_same_name_is_unknown() {
    let (real, imposter) = (Ca::root("ca"), Ca::root("ca"));
    let got = verify(&[imposter.leaf(|_| {}), imposter.der.clone()], &real.bundle("example.org"), Purpose::Any);
    assert!(matches!(got, Err(SvidError::UnknownAuthority { .. })), "{got:?}");
    // Both count while one replaces the other.
    let mut both = real.bundle("example.org");
    both.x509_authorities.extend(imposter.bundle("example.org").x509_authorities);
    for ca in [real, imposter] {
        verify(&[ca.leaf(|_| {})], &both, Purpose::Any).unwrap();
    }
    let empty = Bundle::empty(TrustDomain::parse("example.org").unwrap());
    let got = verify(&[Ca::root("ca").leaf(|_| {})], &empty, Purpose::Any);
    assert!(matches!(got, Err(SvidError::UnknownAuthority { .. })), "{got:?}");
}

/// An authority that has expired counts as absent, though the bundle still has it; what another one signed is not touched.
#[test]
fn an_expired_authority_is_no_authority() {
    let (old, new) = (Ca::root("ca"), Ca::root_until("ca", NOW + 5000));
    let mut bundle = old.bundle("example.org");
    let svid = |ca: &Ca| X509Svid::parse(vec![ca.leaf(|p| p.not_after = when(NOW + 4000))]).unwrap();
    verify_chain(svid(&old), &bundle, Purpose::Any, at(NOW + 1000)).unwrap();
    let alone = verify_chain(svid(&old), &bundle, Purpose::Any, at(NOW + 1001)).unwrap_err();
    assert!(matches!(&alone, SvidError::UnknownAuthority { .. }), "{alone}");
    bundle.x509_authorities.extend(new.bundle("example.org").x509_authorities);
    let beside = verify_chain(svid(&old), &bundle, Purpose::Any, at(NOW + 1001)).unwrap_err();
    assert!(matches!(&beside, SvidError::UnknownAuthority { .. }), "{beside}");
    verify_chain(svid(&new), &bundle, Purpose::Any, at(NOW + 1001)).unwrap();
}

/// A node that was away for longer than its authorities lived.
///
/// Threat 49
#[test]
fn an_expired_authority_speaks_only_by_the_successor_that_it_named() {
    let last = Ca::root_until("last", NOW - 30 * 86_400);
    let next = last.intermediate(ca_params("next"));
    let chain = [next.leaf(|_| {}), next.der.clone()];
    let follow = |chain: &[Vec<u8>], bundle: &Bundle| {
        verify_successor(X509Svid::parse(chain.to_vec()).unwrap(), bundle, Purpose::ServerAuth, at(NOW))
    };
    let away = last.bundle("example.org");
    assert_eq!(follow(&chain, &away).unwrap().id().as_str(), WEB);
    let unknown = |result: Result<VerifiedSvid, SvidError>| {
        assert!(matches!(result, Err(SvidError::UnknownAuthority { .. })), "{result:?}");
    };
    unknown(verify(&chain, &away, Purpose::ServerAuth));
    // What it signed itself proves only that its key is still there, or is not secret any more.
    unknown(follow(&[last.leaf(|_| {})], &away));
    // A successor that somebody else named, and one that nobody named.
    let stranger = Ca::root_until("last", NOW - 30 * 86_400);
    unknown(follow(&chain, &stranger.bundle("example.org")));
    unknown(follow(&[next.leaf(|_| {})], &away));
    // A successor that is over itself: the node was away for two lives.
    let over = last.intermediate(ca_with("next", |params| params.not_after = when(NOW - 1)));
    assert!(matches!(follow(&[over.leaf(|_| {}), over.der.clone()], &away), Err(SvidError::Expired { .. })));
    // A key that was given up long ago names nobody.
    for (days, counts) in [(90, true), (91, false)] {
        let old = Ca::root_until("last", NOW - days * 86_400);
        let next = old.intermediate(ca_params("next"));
        let followed = follow(&[next.leaf(|_| {}), next.der.clone()], &old.bundle("example.org"));
        if counts { drop(followed.unwrap()) } else { unknown(followed) }
    }
    // Whoever knows one authority that is valid needs no successor.
    let mut known = away.clone();
    known.x509_authorities.push(X509Authority::parse(Ca::root("valid").der).unwrap());
    unknown(follow(&chain, &known));
    let mut tainted = away;
    tainted.x509_authorities[0].tainted = true;
    unknown(follow(&chain, &tainted));
}

#[test]
fn validity_is_that_of_the_moment() {
    let ca = Ca::root("ca");
    let (leaf, bundle) = (ca.leaf(|_| {}), ca.bundle("example.org"));
    let then = |seconds| verify_chain(X509Svid::parse(vec![leaf.clone()]).unwrap(), &bundle, Purpose::Any, at(seconds));
    let (not_before, not_after) = (u64::try_from(NOW - 10).unwrap(), u64::try_from(NOW + 10).unwrap());
    then(NOW - 10).unwrap();
    then(NOW + 10).unwrap();
    assert_eq!(then(NOW + 11).unwrap_err(), SvidError::Expired { not_after, now: not_after + 1 });
    assert_eq!(then(NOW - 11).unwrap_err(), SvidError::NotYetValid { not_before, now: not_before - 1 });
    // Intermediates too.
    let expired = ca.intermediate(ca_with("old", |p| p.not_after = when(NOW - 1)));
    let got = verify(&[expired.leaf(|_| {}), expired.der.clone()], &bundle, Purpose::Any).unwrap_err();
    assert!(matches!(got, SvidError::Expired { .. }), "{got}");
}

#[test]
fn rules_of_the_path() {
    let root = Ca::root("root");
    let bundle = root.bundle("example.org");
    let through = |params: CertificateParams| {
        let intermediate = root.intermediate(params);
        verify(&[intermediate.leaf(|_| {}), intermediate.der.clone()], &bundle, Purpose::ClientAuth).unwrap_err()
    };
    for (name, got) in [
        ("not a CA", through(ca_with("sub", |p| p.is_ca = IsCa::ExplicitNoCa))),
        ("no basic constraints", through(ca_with("sub", |p| p.is_ca = IsCa::NoCa))),
        ("no keyCertSign", through(ca_with("sub", |p| p.key_usages = vec![Ku::DigitalSignature]))),
        // Permitted: example.org, where the leaf is. URI constraints are refused, not evaluated.
        ("URI name constraint", {
            let constraint = custom(&[2, 5, 29, 30], b"\x30\x11\xa0\x0f\x30\x0d\x86\x0bexample.org", true);
            through(ca_with("sub", |p| p.custom_extensions = vec![constraint]))
        }),
        ("unknown critical extension", {
            let unknown = custom(&[1, 3, 6, 1, 4, 1, 99999, 1], &[5, 0], true);
            through(ca_with("sub", |p| p.custom_extensions = vec![unknown]))
        }),
    ] {
        assert!(matches!(got, SvidError::Path { .. }), "{name}: {got}");
    }
    let one_role = through(ca_with("sub", |p| p.extended_key_usages = vec![Eku::ServerAuth]));
    assert_eq!(one_role, SvidError::ExtendedKeyUsage { purpose: Purpose::ClientAuth });

    let constrained = ca_with("zero", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let zero = root.intermediate(constrained);
    verify(&[zero.leaf(|_| {}), zero.der.clone()], &bundle, Purpose::Any).unwrap();
    let extra = zero.intermediate(ca_params("extra"));
    let got = verify(&[extra.leaf(|_| {}), extra.der.clone(), zero.der], &bundle, Purpose::Any).unwrap_err();
    assert!(matches!(got, SvidError::Path { .. }), "{got}");

    let unknown = custom(&[1, 3, 6, 1, 4, 1, 99999, 1], &[5, 0], true);
    let got = verify(&[root.leaf(|p| p.custom_extensions = vec![unknown])], &bundle, Purpose::Any).unwrap_err();
    assert!(matches!(got, SvidError::Path { .. }), "{got}");
}

#[test]
fn long_paths_are_bounded() {
    let root = Ca::root("root");
    let bundle = root.bundle("example.org");
    let mut chain = Vec::new();
    let mut last = root.intermediate(ca_params("1"));
    chain.insert(0, last.der.clone());
    for depth in 2..=15 {
        let with_leaf = [vec![last.leaf(|_| {})], chain.clone()].concat();
        let got = verify(&with_leaf, &bundle, Purpose::Any);
        assert_eq!(got.is_ok(), depth <= 7, "{depth}: {got:?}");
        last = last.intermediate(ca_params(&depth.to_string()));
        chain.insert(0, last.der.clone());
    }
}

/// Weak signatures and keys, made with openssl since nothing else here makes them.
#[test]
fn weak_cryptography_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let leaf = |ca: &str, ca_key: &str, digest: &str| {
        let extensions = "subjectAltName=URI:spiffe://example.org/web\nbasicConstraints=critical,CA:false\n\
                          keyUsage=critical,digitalSignature\n";
        std::fs::write(path("ext"), extensions).unwrap();
        openssl(&[
            "req",
            "-new",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "/dev/null",
            "-subj",
            "/CN=x",
            "-out",
            &path("csr"),
        ]);
        let (csr, ext) = (path("csr"), path("ext"));
        openssl(&[
            "x509", "-req", "-in", &csr, "-CA", ca, "-CAkey", ca_key, digest, "-extfile", &ext, "-outform", "DER",
            "-days", "2",
        ])
    };
    for (bits, digest, good) in [("2048", "-sha256", true), ("2048", "-sha1", false), ("1024", "-sha256", false)] {
        let (ca, key) = (path("ca.pem"), path("ca.key"));
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            &format!("rsa:{bits}"),
            "-nodes",
            "-keyout",
            &key,
            "-subj",
            "/CN=ca",
            "-out",
            &ca,
            "-addext",
            "keyUsage=critical,keyCertSign",
            "-days",
            "2",
        ]);
        let der = openssl(&["x509", "-in", &ca, "-outform", "DER"]);
        let mut bundle = Bundle::empty(TrustDomain::parse("example.org").unwrap());
        bundle.x509_authorities.push(X509Authority { certificate: der, tainted: false });
        let svid = X509Svid::parse(vec![leaf(&ca, &key, digest)]).unwrap();
        let now = at(i64::try_from(svid.not_before()).unwrap());
        let got = verify_chain(svid, &bundle, Purpose::Any, now);
        assert_eq!(got.is_ok(), good, "{bits} {digest}: {got:?}");
    }
}
