//! What we issue is an X.509-SVID: by our own rules, and by `openssl verify -x509_strict`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "openssl judges what we issue, and reads files")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use der::Decode;
use plastron_spiffe::x509::{
    CaRequest, CaTemplate, IntermediateTemplate, IssueError, Issuer, LeafTemplate, Purpose, SerialNumber,
    SignatureAlgorithm, SuccessorTemplate, X509Svid, verify_authority, verify_chain, verify_csr, verify_successor,
};
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain, X509Authority};
use rustls_pki_types::UnixTime;
use x509_cert::Certificate;

/// 2026-06-01.
const NOW: u64 = 1_780_272_000;

enum CaKey {
    Ec(EcdsaKeyPair, SignatureAlgorithm),
    Rsa(RsaKeyPair),
}

impl CaKey {
    fn all() -> Vec<Self> {
        vec![
            Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(), SignatureAlgorithm::EcdsaSha256),
            Self::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap(), SignatureAlgorithm::EcdsaSha384),
            Self::Rsa(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap()),
        ]
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self {
            Self::Ec(_, algorithm) => *algorithm,
            Self::Rsa(_) => SignatureAlgorithm::RsaPkcs1Sha256,
        }
    }

    fn public_key(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Ec(key, _) => key.public_key().as_der().unwrap(),
            Self::Rsa(key) => key.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ec(key, _) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    fn certificate(&self, td: &TrustDomain, not_after: u64) -> Vec<u8> {
        let tbs = CaTemplate {
            spiffe_id: &td.id(),
            public_key: &self.public_key(),
            country: &["US".to_owned()],
            organization: &["SPIFFE".to_owned(), "Zürich".to_owned()],
            common_name: "test CA",
            serial: &SerialNumber::from_random([0xa5; 16]),
            not_before: at(NOW - 10),
            not_after: at(not_after),
        }
        .to_tbs(self.algorithm())
        .unwrap();
        let signature = self.sign(tbs.as_bytes());
        tbs.assemble(&signature).unwrap()
    }
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn bundle(ca: &[u8]) -> Bundle {
    Bundle {
        trust_domain: domain(),
        x509_authorities: vec![X509Authority { certificate: ca.to_vec(), tainted: false }],
        jwt_authorities: Vec::new(),
        refresh_hint: 0,
        sequence_number: 1,
    }
}

fn leaf(ca: &CaKey, issuer: &Issuer, id: &SpiffeId, dns_names: &[String], public_key: &[u8]) -> Vec<u8> {
    let tbs = LeafTemplate {
        spiffe_id: id,
        public_key,
        subject: None,
        dns_names,
        serial: &SerialNumber::from_random([7; 16]),
        not_before: at(NOW - 10),
        not_after: at(NOW + 3600),
    }
    .to_tbs(issuer)
    .unwrap();
    let signature = ca.sign(tbs.as_bytes());
    tbs.assemble(&signature).unwrap()
}

/// A CA of each key type names one of each as its successor, and a node that knows the first alone follows, when that has expired.
#[test]
fn every_ca_names_a_successor_that_a_node_follows() {
    for before in CaKey::all() {
        let known = before.certificate(&domain(), NOW - 1);
        let predecessor = Issuer::from_certificate(&known, before.algorithm()).unwrap();
        for ca in CaKey::all() {
            let root = ca.certificate(&domain(), NOW + 7200);
            let issuer = Issuer::from_certificate(&root, ca.algorithm()).unwrap();
            let template = SuccessorTemplate {
                spiffe_id: &domain().id(),
                successor: &root,
                serial: &SerialNumber::from_random([9; 16]),
                not_before: at(NOW - 10),
                not_after: at(NOW + 7200),
            };
            let tbs = template.to_tbs(&predecessor).unwrap();
            let signature = before.sign(tbs.as_bytes());
            let link = tbs.assemble(&signature).unwrap();
            let id = domain().with_path("/spire/server").unwrap();
            let leaf = leaf(&ca, &issuer, &id, &[], &CaKey::all().remove(0).public_key());
            let svid = X509Svid::parse(vec![leaf, link]).unwrap();
            let followed = verify_successor(svid.clone(), &bundle(&known), Purpose::ServerAuth, at(NOW)).unwrap();
            assert_eq!(followed.id(), &id);
            // Whoever knows the new one needs no link, and is not disturbed by it.
            verify_chain(svid, &bundle(&root), Purpose::ServerAuth, at(NOW)).unwrap();
        }
    }
}

#[test]
fn every_ca_key_issues_leaves_that_openssl_accepts_in_strict_mode() {
    let dir = tempfile::tempdir().unwrap();
    for ca in CaKey::all() {
        // Past 2049, so that both forms of time are in the chain.
        let root = ca.certificate(&domain(), 2_600_000_000);
        let issuer = Issuer::from_certificate(&root, ca.algorithm()).unwrap();
        let workload = CaKey::all().remove(0);
        let names = ["web.example.org".to_owned(), "*.example.org".to_owned()];
        for dns_names in [&names[..], &[]] {
            let id = domain().with_path("/web").unwrap();
            let leaf = leaf(&ca, &issuer, &id, dns_names, &workload.public_key());
            let svid = X509Svid::parse(vec![leaf.clone()]).unwrap();
            assert_eq!(svid.public_key(), workload.public_key());
            assert_eq!(svid.serial(), [7; 16]);
            let verified = verify_chain(svid, &bundle(&root), Purpose::Any, at(NOW)).unwrap();
            assert_eq!(verified.id(), &id);

            let (root_pem, leaf_pem) = (dir.path().join("ca.pem"), dir.path().join("leaf.pem"));
            write_pem(&root_pem, &root);
            write_pem(&leaf_pem, &leaf);
            for purpose in ["sslclient", "sslserver"] {
                let output = Command::new("openssl")
                    .args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-attime"])
                    .arg(NOW.to_string())
                    .arg("-CAfile")
                    .args([&root_pem, &leaf_pem])
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{:?}: {output:?}", ca.algorithm());
            }
        }
    }
}

fn write_pem(path: &std::path::Path, der: &[u8]) {
    let pem = x509_cert::der::pem::encode_string("CERTIFICATE", x509_cert::der::pem::LineEnding::LF, der).unwrap();
    std::fs::write(path, pem).unwrap();
}

#[test]
fn subjects_are_those_of_spire() {
    let ca = CaKey::all().remove(0);
    let root = ca.certificate(&domain(), NOW + 86_400);
    let issuer = Issuer::from_certificate(&root, ca.algorithm()).unwrap();
    let id = domain().with_path("/web").unwrap();
    let subject = |dns_names: &[String]| {
        let der = leaf(&ca, &issuer, &id, dns_names, &ca.public_key());
        Certificate::from_der(&der).unwrap().tbs_certificate().subject().to_string()
    };
    assert_eq!(subject(&[]), "O=SPIRE,C=US");
    assert_eq!(subject(&["web".to_owned(), "db".to_owned()]), "CN=web,O=SPIRE,C=US");
    assert_eq!(subject(&["a".repeat(63) + ".example.org"]), "O=SPIRE,C=US", "longer than a common name may be");
    let ca_subject = Certificate::from_der(&root).unwrap().tbs_certificate().subject().to_string();
    let serial = SerialNumber::from_random([0xa5; 16]).to_decimal();
    assert_eq!(ca_subject, format!("SERIALNUMBER={serial},CN=test CA,O=Zürich,O=SPIFFE,C=US"));
}

#[test]
fn what_would_not_be_an_svid_is_not_issued() {
    let ca = CaKey::all().remove(0);
    let root = ca.certificate(&domain(), NOW + 86_400);
    let issuer = Issuer::from_certificate(&root, ca.algorithm()).unwrap();
    assert_eq!(issuer.not_after(), at(NOW + 86_400));
    let (id, serial, key) = (domain().with_path("/web").unwrap(), SerialNumber::from_random([1; 16]), ca.public_key());
    let good = LeafTemplate {
        spiffe_id: &id,
        public_key: &key,
        subject: None,
        dns_names: &[],
        serial: &serial,
        not_before: at(NOW),
        not_after: at(NOW + 60),
    };
    good.to_tbs(&issuer).unwrap();
    let refused = |template: LeafTemplate<'_>| template.to_tbs(&issuer).unwrap_err();
    assert_eq!(
        refused(LeafTemplate { spiffe_id: &domain().id(), ..good.clone() }),
        IssueError::RootPath { id: domain().id() }
    );
    assert_eq!(refused(LeafTemplate { not_after: at(NOW - 1), ..good.clone() }), IssueError::Validity);
    assert_eq!(
        refused(LeafTemplate { not_after: at(NOW + 86_401), ..good.clone() }),
        IssueError::OutlivesIssuer { not_after: NOW + 86_401, issuer_not_after: NOW + 86_400 }
    );
    let names = vec!["a".to_owned(); 129];
    assert_eq!(refused(LeafTemplate { dns_names: &names, ..good.clone() }), IssueError::TooManyDnsNames { got: 129 });
    assert!(matches!(
        refused(LeafTemplate { public_key: &[0x30, 0], ..good.clone() }),
        IssueError::Malformed { what: "public key", .. }
    ));
    assert!(matches!(
        refused(LeafTemplate { dns_names: &["ü".to_owned()], ..good }),
        IssueError::Malformed { what: "DNS name", .. }
    ));
    let own_leaf = leaf(&ca, &issuer, &id, &[], &key);
    assert!(matches!(
        Issuer::from_certificate(&own_leaf, ca.algorithm()),
        Err(IssueError::Malformed { what: "CA certificate", .. })
    ));
    let with_path = CaTemplate {
        spiffe_id: &id,
        public_key: &key,
        country: &[],
        organization: &[],
        common_name: "",
        serial: &serial,
        not_before: at(NOW),
        not_after: at(NOW),
    };
    assert_eq!(with_path.to_tbs(ca.algorithm()).unwrap_err(), IssueError::CaPath { id });
}

/// The CA asks with a request by its own key, and the upstream's certificate for it stands between leaf and root.
#[test]
fn a_ca_below_an_upstream_issues_leaves_that_openssl_accepts_in_strict_mode() {
    let dir = tempfile::tempdir().unwrap();
    for (upstream, ca) in CaKey::all().into_iter().zip(CaKey::all().into_iter().rev()) {
        let root = upstream.certificate(&domain(), NOW + 1_000_000);
        let request = CaRequest {
            spiffe_id: &domain().id(),
            public_key: &ca.public_key(),
            country: &["US".to_owned()],
            organization: &["SPIFFE".to_owned()],
            common_name: "",
        };
        let tbs = request.to_tbs(ca.algorithm()).unwrap();
        let signature = ca.sign(tbs.as_bytes());
        let csr = verify_csr(&tbs.assemble(&signature).unwrap()).unwrap();
        assert_eq!(csr.public_key, ca.public_key());
        assert_eq!(csr.uris, ["spiffe://example.org"]);
        let template = IntermediateTemplate {
            spiffe_id: &domain().id(),
            public_key: &csr.public_key,
            subject: &csr.subject,
            serial: &SerialNumber::from_random([9; 16]),
            not_before: at(NOW - 10),
            not_after: at(NOW + 900_000),
        };
        let tbs = template.to_tbs(&root, upstream.algorithm()).unwrap();
        let signature = upstream.sign(tbs.as_bytes());
        let intermediate = tbs.assemble(&signature).unwrap();

        let issuer = Issuer::from_certificate(&intermediate, ca.algorithm()).unwrap();
        let id = domain().with_path("/web").unwrap();
        let leaf = leaf(&ca, &issuer, &id, &[], &CaKey::all().remove(0).public_key());
        let svid = X509Svid::parse(vec![leaf.clone(), intermediate.clone()]).unwrap();
        verify_chain(svid, &bundle(&root), Purpose::Any, at(NOW)).unwrap();
        let path = |name| dir.path().join(name);
        for (name, der) in [("root", &root), ("intermediate", &intermediate), ("leaf", &leaf)] {
            write_pem(&path(name), der);
        }
        let checked = Command::new("openssl")
            .args(["verify", "-x509_strict", "-attime", &NOW.to_string(), "-CAfile"])
            .args([&path("root"), Path::new("-untrusted"), &path("intermediate"), &path("leaf")])
            .output()
            .unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

        let verified = verify_authority(vec![intermediate.clone()], std::slice::from_ref(&root), 0, at(NOW)).unwrap();
        assert_eq!((verified.chain(), verified.root()), (&[intermediate][..], &root[..]));

        let late = IntermediateTemplate { not_after: at(NOW + 1_000_001), ..template.clone() };
        assert!(matches!(late.to_tbs(&root, upstream.algorithm()), Err(IssueError::OutlivesIssuer { .. })));
        let path = IntermediateTemplate { spiffe_id: &id, ..template };
        assert!(matches!(path.to_tbs(&root, upstream.algorithm()), Err(IssueError::CaPath { .. })));
        let path = CaRequest { spiffe_id: &id, ..request };
        assert!(matches!(path.to_tbs(ca.algorithm()), Err(IssueError::CaPath { .. })));
    }
}
