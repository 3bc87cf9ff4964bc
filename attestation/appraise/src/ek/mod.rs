//! The endorsement key: `TrustedEk` is the proof that a pool trusts it.

pub(crate) mod container;
pub(crate) mod crl;
pub(crate) mod deny;
pub(crate) mod leaf;
pub(crate) mod path;
pub(crate) mod pin;
mod rsa_key;
mod strength;
pub(crate) mod tpm_identity;
pub(crate) mod trust;

use der::Decode;
use plastron_attestation_tcg::{Name, QualifiedName, TpmtPublic};

use crate::certificate::Certificate;
use crate::utc::Utc;
use crate::{AppraiseError, Check, Checklist, DenyList, EkFingerprint, EkTrust, ExpiredEk, Pool, TpmIdentity};
use container::certificate_in_container;

/// Most intermediate certificates that come with an EK; a longer chain has no path either.
pub const MAX_EK_INTERMEDIATES: usize = 8;

/// What a TPM shows of its EK, as it arrived or as it was stored.
#[derive(Clone, Copy, Debug)]
pub struct EkEvidence<'a> {
    /// TPMT_PUBLIC.
    pub public: &'a [u8],
    /// The certificate, in its NV container or bare.
    pub certificate: Option<&'a [u8]>,
    /// Intermediates from NV, in their containers or bare.
    pub intermediates: &'a [Vec<u8>],
}

/// An EK that a pool trusts.
#[derive(Debug)]
pub struct TrustedEk {
    fingerprint: EkFingerprint,
    public: Vec<u8>,
    name: Name,
    qualified_name: QualifiedName,
    certificate: Option<Vec<u8>>,
    intermediates: Vec<Vec<u8>>,
    pool: String,
    identity: Option<TpmIdentity>,
}

impl TrustedEk {
    /// Judges a TPM that was not known: the first pool, in the order of configuration, that trusts the EK takes the node, unless one
    /// before it finds that the operator denied it.
    ///
    /// Checks, in order: public area and container parse; deny list; template; strength; then, as the pool says, the certificate
    /// (`leaf`), its validity, its path, the revocation of each certificate on it, and the pin.
    pub fn judge(
        evidence: EkEvidence<'_>,
        pools: &[Pool],
        deny: &DenyList,
        now: u64,
        checks: &mut Checklist,
    ) -> Result<Self, AppraiseError> {
        if pools.is_empty() {
            return Err(AppraiseError::NoPool);
        }
        let ek = Candidate::read(evidence)?;
        let mut budget = path::Budget::new();
        let mut failures = Vec::new();
        for pool in pools {
            let mut attempt = Checklist::new();
            match ek.trusted_by(pool, deny, now, &mut budget, &mut attempt) {
                Ok(trusted) => {
                    checks.append(attempt);
                    return Ok(trusted);
                }
                // What the operator denied, no later pool makes good.
                Err(denied) if denied.check() == Check::DenyList => {
                    checks.append(attempt);
                    return Err(denied);
                }
                Err(failure) => failures.push((pool, attempt, failure)),
            }
        }
        let fingerprint = ek.fingerprint;
        let reasons =
            failures.iter().map(|(pool, _, failure)| format!("{:?}: {failure}", pool.name)).collect::<Vec<_>>();
        // Pools for other templates say nothing about this EK; a single one that does names its check.
        failures.sort_by_key(|(_, attempt, _)| attempt.records().len());
        let decisive = failures.iter().filter(|(_, _, failure)| failure.check() != Check::EkTemplate).count();
        match failures.pop() {
            Some((_, attempt, failure)) if decisive <= 1 => {
                checks.append(attempt);
                Err(failure)
            }
            _ => Err(AppraiseError::NoPoolTrusts { fingerprint, reasons: reasons.join("; ") }),
        }
    }

    /// Judges a known TPM again, from its stored record: only the pool that took it can keep it.
    pub fn judge_again(
        evidence: EkEvidence<'_>,
        pool: &Pool,
        deny: &DenyList,
        now: u64,
        checks: &mut Checklist,
    ) -> Result<Self, AppraiseError> {
        Candidate::read(evidence)?.trusted_by(pool, deny, now, &mut path::Budget::new(), checks)
    }

    /// The node's identity.
    pub fn fingerprint(&self) -> EkFingerprint {
        self.fingerprint
    }

    /// TPMT_PUBLIC.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The pool that trusts it.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// What the manufacturer certified; `None` where the EK is trusted by its pin alone.
    pub fn identity(&self) -> Option<&TpmIdentity> {
        self.identity.as_ref()
    }

    pub(crate) fn qualified_name(&self) -> &QualifiedName {
        &self.qualified_name
    }

    /// Its Name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    pub(crate) fn intermediates(&self) -> &[Vec<u8>] {
        &self.intermediates
    }
}

/// An EK whose bytes parse.
struct Candidate<'a> {
    public: TpmtPublic<'a>,
    fingerprint: EkFingerprint,
    certificate: Option<&'a [u8]>,
    intermediates: &'a [Vec<u8>],
}

/// What a certificate proved, with the certificates that proved it.
struct Certified {
    identity: TpmIdentity,
    certificate: Vec<u8>,
    intermediates: Vec<Vec<u8>>,
}

impl<'a> Candidate<'a> {
    fn read(evidence: EkEvidence<'a>) -> Result<Self, AppraiseError> {
        let EkEvidence { public, certificate, intermediates } = evidence;
        if intermediates.len() > MAX_EK_INTERMEDIATES {
            let (got, limit) = (intermediates.len(), MAX_EK_INTERMEDIATES);
            return Err(AppraiseError::TooManyIntermediates { got, limit });
        }
        let public = TpmtPublic::parse(public)?;
        Ok(Self { fingerprint: EkFingerprint::of(&public)?, public, certificate, intermediates })
    }

    fn trusted_by(
        &self,
        pool: &Pool,
        deny: &DenyList,
        now: u64,
        budget: &mut path::Budget,
        checks: &mut Checklist,
    ) -> Result<TrustedEk, AppraiseError> {
        deny.check_key(self.fingerprint)?;
        if let Some(field) = pool.template.difference(&self.public) {
            return Err(AppraiseError::EkTemplate { pool: pool.name.clone(), template: pool.template.name(), field });
        }
        checks.pass(Check::EkTemplate, pool.template.name());
        strength::check(&self.public.key)?;
        checks.pass(Check::EkStrength, "");
        let certified = match &pool.trust {
            EkTrust::Chain(_) => Some(self.check_chain(pool, deny, now, budget, checks)?),
            EkTrust::Pin(pins) => {
                let pin = pin::check(self.fingerprint, pins, &pool.name, now)?;
                checks.pass(Check::EkPin, pin.provenance());
                checks.not_checked(Check::EkPath, pin.uncertified());
                None
            }
            EkTrust::ChainAndPin(_, pins) => {
                let certified = self.check_chain(pool, deny, now, budget, checks)?;
                checks.pass(Check::EkPin, pin::check(self.fingerprint, pins, &pool.name, now)?.provenance());
                Some(certified)
            }
            EkTrust::ChainOrPin(_, pins) => self.check_chain_or_pin(pool, pins, deny, now, budget, checks)?,
        };
        match &certified {
            None if deny.needs_certificate() => {
                let unknown = "the TPM's model is not known and its certificate not judged: nobody certified it";
                checks.not_checked(Check::DenyList, unknown);
            }
            _ => checks.pass(Check::DenyList, ""),
        }
        let (identity, certificate, intermediates) = match certified {
            Some(Certified { identity, certificate, intermediates }) => {
                (Some(identity), Some(certificate), intermediates)
            }
            None => (None, None, Vec::new()),
        };
        checks.pass(Check::Pool, format!("{:?}", pool.name));
        let name = self.public.name();
        Ok(TrustedEk {
            fingerprint: self.fingerprint,
            qualified_name: QualifiedName::endorsement_hierarchy().child(self.public.name_alg, &name),
            name,
            public: self.public.as_bytes().to_vec(),
            certificate,
            intermediates,
            pool: pool.name.clone(),
            identity,
        })
    }

    fn check_chain_or_pin(
        &self,
        pool: &Pool,
        pins: &[crate::EkPin],
        deny: &DenyList,
        now: u64,
        budget: &mut path::Budget,
        checks: &mut Checklist,
    ) -> Result<Option<Certified>, AppraiseError> {
        let mut attempt = Checklist::new();
        match self.check_chain(pool, deny, now, budget, &mut attempt) {
            Ok(certified) => {
                checks.append(attempt);
                Ok(Some(certified))
            }
            // What the operator denied, a pin does not make good.
            Err(denied) if denied.check() == Check::DenyList => Err(denied),
            Err(failure) => {
                let pin =
                    pin::check(self.fingerprint, pins, &pool.name, now).map_err(|unpinned| match self.certificate {
                        Some(_) => failure.clone(),
                        None => unpinned,
                    })?;
                checks.pass(Check::EkPin, pin.provenance());
                checks.not_checked(Check::EkPath, format!("{} ({failure})", pin.uncertified()));
                Ok(None)
            }
        }
    }

    fn check_chain(
        &self,
        pool: &Pool,
        deny: &DenyList,
        now: u64,
        budget: &mut path::Budget,
        checks: &mut Checklist,
    ) -> Result<Certified, AppraiseError> {
        let (EkTrust::Chain(anchors) | EkTrust::ChainAndPin(anchors, _) | EkTrust::ChainOrPin(anchors, _)) =
            &pool.trust
        else {
            return Err(AppraiseError::EkCertificateMissing { pool: pool.name.clone() });
        };
        let container =
            self.certificate.ok_or_else(|| AppraiseError::EkCertificateMissing { pool: pool.name.clone() })?;
        let der = certificate_in_container("EK", container)?;
        let certificate = Certificate::parse("EK", der)?;
        let identity = leaf::check(&certificate, &self.public, checks)?;
        deny.check_certificate(certificate.issuer(), certificate.serial())?;
        deny.check_model(&identity)?;
        match (certificate.check_validity(now), pool.expired_ek) {
            (Ok(()), _) => checks.pass(Check::EkValidity, ""),
            (Err(AppraiseError::Expired { not_after, .. }), ExpiredEk::Accepted) => {
                checks.not_checked(
                    Check::EkValidity,
                    format!("expired at {}; the pool accepts expired_ek", Utc(not_after)),
                );
            }
            (Err(failure), _) => return Err(failure),
        }
        let roots = anchors.roots()?;
        let mut intermediates = anchors.intermediates()?;
        let own = self.intermediates.iter().map(|bytes| certificate_in_container("intermediate", bytes));
        let own = own.collect::<Result<Vec<_>, _>>()?;
        for der in &own {
            intermediates.push(Certificate::parse("intermediate", der)?);
        }
        let path = path::check(&certificate, &roots, &intermediates, now, budget)?;
        let names: Vec<_> = path.iter().map(|issuer| readable_name(issuer.subject())).collect();
        checks.pass(Check::EkPath, names.join(" < "));
        anchors.check_revocation(&certificate, &path, now, checks)?;
        Ok(Certified {
            identity,
            certificate: der.to_vec(),
            intermediates: own.into_iter().map(<[u8]>::to_vec).collect(),
        })
    }
}

/// A distinguished name for people, escaped; its hexadecimal form where it can't be read.
pub(crate) fn readable_name(der: &[u8]) -> String {
    match x509_cert::name::Name::from_der(der) {
        Ok(name) => format!("{:?}", name.to_string()),
        Err(_) => {
            let shown = der.get(..64).unwrap_or(der);
            format!("0x{}", hex::encode(shown))
        }
    }
}
