//! Downstream servers: servers of the same trust domain whose CA hangs from this one's (NewDownstreamX509CA), and whose JWT keys
//! this one publishes (PublishJWTAuthority). Which SVID is a downstream server's, an entry says.

use std::sync::Arc;
use std::time::Duration;

use plastron_spiffe::x509::{CsrError, VerifiedCsr, verify_csr};
use plastron_spiffe::{Bundle, BundleError as AuthorityFault, JwtAuthority, SpiffeId, TrustDomain};
use tokio::sync::Mutex;

use crate::audit::{self, AuditLog, AuditSinkError, Issue, Recorded};
use crate::authorization::{Permit, rpc};
use crate::ca::{CaError, CertificateAuthority, DownstreamCa, SignError};
use crate::clock::{Clock, unix_seconds};
use crate::ledger::{Ledger, Write};
use crate::limits::{MAX_AUTHORITIES, MAX_KEYS_PASSED_UP, MAX_PUBLISHED_KEY_ID_LEN, MAX_PUBLISHED_KEYS};
use crate::store::{PublishError, Published};

/// Serves downstream servers.
pub struct Nesting {
    ca: Arc<CertificateAuthority>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditLog>,
    /// Below another server, one publication at a time: what two publish at once would go up both where there is room for one.
    publishing: Mutex<()>,
}

impl Nesting {
    pub(crate) fn new(
        ca: Arc<CertificateAuthority>,
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditLog>,
    ) -> Self {
        Self { ca, ledger, clock, audit, publishing: Mutex::default() }
    }

    /// A CA certificate for the key of a CSR, and the bundle that holds its root. `preferred_ttl`: seconds; 0 and less mean the lifetime
    /// of this server's own CAs. Of the CSR only the key counts. Checks, in order: the CSR's form, key and signature; after the signature and
    /// its audit line, that the caller is a downstream server still.
    pub async fn new_downstream_x509_ca(
        &self,
        permit: Permit<rpc::NewDownstreamX509Ca>,
        csr: &[u8],
        preferred_ttl: i32,
    ) -> Result<(Recorded<DownstreamCa>, Arc<Bundle>), NestingError> {
        let VerifiedCsr { public_key, .. } = verify_csr(csr).map_err(|source| match source {
            CsrError::Signature => NestingError::CsrSignature,
            source => NestingError::Csr(source),
        })?;
        let ttl = u64::try_from(preferred_ttl).ok().filter(|ttl| *ttl > 0).map(Duration::from_secs);
        let signed = self.ca.sign_downstream(&public_key, ttl).await.map_err(NestingError::Sign)?;
        let issue = Issue { actor: permit.identity(), purpose: "downstream server", withhold_id: false };
        let recorded = self.audit.record(issue, None, signed).await?;
        self.still_downstream(permit.caller().id())?;
        Ok((recorded, self.bundle()))
    }

    /// Puts a downstream server's JWT authority into the bundle, unless it is there. Checks, in order: its key and identifier; that it ends,
    /// and not before now; there is no other key with this identifier; the bundle does not grow too large, nor the caller's
    /// share of it, nor where this server is a downstream server itself all callers' part of its own; then its upstream takes it.
    pub async fn publish_jwt_authority(
        &self,
        permit: Permit<rpc::PublishJwtAuthority>,
        authority: JwtAuthority,
    ) -> Result<Arc<Bundle>, NestingError> {
        let JwtAuthority { key_id, public_key, expires_at, tainted: _ } = authority;
        let authority = JwtAuthority::parse(key_id, public_key, expires_at).map_err(NestingError::JwtAuthority)?;
        if authority.key_id.len() > MAX_PUBLISHED_KEY_ID_LEN {
            return Err(NestingError::KeyIdTooLong { got: authority.key_id.len() });
        }
        if expires_at <= unix_seconds(self.clock.now()) {
            return Err(NestingError::Ended { expires_at });
        }
        let present = self.bundle();
        if let Some(known) = present.jwt_authorities.iter().find(|known| known.key_id == authority.key_id) {
            return if known.public_key == authority.public_key {
                Ok(present)
            } else {
                Err(NestingError::KeyIdTaken { key_id: authority.key_id })
            };
        }
        let total = present.x509_authorities.len() + present.jwt_authorities.len() + 1;
        if total > MAX_AUTHORITIES {
            return Err(NestingError::TooMany { got: total });
        }
        let is_below = self.ca.upstream_bundle().is_some();
        let _publishing = if is_below { Some(self.publishing.lock().await) } else { None };
        if is_below {
            self.check_shares(permit.caller().id()).await?;
        }
        // Whoever takes it as published may sign with it: it is known up to the root before.
        self.ca.publish_upstream(&authority).await.map_err(|source| NestingError::Upstream(Box::new(source)))?;
        let subject = format!("{:?} until {expires_at}", authority.key_id);
        let (trust_domain, wanted) = (self.trust_domain().clone(), authority.clone());
        let publisher = permit.caller().id().clone();
        let now = unix_seconds(self.clock.now());
        let published = Published { authority, publisher, share: MAX_PUBLISHED_KEYS, now };
        let result: Result<Arc<Bundle>, PublishError> = self
            .ledger
            .write(Write::PublishDownstreamJwtAuthority, move |store| async move {
                store.publish_jwt_authority(trust_domain, published).await
            })
            .await;
        // The store keeps the first of two that came at once.
        let result = result.map_err(NestingError::Publish).and_then(|bundle| {
            let is_kept = |kept: &JwtAuthority| kept.key_id == wanted.key_id && kept.public_key == wanted.public_key;
            if bundle.jwt_authorities.iter().any(is_kept) {
                Ok(bundle)
            } else {
                Err(NestingError::KeyIdTaken { key_id: wanted.key_id })
            }
        });
        audit::change(permit.identity(), "jwt authority publish", &subject, &audit::outcome(&result));
        result
    }

    /// What goes up is this server's there: what would be refused here must not, and it needs a place for its own.
    async fn check_shares(&self, publisher: &SpiffeId) -> Result<(), NestingError> {
        let (store, now) = (self.ledger.store(), unix_seconds(self.clock.now()));
        let failed = |source| NestingError::Publish(PublishError::Store(source));
        let got = store.living_jwt_authorities(Some(publisher.clone()), now).await.map_err(failed)?;
        if got >= MAX_PUBLISHED_KEYS {
            return Err(NestingError::Publish(PublishError::ShareUsed { got, share: MAX_PUBLISHED_KEYS }));
        }
        let got = store.living_jwt_authorities(None, now).await.map_err(failed)?;
        if got >= MAX_KEYS_PASSED_UP {
            return Err(NestingError::BelowUsed { got, most: MAX_KEYS_PASSED_UP });
        }
        Ok(())
    }

    fn still_downstream(&self, id: &SpiffeId) -> Result<(), NestingError> {
        let now = unix_seconds(self.clock.now());
        if self.ledger.state().is_downstream(id, now) { Ok(()) } else { Err(NestingError::NotDownstream) }
    }

    fn trust_domain(&self) -> &TrustDomain {
        self.ca.trust_domain()
    }

    fn bundle(&self) -> Arc<Bundle> {
        self.ledger.state().bundle().unwrap_or_else(|| Arc::new(Bundle::empty(self.trust_domain().clone())))
    }
}

/// Why a downstream server does not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum NestingError {
    /// No request for a certificate: InvalidArgument.
    #[error("malformed CSR")]
    Csr(#[source] CsrError),
    /// Its sender does not hold the key: InvalidArgument.
    #[error("invalid CSR signature")]
    CsrSignature,
    /// Its entry was deleted meanwhile: PermissionDenied.
    #[error("caller is not a downstream workload")]
    NotDownstream,
    /// The CA could not sign.
    #[error("failed to sign downstream X.509 CA")]
    Sign(#[source] SignError),
    /// It could not be recorded: Unavailable.
    #[error("the CA certificate can't be recorded")]
    Audit(#[from] AuditSinkError),
    /// A key without an identifier, or that no token can be verified with: InvalidArgument.
    #[error("invalid JWT authority")]
    JwtAuthority(#[source] AuthorityFault),
    /// Tokens that name it would be verified with the other key: AlreadyExists.
    #[error("the bundle has another JWT authority with the key ID {key_id:?}")]
    KeyIdTaken {
        /// The identifier.
        key_id: String,
    },
    /// Every agent and every peer would keep it: InvalidArgument.
    #[error("a key ID of {got} bytes, of at most {MAX_PUBLISHED_KEY_ID_LEN}")]
    KeyIdTooLong {
        /// Its length.
        got: usize,
    },
    /// It would be of no use, or stay for ever: InvalidArgument.
    #[error("the JWT authority's end, {expires_at}, is not in the future")]
    Ended {
        /// Unix seconds; 0 for none.
        expires_at: i64,
    },
    /// It would have too many authorities: ResourceExhausted.
    #[error("the bundle would have {got} authorities, of at most {MAX_AUTHORITIES}")]
    TooMany {
        /// How many there would be.
        got: usize,
    },
    /// They go up to this server's own upstream, where its own keys need a place: ResourceExhausted.
    #[error("servers below this one have {got} JWT authorities in the bundle above, of at most {most}")]
    BelowUsed {
        /// How many there are.
        got: usize,
        /// The limit.
        most: usize,
    },
    /// This server's own upstream did not take it.
    #[error("failed to publish JWT key upstream")]
    Upstream(#[source] Box<CaError>),
    /// Its share of the bundle is used up: ResourceExhausted. Or the store failed.
    #[error("failed to publish JWT key")]
    Publish(#[source] PublishError),
}
