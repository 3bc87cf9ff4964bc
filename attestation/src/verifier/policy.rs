//! What a conversation is judged by, and what of it can be judged without hearing from the node.

use plastron_attestation_appraise::{
    AppraiseError, Checklist, DenyList, EkEvidence, EnrolledTpm, Pool, Standing, TrustedEk,
};
use rustls_pki_types::UnixTime;

use crate::refused::ExchangeError;

/// What TPMs are judged by.
#[derive(Clone, Debug)]
pub struct VerifierPolicy {
    /// The pools, in the order in which they are asked.
    pub pools: Vec<Pool>,
    /// What is refused whatever a pool says.
    pub deny: DenyList,
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

pub(super) fn find_pool<'p>(policy: &'p VerifierPolicy, name: &str) -> Result<&'p Pool, AppraiseError> {
    policy
        .pools
        .iter()
        .find(|pool| pool.name() == name)
        .ok_or_else(|| AppraiseError::PoolGone { pool: name.to_owned() })
}

pub(super) fn check_standing(standing: &Standing) -> Result<(), ExchangeError> {
    match standing {
        Standing::Enrolled => Ok(()),
        Standing::Banned { reason } => Err(ExchangeError::Banned { reason: reason.clone() }),
        Standing::Quarantined { reason } => Err(ExchangeError::Quarantined { reason: reason.clone() }),
    }
}
