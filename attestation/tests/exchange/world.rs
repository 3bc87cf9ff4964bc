//! A server with its pools and its memory, and conversations with TPMs that tests can meddle with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plastron_attestation::{AkBlob, EkMaterial, SvidKeyBlob, TpmSvidKeys};
use plastron_attestation::{
    Attester, AttesterAction, AttesterContext, AttesterEvent, Claims, EkTemplate, Entropy, KnownTpm, Refused, Standing,
    TpmDevice, Verifier, VerifierAction, VerifierEvent, VerifierPolicy, perform, perform_certify,
};
use plastron_attestation_appraise::{
    AttestedNode, Check, CheckOutcome, CredentialEntropy, DenyList, EkFingerprint, EkTrust, MissingEventLog, Pool,
    PoolConfig, TrustAnchors, spki_of_public_area,
};
use plastron_attestation_fake_tpm::{FakeTpm, Manufacturer};
use plastron_attestation_tcg::Name;
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

/// 2026-01-01.
pub(crate) const NOW: u64 = 1_767_225_600;

/// SubjectPublicKeyInfo of the SVID key; what it looks like does not matter here.
pub(crate) const SVID_KEY: &[u8] = b"the SPKI of the CSR";

pub(crate) fn time(secs: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(secs))
}

/// A server's configuration and memory.
pub(crate) struct World {
    pub(crate) manufacturer: Manufacturer,
    pub(crate) policy: VerifierPolicy,
    pub(crate) known: Vec<KnownTpm>,
    /// Event logs, by their hashes.
    pub(crate) logs: BTreeMap<[u8; 32], Arc<[u8]>>,
    pub(crate) now: u64,
    /// SubjectPublicKeyInfo of the CSR.
    pub(crate) csr_key: Vec<u8>,
}

/// What an agent keeps.
#[derive(Default)]
pub(crate) struct Agent {
    pub(crate) ak: Option<AkBlob>,
    pub(crate) ek: Option<EkMaterial>,
    pub(crate) event_log: Option<Arc<[u8]>>,
    /// The IMA list as it is by the time that the quote is made.
    pub(crate) ima_list: Option<Arc<[u8]>>,
    pub(crate) svid_key: Option<SvidKeyBlob>,
}

impl Agent {
    pub(crate) fn attester(&self, template: EkTemplate, meddling: &Meddling) -> Attester {
        Attester::new(AttesterContext {
            template,
            trust_domain: TrustDomain::parse(meddling.agent_trust_domain).unwrap(),
            svid_public_key: match &self.svid_key {
                Some(key) => spki_of_public_area(&key.public).unwrap(),
                None => meddling.agent_svid_key.to_vec(),
            },
            claims: Claims { claimed_host_name: Some("rack-7".into()), ..Claims::default() },
            ak: self.ak.clone(),
            ek: self.ek.clone(),
            event_log: self.event_log.clone(),
            svid_key: self.svid_key.clone(),
        })
    }
}

/// What happens to a conversation on its way.
pub(crate) struct Meddling {
    pub(crate) agent_trust_domain: &'static str,
    pub(crate) agent_svid_key: &'static [u8],
    pub(crate) payload: Box<dyn FnMut(Vec<u8>) -> Vec<u8>>,
    pub(crate) challenge: Box<dyn FnMut(Vec<u8>) -> Vec<u8>>,
    pub(crate) response: Box<dyn FnMut(Vec<u8>) -> Vec<u8>>,
    /// Each part of a log that the server asks for after the response.
    pub(crate) log_chunk: Box<dyn FnMut(Vec<u8>) -> Vec<u8>>,
    /// Seconds between challenge and response.
    pub(crate) delay: u64,
}

impl Default for Meddling {
    fn default() -> Self {
        Self {
            agent_trust_domain: "example.org",
            agent_svid_key: SVID_KEY,
            payload: Box::new(|bytes| bytes),
            challenge: Box::new(|bytes| bytes),
            response: Box::new(|bytes| bytes),
            log_chunk: Box::new(|bytes| bytes),
            delay: 0,
        }
    }
}

impl World {
    /// One pool, `metal`, for P-384 endorsement keys of one manufacturer.
    pub(crate) fn new() -> Self {
        let manufacturer = Manufacturer::new("Turtle");
        let config = pool_config(&manufacturer, EkTemplate::H3P384);
        let policy = VerifierPolicy { pools: vec![Pool::new(config).unwrap()], deny: DenyList::default() };
        Self { manufacturer, policy, known: Vec::new(), logs: BTreeMap::new(), now: NOW, csr_key: SVID_KEY.to_vec() }
    }

    /// With another configuration of the pool.
    pub(crate) fn with_pool(change: impl FnOnce(&mut PoolConfig)) -> Self {
        let mut world = Self::new();
        let mut config = pool_config(&world.manufacturer, EkTemplate::H3P384);
        change(&mut config);
        world.policy.pools = vec![Pool::new(config).unwrap()];
        world
    }

    pub(crate) fn tpm(&self) -> FakeTpm {
        FakeTpm::new(&self.manufacturer, EkTemplate::H3P384)
    }

    pub(crate) fn verifier(&self) -> Verifier {
        let mut nonce = [0; 32];
        let mut secret = Zeroizing::new([0; 32]);
        let mut seed = Zeroizing::new([0; 48]);
        getrandom::fill(&mut nonce).unwrap();
        getrandom::fill(&mut *secret).unwrap();
        getrandom::fill(&mut *seed).unwrap();
        let entropy = Entropy { nonce, credential: CredentialEntropy { secret, seed } };
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        Verifier::new(Arc::new(self.policy.clone()), trust_domain, self.csr_key.clone(), entropy)
    }

    /// Payload to challenge, on the server.
    pub(crate) fn challenge(&self, verifier: &mut Verifier, payload: &[u8]) -> Result<Vec<u8>, Box<Refused>> {
        let action = verifier.step(VerifierEvent::Payload(payload), time(self.now))?;
        let VerifierAction::LookUp { ak_name, claimed_ek } = action else { panic!("{action:?}") };
        let (by_ak, by_ek) = (self.by_ak(&ak_name), self.by_ek(claimed_ek));
        match verifier.step(VerifierEvent::Known { by_ak, by_ek }, time(self.now))? {
            VerifierAction::Challenge(bytes) => Ok(bytes),
            other => panic!("{other:?}"),
        }
    }

    fn by_ak(&self, name: &Name) -> Option<KnownTpm> {
        let is = |known: &&KnownTpm| {
            known.enrolled.ak_name().as_ref() == Some(name)
                || known.enrolled.retired_ak_names.iter().any(|retired| retired == name.as_bytes())
        };
        self.known.iter().find(is).cloned()
    }

    fn by_ek(&self, fingerprint: EkFingerprint) -> Option<KnownTpm> {
        let is = |known: &&KnownTpm| EkFingerprint::of_bytes(&known.enrolled.ek_public) == Ok(fingerprint);
        self.known.iter().find(is).cloned()
    }

    /// What the store's transaction does.
    pub(crate) fn remember(&mut self, node: &AttestedNode) {
        self.known.retain(|known| Some(&*known.enrolled) != node.judged_against());
        self.known.push(KnownTpm { enrolled: Arc::new(node.enrolled_tpm().clone()), standing: Standing::Enrolled });
        self.logs.extend(node.event_log().map(|log| (*log.sha256(), Arc::clone(log.bytes()))));
    }

    pub(crate) fn set_standing(&mut self, standing: Standing) {
        self.known.last_mut().unwrap().standing = standing;
    }

    /// A whole conversation; the agent keeps what it learns, and so does the server.
    pub(crate) fn admit(&mut self, tpm: &mut FakeTpm, agent: &mut Agent) -> Result<Box<AttestedNode>, Box<Refused>> {
        self.converse(tpm, agent, &mut Meddling::default())
    }

    pub(crate) fn converse(
        &mut self,
        tpm: &mut FakeTpm,
        agent: &mut Agent,
        meddling: &mut Meddling,
    ) -> Result<Box<AttestedNode>, Box<Refused>> {
        let template = tpm_template(tpm);
        let mut attester = agent.attester(template, meddling);
        let mut verifier = self.verifier();
        let ima_list = agent.ima_list.clone();
        let mut send = |attester: &mut Attester, event: AttesterEvent<'_>| {
            send_with_ima_list(attester, tpm, template, ima_list.as_ref(), event)
        };
        let payload = send(&mut attester, AttesterEvent::Begin);
        let challenge = self.challenge(&mut verifier, &(meddling.payload)(payload))?;
        let challenge = (meddling.challenge)(challenge);
        let response = send(&mut attester, AttesterEvent::Challenge(&challenge));
        let response = (meddling.response)(response);
        let later = time(self.now + meddling.delay);
        let mut action = verifier.step(VerifierEvent::Response(&response), later)?;
        loop {
            action = match action {
                VerifierAction::FetchLog { announced } => {
                    let kept = self.logs.get(&announced.sha256).map(|log| log.to_vec());
                    verifier.step(VerifierEvent::StoredLog(kept), later)?
                }
                VerifierAction::RequestLog { message, announced: _ }
                | VerifierAction::RequestImaList { message, len: _ } => {
                    let chunk = send(&mut attester, AttesterEvent::Challenge(&message));
                    verifier.step(VerifierEvent::LogChunk(&(meddling.log_chunk)(chunk)), later)?
                }
                VerifierAction::Admit(node) => {
                    if let AttesterAction::Keep(blob) = attester.step(AttesterEvent::Admitted).unwrap() {
                        agent.ak = Some(blob);
                    }
                    self.remember(&node);
                    return Ok(node);
                }
                other => panic!("{other:?}"),
            };
        }
    }

    /// A machine whose SVID key is in its TPM, and the CSR for that key.
    pub(crate) fn resident(&mut self) -> (FakeTpm, Agent) {
        let mut tpm = self.tpm();
        let key = tpm.create_svid_key(EkTemplate::H3P384).unwrap();
        self.csr_key = spki_of_public_area(&key.public).unwrap();
        (tpm, Agent { svid_key: Some(key), ..Agent::default() })
    }

    /// Enrols, and asserts it.
    pub(crate) fn enrolled(&mut self) -> (FakeTpm, Agent, Box<AttestedNode>) {
        let mut tpm = self.tpm();
        let mut agent = Agent::default();
        let node = self.admit(&mut tpm, &mut agent).expect("a good TPM is admitted");
        (tpm, agent, node)
    }

    /// One conversation of a new TPM that must be refused.
    pub(crate) fn refusal(&mut self, tpm: &mut FakeTpm, mut meddling: Meddling) -> Box<Refused> {
        let before = self.known.len();
        let refused = self.converse(tpm, &mut Agent::default(), &mut meddling).expect_err("this must be refused");
        assert_eq!(self.known.len(), before);
        refused
    }
}

/// Drives an attester and its TPM until it has something to send.
pub(crate) fn send(
    attester: &mut Attester,
    tpm: &mut dyn TpmSvidKeys,
    template: EkTemplate,
    event: AttesterEvent<'_>,
) -> Vec<u8> {
    send_with_ima_list(attester, tpm, template, None, event)
}

/// The same on a machine with this IMA list.
fn send_with_ima_list(
    attester: &mut Attester,
    tpm: &mut dyn TpmSvidKeys,
    template: EkTemplate,
    ima_list: Option<&Arc<[u8]>>,
    event: AttesterEvent<'_>,
) -> Vec<u8> {
    let mut action = attester.step(event).unwrap();
    loop {
        match action {
            AttesterAction::Send(bytes) => return bytes,
            AttesterAction::Tpm(request) => {
                let reply = perform(tpm, template, request).unwrap();
                action = attester.step(AttesterEvent::Tpm(reply)).unwrap();
            }
            AttesterAction::ReadImaList => {
                action = attester.step(AttesterEvent::ImaList(ima_list.cloned())).unwrap();
            }
            AttesterAction::Certify(request) => {
                let reply = perform_certify(tpm, template, request).unwrap();
                action = attester.step(AttesterEvent::Tpm(reply)).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn pool_config(manufacturer: &Manufacturer, template: EkTemplate) -> PoolConfig {
    let anchors = TrustAnchors::new(vec![manufacturer.root()], vec![manufacturer.intermediate()]).unwrap();
    let mut config = PoolConfig::new("metal", EkTrust::Chain(anchors));
    config.ek_template = template;
    // A TPM in memory has no firmware; what event logs prove has tests of its own.
    config.boot.missing_event_log = MissingEventLog::Accept;
    config
}

fn tpm_template(tpm: &mut FakeTpm) -> EkTemplate {
    let has = |template: &EkTemplate| tpm.endorsement_key(*template).is_ok();
    EkTemplate::ALL.into_iter().find(has).expect("an EK of some template")
}

/// The refusal is by this check, says so last, and nothing before it failed.
pub(crate) fn assert_refused(refused: &Refused, check: Check) {
    assert_eq!(refused.check(), check, "{refused}");
    let (last, before) = refused.records().split_last().unwrap();
    assert_eq!((last.check, last.outcome), (check, CheckOutcome::Failed));
    assert!(!last.detail.is_empty());
    assert!(before.iter().all(|record| record.outcome != CheckOutcome::Failed));
}
