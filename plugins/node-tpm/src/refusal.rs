//! What a refused node is told: a code. The audit log gets the check.

use plastron_attestation::{ExchangeError, Refused};
use plastron_attestation_appraise::{AppraiseError, Checklist, EkFingerprint, Verdict};
use plastron_plugins::node::{Refusal, RefusalCode};

#[expect(clippy::boxed_local, reason = "the verifier boxes its large error")]
pub(crate) fn refusal(refused: Box<Refused>) -> Refusal {
    Refusal {
        check: refused.check(),
        detail: refused.error().describe(),
        verdict: refused.verdict(),
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
        verdict: error.verdict(),
        code: code(error),
        records: checks.into_records(),
        node: EkFingerprint::of_bytes(ek_public).ok().as_ref().map(EkFingerprint::agent_path),
    }
}

/// By the verdict first: only what is bad is told so. What is merely not known, and what the server itself fails at, is worth another try.
fn code(error: &ExchangeError) -> RefusalCode {
    match error.verdict() {
        Verdict::Untrusted => untrusted(error),
        // Whoever starts the machine with a log, or with IMA, heals this; asking again alone does not.
        Verdict::Indeterminate
            if matches!(
                error,
                ExchangeError::Evidence(AppraiseError::EventLogMissing | AppraiseError::ImaListMissing)
            ) =>
        {
            RefusalCode::NotYet
        }
        Verdict::Indeterminate | Verdict::Error | Verdict::Trusted => RefusalCode::Unavailable,
    }
}

fn untrusted(error: &ExchangeError) -> RefusalCode {
    match error {
        ExchangeError::Wire(_)
        | ExchangeError::Sequence { .. }
        | ExchangeError::SecretUnasked
        | ExchangeError::LogUnasked
        | ExchangeError::ImaListUnasked
        | ExchangeError::ImaListTooLong { .. }
        | ExchangeError::CertificationUnasked
        | ExchangeError::LogPart { .. } => RefusalCode::Malformed,
        ExchangeError::Evidence(_)
        | ExchangeError::SecretMissing
        | ExchangeError::CertificationMissing
        | ExchangeError::ChallengeExpired { .. }
        | ExchangeError::LogTransferTooSlow { .. } => RefusalCode::Denied,
        ExchangeError::Banned { .. } => RefusalCode::Banned,
        // An operator has to look first; the agent goes on asking.
        ExchangeError::Quarantined { .. } => RefusalCode::NotYet,
    }
}

#[cfg(test)]
mod tests {
    use plastron_attestation::LogKind;
    use plastron_attestation_appraise::AppraiseError as E;
    use plastron_attestation_tcg::event_log::RawLog;

    use super::*;

    /// What is merely not known must not end an agent, which PermissionDenied does; what does not parse is not merely unknown.
    #[test]
    fn the_code_follows_the_verdict() {
        let stale = E::CrlStale { issuer: "CN=Turtle root".to_owned(), until: 1, now: 2 };
        let early = E::CrlNotYetValid { issuer: "CN=Turtle root".to_owned(), this_update: 2, now: 1 };
        let reset = E::ResetBetween { certified: (7, 0), quoted: (8, 0) };
        let no_list = E::CrlMalformed { reason: "trailing data".to_owned() };
        let malformed = E::from(RawLog::parse(&[1; 5]).unwrap_err());
        for (error, verdict, wanted) in [
            (E::EventLogMissing.into(), Verdict::Indeterminate, RefusalCode::NotYet),
            (E::ImaListMissing.into(), Verdict::Indeterminate, RefusalCode::NotYet),
            (stale.into(), Verdict::Indeterminate, RefusalCode::Unavailable),
            (early.into(), Verdict::Indeterminate, RefusalCode::Unavailable),
            (reset.into(), Verdict::Indeterminate, RefusalCode::Unavailable),
            (ExchangeError::ChallengeExpired { age: 75, limit: 60 }, Verdict::Indeterminate, RefusalCode::Unavailable),
            (
                ExchangeError::LogTransferTooSlow { log: LogKind::EventLog, age: 75, limit: 60 },
                Verdict::Indeterminate,
                RefusalCode::Unavailable,
            ),
            (no_list.into(), Verdict::Error, RefusalCode::Unavailable),
            (malformed.into(), Verdict::Untrusted, RefusalCode::Denied),
            (
                ExchangeError::LogPart { log: LogKind::EventLog, offset: 0, got: 0, wanted: 9 },
                Verdict::Untrusted,
                RefusalCode::Malformed,
            ),
            (E::RetiredAk.into(), Verdict::Untrusted, RefusalCode::Denied),
        ] {
            assert_eq!((error.verdict(), code(&error)), (verdict, wanted), "{error:?}");
        }
    }
}
