//! What a refused node is told: a code. The audit log gets the check.

use plastron_attestation::{ExchangeError, Refused};
use plastron_attestation_appraise::{AppraiseError, Checklist, EkFingerprint};
use plastron_plugins::node::{Refusal, RefusalCode};

#[expect(clippy::boxed_local, reason = "the verifier boxes its large error")]
pub(crate) fn refusal(refused: Box<Refused>) -> Refusal {
    Refusal {
        check: refused.check(),
        detail: refused.error().describe(),
        code: code(refused.error()),
        records: refused.records().to_vec(),
        node: refused.node().as_ref().map(EkFingerprint::agent_path),
    }
}

/// An enrolled TPM, by its public area, that would not be enrolled any more.
pub(crate) fn withdrawal(error: &ExchangeError, checks: Checklist, ek_public: &[u8]) -> Refusal {
    Refusal {
        check: error.check(),
        detail: error.describe(),
        code: code(error),
        records: checks.into_records(),
        node: EkFingerprint::of_bytes(ek_public).ok().as_ref().map(EkFingerprint::agent_path),
    }
}

fn code(error: &ExchangeError) -> RefusalCode {
    match error {
        ExchangeError::Wire(_)
        | ExchangeError::Sequence { .. }
        | ExchangeError::SecretUnasked
        | ExchangeError::LogUnasked
        | ExchangeError::ImaListUnasked
        | ExchangeError::ImaListTooLong { .. }
        | ExchangeError::CertificationUnasked
        | ExchangeError::LogPart { .. } => RefusalCode::Malformed,
        // Whoever starts the machine with a log, or with IMA, heals this; until then nothing is known of it, bad or good.
        ExchangeError::Evidence(AppraiseError::EventLogMissing | AppraiseError::ImaListMissing) => RefusalCode::NotYet,
        // A machine that restarts just now is no bad one.
        ExchangeError::Evidence(AppraiseError::ResetBetween { .. }) => RefusalCode::Unavailable,
        // A revocation list that is out of date is the operator's to replace; of the node it says nothing, bad or good.
        ExchangeError::Evidence(AppraiseError::CrlStale { .. } | AppraiseError::CrlNotYetValid { .. }) => {
            RefusalCode::Unavailable
        }
        ExchangeError::Evidence(_) | ExchangeError::SecretMissing | ExchangeError::CertificationMissing => {
            RefusalCode::Denied
        }
        ExchangeError::Banned { .. } => RefusalCode::Banned,
        // An operator has to look first; the agent goes on asking.
        ExchangeError::Quarantined { .. } => RefusalCode::NotYet,
        // A slow TPM is no bad one.
        ExchangeError::ChallengeExpired { .. } | ExchangeError::LogTransferTooSlow { .. } => RefusalCode::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not known is told in another word than what is bad: Denied cuts a node off and ends agents.
    #[test]
    fn what_says_nothing_of_the_node_does_not_deny_it() {
        let issuer = || "CN=Turtle".to_owned();
        for (error, wanted) in [
            (AppraiseError::CrlStale { issuer: issuer(), until: 1, now: 2 }, RefusalCode::Unavailable),
            (AppraiseError::CrlNotYetValid { issuer: issuer(), this_update: 2, now: 1 }, RefusalCode::Unavailable),
            (AppraiseError::ResetBetween { certified: (7, 0), quoted: (8, 0) }, RefusalCode::Unavailable),
            (AppraiseError::EventLogMissing, RefusalCode::NotYet),
            (AppraiseError::RetiredAk, RefusalCode::Denied),
        ] {
            assert_eq!(code(&error.into()), wanted);
        }
    }
}
