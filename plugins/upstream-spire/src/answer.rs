//! From the messages of the server above to bundles and keys. Its bundle is taken as a whole or not at all: a part of it would look as if
//! the rest had been revoked.

use plastron_proto::types;
use plastron_spiffe::x509::MAX_CHAIN_LEN;
use plastron_spiffe::{Bundle, BundleError, JwtAuthority, TrustDomain, X509Authority};

/// Most X.509 or JWT authorities of an answer: agents draw the same line.
const MAX_AUTHORITIES: usize = 1024;

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// No certificate, or more than a chain has.
    #[error("a chain has 1 to {MAX_CHAIN_LEN} certificates, not {got}")]
    Chain {
        /// How many there are.
        got: usize,
    },
    /// Another trust domain.
    #[error("it is the bundle of {got:?}, and not of trust domain {wanted}")]
    OtherTrustDomain {
        /// In the answer.
        got: String,
        /// This server's.
        wanted: TrustDomain,
    },
    /// Nobody could be verified with it.
    #[error("the bundle has no X.509 authority")]
    NoRoots,
    /// More than a bundle can have.
    #[error("{got} {what}, of at most {MAX_AUTHORITIES}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        got: usize,
    },
    /// An X.509 authority that can't be one.
    #[error("X.509 authority {index} can't be used")]
    X509Authority {
        /// Its place.
        index: usize,
        /// Why not.
        source: BundleError,
    },
    /// A JWT authority that can't be one.
    #[error("JWT authority {index} can't be used")]
    JwtAuthority {
        /// Its place.
        index: usize,
        /// Why not.
        source: BundleError,
    },
}

/// A CA with what leads to its root; whether it does, `server/core` checks.
pub(crate) fn chain(chain: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, AnswerFault> {
    if (1..=MAX_CHAIN_LEN).contains(&chain.len()) { Ok(chain) } else { Err(AnswerFault::Chain { got: chain.len() }) }
}

/// The bundle of this trust domain. Checks, in order: the trust domain; that there are X.509 authorities; not too many; each of them.
pub(crate) fn bundle(message: types::Bundle, own: &TrustDomain) -> Result<Bundle, AnswerFault> {
    let types::Bundle {
        trust_domain,
        x509_authorities,
        jwt_authorities,
        refresh_hint,
        sequence_number,
        wit_authorities: _,
    } = message;
    if TrustDomain::parse(&trust_domain).as_ref() != Ok(own) {
        return Err(AnswerFault::OtherTrustDomain { got: trust_domain, wanted: own.clone() });
    }
    if x509_authorities.is_empty() {
        return Err(AnswerFault::NoRoots);
    }
    check_count("X.509 authorities", x509_authorities.len())?;
    let read = |(index, types::X509Certificate { asn1, tainted })| {
        let authority = X509Authority::parse(asn1).map_err(|source| AnswerFault::X509Authority { index, source })?;
        Ok(X509Authority { tainted, ..authority })
    };
    let x509_authorities = x509_authorities.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let jwt_authorities = jwt_keys(jwt_authorities)?;
    Ok(Bundle { trust_domain: own.clone(), x509_authorities, jwt_authorities, refresh_hint, sequence_number })
}

/// JWT authorities. Checks, in order: not too many; each of them.
pub(crate) fn jwt_keys(keys: Vec<types::JwtKey>) -> Result<Vec<JwtAuthority>, AnswerFault> {
    check_count("JWT authorities", keys.len())?;
    let read = |(index, types::JwtKey { public_key, key_id, expires_at, tainted })| {
        let authority = JwtAuthority::parse(key_id, public_key, expires_at)
            .map_err(|source| AnswerFault::JwtAuthority { index, source })?;
        Ok(JwtAuthority { tainted, ..authority })
    };
    keys.into_iter().enumerate().map(read).collect()
}

fn check_count(what: &'static str, got: usize) -> Result<(), AnswerFault> {
    if got > MAX_AUTHORITIES { Err(AnswerFault::TooMany { what, got }) } else { Ok(()) }
}
