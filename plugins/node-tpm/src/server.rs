//! The server's half: runs a `Verifier` for each conversation.

use std::sync::Arc;

use plastron_attestation::{Entropy, ExchangeError, Verifier, VerifierAction, VerifierEvent, VerifierPolicy};
use plastron_attestation_appraise::{
    Check, CheckOutcome, CheckRecord, Checklist, CredentialEntropy, DenyList, EnrolledTpm, NONCE_LEN, Pool,
};
use plastron_plugins::node::{
    Admission, AdmissionContext, EnrolledTpms, JudgesEnrolled, NodeAttestor, NodeConversation, NodeStep, Refusal,
    RefusalCode,
};
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

use crate::refusal::{refusal, withdrawal};

/// The `tpm` node attestor of a server.
pub struct TpmNodeAttestor {
    policy: Arc<VerifierPolicy>,
    known: Arc<dyn EnrolledTpms>,
}

impl TpmNodeAttestor {
    /// With these pools, asked in this order. Without a pool no TPM is trusted.
    pub fn new(pools: Vec<Pool>, deny: DenyList, known: Arc<dyn EnrolledTpms>) -> Self {
        Self { policy: Arc::new(VerifierPolicy { pools, deny }), known }
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
            context,
            verifier: None,
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
    context: AdmissionContext,
    /// Made with the first message: until then there is nothing to be random for.
    verifier: Option<Verifier>,
}

#[async_trait::async_trait]
impl NodeConversation for Conversation {
    async fn step(&mut self, message: &[u8], now: UnixTime) -> Result<NodeStep, Refusal> {
        let action = match &mut self.verifier {
            None => {
                let entropy = draw_entropy()?;
                let AdmissionContext { trust_domain, svid_public_key, peer: _ } = &self.context;
                let policy = Arc::clone(&self.policy);
                let verifier = self.verifier.insert(Verifier::new(
                    policy,
                    trust_domain.clone(),
                    svid_public_key.to_vec(),
                    entropy,
                ));
                let action = verifier.step(VerifierEvent::Payload(message), now).map_err(refusal)?;
                match action {
                    VerifierAction::LookUp { ak_name, claimed_ek } => {
                        let by_ak = self.known.by_ak_name(&ak_name);
                        let by_ek = self.known.by_ek(&claimed_ek);
                        verifier.step(VerifierEvent::Known { by_ak, by_ek }, now).map_err(refusal)?
                    }
                    other => other,
                }
            }
            Some(verifier) => verifier.step(VerifierEvent::Response(message), now).map_err(refusal)?,
        };
        match action {
            VerifierAction::Challenge(challenge) => Ok(NodeStep::Challenge(challenge)),
            VerifierAction::Admit(node) => Ok(NodeStep::Admit(Admission::Tpm(node))),
            VerifierAction::LookUp { .. } => Err(unavailable(Check::Sequence, "a second look-up was asked for")),
        }
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
    Refusal { check, detail: detail.to_owned(), code: RefusalCode::Unavailable, records, node: None }
}
