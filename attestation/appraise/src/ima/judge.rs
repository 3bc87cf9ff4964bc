//! What becomes of an IMA list that came with a quote, or of none.

use plastron_attestation_tcg::ima::ImaList;

use super::ReplayedImaList;
use crate::{AppraiseError, Check, Checklist, ImaPolicy, VerifiedQuote};

/// The checks that are not made where there is no list.
const CHECKS: [Check; 2] = [Check::ImaList, Check::ImaBootAggregate];

/// Checks, in order: there is a list, unless `policy` accepts that there is none; it is well-formed; it holds, as
/// [`ReplayedImaList::verify`] says. A pool that does not ask for a list judges none.
pub(crate) fn judge(
    list: Option<&[u8]>,
    quote: &VerifiedQuote,
    policy: ImaPolicy,
    checks: &mut Checklist,
) -> Result<(), AppraiseError> {
    let parsed = match (policy, list) {
        (ImaPolicy::NotAsked, _) => {
            CHECKS.iter().for_each(|check| checks.not_checked(*check, "the pool asks for no IMA list"));
            return Ok(());
        }
        (_, None) => Err(AppraiseError::ImaListMissing),
        (_, Some(bytes)) => ImaList::parse(bytes).map_err(AppraiseError::from),
    };
    match (parsed, policy) {
        (Ok(list), _) => {
            checks.pass(Check::ImaListMissing, format!("{} entries", list.entries().len()));
            ReplayedImaList::verify(list, quote, checks).map(drop)
        }
        (Err(AppraiseError::ImaListMissing), ImaPolicy::Accept) => {
            checks.not_checked(Check::ImaListMissing, "no IMA list: the pool accepts that");
            CHECKS.iter().for_each(|check| checks.not_checked(*check, "no IMA list"));
            Ok(())
        }
        (Err(error), _) => Err(error),
    }
}
