//! The path from an EK certificate to a manufacturer root (RFC 5280, section 6, as far as these CAs go).
//!
//! Purpose-built: manufacturers' CAs have critical certificatePolicies and extended key usages that say nothing about the leaf, so
//! policies and name constraints are not processed; a critical extension that limits a path in a way not handled here refuses it.
//! No issuer is fetched: a path is made of the pool's roots and intermediates, and of what came from the TPM.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_BASIC_CONSTRAINTS, ID_CE_CERTIFICATE_POLICIES, ID_CE_CRL_DISTRIBUTION_POINTS,
    ID_CE_EXT_KEY_USAGE, ID_CE_KEY_USAGE, ID_CE_SUBJECT_ALT_NAME, ID_CE_SUBJECT_KEY_IDENTIFIER,
};

use crate::certificate::Certificate;
use crate::certificate_signature;
use crate::{AppraiseError, ek::readable_name};

/// Most intermediates between leaf and root: on-die CAs have four.
pub const MAX_INTERMEDIATES: usize = 6;

/// Most signatures verified in one judgement, all pools together: certificates that share a name must not make it expensive. An
/// honest path takes seven, and another pool's roots take none, because their names differ.
const MAX_SIGNATURES: usize = 32;

/// The signatures that a judgement may still verify.
pub(crate) struct Budget {
    signatures: usize,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { signatures: MAX_SIGNATURES }
    }
}

const UNDERSTOOD: [ObjectIdentifier; 8] = [
    ID_CE_BASIC_CONSTRAINTS,
    ID_CE_KEY_USAGE,
    ID_CE_EXT_KEY_USAGE,
    ID_CE_SUBJECT_ALT_NAME,
    ID_CE_AUTHORITY_KEY_IDENTIFIER,
    ID_CE_SUBJECT_KEY_IDENTIFIER,
    ID_CE_CERTIFICATE_POLICIES,
    ID_CE_CRL_DISTRIBUTION_POINTS,
];

struct Search<'s, 'a, 'b> {
    roots: &'s [Certificate<'a>],
    intermediates: &'s [Certificate<'a>],
    now: u64,
    budget: &'b mut Budget,
    /// Why the last candidate was not the issuer: a certificate on the way failed its own check.
    failure: Option<AppraiseError>,
}

/// Finds a path. Answers with the issuers, leaf's issuer first, root last.
pub(crate) fn check<'s, 'a>(
    leaf: &Certificate<'a>,
    roots: &'s [Certificate<'a>],
    intermediates: &'s [Certificate<'a>],
    now: u64,
    budget: &mut Budget,
) -> Result<Vec<&'s Certificate<'a>>, AppraiseError> {
    let mut search = Search { roots, intermediates, now, budget, failure: None };
    match search.climb(leaf, 0) {
        Some(path) => Ok(path),
        None => Err(search.failure.unwrap_or_else(|| AppraiseError::EkPath {
            issuer: readable_name(leaf.issuer()),
            reason: "there is none".to_owned(),
        })),
    }
}

impl<'s, 'a> Search<'s, 'a, '_> {
    /// The path above `child`, which has `below` intermediates under it.
    fn climb(&mut self, child: &Certificate<'a>, below: usize) -> Option<Vec<&'s Certificate<'a>>> {
        for root in self.roots {
            if root.subject() == child.issuer() && self.issued(child, root, below) {
                return Some(vec![root]);
            }
        }
        if below == MAX_INTERMEDIATES {
            self.failure = Some(self.no_path(child, format!("longer than {MAX_INTERMEDIATES} intermediates")));
            return None;
        }
        for intermediate in self.intermediates {
            if intermediate.subject() != child.issuer() || intermediate.tbs() == child.tbs() {
                continue;
            }
            if self.issued(child, intermediate, below)
                && let Some(mut path) = self.climb(intermediate, below + 1)
            {
                path.insert(0, intermediate);
                return Some(path);
            }
        }
        if self.failure.is_none() {
            let reason = "no certificate of that name among the roots and intermediates".to_owned();
            self.failure = Some(self.no_path(child, reason));
        }
        None
    }

    /// Whether `issuer` signed `child` and may have; the reason why not is kept.
    fn issued(&mut self, child: &Certificate<'a>, issuer: &Certificate<'a>, below: usize) -> bool {
        let Some(left) = self.budget.signatures.checked_sub(1) else {
            self.failure = Some(self.no_path(child, format!("more than {MAX_SIGNATURES} candidates")));
            return false;
        };
        self.budget.signatures = left;
        let algorithm = child.signature_algorithm().oid;
        let judged = certificate_signature::verify(child.tbs(), algorithm, child.signature(), issuer)
            .map_err(|reason| self.no_path(child, reason.to_owned()))
            .and_then(|()| self.may_issue(issuer, below));
        match judged {
            Ok(()) => true,
            Err(failure) => {
                self.failure = Some(failure);
                false
            }
        }
    }

    fn may_issue(&self, issuer: &Certificate<'_>, below: usize) -> Result<(), AppraiseError> {
        let constraints = issuer.basic_constraints()?;
        match constraints {
            Some(constraints) if constraints.ca => {
                if constraints.path_len_constraint.is_some_and(|limit| below > usize::from(limit)) {
                    return Err(self.no_path(issuer, "its path length constraint forbids the path".to_owned()));
                }
            }
            // A root of X.509 v1 has no extensions; that it is trusted, the pool says.
            None if issuer.version() < 3 && issuer.which() == "root" => {}
            _ => return Err(self.no_path(issuer, "it is not a CA certificate".to_owned())),
        }
        if issuer.key_usage()?.is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(self.no_path(issuer, "its key usage does not sign certificates".to_owned()));
        }
        issuer.check_critical(&UNDERSTOOD)?;
        issuer.check_validity(self.now)
    }

    fn no_path(&self, certificate: &Certificate<'_>, reason: String) -> AppraiseError {
        AppraiseError::EkPath { issuer: readable_name(certificate.issuer()), reason }
    }
}
