//! Drives both halves of the attestation exchange over a real TPM, with a hook between them for whoever tampers.

use std::sync::Arc;

use plastron_attestation::{
    AkBlob, Attester, AttesterAction, AttesterContext, AttesterEvent, Claims, EkMaterial, EkTemplate, Entropy,
    KnownTpm, Refused, Standing, SvidKeyBlob, TpmDeviceError, TpmSvidKeys, Verifier, VerifierAction, VerifierEvent,
    VerifierPolicy, perform, perform_certify,
};
use plastron_attestation_appraise::{
    AttestedNode, CredentialEntropy, DenyList, EkTrust, EnrolledTpm, MissingEventLog, NONCE_LEN, Pool, PoolConfig,
    SentLog, TrustAnchors,
};
use plastron_hsm_tpm::{Tpm, TpmConfig};
use plastron_spiffe::TrustDomain;
use plastron_swtpm_tests::{Manufacturer, Swtpm};
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

/// A message on its way from one half to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Payload,
    Challenge,
    Response,
}

/// Why a conversation ended without an admission.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(Box<Refused>),
    Device(TpmDeviceError),
}

impl From<TpmDeviceError> for Failure {
    fn from(error: TpmDeviceError) -> Self {
        Self::Device(error)
    }
}

/// The server's side: policy, and the one node that it remembers.
pub(crate) struct Server {
    pub(crate) policy: Arc<VerifierPolicy>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) record: Option<EnrolledTpm>,
    /// The event log of its last attestation.
    pub(crate) event_log: Option<SentLog>,
}

impl Server {
    pub(crate) fn new(pools: Vec<Pool>) -> Self {
        Self {
            policy: Arc::new(VerifierPolicy { pools, deny: DenyList::default() }),
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            record: None,
            event_log: None,
        }
    }

    /// A server with one pool that trusts a manufacturer.
    pub(crate) fn trusting(manufacturer: &Manufacturer, template: EkTemplate) -> Self {
        Self::new(vec![Pool::new(trusting(manufacturer, template)).unwrap()])
    }

    pub(crate) fn verifier(&self, svid_public_key: &[u8]) -> Verifier {
        Verifier::new(Arc::clone(&self.policy), self.trust_domain.clone(), svid_public_key.to_vec(), entropy())
    }

    /// Answers a look-up and goes on to the challenge.
    pub(crate) fn look_up(&self, verifier: &mut Verifier, payload: &[u8]) -> Result<Vec<u8>, Box<Refused>> {
        let action = verifier.step(VerifierEvent::Payload(payload), UnixTime::now())?;
        let VerifierAction::LookUp { ak_name, claimed_ek } = action else { panic!("no look-up") };
        let known =
            |record: &EnrolledTpm| KnownTpm { enrolled: Arc::new(record.clone()), standing: Standing::Enrolled };
        let is_ak = |record: &&EnrolledTpm| {
            record.ak_name().as_ref() == Some(&ak_name)
                || record.retired_ak_names.iter().any(|name| name == ak_name.as_bytes())
        };
        let is_ek = |record: &&EnrolledTpm| {
            plastron_attestation_appraise::EkFingerprint::of_bytes(&record.ek_public) == Ok(claimed_ek)
        };
        let by_ak = self.record.as_ref().filter(is_ak).map(known);
        let by_ek = self.record.as_ref().filter(is_ek).map(known);
        match verifier.step(VerifierEvent::Known { by_ak, by_ek }, UnixTime::now())? {
            VerifierAction::Challenge(bytes) => Ok(bytes),
            other => panic!("{other:?}"),
        }
    }
}

/// The templates for which swtpm_setup puts a certificate into NV.
pub(crate) const CERTIFIED: [EkTemplate; 2] = [EkTemplate::L1Rsa2048, EkTemplate::H3P384];

/// The configuration of a pool that trusts a manufacturer.
pub(crate) fn trusting(manufacturer: &Manufacturer, template: EkTemplate) -> PoolConfig {
    let (root, intermediate) = (manufacturer.root_der().unwrap(), manufacturer.intermediate_der().unwrap());
    let anchors = TrustAnchors::new(vec![root], vec![intermediate]).unwrap();
    let mut config = PoolConfig::new("metal", EkTrust::Chain(anchors));
    config.ek_template = template;
    // Most of these TPMs have not seen a boot; the others bring their log.
    config.boot.missing_event_log = MissingEventLog::Accept;
    config
}

/// The node's side: its TPM, and what its agent keeps.
pub(crate) struct Node {
    pub(crate) device: Box<dyn TpmSvidKeys>,
    pub(crate) template: EkTemplate,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) svid_public_key: Vec<u8>,
    pub(crate) ak: Option<AkBlob>,
    pub(crate) ek: Option<EkMaterial>,
    pub(crate) event_log: Option<Arc<[u8]>>,
    pub(crate) svid_key: Option<SvidKeyBlob>,
}

impl Node {
    pub(crate) fn new(tpm: &Swtpm, template: EkTemplate) -> Self {
        Self {
            device: Box::new(open(tpm)),
            template,
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            svid_public_key: b"the public key of the CSR".to_vec(),
            ak: None,
            ek: None,
            event_log: None,
            svid_key: None,
        }
    }

    pub(crate) fn attester(&self) -> Attester {
        Attester::new(AttesterContext {
            template: self.template,
            trust_domain: self.trust_domain.clone(),
            svid_public_key: self.svid_public_key.clone(),
            claims: Claims::default(),
            ak: self.ak.clone(),
            ek: self.ek.clone(),
            event_log: self.event_log.clone(),
            svid_key: self.svid_key.clone(),
        })
    }

    /// Steps an attester, asking the TPM whatever it wants to know, until it wants something else.
    pub(crate) fn step(
        &mut self,
        attester: &mut Attester,
        event: AttesterEvent<'_>,
    ) -> Result<AttesterAction, Failure> {
        let mut action = attester.step(event).unwrap();
        loop {
            let reply = match action {
                AttesterAction::Tpm(request) => perform(self.device.as_mut(), self.template, request)?,
                AttesterAction::Certify(request) => perform_certify(self.device.as_mut(), self.template, request)?,
                other => return Ok(other),
            };
            action = attester.step(AttesterEvent::Tpm(reply)).unwrap();
        }
    }
}

pub(crate) fn open(tpm: &Swtpm) -> Tpm {
    Tpm::open(TpmConfig::new(tpm.tcti())).unwrap()
}

/// What the verifier is told after its challenge.
enum Event {
    Response(Vec<u8>),
    Stored(Option<Vec<u8>>),
    Chunk(Vec<u8>),
}

/// One whole conversation; `tamper` sees each message on its way and may change it. The server remembers whom it admits, and the
/// node keeps its AK.
pub(crate) fn converse(
    server: &mut Server,
    node: &mut Node,
    mut tamper: impl FnMut(Message, Vec<u8>) -> Vec<u8>,
) -> Result<AttestedNode, Failure> {
    let (mut attester, mut verifier) = (node.attester(), server.verifier(&node.svid_public_key));
    let payload = sent(node.step(&mut attester, AttesterEvent::Begin)?);
    let payload = tamper(Message::Payload, payload);
    let challenge = server.look_up(&mut verifier, &payload).map_err(Failure::Refused)?;
    let challenge = tamper(Message::Challenge, challenge);
    let response = sent(node.step(&mut attester, AttesterEvent::Challenge(&challenge))?);
    let response = tamper(Message::Response, response);
    let mut event = Event::Response(response);
    let attested = loop {
        let now = UnixTime::now();
        let step = match &event {
            Event::Response(bytes) => verifier.step(VerifierEvent::Response(bytes), now),
            Event::Stored(kept) => verifier.step(VerifierEvent::StoredLog(kept.clone()), now),
            Event::Chunk(bytes) => verifier.step(VerifierEvent::LogChunk(bytes), now),
        };
        event = match step.map_err(Failure::Refused)? {
            VerifierAction::Admit(attested) => break attested,
            VerifierAction::FetchLog { announced } => {
                let kept = server.event_log.as_ref().filter(|log| *log.sha256() == announced.sha256);
                Event::Stored(kept.map(|log| log.bytes().to_vec()))
            }
            VerifierAction::RequestLog { message, .. } => {
                Event::Chunk(sent(node.step(&mut attester, AttesterEvent::Challenge(&message))?))
            }
            other => panic!("{other:?}"),
        };
    };
    server.record = Some(attested.enrolled_tpm().clone());
    server.event_log = attested.event_log().cloned();
    if let AttesterAction::Keep(ak) = node.step(&mut attester, AttesterEvent::Admitted)? {
        node.ak = Some(ak);
    }
    Ok(*attested)
}

/// A conversation in which nobody tampers.
pub(crate) fn attest(server: &mut Server, node: &mut Node) -> Result<AttestedNode, Failure> {
    converse(server, node, |_, message| message)
}

pub(crate) fn sent(action: AttesterAction) -> Vec<u8> {
    match action {
        AttesterAction::Send(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn entropy() -> Entropy {
    let (mut nonce, mut secret, mut seed) = ([0; NONCE_LEN], [0; 32], [0; 48]);
    for part in [&mut nonce[..], &mut secret, &mut seed] {
        getrandom::fill(part).unwrap();
    }
    let credential = CredentialEntropy { secret: Zeroizing::new(secret), seed: Zeroizing::new(seed) };
    Entropy { nonce, credential }
}
