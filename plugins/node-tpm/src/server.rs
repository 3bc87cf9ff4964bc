//! The server's half: runs a `Verifier` for each conversation.

use std::sync::Arc;

use plastron_attestation::{
    AnnouncedLog, Entropy, ExchangeError, Verifier, VerifierAction, VerifierEvent, VerifierPolicy,
};
use plastron_attestation_appraise::{
    Check, CheckOutcome, CheckRecord, Checklist, CredentialEntropy, DenyList, EnrolledTpm, NONCE_LEN, Pool, Verdict,
};
use plastron_plugins::node::{
    Admission, AdmissionContext, EnrolledTpms, JudgesEnrolled, KeptEventLogs, NodeAttestor, NodeConversation, NodeStep,
    Refusal, RefusalCode,
};
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

use crate::log_memory::{LogMemory, LogPlace};
use crate::refusal::{refusal, withdrawal};

/// The `tpm` node attestor of a server.
pub struct TpmNodeAttestor {
    policy: Arc<VerifierPolicy>,
    known: Arc<dyn EnrolledTpms>,
    logs: Arc<dyn KeptEventLogs>,
    log_memory: LogMemory,
}

impl TpmNodeAttestor {
    /// With these pools, asked in this order. Without a pool no TPM is trusted.
    pub fn new(pools: Vec<Pool>, deny: DenyList, known: Arc<dyn EnrolledTpms>, logs: Arc<dyn KeptEventLogs>) -> Self {
        let policy = Arc::new(VerifierPolicy { pools, deny });
        Self { policy, known, logs, log_memory: LogMemory::new() }
    }
}

impl NodeAttestor for TpmNodeAttestor {
    fn name(&self) -> &str {
        crate::NAME
    }

    fn begin(&self, context: AdmissionContext) -> Box<dyn NodeConversation> {
        Box::new(Conversation {
            policy: Arc::clone(&self.policy),
            known: Arc::clone(&self.known),
            logs: Arc::clone(&self.logs),
            log_memory: self.log_memory.clone(),
            log_place: None,
            ima_place: None,
            context,
            state: Progress::Begin,
        })
    }
}

impl JudgesEnrolled for TpmNodeAttestor {
    fn judge_enrolled(&self, enrolled: &EnrolledTpm, now: UnixTime) -> Result<(), Refusal> {
        let mut checks = Checklist::new();
        let Err(error) = self.policy.judge_again(enrolled, now, &mut checks) else { return Ok(()) };
        let error = ExchangeError::from(error);
        checks.fail(error.check(), error.describe());
        Err(withdrawal(&error, checks, &enrolled.ek_public))
    }
}

struct Conversation {
    policy: Arc<VerifierPolicy>,
    known: Arc<dyn EnrolledTpms>,
    logs: Arc<dyn KeptEventLogs>,
    log_memory: LogMemory,
    /// Held from the first need of it to the end of the conversation.
    log_place: Option<LogPlace>,
    /// The same for its IMA list, which comes after the log.
    ima_place: Option<LogPlace>,
    context: AdmissionContext,
    state: Progress,
}

/// What the node is to send next.
enum Progress {
    /// The payload. Until it comes there is nothing to be random for.
    Begin,
    /// The response to the challenge.
    Challenged(Verifier),
    /// A part of its log, or of its IMA list.
    LogRequested(Verifier),
    /// Nothing more.
    Over,
}

#[async_trait::async_trait]
impl NodeConversation for Conversation {
    async fn step(&mut self, message: &[u8], now: UnixTime) -> Result<NodeStep, Refusal> {
        let (mut verifier, action) = match std::mem::replace(&mut self.state, Progress::Over) {
            Progress::Begin => self.begin(message, now)?,
            Progress::Challenged(mut verifier) => {
                let action = verifier.step(VerifierEvent::Response(message), now).map_err(refusal)?;
                (verifier, action)
            }
            Progress::LogRequested(mut verifier) => {
                let action = verifier.step(VerifierEvent::LogChunk(message), now).map_err(refusal)?;
                (verifier, action)
            }
            Progress::Over => return Err(unavailable(Check::Sequence, "the conversation is over")),
        };
        let action = match action {
            VerifierAction::FetchLog { announced } => {
                let stored = self.kept_log(announced).await?;
                verifier.step(VerifierEvent::StoredLog(stored), now).map_err(refusal)?
            }
            other => other,
        };
        match action {
            VerifierAction::Challenge(challenge) => {
                self.state = Progress::Challenged(verifier);
                Ok(NodeStep::Challenge(challenge))
            }
            VerifierAction::RequestLog { message, announced } => {
                self.reserve(announced)?;
                self.state = Progress::LogRequested(verifier);
                Ok(NodeStep::Challenge(message))
            }
            VerifierAction::RequestImaList { message, len } => {
                self.reserve_ima(len)?;
                self.state = Progress::LogRequested(verifier);
                Ok(NodeStep::Challenge(message))
            }
            VerifierAction::Admit(node) => Ok(NodeStep::Admit(Admission::Tpm(node))),
            VerifierAction::LookUp { .. } | VerifierAction::FetchLog { .. } => {
                Err(unavailable(Check::Sequence, "a second look-up was asked for"))
            }
        }
    }
}

impl Conversation {
    fn begin(&self, payload: &[u8], now: UnixTime) -> Result<(Verifier, VerifierAction), Refusal> {
        let entropy = draw_entropy()?;
        let AdmissionContext { trust_domain, svid_public_key, peer: _ } = &self.context;
        let policy = Arc::clone(&self.policy);
        let mut verifier = Verifier::new(policy, trust_domain.clone(), svid_public_key.to_vec(), entropy);
        let action = verifier.step(VerifierEvent::Payload(payload), now).map_err(refusal)?;
        let action = match action {
            VerifierAction::LookUp { ak_name, claimed_ek } => {
                let by_ak = self.known.by_ak_name(&ak_name);
                let by_ek = self.known.by_ek(&claimed_ek);
                verifier.step(VerifierEvent::Known { by_ak, by_ek }, now).map_err(refusal)?
            }
            other => other,
        };
        Ok((verifier, action))
    }

    async fn kept_log(&mut self, announced: AnnouncedLog) -> Result<Option<Vec<u8>>, Refusal> {
        self.reserve(announced)?;
        let read = self.logs.event_log(&announced.sha256, announced.len).await;
        read.map_err(|error| unavailable(Check::EventLogMissing, &error.to_string()))
    }

    /// Memory for the whole log, once per conversation.
    fn reserve(&mut self, announced: AnnouncedLog) -> Result<(), Refusal> {
        if self.log_place.is_none() {
            let place = self.log_memory.reserve(announced.len);
            self.log_place = Some(place.map_err(|busy| unavailable(Check::EventLogMissing, &busy.to_string()))?);
        }
        Ok(())
    }

    /// Memory for the whole IMA list, once per conversation.
    fn reserve_ima(&mut self, len: u32) -> Result<(), Refusal> {
        if self.ima_place.is_none() {
            let place = self.log_memory.reserve(len);
            self.ima_place = Some(place.map_err(|busy| unavailable(Check::ImaListMissing, &busy.to_string()))?);
        }
        Ok(())
    }
}

fn draw_entropy() -> Result<Entropy, Refusal> {
    let mut nonce = [0; NONCE_LEN];
    let mut secret = Zeroizing::new([0; 32]);
    let mut seed = Zeroizing::new([0; 48]);
    for buffer in [nonce.as_mut_slice(), secret.as_mut_slice(), seed.as_mut_slice()] {
        getrandom::fill(buffer).map_err(|_| {
            unavailable(Check::ChallengeFresh, "the operating system has no randomness for a challenge")
        })?;
    }
    Ok(Entropy { nonce, credential: CredentialEntropy { secret, seed } })
}

/// A refusal for which the node can do nothing.
fn unavailable(check: Check, detail: &str) -> Refusal {
    let records = vec![CheckRecord { check, outcome: CheckOutcome::Failed, detail: detail.to_owned() }];
    let (verdict, code) = (Verdict::Error, RefusalCode::Unavailable);
    Refusal { check, detail: detail.to_owned(), verdict, code, records, node: None }
}
