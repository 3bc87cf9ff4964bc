//! Bundles.

use plastron_proto::spire::api::server::bundle::v1::batch_delete_federated_bundle_request::Mode;
use plastron_proto::types::{self, BundleMask};
use plastron_server_core::federation::bundles::BundleFields;
use plastron_server_core::store::DeleteMode;
use plastron_spiffe::{Bundle, JwtAuthority, TrustDomain, X509Authority};

use crate::status::federation::{FederationFailure, trust_domain_argument};

/// The fields that the mask asks for, or all without a mask; the trust domain always.
pub(crate) fn to_proto(bundle: &Bundle, mask: Option<&BundleMask>) -> types::Bundle {
    let wants = |field: fn(&BundleMask) -> bool| mask.is_none_or(field);
    let x509 = |authority: &X509Authority| types::X509Certificate {
        asn1: authority.certificate.clone(),
        tainted: authority.tainted,
    };
    types::Bundle {
        trust_domain: bundle.trust_domain.as_str().to_owned(),
        x509_authorities: if wants(|m| m.x509_authorities) {
            bundle.x509_authorities.iter().map(x509).collect()
        } else {
            Vec::new()
        },
        jwt_authorities: if wants(|m| m.jwt_authorities) { jwt_keys(bundle) } else { Vec::new() },
        refresh_hint: if wants(|m| m.refresh_hint) { bundle.refresh_hint } else { 0 },
        sequence_number: if wants(|m| m.sequence_number) { bundle.sequence_number } else { 0 },
        wit_authorities: Vec::new(),
    }
}

/// The JWT authorities of a bundle.
pub(crate) fn jwt_keys(bundle: &Bundle) -> Vec<types::JwtKey> {
    let jwt = |authority: &JwtAuthority| types::JwtKey {
        public_key: authority.public_key.clone(),
        key_id: authority.key_id.clone(),
        expires_at: authority.expires_at,
        tainted: authority.tainted,
    };
    bundle.jwt_authorities.iter().map(jwt).collect()
}

pub(crate) fn x509_authority(authority: types::X509Certificate) -> X509Authority {
    X509Authority { certificate: authority.asn1, tainted: authority.tainted }
}

pub(crate) fn jwt_authority(key: types::JwtKey) -> JwtAuthority {
    JwtAuthority { key_id: key.key_id, public_key: key.public_key, expires_at: key.expires_at, tainted: key.tainted }
}

/// The bundle of a foreign trust domain; its authorities are read by the service.
pub(crate) fn foreign(bundle: types::Bundle) -> Result<Bundle, FederationFailure> {
    Ok(of(trust_domain_argument(&bundle.trust_domain)?, bundle))
}

/// What a message says of the bundle of this trust domain. WIT authorities are passed over, as in SPIRE.
pub(crate) fn of(trust_domain: TrustDomain, bundle: types::Bundle) -> Bundle {
    let types::Bundle {
        trust_domain: _,
        x509_authorities,
        jwt_authorities,
        refresh_hint,
        sequence_number,
        wit_authorities: _,
    } = bundle;
    Bundle {
        trust_domain,
        x509_authorities: x509_authorities.into_iter().map(x509_authority).collect(),
        jwt_authorities: jwt_authorities.into_iter().map(jwt_authority).collect(),
        refresh_hint,
        sequence_number,
    }
}

/// What of a bundle is to be changed: all without a mask.
pub(crate) fn fields(mask: Option<&BundleMask>) -> BundleFields {
    let names = |field: fn(&BundleMask) -> bool| mask.is_none_or(field);
    BundleFields {
        x509_authorities: names(|mask| mask.x509_authorities),
        jwt_authorities: names(|mask| mask.jwt_authorities),
        refresh_hint: names(|mask| mask.refresh_hint),
        sequence_number: names(|mask| mask.sequence_number),
    }
}

pub(crate) fn delete_mode(mode: i32) -> Result<DeleteMode, FederationFailure> {
    match Mode::try_from(mode) {
        Ok(Mode::Restrict) => Ok(DeleteMode::Restrict),
        Ok(Mode::Delete) => Ok(DeleteMode::Delete),
        Ok(Mode::Dissociate) => Ok(DeleteMode::Dissociate),
        Err(_unknown) => Err(FederationFailure::DeleteMode { got: mode }),
    }
}
