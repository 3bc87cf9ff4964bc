//! The trust domain's bundle.

use std::sync::Arc;

use plastron_spiffe::{Bundle, BundleError as AuthorityFault, JwtAuthority, TrustDomain, X509Authority};

use crate::audit;
use crate::authorization::{Permit, rpc};
use crate::ledger::{Ledger, Write};
use crate::limits::MAX_AUTHORITIES;
use crate::store::StoreError;

/// Serves the bundle and lets administrators add to it.
pub struct Bundles {
    ledger: Arc<Ledger>,
    trust_domain: TrustDomain,
}

impl Bundles {
    pub(crate) fn new(ledger: Arc<Ledger>, trust_domain: TrustDomain) -> Self {
        Self { ledger, trust_domain }
    }

    /// The bundle of the server's own trust domain. Cheap: it is shared, not copied.
    pub fn get(&self, _permit: Permit<rpc::GetBundle>) -> Arc<Bundle> {
        self.current()
    }

    /// The same, for the server's own use (TLS).
    pub fn current(&self) -> Arc<Bundle> {
        self.ledger.state().bundle().unwrap_or_else(|| Arc::new(Bundle::empty(self.trust_domain.clone())))
    }

    /// Adds authorities that the bundle does not have yet; a JWT key that it has gets the later of its two ends. Checks, in order: there
    /// are some, and not too many; each parses; none has the key ID of another key. That one is tainted is not for the caller to say
    /// here (`local_authority`): the flag is dropped, as in SPIRE.
    pub async fn append(
        &self,
        permit: Permit<rpc::AppendBundle>,
        x509: Vec<X509Authority>,
        jwt: Vec<JwtAuthority>,
    ) -> Result<Arc<Bundle>, BundleError> {
        if x509.is_empty() && jwt.is_empty() {
            return Err(BundleError::Nothing);
        }
        let present = self.current();
        let total = present.x509_authorities.len() + present.jwt_authorities.len() + x509.len() + jwt.len();
        if total > MAX_AUTHORITIES {
            return Err(BundleError::TooMany { got: total });
        }
        let read = |(index, X509Authority { certificate, tainted: _ })| {
            X509Authority::parse(certificate).map_err(|source| BundleError::X509Authority { index, source })
        };
        let x509 = x509.into_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let read = |(index, JwtAuthority { key_id, public_key, expires_at, tainted: _ })| {
            JwtAuthority::parse(key_id, public_key, expires_at)
                .map_err(|source| BundleError::JwtAuthority { index, source })
        };
        let jwt = jwt.into_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        for (index, authority) in jwt.iter().enumerate() {
            key_id_is_free(authority, present.jwt_authorities.iter().chain(jwt.iter().take(index)))?;
        }
        let wanted = jwt.clone();
        let subject = format!("{} X.509 and {} JWT authorities", x509.len(), jwt.len());
        let trust_domain = self.trust_domain.clone();
        let result: Result<Arc<Bundle>, StoreError> = self
            .ledger
            .write(Write::AppendToBundle, move |store| async move {
                store.append_authorities(trust_domain, x509, jwt).await
            })
            .await;
        // The store keeps the first of two that came at once.
        let result = result.map_err(BundleError::Store).and_then(|bundle| {
            wanted.iter().try_for_each(|authority| key_id_is_free(authority, bundle.jwt_authorities.iter()))?;
            Ok(bundle)
        });
        let outcome = audit::outcome(&result);
        audit::change(permit.identity(), "bundle append", &subject, &outcome);
        result
    }
}

/// No token that names a key is verified with another one.
fn key_id_is_free<'a>(
    authority: &JwtAuthority,
    mut known: impl Iterator<Item = &'a JwtAuthority>,
) -> Result<(), BundleError> {
    let JwtAuthority { key_id, public_key, .. } = authority;
    if known.any(|known| known.key_id == *key_id && known.public_key != *public_key) {
        return Err(BundleError::KeyIdTaken { key_id: key_id.clone() });
    }
    Ok(())
}

/// Why the bundle was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The request has none: InvalidArgument.
    #[error("no authorities to append")]
    Nothing,
    /// It would have too many authorities: InvalidArgument.
    #[error("the bundle would have {got} authorities, of at most {MAX_AUTHORITIES}")]
    TooMany {
        /// How many there would be.
        got: usize,
    },
    /// A certificate that is not a CA's: InvalidArgument.
    #[error("X.509 authority {index} is refused")]
    X509Authority {
        /// Its index in the request.
        index: usize,
        /// What is wrong with it.
        source: AuthorityFault,
    },
    /// A key without an identifier, or that no token can be verified with: InvalidArgument.
    #[error("JWT authority {index} is refused")]
    JwtAuthority {
        /// Its index in the request.
        index: usize,
        /// What is wrong with it.
        source: AuthorityFault,
    },
    /// Tokens that name it would be verified with the other key: AlreadyExists.
    #[error("the bundle has another JWT authority with the key ID {key_id:?}")]
    KeyIdTaken {
        /// The identifier.
        key_id: String,
    },
    /// The store failed.
    #[error("the bundle can't be stored")]
    Store(#[from] StoreError),
}
