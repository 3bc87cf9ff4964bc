//! Whether the key of the SVID is in the TPM: certified once per AK, and by the record from then on.

use plastron_attestation_appraise::{
    AppraiseError, Binding, BoundAk, Certification, Check, Checklist, ClaimedResidentKey, EnrolledTpm, ResidentKey,
    VerifiedQuote,
};

use crate::device::CertifyBytes;
use crate::refused::ExchangeError;

/// The key that the AK has to certify: one that the payload says is in the TPM, unless the record of this AK proves it. `known`: the AK,
/// where it renews, and its record.
pub(super) fn claimed(
    public: Option<&[u8]>,
    known: Option<(&BoundAk, &EnrolledTpm)>,
    svid_public_key: &[u8],
    checks: &mut Checklist,
) -> Result<Option<ClaimedResidentKey>, AppraiseError> {
    let Some(public) = public else { return Ok(None) };
    let key = ClaimedResidentKey::check(public, svid_public_key, checks)?;
    let proven = |(ak, record)| ResidentKey::enrolled(ak, record, svid_public_key, &mut Checklist::new()).is_some();
    Ok((!known.is_some_and(proven)).then_some(key))
}

/// Joins the proof to the quote, where there is one; a verdict says so where there is none.
pub(super) fn prove(
    ak: &BoundAk,
    quote: VerifiedQuote,
    claimed: Option<ClaimedResidentKey>,
    certification: Option<CertifyBytes>,
    record: Option<&EnrolledTpm>,
    binding: &Binding,
    checks: &mut Checklist,
) -> Result<VerifiedQuote, ExchangeError> {
    let key = match (claimed, &certification) {
        (Some(key), Some(CertifyBytes { attest, signature })) => {
            Some(ResidentKey::certified(ak, key, Certification { attest, signature }, binding, checks)?)
        }
        (Some(_), None) => return Err(ExchangeError::CertificationMissing),
        (None, Some(_)) => return Err(ExchangeError::CertificationUnasked),
        (None, None) => record.and_then(|record| ResidentKey::enrolled(ak, record, &binding.svid_public_key, checks)),
    };
    match key {
        Some(key) => Ok(quote.with_resident_key(key, checks)?),
        None => {
            checks.not_checked(Check::CertifyName, "svid_key: not in the TPM");
            Ok(quote)
        }
    }
}
