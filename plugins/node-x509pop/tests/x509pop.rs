//! Both halves against each other, and the server's against nodes that lie: each check refuses by its name.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "x509pop/pki.rs"]
mod pki;
#[path = "x509pop/since_ever.rs"]
mod since_ever;

use std::sync::Arc;

use plastron_attestation_appraise::Check;
use plastron_plugins::node::{
    Admission, AdmissionContext, AgentContext, AgentNodeAttestor as _, DocumentProof, NodeAttestor as _,
    NodeConversation, NodeStep, Refusal, RefusalCode, TrustBundle,
};
use plastron_plugins_node_x509pop::{
    CaBundle, ChainLimits, ClientAddress, Mode, PathTemplate, X509PopAttestor, X509PopFiles, X509PopNodeAttestor,
    X509PopPolicy,
};
use plastron_spiffe::{Bundle, TrustDomain, X509Authority};
use rustls_pki_types::UnixTime;
use serde_json::{Value, json};

use pki::{Key, Leaf, Pki};

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000))
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn external(pki: &Pki) -> X509PopPolicy {
    X509PopPolicy {
        mode: Mode::ExternalPki { roots: CaBundle::new([pki.root_der()]).unwrap() },
        agent_path: PathTemplate::by_fingerprint(),
        limits: ChainLimits::DEFAULT,
        client_address: ClientAddress::NotCompared,
    }
}

fn begin(policy: X509PopPolicy, peer: Option<&str>) -> Box<dyn NodeConversation> {
    X509PopNodeAttestor::new(policy).begin(AdmissionContext {
        trust_domain: trust_domain(),
        svid_public_key: Arc::from([]),
        peer: peer.map(|peer| peer.parse().unwrap()),
    })
}

async fn challenged(server: &mut dyn NodeConversation, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
    match server.step(payload, now()).await? {
        NodeStep::Challenge(challenge) => Ok(challenge),
        NodeStep::Admit(_) => panic!("admitted without a challenge"),
    }
}

async fn admitted(server: &mut dyn NodeConversation, response: &[u8]) -> Result<DocumentProof, Refusal> {
    match server.step(response, now()).await? {
        NodeStep::Admit(Admission::Document(proof)) => Ok(proof),
        _other => panic!("another answer"),
    }
}

/// The agent's half with the leaf's files, against this server.
async fn attest(policy: X509PopPolicy, leaf: &Leaf) -> Result<DocumentProof, Refusal> {
    let directory = tempfile::tempdir().unwrap();
    let files = leaf.write(directory.path());
    let context = AgentContext { trust_domain: trust_domain(), svid_public_key: Arc::from([]) };
    let mut agent = X509PopAttestor::new(files).begin(context);
    let mut server = begin(policy, Some("192.0.2.7"));
    let challenge = challenged(server.as_mut(), &agent.payload().await.unwrap()).await?;
    let response = agent.respond(&challenge).await.unwrap();
    let proof = admitted(server.as_mut(), &response).await?;
    agent.admitted().await.unwrap();
    Ok(proof)
}

fn refused<T>(result: Result<T, Refusal>) -> (Check, RefusalCode) {
    match result {
        Ok(_) => panic!("not refused"),
        Err(refusal) => {
            assert_eq!(refusal.records.last().unwrap().check, refusal.check, "the failed check is the last one");
            (refusal.check, refusal.code)
        }
    }
}

#[tokio::test]
async fn a_node_with_any_kind_of_key_is_admitted() {
    let pki = Pki::new();
    for key in [Key::p256(), Key::p384(), Key::p521(), Key::rsa()] {
        let leaf = pki.leaf(key, |_| {});
        let proof = attest(external(&pki), &leaf).await.unwrap();
        let fingerprint = leaf.fingerprint();
        assert_eq!(proof.id().as_str(), format!("spiffe://example.org/spire/agent/x509pop/{fingerprint}"));
        let selectors: Vec<_> = proof.selectors().iter().map(ToString::to_string).collect();
        assert_eq!(
            selectors,
            [
                "x509pop:subject:cn:node-1".to_owned(),
                format!("x509pop:ca:fingerprint:{}", pki.intermediate_fingerprint()),
                format!("x509pop:ca:fingerprint:{}", pki.root_fingerprint()),
                "x509pop:serialnumber:0a1b".to_owned(),
                "x509pop:san:rack:r1/u7".to_owned(),
            ]
        );
        assert_eq!(proof.attestation_type(), "x509pop");
    }
}

/// Go signs with the longest salt that fits, and no option of SPIRE's agent changes that.
#[tokio::test]
async fn a_signature_with_the_longest_salt_counts() {
    let pki = Pki::new();
    let leaf = pki.leaf(Key::rsa(), |_| {});
    let mut server = begin(external(&pki), None);
    let challenge = challenged(server.as_mut(), &leaf.payload()).await.unwrap();
    let response = leaf.rsa_response(&challenge, 256 - 32 - 2);
    admitted(server.as_mut(), &response).await.unwrap();
}

#[tokio::test]
async fn a_path_template_names_what_the_certificate_says() {
    let pki = Pki::new();
    let policy = X509PopPolicy {
        agent_path: PathTemplate::parse("/cn/{{ .Subject.CommonName }}/{{ .SerialNumberHex }}").unwrap(),
        ..external(&pki)
    };
    let proof = attest(policy, &pki.leaf(Key::p256(), |_| {})).await.unwrap();
    assert_eq!(proof.id().as_str(), "spiffe://example.org/spire/agent/cn/node-1/0a1b");
}

/// A common name that is a path must not choose another node's, or a TPM's, ID.
#[tokio::test]
async fn a_template_makes_no_id_of_another_kind_of_node() {
    let pki = Pki::new();
    for (template, name) in [
        ("/{{ .Subject.CommonName }}", "tpm/0123"),
        ("/{{ .Subject.CommonName }}", "join_token/t"),
        ("/x/{{ .Subject.CommonName }}", "../server"),
        ("/x/{{ .Subject.CommonName }}", "a b"),
    ] {
        let policy = X509PopPolicy { agent_path: PathTemplate::parse(template).unwrap(), ..external(&pki) };
        let leaf = pki.leaf(Key::p256(), |params| {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        });
        assert_eq!(refused(attest(policy, &leaf).await), (Check::AgentPath, RefusalCode::Denied), "{name}");
    }
}

#[tokio::test]
async fn a_chain_that_leads_elsewhere_or_is_out_of_date_is_refused() {
    let (pki, other) = (Pki::new(), Pki::new());
    let denied = (Check::CertificatePath, RefusalCode::Denied);
    assert_eq!(refused(attest(external(&other), &pki.leaf(Key::p256(), |_| {})).await), denied);
    let expired = pki.leaf(Key::p256(), |params| params.not_after = rcgen::date_time_ymd(2026, 1, 1));
    assert_eq!(refused(attest(external(&pki), &expired).await), denied);
    let future = pki.leaf(Key::p256(), |params| params.not_before = rcgen::date_time_ymd(2030, 1, 1));
    assert_eq!(refused(attest(external(&pki), &future).await), denied);
    let without_intermediate = pki.leaf(Key::p256(), |_| {}).without_intermediates();
    assert_eq!(refused(attest(external(&pki), &without_intermediate).await), denied);
    let under_a_leaf = pki.leaf(Key::p256(), |_| {}).issue(Key::p256());
    assert_eq!(refused(attest(external(&pki), &under_a_leaf).await), denied);
}

#[tokio::test]
async fn an_intermediate_that_may_not_sign_certificates_vouches_for_nobody() {
    let pki = Pki::of_a_list_signer();
    let leaf = pki.leaf(Key::p256(), |_| {});
    assert_eq!(refused(attest(external(&pki), &leaf).await), (Check::CertificatePath, RefusalCode::Denied));
}

#[tokio::test]
async fn a_root_that_has_expired_is_none() {
    let pki = Pki::until(2026);
    let leaf = pki.leaf(Key::p256(), |_| {});
    assert_eq!(refused(attest(external(&pki), &leaf).await), (Check::CertificatePath, RefusalCode::Denied));
}

#[tokio::test]
async fn a_certificate_that_is_not_for_signatures_is_refused() {
    let pki = Pki::new();
    for usages in [vec![], vec![rcgen::KeyUsagePurpose::KeyEncipherment]] {
        let leaf = pki.leaf(Key::p256(), |params| params.key_usages = usages.clone());
        let expected = (Check::CertificateKeyUsage, RefusalCode::Denied);
        assert_eq!(refused(attest(external(&pki), &leaf).await), expected);
    }
}

/// Threat 29
#[tokio::test]
async fn too_much_to_verify_is_refused_before_it_is_verified() {
    let pki = Pki::new();
    let leaf = pki.leaf(Key::p256(), |_| {});
    let refusal = (Check::CertificateLimits, RefusalCode::Malformed);
    let long: Vec<_> = std::iter::repeat_n(leaf.der(), 6).collect();
    assert_eq!(refused(begin(external(&pki), None).step(&pki::payload(&long), now()).await), refusal);
    assert_eq!(refused(begin(external(&pki), None).step(&pki::payload(&[]), now()).await), refusal);
    let Err(huge) = begin(external(&pki), None).step(&pki::payload(&[vec![0; 20_000]]), now()).await else { panic!() };
    assert_eq!((huge.check, huge.code), refusal);
    assert!(huge.detail.contains("20000 bytes"), "{huge}");
    assert_eq!(refused(begin(external(&pki), None).step(&pki::payload(&[vec![0x30, 0]]), now()).await), refusal);
    let rsa = pki.leaf(Key::rsa(), |_| {});
    let limits = ChainLimits { rsa_bits: 2047, ..ChainLimits::DEFAULT };
    assert_eq!(refused(attest(X509PopPolicy { limits, ..external(&pki) }, &rsa).await), refusal);
    let ed25519 = pki.leaf(Key::ed25519(), |_| {});
    assert_eq!(refused(begin(external(&pki), None).step(&ed25519.payload(), now()).await), refusal);
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let pki = Pki::new();
    let leaf = pki.leaf(Key::p256(), |_| {});
    let malformed = (Check::Malformed, RefusalCode::Malformed);
    for bad in [&b""[..], b"{}", b"[]", b"{\"certificates\":[\"???\"]}", b"{\"certificates\":null}", b"\xff"] {
        assert_eq!(refused(begin(external(&pki), None).step(bad, now()).await), malformed, "{bad:?}");
    }
    for bad in [&b""[..], b"null", b"{\"ecdsa_signature\":{}}", b"{\"ecdsa_signature\":7}", b"\xff"] {
        let mut server = begin(external(&pki), None);
        challenged(server.as_mut(), &leaf.payload()).await.unwrap();
        assert_eq!(refused(server.step(bad, now()).await), malformed, "{bad:?}");
        let again = refused(server.step(&leaf.payload(), now()).await);
        assert_eq!(again, (Check::Sequence, RefusalCode::Malformed), "a refused conversation is over");
    }
}

/// What a node answers to a challenge.
type Lie<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

/// A response is good for one nonce, one key and one kind of key.
#[tokio::test]
async fn a_node_without_the_key_is_refused() {
    let pki = Pki::new();
    let denied = (Check::ProofOfPossession, RefusalCode::Denied);
    for (key, other) in [(Key::p256(), Key::p256()), (Key::rsa(), Key::rsa())] {
        let (leaf, other) = (pki.leaf(key, |_| {}), pki.leaf(other, |_| {}));
        let mut server = begin(external(&pki), None);
        let stale = challenged(server.as_mut(), &leaf.payload()).await.unwrap();
        let zeros = json!(format!("{}=", "A".repeat(43)));
        let lies: [(&str, Lie<'_>); 6] = [
            ("another key's", &|challenge| other.respond(challenge)),
            ("to an older nonce", &|_challenge| leaf.respond(&stale)),
            ("without a nonce of its own", &|challenge| edit(&leaf.respond(challenge), "nonce", json!(""))),
            ("with a shorter nonce", &|challenge| edit(&leaf.respond(challenge), "nonce", json!("AAAA"))),
            ("with another nonce", &|challenge| edit(&leaf.respond(challenge), "nonce", zeros.clone())),
            ("of nothing", &|_challenge| b"{\"rsa_signature\":null,\"ecdsa_signature\":null}".to_vec()),
        ];
        for (name, lie) in lies {
            let mut server = begin(external(&pki), None);
            let challenge = challenged(server.as_mut(), &leaf.payload()).await.unwrap();
            assert_eq!(refused(server.step(&lie(&challenge), now()).await), denied, "{name}");
        }
    }
    let (leaf, rsa) = (pki.leaf(Key::p256(), |_| {}), pki.leaf(Key::rsa(), |_| {}));
    let mut server = begin(external(&pki), None);
    let challenge = challenged(server.as_mut(), &leaf.payload()).await.unwrap();
    let as_rsa = json!({ "rsa_signature": nonce(&challenge), "ecdsa_signature": null }).to_string();
    assert_eq!(refused(server.step(&rsa.respond(as_rsa.as_bytes()), now()).await), denied);
    // Well signed, and the nonces could be cut in another place.
    for own in [&[7; 31][..], &[7; 33], &[]] {
        let mut server = begin(external(&pki), None);
        let challenge = challenged(server.as_mut(), &leaf.payload()).await.unwrap();
        let short = refused(server.step(&leaf.ecdsa_response(&challenge, own), now()).await);
        assert_eq!(short, denied, "{} octets", own.len());
    }
    let mut server = begin(external(&pki), None);
    challenged(server.as_mut(), &leaf.payload()).await.unwrap();
    let zero = json!({ "ecdsa_signature": { "nonce": format!("{}=", "A".repeat(43)), "r": "", "s": "" } }).to_string();
    assert_eq!(refused(server.step(zero.as_bytes(), now()).await), denied);
}

fn nonce(challenge: &[u8]) -> Value {
    let challenge: Value = serde_json::from_slice(challenge).unwrap();
    [&challenge["rsa_signature"], &challenge["ecdsa_signature"]].into_iter().find(|one| !one.is_null()).unwrap().clone()
}

fn edit(response: &[u8], field: &str, value: Value) -> Vec<u8> {
    let mut response: Value = serde_json::from_slice(response).unwrap();
    for kind in ["rsa_signature", "ecdsa_signature"] {
        if let Some(part) = response.get_mut(kind).filter(|part| !part.is_null()) {
            part[field] = value.clone();
        }
    }
    response.to_string().into_bytes()
}

#[tokio::test]
async fn the_address_counts_where_the_policy_says_so() {
    let pki = Pki::new();
    let policy = || X509PopPolicy { client_address: ClientAddress::InCertificate, ..external(&pki) };
    let here = pki.leaf(Key::p256(), |params| {
        params.subject_alt_names.push(rcgen::SanType::IpAddress("192.0.2.7".parse().unwrap()));
    });
    attest(policy(), &here).await.unwrap();
    let elsewhere = pki.leaf(Key::p256(), |params| {
        params.subject_alt_names.push(rcgen::SanType::IpAddress("192.0.2.8".parse().unwrap()));
    });
    let denied = (Check::ClientAddress, RefusalCode::Denied);
    assert_eq!(refused(attest(policy(), &elsewhere).await), denied);
    assert_eq!(refused(begin(policy(), None).step(&here.payload(), now()).await), denied);
    let mapped = begin(policy(), Some("::ffff:192.0.2.7")).step(&here.payload(), now()).await;
    assert!(matches!(mapped, Ok(NodeStep::Challenge(_))));
}

struct Own(Option<Arc<Bundle>>);

impl TrustBundle for Own {
    fn trust_bundle(&self) -> Option<Arc<Bundle>> {
        self.0.clone()
    }
}

fn exchange(pki: &Pki, domain: &str) -> X509PopPolicy {
    let bundle = Bundle {
        x509_authorities: vec![X509Authority { certificate: pki.root_der(), tainted: false }],
        ..Bundle::empty(TrustDomain::parse(domain).unwrap())
    };
    X509PopPolicy {
        mode: Mode::Spiffe { bundle: Arc::new(Own(Some(Arc::new(bundle)))), prefix: "/spire-exchange/".to_owned() },
        agent_path: PathTemplate::by_svid_path(),
        ..external(pki)
    }
}

#[tokio::test]
async fn an_svid_below_the_prefix_is_exchanged_for_an_agents() {
    let pki = Pki::new();
    let proof =
        attest(exchange(&pki, "example.org"), &pki.svid("spiffe://example.org/spire-exchange/host/1")).await.unwrap();
    assert_eq!(proof.id().as_str(), "spiffe://example.org/spire/agent/x509pop/host/1");
}

#[tokio::test]
async fn no_other_svid_is_exchanged() {
    let (pki, other) = (Pki::new(), Pki::new());
    let id = "spiffe://example.org/spire-exchange/host";
    let path = (Check::CertificatePath, RefusalCode::Denied);
    assert_eq!(refused(attest(exchange(&other, "example.org"), &pki.svid(id)).await), path);
    assert_eq!(refused(attest(exchange(&pki, "other.org"), &pki.svid(id)).await), path);
    assert_eq!(
        refused(attest(exchange(&pki, "example.org"), &pki.svid("spiffe://other.org/spire-exchange/host")).await),
        path
    );
    assert_eq!(refused(attest(exchange(&pki, "example.org"), &pki.leaf(Key::p256(), |_| {})).await), path);
    let mode = Mode::Spiffe { bundle: Arc::new(Own(None)), prefix: "/".to_owned() };
    assert_eq!(refused(attest(X509PopPolicy { mode, ..exchange(&pki, "example.org") }, &pki.svid(id)).await), path);
    for id in [
        "spiffe://example.org/other/host",
        "spiffe://example.org/spire-exchangehost",
        "spiffe://example.org/spire/server",
    ] {
        for agent_path in [PathTemplate::by_svid_path(), PathTemplate::by_fingerprint()] {
            let policy = X509PopPolicy { agent_path, ..exchange(&pki, "example.org") };
            let refusal = refused(attest(policy, &pki.svid(id)).await);
            assert_eq!(refusal, (Check::AgentPath, RefusalCode::Denied), "{id}");
        }
    }
}

#[tokio::test]
async fn the_agent_says_what_is_wrong_with_its_files() {
    let pki = Pki::new();
    let directory = tempfile::tempdir().unwrap();
    let good = pki.leaf(Key::p256(), |_| {}).write(directory.path());
    let payload = async |files: X509PopFiles| {
        let context = AgentContext { trust_domain: trust_domain(), svid_public_key: Arc::from([]) };
        X509PopAttestor::new(files).begin(context).payload().await
    };
    payload(good.clone()).await.unwrap();
    let missing = X509PopFiles { private_key: directory.path().join("none.pem"), ..good.clone() };
    assert!(payload(missing).await.unwrap_err().reason.contains("none.pem"));
    let swapped = X509PopFiles { private_key: good.certificate.clone(), ..good.clone() };
    assert!(payload(swapped).await.unwrap_err().reason.contains("private key"));
    let elsewhere = tempfile::tempdir().unwrap();
    let other = pki.leaf(Key::p256(), |_| {}).write(elsewhere.path());
    let mixed = X509PopFiles { private_key: other.private_key, ..good };
    assert!(payload(mixed).await.unwrap_err().reason.contains("is not that of the first certificate"));
}

/// The key may have other uses: the agent signs challenges of this protocol alone.
#[tokio::test]
async fn the_agent_signs_no_other_challenge() {
    let pki = Pki::new();
    let directory = tempfile::tempdir().unwrap();
    let files = pki.leaf(Key::p256(), |_| {}).write(directory.path());
    let context = AgentContext { trust_domain: trust_domain(), svid_public_key: Arc::from([]) };
    let mut agent = X509PopAttestor::new(files).begin(context);
    agent.payload().await.unwrap();
    let nonce = format!("{}=", "A".repeat(43));
    agent.respond(json!({ "ecdsa_signature": { "nonce": nonce } }).to_string().as_bytes()).await.unwrap();
    for bad in [
        json!({}),
        json!({ "rsa_signature": { "nonce": nonce } }),
        json!({ "rsa_signature": { "nonce": nonce }, "ecdsa_signature": { "nonce": nonce } }),
        json!({ "ecdsa_signature": { "nonce": "AAAA" } }),
        json!({ "ecdsa_signature": { "nonce": "" } }),
    ] {
        assert!(agent.respond(bad.to_string().as_bytes()).await.is_err(), "{bad}");
    }
}
