//! The proofs of a recorded enrolment, one after the other, over the challenge as it was sent. What the verifier does in one
//! conversation, taken apart: so a test can put another argument between two stages.

use plastron_attestation::{Challenge, Payload, Response};
use plastron_attestation_appraise::{
    AcceptableAk, AnnouncedLog, Appraisal, AppraiseError, AttestedNode, Binding, BoundAk, Checklist, EkEvidence,
    Expected, History, PendingActivation, SentLog, TrustedEk, VerifiedQuote,
};
use plastron_attestation_tcg::{HashAlgorithm, PcrBank};
use plastron_spiffe::TrustDomain;

use crate::evidence::Messages;
use crate::index::{Row, TRUST_DOMAIN};
use crate::server::{Server, time};

/// An enrolment whose EK is trusted and whose AK is bound.
pub(crate) struct Stages {
    pub(crate) ek: TrustedEk,
    pub(crate) ak: BoundAk,
    pub(crate) asked: Vec<PcrBank>,
    pub(crate) binding: Binding,
    pub(crate) response: Response,
    announced: Option<AnnouncedLog>,
}

impl Stages {
    pub(crate) fn of(server: &Server, row: &Row, messages: &Messages) -> Result<Self, AppraiseError> {
        let payload = Payload::decode(&messages.payload).unwrap();
        let challenge = Challenge::decode(&messages.challenge).unwrap();
        let response = Response::decode(&messages.response).unwrap();
        let checks = &mut Checklist::new();
        let evidence = EkEvidence {
            public: &payload.ek_public,
            certificate: payload.ek_certificate.as_deref(),
            intermediates: &payload.ek_intermediates,
        };
        let policy = &server.policy;
        let ek = TrustedEk::judge(evidence, &policy.pools, &policy.deny, row.time, checks)?;
        let acceptable = AcceptableAk::check(&payload.ak_public, checks)?;
        let (pending, _) = PendingActivation::make(&ek, acceptable, row.entropy().credential)?;
        let ak = pending.activated(response.secret.as_deref().unwrap(), checks)?;
        let binding = Binding {
            purpose: challenge.purpose(),
            trust_domain: TrustDomain::parse(TRUST_DOMAIN).unwrap(),
            nonce: challenge.nonce,
            payload_sha256: HashAlgorithm::Sha256.digest([messages.payload.as_slice()]),
            challenge_sha256: HashAlgorithm::Sha256.digest([messages.challenge.as_slice()]),
            svid_public_key: server.csr_key.clone(),
        };
        Ok(Self { ek, ak, asked: challenge.selection, binding, response, announced: payload.event_log })
    }

    /// The quote, judged over these PCRs.
    pub(crate) fn quote(&self, asked: &[PcrBank]) -> Result<VerifiedQuote, AppraiseError> {
        let Response { attest, signature, pcr_values, .. } = &self.response;
        VerifiedQuote::verify(&self.ak, attest, signature, pcr_values, asked, &self.binding, &mut Checklist::new())
    }

    /// The last stages, and what the server remembers of them.
    pub(crate) fn admit(self, server: &mut Server, row: &Row) -> Result<(), AppraiseError> {
        let quote = self.quote(&self.asked)?;
        let log = match (&self.announced, self.response.event_log) {
            (Some(announced), Some(bytes)) => Some(SentLog::matching(announced, bytes)?),
            _ => None,
        };
        let expected = Expected { pool: &server.policy.pools[0], deny: &server.policy.deny, history: History::New };
        let checks = &mut Checklist::new();
        let appraisal = Appraisal::judge(&self.ek, &self.ak, &quote, log, None, expected, checks)?;
        let claims = plastron_attestation::Claims::default();
        let node = AttestedNode::admit(self.ek, self.ak, quote, appraisal, claims, time(row.time), Checklist::new());
        server.remember(&node.map_err(|(error, _)| error)?);
        Ok(())
    }
}
