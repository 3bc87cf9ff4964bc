//! What the bundle of a foreign trust domain must be like to be kept.

use plastron_spiffe::bundle::MAX_AUTHORITIES;
use plastron_spiffe::{Bundle, BundleError, JwtAuthority, X509Authority};

/// Reads every authority. Checks, in order: not too many; each X.509 authority is a CA; each JWT authority has a key identifier and a key
/// that tokens can be verified with; refresh hint and sequence number can be stored. What is there twice is kept once; of two keys with one
/// identifier the last counts. Nobody taints a foreign authority: the flag is dropped, as in SPIRE.
pub(super) fn checked(bundle: Bundle) -> Result<Bundle, ForeignBundleFault> {
    let Bundle { trust_domain, x509_authorities, jwt_authorities, refresh_hint, sequence_number } = bundle;
    let mut checked = Bundle { refresh_hint, sequence_number, ..Bundle::empty(trust_domain) };
    checked.x509_authorities = x509(x509_authorities)?;
    checked.jwt_authorities = jwt(jwt_authorities)?;
    if refresh_hint < 0 {
        return Err(ForeignBundleFault::RefreshHint { got: refresh_hint });
    }
    if i64::try_from(sequence_number).is_err() {
        return Err(ForeignBundleFault::Sequence { got: sequence_number });
    }
    Ok(checked)
}

fn x509(authorities: Vec<X509Authority>) -> Result<Vec<X509Authority>, ForeignBundleFault> {
    limit("X.509 authorities", authorities.len())?;
    let mut checked: Vec<X509Authority> = Vec::with_capacity(authorities.len());
    for X509Authority { certificate, tainted: _ } in authorities {
        let authority = X509Authority::parse(certificate).map_err(ForeignBundleFault::X509Authority)?;
        if !checked.contains(&authority) {
            checked.push(authority);
        }
    }
    Ok(checked)
}

fn jwt(authorities: Vec<JwtAuthority>) -> Result<Vec<JwtAuthority>, ForeignBundleFault> {
    limit("JWT authorities", authorities.len())?;
    let mut checked: Vec<JwtAuthority> = Vec::with_capacity(authorities.len());
    for JwtAuthority { key_id, public_key, expires_at, tainted: _ } in authorities {
        let authority =
            JwtAuthority::parse(key_id, public_key, expires_at).map_err(ForeignBundleFault::JwtAuthority)?;
        checked.retain(|known| known.key_id != authority.key_id);
        checked.push(authority);
    }
    Ok(checked)
}

fn limit(what: &'static str, got: usize) -> Result<(), ForeignBundleFault> {
    if got > MAX_AUTHORITIES { Err(ForeignBundleFault::TooMany { what, got }) } else { Ok(()) }
}

/// A bundle in words, for the audit log.
pub(super) fn describe(bundle: &Bundle) -> String {
    let Bundle { trust_domain, x509_authorities, jwt_authorities, refresh_hint: _, sequence_number } = bundle;
    let (x509, jwt) = (x509_authorities.len(), jwt_authorities.len());
    format!("{trust_domain}: sequence number {sequence_number}, {x509} X.509 and {jwt} JWT authorities")
}

/// Why the bundle of a foreign trust domain can't be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignBundleFault {
    /// More than peers can be asked to look at.
    #[error("{got} {what}, of at most {MAX_AUTHORITIES}")]
    TooMany {
        /// Of which kind.
        what: &'static str,
        /// How many.
        got: usize,
    },
    /// A certificate that is not a CA's.
    #[error("unable to parse X.509 authority")]
    X509Authority(#[source] BundleError),
    /// A key without an identifier, or that no token can be verified with.
    #[error("unable to parse JWT authority")]
    JwtAuthority(#[source] BundleError),
    /// A time that runs backwards.
    #[error("refresh hint {got} is negative")]
    RefreshHint {
        /// Seconds.
        got: i64,
    },
    /// No database keeps it.
    #[error("sequence number {got} is too large")]
    Sequence {
        /// The number.
        got: u64,
    },
}
