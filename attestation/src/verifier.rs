//! The server's half of the exchange, as a state machine: events in, one action out; no I/O, no clock, no randomness of its own.
//!
//! Payload → look-up → challenge → response → admission. The server decides what the quote is for: an AK that it knows renews, any
//! other enrols, so both halves can't disagree about it. Each conversation has its own nonce and credential, used once.

use std::sync::Arc;

use plastron_attestation_appraise::{
    AcceptableAk, Appraisal, AppraiseError, AttestedNode, Binding, BoundAk, Check, Checklist, Claims,
    CredentialEntropy, DenyList, EkEvidence, EkFingerprint, EnrolledTpm, History, KnownTpm, MadeCredential, NONCE_LEN,
    PendingActivation, Pool, Standing, TrustedEk, VerifiedQuote,
};
use plastron_attestation_tcg::{HashAlgorithm, Name};
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;

use crate::message::{Challenge, Payload, Response, Task};
use crate::refused::{ExchangeError, Refused};

/// Seconds that a challenge may be answered in. Discrete TPMs take up to two for activation and quote.
pub const CHALLENGE_LIFETIME_SECS: u64 = 60;

/// What TPMs are judged by.
#[derive(Clone, Debug)]
pub struct VerifierPolicy {
    /// The pools, in the order in which they are asked.
    pub pools: Vec<Pool>,
    /// What is refused whatever a pool says.
    pub deny: DenyList,
}

/// Randomness for one conversation.
pub struct Entropy {
    /// The nonce.
    pub nonce: [u8; NONCE_LEN],
    /// For the credential, if one is made.
    pub credential: CredentialEntropy,
}

/// What the verifier is told.
#[derive(Debug)]
pub enum VerifierEvent<'a> {
    /// The agent's first message.
    Payload(&'a [u8]),
    /// The answer to `VerifierAction::LookUp`.
    Known {
        /// The node that has this AK, or had it.
        by_ak: Option<KnownTpm>,
        /// The node with this EK.
        by_ek: Option<KnownTpm>,
    },
    /// The agent's answer to the challenge.
    Response(&'a [u8]),
}

/// What the verifier wants done.
#[derive(Debug)]
pub enum VerifierAction {
    /// Look both up and tell.
    LookUp {
        /// The Name of the AK in the payload.
        ak_name: Name,
        /// The EK in the payload. Only claimed so far.
        claimed_ek: EkFingerprint,
    },
    /// Send this to the agent.
    Challenge(Vec<u8>),
    /// The node is attested.
    Admit(Box<AttestedNode>),
}

/// One conversation, seen from the server.
pub struct Verifier {
    policy: Arc<VerifierPolicy>,
    trust_domain: TrustDomain,
    svid_public_key: Vec<u8>,
    state: State,
    checks: Checklist,
}

enum State {
    Begin(Entropy),
    LookingUp(Box<Introduced>),
    Challenged(Box<Challenged>),
    Over,
}

/// A node that has shown itself, and proven nothing.
struct Introduced {
    entropy: Entropy,
    payload: Payload,
    ak: AcceptableAk,
    payload_sha256: Vec<u8>,
}

struct Challenged {
    ek: TrustedEk,
    ak: Candidate,
    binding: Binding,
    history: History,
    claimed: Claims,
    issued_at: u64,
}

enum Candidate {
    Pending(PendingActivation),
    Known(BoundAk),
}

impl Verifier {
    /// Begins a conversation with a node whose SVID will carry this key (SubjectPublicKeyInfo, DER; its CSR's signature is verified).
    pub fn new(
        policy: Arc<VerifierPolicy>,
        trust_domain: TrustDomain,
        svid_public_key: Vec<u8>,
        entropy: Entropy,
    ) -> Self {
        Self { policy, trust_domain, svid_public_key, state: State::Begin(entropy), checks: Checklist::new() }
    }

    /// Takes one event. After an admission or a refusal the conversation is over, and every event is refused.
    pub fn step(&mut self, event: VerifierEvent<'_>, now: UnixTime) -> Result<VerifierAction, Box<Refused>> {
        // The state is taken out: whatever fails below, a challenge is never answered twice.
        let mut node = None;
        let result = match (std::mem::replace(&mut self.state, State::Over), event) {
            (State::Begin(entropy), VerifierEvent::Payload(bytes)) => self.read_payload(entropy, bytes),
            (State::LookingUp(introduced), VerifierEvent::Known { by_ak, by_ek }) => {
                self.challenge(*introduced, by_ak, by_ek, now)
            }
            (State::Challenged(challenged), VerifierEvent::Response(bytes)) => {
                self.judge(*challenged, bytes, now, &mut node)
            }
            (_, VerifierEvent::Payload(_)) => {
                Err(ExchangeError::Sequence { got: "payload", reason: "a conversation has one" })
            }
            (_, VerifierEvent::Known { .. }) => {
                Err(ExchangeError::Sequence { got: "look-up", reason: "nothing was looked up" })
            }
            (_, VerifierEvent::Response(_)) => {
                Err(ExchangeError::Sequence { got: "response", reason: "no challenge waits for one" })
            }
        };
        result.map_err(|error| Refused::new(error, std::mem::take(&mut self.checks), node))
    }

    fn read_payload(&mut self, entropy: Entropy, bytes: &[u8]) -> Result<VerifierAction, ExchangeError> {
        let payload = Payload::decode(bytes)?;
        self.checks.pass(Check::UnknownPayload, "");
        let claimed_ek = EkFingerprint::of_bytes(&payload.ek_public).map_err(AppraiseError::from)?;
        let ak = AcceptableAk::check(&payload.ak_public, &mut self.checks)?;
        let ak_name = ak.name().clone();
        let payload_sha256 = HashAlgorithm::Sha256.digest([bytes]);
        self.state = State::LookingUp(Box::new(Introduced { entropy, payload, ak, payload_sha256 }));
        Ok(VerifierAction::LookUp { ak_name, claimed_ek })
    }

    fn challenge(
        &mut self,
        introduced: Introduced,
        by_ak: Option<KnownTpm>,
        by_ek: Option<KnownTpm>,
        now: UnixTime,
    ) -> Result<VerifierAction, ExchangeError> {
        let Introduced { entropy, payload, ak, payload_sha256 } = introduced;
        // The EK in the payload of a known AK is only claimed, so it is ignored here too.
        match by_ak.as_ref().or(by_ek.as_ref()) {
            Some(known) => {
                check_standing(&known.standing)?;
                self.checks.pass(Check::Standing, "enrolled");
            }
            None => self.checks.pass(Check::Standing, "not known"),
        }
        let Entropy { nonce, credential } = entropy;
        let (ek, ak, task, history) = match by_ak {
            Some(known) => {
                let (ek, ak) = self.judge_known(&known.enrolled, ak, now)?;
                (ek, Candidate::Known(ak), Task::Renew, History::Known(Box::new((*known.enrolled).clone())))
            }
            None => {
                let (ek, pending, made) = self.judge_new(&payload, ak, credential, now)?;
                let history = by_ek.map_or(History::New, |known| History::Known(Box::new((*known.enrolled).clone())));
                (ek, Candidate::Pending(pending), Task::Enrol(made), history)
            }
        };
        let challenge = Challenge { task, nonce, selection: self.pool(ek.pool())?.selection().to_vec() };
        let bytes = challenge.encode();
        self.state = State::Challenged(Box::new(Challenged {
            ek,
            ak,
            binding: Binding {
                purpose: challenge.purpose(),
                trust_domain: self.trust_domain.clone(),
                nonce,
                payload_sha256,
                challenge_sha256: HashAlgorithm::Sha256.digest([bytes.as_slice()]),
                svid_public_key: self.svid_public_key.clone(),
            },
            history,
            claimed: payload.claimed,
            issued_at: now.as_secs(),
        }));
        Ok(VerifierAction::Challenge(bytes))
    }

    /// An AK of the record: its EK, chain and pool are judged again; what the payload says of the EK is ignored.
    fn judge_known(
        &mut self,
        record: &EnrolledTpm,
        ak: AcceptableAk,
        now: UnixTime,
    ) -> Result<(TrustedEk, BoundAk), ExchangeError> {
        let ek = self.policy.judge_again(record, now, &mut self.checks)?;
        let ak = BoundAk::enrolled(&ek, ak, record, &mut self.checks)?;
        Ok((ek, ak))
    }

    /// An AK that nobody knows: only a credential can bind it.
    fn judge_new(
        &mut self,
        payload: &Payload,
        ak: AcceptableAk,
        entropy: CredentialEntropy,
        now: UnixTime,
    ) -> Result<(TrustedEk, PendingActivation, MadeCredential), ExchangeError> {
        let evidence = EkEvidence {
            public: &payload.ek_public,
            certificate: payload.ek_certificate.as_deref(),
            intermediates: &payload.ek_intermediates,
        };
        let policy = &self.policy;
        let ek = TrustedEk::judge(evidence, &policy.pools, &policy.deny, now.as_secs(), &mut self.checks)?;
        let (pending, made) = PendingActivation::make(&ek, ak, entropy)?;
        Ok((ek, pending, made))
    }

    fn judge(
        &mut self,
        challenged: Challenged,
        bytes: &[u8],
        now: UnixTime,
        node: &mut Option<EkFingerprint>,
    ) -> Result<VerifierAction, ExchangeError> {
        let Challenged { ek, ak, binding, history, claimed, issued_at } = challenged;
        let age = now.as_secs().saturating_sub(issued_at);
        if age > CHALLENGE_LIFETIME_SECS {
            return Err(ExchangeError::ChallengeExpired { age, limit: CHALLENGE_LIFETIME_SECS });
        }
        self.checks.pass(Check::ChallengeFresh, format!("{age} s"));
        let Response { secret, attest, signature, pcr_values } = Response::decode(bytes)?;
        self.checks.pass(Check::Malformed, "");
        let ak = match (ak, secret) {
            (Candidate::Pending(pending), Some(secret)) => pending.activated(&secret, &mut self.checks)?,
            (Candidate::Pending(_), None) => return Err(ExchangeError::SecretMissing),
            (Candidate::Known(ak), None) => ak,
            (Candidate::Known(_), Some(_)) => return Err(ExchangeError::SecretUnasked),
        };
        let policy = Arc::clone(&self.policy);
        let pool = find_pool(&policy, ek.pool())?;
        let quote =
            VerifiedQuote::verify(&ak, &attest, &signature, &pcr_values, pool.selection(), &binding, &mut self.checks)?;
        *node = Some(ek.fingerprint());
        let appraisal = Appraisal::judge(&ek, &ak, &quote, pool, &policy.deny, history, &mut self.checks)?;
        let checks = std::mem::take(&mut self.checks);
        match AttestedNode::admit(ek, ak, quote, appraisal, claimed, now, checks) {
            Ok(attested) => Ok(VerifierAction::Admit(Box::new(attested))),
            Err((error, checks)) => {
                self.checks = checks;
                Err(error.into())
            }
        }
    }

    fn pool(&self, name: &str) -> Result<&Pool, AppraiseError> {
        find_pool(&self.policy, name)
    }
}

impl VerifierPolicy {
    /// Judges the EK of a known TPM again, from its record alone: its certificate's path, its pool, the deny list. This is what a
    /// renewal begins with; what the TPM booted only the TPM can show.
    pub fn judge_again(
        &self,
        record: &EnrolledTpm,
        now: UnixTime,
        checks: &mut Checklist,
    ) -> Result<TrustedEk, AppraiseError> {
        let evidence = EkEvidence {
            public: &record.ek_public,
            certificate: record.ek_certificate.as_deref(),
            intermediates: &record.ek_intermediates,
        };
        TrustedEk::judge_again(evidence, find_pool(self, &record.pool)?, &self.deny, now.as_secs(), checks)
    }
}

fn find_pool<'p>(policy: &'p VerifierPolicy, name: &str) -> Result<&'p Pool, AppraiseError> {
    policy
        .pools
        .iter()
        .find(|pool| pool.name() == name)
        .ok_or_else(|| AppraiseError::PoolGone { pool: name.to_owned() })
}

fn check_standing(standing: &Standing) -> Result<(), ExchangeError> {
    match standing {
        Standing::Enrolled => Ok(()),
        Standing::Banned { reason } => Err(ExchangeError::Banned { reason: reason.clone() }),
        Standing::Quarantined { reason } => Err(ExchangeError::Quarantined { reason: reason.clone() }),
    }
}
