//! The server's half of the exchange, as a state machine: events in, one action out; no I/O, no clock, no randomness of its own.
//!
//! Payload → look-up → challenge → response → event log → IMA list → admission. The server decides what the quote is for: an AK that it knows
//! renews, any other enrols, so both halves can't disagree about it. Each conversation has its own nonce and credential, used once.
//! A log that the server has, or that is longer than a response may be, is fetched only after the quote is verified, and so is an IMA list.

mod event;
mod policy;
mod svid_key;
mod transfer;

use std::sync::Arc;

use plastron_attestation_appraise::{
    AcceptableAk, AnnouncedLog, Appraisal, AppraiseError, AttestedNode, Binding, BoundAk, Check, Checklist,
    ClaimedResidentKey, Claims, CredentialEntropy, EkEvidence, EkFingerprint, EnrolledTpm, Expected, History,
    ImaPolicy, KnownTpm, MadeCredential, PendingActivation, SentLog, TrustedEk, VerifiedQuote,
};
use plastron_attestation_tcg::HashAlgorithm;
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;

use crate::log_transfer::{ImaAssembly, LogAssembly};
use crate::message::{Challenge, Payload, Response, Task};
use crate::refused::{ExchangeError, Refused};
pub use event::{Entropy, VerifierAction, VerifierEvent};
pub use policy::VerifierPolicy;
use policy::{check_standing, find_pool};

/// Seconds that a challenge may be answered in. Discrete TPMs take up to two for activation and quote.
pub const CHALLENGE_LIFETIME_SECS: u64 = 60;

/// Seconds that a log in several parts may take after the response, and as many for an IMA list after that: 4 MiB at some 35 KiB a second.
pub const LOG_TRANSFER_SECS: u64 = 120;

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
    FetchingLog(Box<Proven>),
    ReceivingLog(Box<Proven>, LogAssembly),
    ReceivingImaList(Box<Proven>, Option<SentLog>, ImaAssembly),
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
    event_log: Option<AnnouncedLog>,
    event_log_wanted: bool,
    /// The SVID's key that is to be certified.
    svid_key: Option<ClaimedResidentKey>,
    issued_at: u64,
}

/// A node whose quote is verified. What it booted is to be judged.
struct Proven {
    ek: TrustedEk,
    ak: BoundAk,
    quote: VerifiedQuote,
    history: History,
    claimed: Claims,
    event_log: Option<AnnouncedLog>,
    ima_list_len: Option<u32>,
    /// Seconds since the epoch at which the log began to travel that is awaited now.
    transfer_began: u64,
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
                self.prove(*challenged, bytes, now, &mut node)
            }
            (State::FetchingLog(proven), VerifierEvent::StoredLog(stored)) => {
                node = Some(proven.ek.fingerprint());
                self.judge_stored(proven, stored, now)
            }
            (State::ReceivingLog(proven, assembly), VerifierEvent::LogChunk(bytes)) => {
                node = Some(proven.ek.fingerprint());
                self.receive(proven, assembly, bytes, now)
            }
            (State::ReceivingImaList(proven, event_log, assembly), VerifierEvent::LogChunk(bytes)) => {
                node = Some(proven.ek.fingerprint());
                self.receive_ima_list(proven, event_log, assembly, bytes, now)
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
            (_, VerifierEvent::StoredLog(_)) => {
                Err(ExchangeError::Sequence { got: "stored log", reason: "none was looked for" })
            }
            (_, VerifierEvent::LogChunk(_)) => {
                Err(ExchangeError::Sequence { got: "part of a log", reason: "none was asked for" })
            }
        };
        result.map_err(|error| Refused::new(error, std::mem::take(&mut self.checks), node))
    }

    fn read_payload(&mut self, entropy: Entropy, bytes: &[u8]) -> Result<VerifierAction, ExchangeError> {
        let payload = Payload::decode(bytes)?;
        self.checks.pass(Check::UnknownPayload, "");
        if let Some(log) = &payload.event_log {
            log.check_len()?;
        }
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
        let pool = find_pool(&self.policy, ek.pool())?;
        let (selection, ima) = (pool.selection().to_vec(), pool.boot().ima);
        // The log of the record is on this server, unless it was lost; then it is asked for after the quote.
        let kept = history.record().and_then(|record| record.event_log_sha256);
        let event_log_wanted = payload.event_log.is_some_and(|log| Some(log.sha256) != kept);
        let known_ak = match &ak {
            Candidate::Known(ak) => Some(ak),
            Candidate::Pending(_) => None,
        };
        let svid_key = svid_key::claimed(
            payload.svid_key.as_deref(),
            known_ak.zip(history.record()),
            &self.svid_public_key,
            &mut self.checks,
        )?;
        let challenge = Challenge {
            task,
            nonce,
            selection,
            event_log_wanted,
            certification_wanted: svid_key.is_some(),
            ima_list_wanted: ima != ImaPolicy::NotAsked,
        };
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
            event_log: payload.event_log,
            event_log_wanted,
            svid_key,
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

    /// Whose quote it is, and over what; then the log is judged, or fetched from where it is.
    fn prove(
        &mut self,
        challenged: Challenged,
        bytes: &[u8],
        now: UnixTime,
        node: &mut Option<EkFingerprint>,
    ) -> Result<VerifierAction, ExchangeError> {
        let Challenged { ek, ak, binding, history, claimed, event_log, event_log_wanted, svid_key, issued_at } =
            challenged;
        let age = now.as_secs().saturating_sub(issued_at);
        if age > CHALLENGE_LIFETIME_SECS {
            return Err(ExchangeError::ChallengeExpired { age, limit: CHALLENGE_LIFETIME_SECS });
        }
        self.checks.pass(Check::ChallengeFresh, format!("{age} s"));
        let Response { secret, attest, signature, pcr_values, event_log: part, certification, ima_list_len } =
            Response::decode(bytes)?;
        self.checks.pass(Check::Malformed, "");
        let ak = match (ak, secret) {
            (Candidate::Pending(pending), Some(secret)) => pending.activated(&secret, &mut self.checks)?,
            (Candidate::Pending(_), None) => return Err(ExchangeError::SecretMissing),
            (Candidate::Known(ak), None) => ak,
            (Candidate::Known(_), Some(_)) => return Err(ExchangeError::SecretUnasked),
        };
        let policy = Arc::clone(&self.policy);
        let asked = find_pool(&policy, ek.pool())?.selection();
        let quote = VerifiedQuote::verify(&ak, &attest, &signature, &pcr_values, asked, &binding, &mut self.checks)?;
        *node = Some(ek.fingerprint());
        let quote = svid_key::prove(&ak, quote, svid_key, certification, history.record(), &binding, &mut self.checks)?;
        let transfer_began = now.as_secs();
        let proven = Box::new(Proven { ek, ak, quote, history, claimed, event_log, ima_list_len, transfer_began });
        match (event_log, event_log_wanted, part) {
            (Some(announced), true, Some(part)) => self.take_part(proven, LogAssembly::begin(announced), &part, now),
            (Some(announced), true, None) => self.take_part(proven, LogAssembly::begin(announced), &[], now),
            (Some(announced), false, None) => {
                self.state = State::FetchingLog(proven);
                Ok(VerifierAction::FetchLog { announced })
            }
            (None, _, None) => self.ask_for_ima_list(proven, None, now),
            (_, _, Some(_)) => Err(ExchangeError::LogUnasked),
        }
    }

    /// What the node booted, against what its pool wants.
    fn judge(
        &mut self,
        proven: Proven,
        event_log: Option<SentLog>,
        ima_list: Option<&[u8]>,
        now: UnixTime,
    ) -> Result<VerifierAction, ExchangeError> {
        let Proven { ek, ak, quote, history, claimed, event_log: _, ima_list_len: _, transfer_began: _ } = proven;
        let policy = Arc::clone(&self.policy);
        let expected = Expected { pool: find_pool(&policy, ek.pool())?, deny: &policy.deny, history };
        let appraisal = Appraisal::judge(&ek, &ak, &quote, event_log, ima_list, expected, &mut self.checks)?;
        let checks = std::mem::take(&mut self.checks);
        match AttestedNode::admit(ek, ak, quote, appraisal, claimed, now, checks) {
            Ok(attested) => Ok(VerifierAction::Admit(Box::new(attested))),
            Err((error, checks)) => {
                self.checks = checks;
                Err(error.into())
            }
        }
    }
}
