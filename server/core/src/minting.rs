//! SVIDs that an administrator mints for whom no agent serves (MintX509SVID, MintJWTSVID): any workload's ID in the trust domain.
//!
//! An X.509-SVID has what its CSR asks for: one URI, DNS names, a subject. Stricter than SPIRE, which drops silently what an SVID
//! can't have: a CSR that asks for an IP address, an email address or the like is refused, so that nobody gets less than they asked for.

mod error;

use std::sync::Arc;
use std::time::Duration;

use plastron_spiffe::x509::{Subject, VerifiedCsr, verify_csr};
use plastron_spiffe::{SpiffeId, TrustDomain, check_dns_names};

use crate::audience::Audience;
use crate::audit::{AuditLog, Issue, Recorded};
use crate::authorization::{Permit, rpc};
use crate::ca::{CertificateAuthority, IssuedJwt, IssuedSvid, JwtLeaf, Leaf};

pub use error::{MintError, NotAWorkload};

/// Mints SVIDs.
pub struct Minting {
    ca: Arc<CertificateAuthority>,
    audit: Arc<AuditLog>,
    default_x509_svid_ttl: Duration,
    default_jwt_svid_ttl: Duration,
}

impl Minting {
    pub(crate) fn new(
        ca: Arc<CertificateAuthority>,
        audit: Arc<AuditLog>,
        default_x509_svid_ttl: Duration,
        default_jwt_svid_ttl: Duration,
    ) -> Self {
        Self { ca, audit, default_x509_svid_ttl, default_jwt_svid_ttl }
    }

    /// Mints an X.509-SVID for the key of a CSR. `ttl`: seconds; 0 and less mean the default, as in SPIRE.
    ///
    /// Checks, in order: there is a CSR; its form, key and signature; exactly one URI; that it is a workload's ID in this trust domain;
    /// no SANs of other kinds; DNS names; the subject.
    pub async fn mint_x509_svid(
        &self,
        permit: Permit<rpc::MintX509Svid>,
        csr: &[u8],
        ttl: i32,
    ) -> Result<Recorded<IssuedSvid>, MintError> {
        if csr.is_empty() {
            return Err(MintError::MissingCsr);
        }
        let VerifiedCsr { public_key, uris, dns_names, other_names, subject } =
            verify_csr(csr).map_err(MintError::csr)?;
        let id = match uris.as_slice() {
            [] => return Err(MintError::NoUri),
            [uri] => SpiffeId::parse(uri).map_err(MintError::Uri)?,
            several => return Err(MintError::SeveralUris { got: several.len() }),
        };
        is_workload(&id, self.ca.trust_domain()).map_err(MintError::UriNotAWorkload)?;
        if let Some(kind) = other_names.first() {
            return Err(MintError::OtherName { kind: *kind });
        }
        check_dns_names(&dns_names).map_err(MintError::dns_name)?;
        let subject = Subject::from_name(&subject)?;
        let leaf = Leaf {
            spiffe_id: &id,
            public_key: &public_key,
            subject: subject.as_ref(),
            dns_names: &dns_names,
            ttl: lifetime(ttl, self.default_x509_svid_ttl),
            not_after: None,
        };
        let svid = self.ca.sign(leaf).await.map_err(MintError::SignX509)?;
        let issue = Issue { actor: permit.identity(), purpose: "mint", withhold_id: false };
        Ok(self.audit.record(issue, None, svid).await?)
    }

    /// Mints a JWT-SVID. `ttl`: seconds; 0 and less mean the default, as in SPIRE.
    ///
    /// Checks, in order: the ID is a workload's in this trust domain; there is an audience, and a token has room for it.
    pub async fn mint_jwt_svid(
        &self,
        permit: Permit<rpc::MintJwtSvid>,
        id: &SpiffeId,
        audience: Vec<String>,
        ttl: i32,
    ) -> Result<Recorded<IssuedJwt>, MintError> {
        is_workload(id, self.ca.trust_domain()).map_err(MintError::NotAWorkload)?;
        let audience = Audience::new(audience)?;
        let leaf = JwtLeaf {
            spiffe_id: id,
            audience: audience.as_slice(),
            ttl: lifetime(ttl, self.default_jwt_svid_ttl),
            not_after: None,
            include_jti: false,
        };
        let token = self.ca.sign_jwt(leaf).await.map_err(MintError::SignJwt)?;
        let issue = Issue { actor: permit.identity(), purpose: "mint", withhold_id: false };
        Ok(self.audit.record(issue, None, token).await?)
    }
}

/// Seconds as the wire has them; 0 and less mean the default.
fn lifetime(ttl: i32, default: Duration) -> Duration {
    match u64::try_from(ttl) {
        Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
        _ => default,
    }
}

/// Who mints can be anyone's workload, and never a server or an agent.
fn is_workload(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), NotAWorkload> {
    let (shown, trust_domain_of) = (|| id.clone(), || trust_domain.clone());
    if id.trust_domain() != trust_domain {
        return Err(NotAWorkload::OtherTrustDomain { id: shown(), trust_domain: trust_domain_of() });
    }
    if id.is_trust_domain() {
        return Err(NotAWorkload::RootPath { id: shown(), trust_domain: trust_domain_of() });
    }
    if id.is_reserved() {
        return Err(NotAWorkload::Reserved { id: shown(), trust_domain: trust_domain_of() });
    }
    Ok(())
}
