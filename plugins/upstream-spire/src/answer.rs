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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, IsCa, KeyPair, PublicKeyData as _};

    use super::*;

    fn own() -> TrustDomain {
        TrustDomain::parse("example.org").unwrap()
    }

    fn root(is_ca: IsCa) -> types::X509Certificate {
        let mut params = CertificateParams::default();
        params.is_ca = is_ca;
        let asn1 = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        types::X509Certificate { asn1, tainted: true }
    }

    fn key(key_id: &str) -> types::JwtKey {
        let public_key = KeyPair::generate().unwrap().subject_public_key_info();
        types::JwtKey { public_key, key_id: key_id.to_owned(), expires_at: 7, tainted: true }
    }

    fn good() -> types::Bundle {
        types::Bundle {
            trust_domain: "example.org".to_owned(),
            x509_authorities: vec![root(IsCa::Ca(rcgen::BasicConstraints::Unconstrained))],
            jwt_authorities: vec![key("a")],
            sequence_number: 3,
            ..Default::default()
        }
    }

    #[test]
    fn a_bundle_is_taken_with_what_is_tainted_in_it() {
        let taken = bundle(good(), &own()).unwrap();
        assert!(
            taken.x509_authorities.iter().all(|it| it.tainted) && taken.jwt_authorities.iter().all(|it| it.tainted)
        );
        assert_eq!((taken.x509_authorities.len(), taken.jwt_authorities.len(), taken.sequence_number), (1, 1, 3));
    }

    /// Threat 61
    ///
    /// Never a part of it: what is left out would look revoked.
    #[test]
    fn a_bundle_that_does_not_fit_is_refused_as_a_whole() {
        let refused = |change: &dyn Fn(&mut types::Bundle)| {
            let mut message = good();
            change(&mut message);
            bundle(message, &own()).unwrap_err()
        };
        let other = refused(&|it| it.trust_domain = "other.example".to_owned());
        assert!(matches!(other, AnswerFault::OtherTrustDomain { .. }), "{other}");
        assert_eq!(refused(&|it| it.x509_authorities.clear()), AnswerFault::NoRoots);
        let many = refused(&|it| it.x509_authorities = vec![types::X509Certificate::default(); 1025]);
        assert_eq!(many, AnswerFault::TooMany { what: "X.509 authorities", got: 1025 });
        let many = refused(&|it| it.jwt_authorities = vec![types::JwtKey::default(); 1025]);
        assert_eq!(many, AnswerFault::TooMany { what: "JWT authorities", got: 1025 });
        let leaf = refused(&|it| it.x509_authorities.push(root(IsCa::ExplicitNoCa)));
        assert_eq!(leaf, AnswerFault::X509Authority { index: 1, source: BundleError::NotACa });
        let unnamed = refused(&|it| it.jwt_authorities.push(key("")));
        assert_eq!(unnamed, AnswerFault::JwtAuthority { index: 1, source: BundleError::NoKeyId });
    }

    #[test]
    fn a_chain_has_a_certificate_and_an_end() {
        assert_eq!(chain(Vec::new()), Err(AnswerFault::Chain { got: 0 }));
        assert!(chain(vec![Vec::new(); MAX_CHAIN_LEN]).is_ok());
        assert_eq!(chain(vec![Vec::new(); MAX_CHAIN_LEN + 1]), Err(AnswerFault::Chain { got: MAX_CHAIN_LEN + 1 }));
    }
}
