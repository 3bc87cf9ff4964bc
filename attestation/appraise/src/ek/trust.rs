//! How a pool trusts endorsement keys: manufacturers' certificates with their revocation lists, and pins.

use super::crl::{self, RevocationList};
use crate::certificate::Certificate;
use crate::{AppraiseError, Checklist, EkPin, PoolError};

/// How a pool trusts endorsement keys. AND and OR are spelled out.
#[derive(Clone, Debug)]
pub enum EkTrust {
    /// The EK certificate leads to a pinned root.
    Chain(TrustAnchors),
    /// The EK is pinned; its certificate, if any, is not judged and proves nothing.
    Pin(Vec<EkPin>),
    /// Both.
    ChainAndPin(TrustAnchors, Vec<EkPin>),
    /// Either.
    ChainOrPin(TrustAnchors, Vec<EkPin>),
}

impl EkTrust {
    /// With its pins in the order of their fingerprints: at least one where trust needs them, and each key once.
    pub(crate) fn in_order(mut self, pool: &str) -> Result<Self, PoolError> {
        let (Self::Pin(pins) | Self::ChainAndPin(_, pins) | Self::ChainOrPin(_, pins)) = &mut self else {
            return Ok(self);
        };
        if pins.is_empty() {
            return Err(PoolError::NoPins { name: pool.to_owned() });
        }
        pins.sort_by_key(|pin| pin.fingerprint);
        for (pin, next) in pins.iter().zip(pins.iter().skip(1)) {
            if pin.fingerprint == next.fingerprint {
                return Err(PoolError::DuplicatePin { name: pool.to_owned(), fingerprint: pin.fingerprint });
            }
        }
        Ok(self)
    }
}

/// Manufacturers' CA certificates, roots and intermediates kept apart, with the revocation lists that were imported for them.
#[derive(Clone, Debug, Default)]
pub struct TrustAnchors {
    roots: Vec<Vec<u8>>,
    intermediates: Vec<Vec<u8>>,
    revocation: Vec<RevocationList>,
    max_crl_age: u64,
}

impl TrustAnchors {
    /// From DER certificates. At least one root; each parses. Nothing is revoked, and verdicts say that it was not checked.
    pub fn new(roots: Vec<Vec<u8>>, intermediates: Vec<Vec<u8>>) -> Result<Self, PoolError> {
        if roots.is_empty() {
            return Err(PoolError::NoRoots);
        }
        for (which, certificates) in [("root", &roots), ("intermediate", &intermediates)] {
            for (index, der) in certificates.iter().enumerate() {
                Certificate::parse(which, der).map_err(|source| PoolError::Certificate { which, index, source })?;
            }
        }
        Ok(Self { roots, intermediates, revocation: Vec::new(), max_crl_age: 0 })
    }

    /// With revocation lists, DER, each signed by a root or an intermediate of these. A list older than `max_age` seconds, or past the
    /// next update that it announces, refuses what its issuer issued. Of two lists by one issuer the newer one counts.
    pub fn with_revocation_lists(self, lists: &[Vec<u8>], max_age: u64) -> Result<Self, PoolError> {
        let mut revocation = Vec::new();
        for (index, der) in lists.iter().enumerate() {
            let refused = |source| PoolError::Crl { index, source };
            let mut issuers = self.roots().map_err(refused)?;
            issuers.extend(self.intermediates().map_err(refused)?);
            revocation.push(RevocationList::verify(der, &issuers).map_err(refused)?);
        }
        Ok(Self { revocation: crl::newest(revocation), max_crl_age: max_age, ..self })
    }

    pub(crate) fn roots(&self) -> Result<Vec<Certificate<'_>>, AppraiseError> {
        self.roots.iter().map(|der| Certificate::parse("root", der)).collect()
    }

    pub(crate) fn intermediates(&self) -> Result<Vec<Certificate<'_>>, AppraiseError> {
        self.intermediates.iter().map(|der| Certificate::parse("intermediate", der)).collect()
    }

    /// No certificate of a path is on the list of its issuer.
    pub(crate) fn check_revocation(
        &self,
        leaf: &Certificate<'_>,
        path: &[&Certificate<'_>],
        now: u64,
        checks: &mut Checklist,
    ) -> Result<(), AppraiseError> {
        crl::check(leaf, path, &self.revocation, self.max_crl_age, now, checks)
    }
}
