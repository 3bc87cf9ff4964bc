//! Bundles.

use plastron_proto::types::{self, BundleMask};
use plastron_spiffe::{Bundle, JwtAuthority, X509Authority};

/// The fields that the mask asks for, or all without a mask; the trust domain always.
pub(crate) fn to_proto(bundle: &Bundle, mask: Option<&BundleMask>) -> types::Bundle {
    let wants = |field: fn(&BundleMask) -> bool| mask.is_none_or(field);
    let x509 = |authority: &X509Authority| types::X509Certificate {
        asn1: authority.certificate.clone(),
        tainted: authority.tainted,
    };
    let jwt = |authority: &JwtAuthority| types::JwtKey {
        public_key: authority.public_key.clone(),
        key_id: authority.key_id.clone(),
        expires_at: authority.expires_at,
        tainted: authority.tainted,
    };
    types::Bundle {
        trust_domain: bundle.trust_domain.as_str().to_owned(),
        x509_authorities: if wants(|m| m.x509_authorities) {
            bundle.x509_authorities.iter().map(x509).collect()
        } else {
            Vec::new()
        },
        jwt_authorities: if wants(|m| m.jwt_authorities) {
            bundle.jwt_authorities.iter().map(jwt).collect()
        } else {
            Vec::new()
        },
        refresh_hint: if wants(|m| m.refresh_hint) { bundle.refresh_hint } else { 0 },
        sequence_number: if wants(|m| m.sequence_number) { bundle.sequence_number } else { 0 },
        wit_authorities: Vec::new(),
    }
}

pub(crate) fn x509_authority(authority: types::X509Certificate) -> X509Authority {
    X509Authority { certificate: authority.asn1, tainted: authority.tainted }
}

pub(crate) fn jwt_authority(key: types::JwtKey) -> JwtAuthority {
    JwtAuthority { key_id: key.key_id, public_key: key.public_key, expires_at: key.expires_at, tainted: key.tainted }
}
