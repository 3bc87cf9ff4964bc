//! Enrolment and renewal over a real TPM, and the attempts that must fail, each by its check.

use plastron_attestation::{
    AttesterEvent, Challenge, EkMaterial, EkTemplate, Payload, Response, Task, TpmDeviceError, VerifierAction,
    VerifierEvent,
};
use plastron_attestation_appraise::{
    AttestedNode, Check, CheckOutcome, EkFingerprint, EkPin, EkTrust, GoldenPcr, MissingEventLog, Pool, PoolConfig,
};
use plastron_attestation_tcg::{HashAlgorithm, TpmtPublic};
use plastron_spiffe::TrustDomain;
use plastron_swtpm_tests::{EkKind, Manufacturer, Swtpm};
use rustls_pki_types::UnixTime;

use crate::exchange::{CERTIFIED, Failure, Message, Node, Server, attest, converse, open, sent, trusting};
use crate::tpm_device::assert_nothing_left;

/// A PCR selection as it is sent: (bank, bitmap).
type Banks = Vec<(u16, u32)>;

fn refused_by(outcome: Result<AttestedNode, Failure>) -> Check {
    match outcome {
        Err(Failure::Refused(refused)) => {
            let last = refused.records().last().unwrap();
            assert_eq!((last.check, last.outcome), (refused.check(), CheckOutcome::Failed));
            refused.check()
        }
        other => panic!("{other:?}"),
    }
}

/// A TPM enrols with each EK, renews with one quote, and renews again after a reboot; the same TPM has the same node id.
#[test]
fn a_tpm_enrols_and_renews() {
    let tpm = Swtpm::start().unwrap();
    for template in CERTIFIED {
        let mut server = Server::trusting(tpm.manufacturer(), template);
        let mut node = Node::new(&tpm, template);
        let first = attest(&mut server, &mut node).unwrap();
        let ek = node.device.endorsement_key(template).unwrap();
        assert_eq!(first.ek_fingerprint(), EkFingerprint::of_bytes(&ek.public).unwrap());
        assert!(first.records().iter().all(|record| record.outcome != CheckOutcome::Failed));
        assert_eq!(first.svid_public_key(), node.svid_public_key);

        let mut tasks = Vec::new();
        let second = converse(&mut server, &mut node, |message, bytes| {
            if message == Message::Challenge {
                tasks.push(Challenge::decode(&bytes).unwrap().task);
            }
            bytes
        });
        let second = second.unwrap();
        assert_eq!(tasks, [Task::Renew]);
        assert_eq!(second.agent_path(), first.agent_path());
        let reset_count = second.enrolled_tpm().state.reset_count;
        tpm.reboot().unwrap();
        let third = attest(&mut server, &mut node).unwrap();
        assert_eq!(third.enrolled_tpm().state.reset_count, reset_count + 1);
        tpm.power_cut().unwrap();
        let fourth = attest(&mut server, &mut node).unwrap();
        assert_eq!(fourth.enrolled_tpm().state.reset_count, reset_count + 2);
        assert_eq!(fourth.agent_path(), first.agent_path());
        assert_nothing_left(&tpm);
    }
}

/// TPM2_Clear destroys the AK; the node enrols anew under the same id, and the AK that was is retired.
#[test]
fn a_cleared_tpm_enrols_anew_as_the_same_node() {
    let tpm = Swtpm::start().unwrap();
    let template = EkTemplate::L1Rsa2048;
    let mut server = Server::trusting(tpm.manufacturer(), template);
    let mut node = Node::new(&tpm, template);
    let first = attest(&mut server, &mut node).unwrap();
    tpm.clear().unwrap();
    let failure = attest(&mut server, &mut node).unwrap_err();
    assert!(matches!(failure, Failure::Device(TpmDeviceError::AkNotLoadable { .. })), "{failure:?}");
    node.ak = None;
    let second = attest(&mut server, &mut node).unwrap();
    assert_eq!(second.agent_path(), first.agent_path());
    let retired = first.enrolled_tpm().ak_name().unwrap();
    assert_eq!(second.enrolled_tpm().retired_ak_names, [retired.as_bytes()]);
}

/// A TPM of a maker that nobody trusts.
#[test]
fn another_manufacturers_tpm_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let other = Manufacturer::found(directory.path()).unwrap();
    let tpm = Swtpm::made_by(&other).unwrap();
    for template in CERTIFIED {
        let mut server = Server::trusting(&Manufacturer::shared().unwrap(), template);
        assert_eq!(refused_by(attest(&mut server, &mut Node::new(&tpm, template))), Check::EkPath);
        let mut server = Server::trusting(&other, template);
        attest(&mut server, &mut Node::new(&tpm, template)).unwrap();
    }
}

#[test]
fn an_unpinned_ek_is_refused_and_a_pinned_one_admitted() {
    let (tpm, other) = (Swtpm::start().unwrap(), Swtpm::start().unwrap());
    let template = EkTemplate::L1Rsa2048;
    let pin = |tpm: &Swtpm| {
        let public = plastron_attestation::TpmDevice::endorsement_key(&mut open(tpm), template).unwrap().public;
        EkPin {
            fingerprint: EkFingerprint::of_bytes(&public).unwrap(),
            added_by: "operator".to_owned(),
            added_at: 0,
            reason: "ticket 4711".to_owned(),
            obtained: "read at the console".to_owned(),
            expires: None,
        }
    };
    let pool = |pin| {
        let mut config = PoolConfig::new("pinned", EkTrust::Pin(vec![pin]));
        config.boot.missing_event_log = MissingEventLog::Accept;
        Pool::new(config).unwrap()
    };
    let mut server = Server::new(vec![pool(pin(&other))]);
    assert_eq!(refused_by(attest(&mut server, &mut Node::new(&tpm, template))), Check::EkPin);
    let mut server = Server::new(vec![pool(pin(&tpm))]);
    attest(&mut server, &mut Node::new(&tpm, template)).unwrap();
    let mut server = Server::new(Vec::new());
    assert_eq!(refused_by(attest(&mut server, &mut Node::new(&tpm, template))), Check::Pool);
}

/// The node shows its own EK with a certificate that is somebody else's, or another kind of certificate.
#[test]
fn a_certificate_that_is_not_this_eks_is_refused() {
    let (tpm, other) = (Swtpm::start().unwrap(), Swtpm::start().unwrap());
    let template = EkTemplate::L1Rsa2048;
    let with = |certificate: Option<Vec<u8>>| {
        let mut node = Node::new(&tpm, template);
        let own = node.device.endorsement_key(template).unwrap();
        node.ek = Some(EkMaterial { certificate, ..own });
        refused_by(attest(&mut Server::trusting(tpm.manufacturer(), template), &mut node))
    };
    assert_eq!(with(Some(other.ek_certificate(EkKind::Rsa2048).unwrap())), Check::EkCertificateKey);
    assert_eq!(with(Some(tpm.ek_certificate(EkKind::P384).unwrap())), Check::EkCertificateKey);
    assert_eq!(with(None), Check::EkCertificate);
    assert_eq!(with(Some(vec![0x30, 0x82, 0xff, 0xff])), Check::EkCertificate);
    // The platform certificate is signed by the same manufacturer, and names this EK.
    tpm.tpm2(&["nvread", "0x01c08000", "-o", "platform"]).unwrap();
    let platform = std::fs::read(tpm.directory().join("platform")).unwrap();
    assert_eq!(with(Some(platform)), Check::EkExtendedKeyUsage);
}

/// A pool takes one template, so that one TPM is one node.
#[test]
fn the_other_ek_of_the_same_tpm_is_refused() {
    let tpm = Swtpm::start().unwrap();
    let mut server = Server::trusting(tpm.manufacturer(), EkTemplate::L1Rsa2048);
    assert_eq!(refused_by(attest(&mut server, &mut Node::new(&tpm, EkTemplate::H3P384))), Check::EkTemplate);
}

/// A key in the same TPM that signs whatever it is given: it could sign a quote that no TPM made.
///
/// Threat 4
#[test]
fn an_unrestricted_ak_is_refused() {
    let tpm = Swtpm::start().unwrap();
    let template = EkTemplate::L1Rsa2048;
    tpm.tpm2(&[
        "createprimary",
        "-C",
        "e",
        "-G",
        "ecc256:ecdsa-sha256",
        "-c",
        "key.ctx",
        "-a",
        "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign",
        "-Q",
    ])
    .unwrap();
    tpm.tpm2(&["readpublic", "-c", "key.ctx", "-o", "key.tpmt", "-f", "tpmt", "-Q"]).unwrap();
    tpm.tpm2(&["flushcontext", "-t"]).unwrap();
    let unrestricted = std::fs::read(tpm.directory().join("key.tpmt")).unwrap();
    let outcome = converse(
        &mut Server::trusting(tpm.manufacturer(), template),
        &mut Node::new(&tpm, template),
        |message, bytes| match message {
            Message::Payload => {
                let mut payload = Payload::decode(&bytes).unwrap();
                payload.ak_public = unrestricted.clone();
                payload.encode()
            }
            _ => bytes,
        },
    );
    assert_eq!(refused_by(outcome), Check::AkAttributes);
}

/// The AK of another TPM: the credential is made for its Name, and this TPM does not open it for any other key.
///
/// Threat 7
#[test]
fn a_foreign_ak_is_not_activated() {
    let (tpm, other) = (Swtpm::start().unwrap(), Swtpm::start().unwrap());
    for template in CERTIFIED {
        let foreign = plastron_attestation::TpmDevice::create_attestation_key(&mut open(&other), template).unwrap();
        let shows_foreign = |message, bytes: Vec<u8>| match message {
            Message::Payload => {
                let mut payload = Payload::decode(&bytes).unwrap();
                payload.ak_public = foreign.public.clone();
                payload.encode()
            }
            _ => bytes,
        };
        let mut server = Server::trusting(tpm.manufacturer(), template);
        let failure = converse(&mut server, &mut Node::new(&tpm, template), shows_foreign).unwrap_err();
        assert!(matches!(failure, Failure::Device(TpmDeviceError::CredentialRefused { .. })), "{failure:?}");
        let mut node = Node::new(&tpm, template);
        node.ak = Some(foreign.clone());
        let failure = attest(&mut server, &mut node).unwrap_err();
        assert!(matches!(failure, Failure::Device(TpmDeviceError::AkNotLoadable { .. })), "{failure:?}");
    }
    assert_nothing_left(&tpm);
}

/// A credential of one conversation opens no other: the secret that comes back is not the one that was sent.
///
/// Threat 8
#[test]
fn a_stale_credential_is_refused() {
    let tpm = Swtpm::start().unwrap();
    let template = EkTemplate::L1Rsa2048;
    let mut server = Server::trusting(tpm.manufacturer(), template);
    let mut node = Node::new(&tpm, template);
    node.ak = Some(node.device.create_attestation_key(template).unwrap());
    let mut first = None;
    converse(&mut server, &mut node, |message, bytes| {
        if message == Message::Challenge {
            first = Some(Challenge::decode(&bytes).unwrap().task);
        }
        bytes
    })
    .unwrap();
    server.record = None;
    let outcome = converse(&mut server, &mut node, |message, bytes| match message {
        Message::Challenge => {
            let mut challenge = Challenge::decode(&bytes).unwrap();
            challenge.task = first.clone().unwrap();
            challenge.encode()
        }
        _ => bytes,
    });
    assert_eq!(refused_by(outcome), Check::AkActivated);
}

/// Quotes that are real, and about something else than was asked.
///
/// Threat 13
#[test]
fn a_quote_for_another_purpose_is_refused() {
    let tpm = Swtpm::start().unwrap();
    let template = EkTemplate::L1Rsa2048;
    let mut server = Server::trusting(tpm.manufacturer(), template);
    let mut node = Node::new(&tpm, template);
    let mut recorded = Vec::new();
    converse(&mut server, &mut node, |message, bytes| {
        if message == Message::Response {
            recorded = bytes.clone();
        }
        bytes
    })
    .unwrap();
    let mut tampered = |change: &dyn Fn(Message, Vec<u8>) -> Vec<u8>| {
        let refusal = refused_by(converse(&mut server, &mut node, change));
        // It serves on.
        attest(&mut server, &mut node).unwrap();
        refusal
    };
    let replay = |message, bytes| match message {
        Message::Response => {
            let mut response = Response::decode(&recorded).unwrap();
            response.secret = None;
            response.encode()
        }
        _ => bytes,
    };
    assert_eq!(tampered(&replay), Check::QuoteBinding);
    let in_challenge = |change: fn(&mut Challenge)| {
        move |message, bytes: Vec<u8>| match message {
            Message::Challenge => {
                let mut challenge = Challenge::decode(&bytes).unwrap();
                change(&mut challenge);
                challenge.encode()
            }
            _ => bytes,
        }
    };
    let other_nonce = in_challenge(|challenge| challenge.nonce[0] ^= 1);
    assert_eq!(tampered(&other_nonce), Check::QuoteBinding);
    let in_response = |change: fn(&mut Response)| {
        move |message, bytes: Vec<u8>| match message {
            Message::Response => {
                let mut response = Response::decode(&bytes).unwrap();
                change(&mut response);
                response.encode()
            }
            _ => bytes,
        }
    };
    let changed_pcr = in_response(|response| response.pcr_values[3][0] ^= 1);
    assert_eq!(tampered(&changed_pcr), Check::PcrDigest);
    let missing_pcr = in_response(|response| drop(response.pcr_values.pop()));
    assert_eq!(tampered(&missing_pcr), Check::PcrValues);
    let changed_attest = in_response(|response| *response.attest.last_mut().unwrap() ^= 1);
    assert_eq!(tampered(&changed_attest), Check::QuoteSignature);
}

/// The attacker owns the agent: it binds the quote to the server's challenge, and quotes other PCRs.
///
/// Threat 3
#[test]
fn a_quote_of_other_pcrs_is_refused() {
    use plastron_attestation::{PcrSelection, TpmDevice};
    use plastron_attestation_appraise::{Binding, Purpose};

    let tpm = Swtpm::start().unwrap();
    let template = EkTemplate::H3P384;
    let mut server = Server::trusting(tpm.manufacturer(), template);
    let mut node = Node::new(&tpm, template);
    attest(&mut server, &mut node).unwrap();
    let (mut device, ak) = (open(&tpm), node.ak.clone().unwrap());
    let mut quoting = |change: &dyn Fn(&mut Banks)| {
        let (mut attester, mut verifier) = (node.attester(), server.verifier(&node.svid_public_key));
        let payload = sent(node.step(&mut attester, AttesterEvent::Begin).unwrap());
        let bytes = server.look_up(&mut verifier, &payload).unwrap();
        let challenge = Challenge::decode(&bytes).unwrap();
        let binding = Binding {
            purpose: Purpose::Renew,
            trust_domain: node.trust_domain.clone(),
            nonce: challenge.nonce,
            payload_sha256: HashAlgorithm::Sha256.digest([payload.as_slice()]),
            challenge_sha256: HashAlgorithm::Sha256.digest([bytes.as_slice()]),
            svid_public_key: node.svid_public_key.clone(),
        };
        let mut selection = challenge.selection.iter().map(|bank| (bank.hash, bank.bitmap)).collect();
        change(&mut selection);
        let quote = device.quote(template, &ak, &binding.extra_data(), &PcrSelection(selection)).unwrap();
        let plastron_attestation::QuoteBytes { attest, signature, pcr_values } = quote;
        let response = Response {
            secret: None,
            attest,
            signature,
            pcr_values,
            event_log: None,
            certification: None,
            ima_list_len: None,
        };
        verifier.step(VerifierEvent::Response(&response.encode()), UnixTime::now())
    };
    assert!(matches!(quoting(&|_| {}), Ok(VerifierAction::Admit(_))));
    // One PCR less, one bank left out, two banks exchanged.
    for change in [
        (&|selection: &mut Banks| selection[1].1 &= !1) as &dyn Fn(&mut Banks),
        &|selection| {
            selection.remove(1);
        },
        &|selection| selection.swap(0, 1),
    ] {
        assert_eq!(quoting(change).unwrap_err().check(), Check::PcrSelection);
    }
}

/// An honest node's conversation with one server is relayed to another, or for another key.
#[test]
fn a_relayed_conversation_is_refused() {
    let tpm = Swtpm::start().unwrap();
    let template = EkTemplate::L1Rsa2048;
    // The node believes to talk to another trust domain.
    let mut server = Server::trusting(tpm.manufacturer(), template);
    let mut node = Node::new(&tpm, template);
    node.trust_domain = TrustDomain::parse("other.example").unwrap();
    assert_eq!(refused_by(attest(&mut server, &mut node)), Check::QuoteBinding);
    // The attacker shows a key of its own.
    let mut node = Node::new(&tpm, template);
    let mut attester = node.attester();
    let mut verifier = server.verifier(b"the attacker's public key");
    let payload = sent(node.step(&mut attester, AttesterEvent::Begin).unwrap());
    let challenge = server.look_up(&mut verifier, &payload).unwrap();
    let response = sent(node.step(&mut attester, AttesterEvent::Challenge(&challenge)).unwrap());
    let refused = verifier.step(VerifierEvent::Response(&response), UnixTime::now()).unwrap_err();
    assert_eq!(refused.check(), Check::QuoteBinding);
    // And what is over is over: the same response a second time.
    let refused = verifier.step(VerifierEvent::Response(&response), UnixTime::now()).unwrap_err();
    assert_eq!(refused.check(), Check::Sequence);
}

/// A copy of the TPM's state answers for the node after the original went on: its counters are behind.
#[test]
fn a_clone_is_refused_once_the_original_went_on() {
    let tpm = Swtpm::start().unwrap();
    let template = EkTemplate::L1Rsa2048;
    let mut server = Server::trusting(tpm.manufacturer(), template);
    let mut node = Node::new(&tpm, template);
    attest(&mut server, &mut node).unwrap();
    let clone = tpm.clone_state().unwrap();
    tpm.reboot().unwrap();
    tpm.reboot().unwrap();
    attest(&mut server, &mut node).unwrap();
    let mut copy = Node::new(&clone, template);
    copy.ak = node.ak.clone();
    assert_eq!(refused_by(attest(&mut server, &mut copy)), Check::TpmStateRegressed);
    attest(&mut server, &mut node).unwrap();
}

/// Golden values hold in every allocated bank: a boot that extends one bank only is found out (CVE-2021-42299).
#[test]
fn golden_pcrs_hold_in_every_bank() {
    let tpm = Swtpm::start().unwrap();
    let template = EkTemplate::L1Rsa2048;
    for (bank, algorithm) in
        [("sha1", HashAlgorithm::Sha1), ("sha256", HashAlgorithm::Sha256), ("sha384", HashAlgorithm::Sha384)]
    {
        for pcr in 0..8 {
            tpm.extend_pcr(pcr, bank, &vec![7; algorithm.digest_len()]).unwrap();
        }
    }
    let golden = |algorithm: HashAlgorithm| GoldenPcr {
        bank: algorithm,
        index: 7,
        value: algorithm.digest([&vec![0; algorithm.digest_len()][..], &vec![7; algorithm.digest_len()]]),
    };
    let config = PoolConfig {
        golden_pcrs: vec![golden(HashAlgorithm::Sha256), golden(HashAlgorithm::Sha384)],
        ..trusting(tpm.manufacturer(), template)
    };
    let mut server = Server::new(vec![Pool::new(config).unwrap()]);
    let mut node = Node::new(&tpm, template);
    attest(&mut server, &mut node).unwrap();
    tpm.extend_pcr(7, "sha384", &[1; 48]).unwrap();
    assert_eq!(refused_by(attest(&mut server, &mut node)), Check::GoldenPcr);
    tpm.extend_pcr(7, "sha256", &[1; 32]).unwrap();
    assert_eq!(refused_by(attest(&mut server, &mut node)), Check::GoldenPcr);
}

/// What arrives is judged as bytes: cut, grown or foreign messages have a name.
#[test]
fn malformed_messages_are_named() {
    let tpm = Swtpm::start().unwrap();
    let template = EkTemplate::L1Rsa2048;
    let mut server = Server::trusting(tpm.manufacturer(), template);
    let mut node = Node::new(&tpm, template);
    node.ak = Some(node.device.create_attestation_key(template).unwrap());
    let mut check = |on: Message, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        refused_by(converse(&mut server, &mut node, |message, bytes| if message == on { change(bytes) } else { bytes }))
    };
    for on in [Message::Payload, Message::Response] {
        assert_eq!(check(on, &|bytes| bytes[..bytes.len() - 1].to_vec()), Check::Malformed);
        assert_eq!(check(on, &|bytes| [bytes, vec![0]].concat()), Check::Malformed);
        assert_eq!(check(on, &|_| b"{\"another\":\"plugin\"}".to_vec()), Check::UnknownPayload);
    }
    attest(&mut server, &mut node).unwrap();
    let public = node.ak.clone().unwrap().public;
    assert!(TpmtPublic::parse(&public).is_ok());
}
