//! Federation relationships.

use plastron_proto::types::federation_relationship::BundleEndpointProfile;
use plastron_proto::types::{self, FederationRelationshipMask, HttpsWebProfile, HttpsspiffeProfile};
use plastron_server_core::store::{RelationshipPatch, RelationshipWithBundle};
use plastron_spiffe::{
    Bundle, BundleEndpointUrl, EndpointProfile, EndpointUrlError, FederationRelationship, SpiffeId, SpiffeIdError,
    TrustDomain,
};

use super::bundle;

/// What is wrong with a relationship: InvalidArgument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RelationshipFault {
    /// No trust domain.
    #[error("failed to parse trust domain")]
    TrustDomain(#[source] SpiffeIdError),
    /// No URL of a bundle endpoint.
    #[error(transparent)]
    Url(EndpointUrlError),
    /// Neither profile.
    #[error("unsupported bundle endpoint profile type: <nil>")]
    NoProfile,
    /// No ID that an endpoint could have.
    #[error("failed to parse endpoint SPIFFE ID")]
    EndpointId(#[source] SpiffeIdError),
    /// The bundle that comes along does not say whose it is.
    #[error("failed to parse bundle: invalid trust domain")]
    BundleTrustDomain(#[source] SpiffeIdError),
}

/// A relationship, and the bundle that comes along. All of it is read, whatever a mask names, as in SPIRE.
pub(crate) fn from_proto(
    message: types::FederationRelationship,
) -> Result<(FederationRelationship, Option<Bundle>), RelationshipFault> {
    let types::FederationRelationship {
        trust_domain,
        bundle_endpoint_url,
        bundle_endpoint_profile,
        trust_domain_bundle,
    } = message;
    let trust_domain = TrustDomain::parse(&trust_domain).map_err(RelationshipFault::TrustDomain)?;
    let bundle_endpoint_url = BundleEndpointUrl::parse(&bundle_endpoint_url).map_err(RelationshipFault::Url)?;
    let profile = match bundle_endpoint_profile {
        Some(BundleEndpointProfile::HttpsWeb(HttpsWebProfile {})) => EndpointProfile::HttpsWeb,
        Some(BundleEndpointProfile::HttpsSpiffe(HttpsspiffeProfile { endpoint_spiffe_id })) => {
            let id = SpiffeId::parse(&endpoint_spiffe_id).map_err(RelationshipFault::EndpointId)?;
            EndpointProfile::HttpsSpiffe { id }
        }
        None => return Err(RelationshipFault::NoProfile),
    };
    let bundle = trust_domain_bundle.map(of_domain).transpose()?;
    Ok((FederationRelationship { trust_domain, bundle_endpoint_url, profile }, bundle))
}

fn of_domain(message: types::Bundle) -> Result<Bundle, RelationshipFault> {
    let trust_domain = TrustDomain::parse(&message.trust_domain).map_err(RelationshipFault::BundleTrustDomain)?;
    Ok(bundle::of(trust_domain, message))
}

/// What the mask names of a relationship, or all without a mask.
pub(crate) fn to_patch(
    (relationship, bundle): (FederationRelationship, Option<Bundle>),
    mask: Option<&FederationRelationshipMask>,
) -> RelationshipPatch {
    let FederationRelationship { trust_domain, bundle_endpoint_url, profile } = relationship;
    let names = |field: fn(&FederationRelationshipMask) -> bool| mask.is_none_or(field);
    RelationshipPatch {
        trust_domain,
        bundle_endpoint_url: names(|mask| mask.bundle_endpoint_url).then_some(bundle_endpoint_url),
        profile: names(|mask| mask.bundle_endpoint_profile).then_some(profile),
        bundle: bundle.filter(|_bundle| names(|mask| mask.trust_domain_bundle)),
    }
}

/// The fields that the mask asks for, or all without a mask; the trust domain always.
pub(crate) fn to_proto(
    (relationship, bundle): &RelationshipWithBundle,
    mask: Option<&FederationRelationshipMask>,
) -> types::FederationRelationship {
    let wants = |field: fn(&FederationRelationshipMask) -> bool| mask.is_none_or(field);
    let profile = || match &relationship.profile {
        EndpointProfile::HttpsWeb => BundleEndpointProfile::HttpsWeb(HttpsWebProfile {}),
        EndpointProfile::HttpsSpiffe { id } => {
            BundleEndpointProfile::HttpsSpiffe(HttpsspiffeProfile { endpoint_spiffe_id: id.as_str().to_owned() })
        }
    };
    let bundle = bundle.as_ref().filter(|_bundle| wants(|mask| mask.trust_domain_bundle));
    types::FederationRelationship {
        trust_domain: relationship.trust_domain.as_str().to_owned(),
        bundle_endpoint_url: if wants(|mask| mask.bundle_endpoint_url) {
            relationship.bundle_endpoint_url.as_str().to_owned()
        } else {
            String::new()
        },
        bundle_endpoint_profile: wants(|mask| mask.bundle_endpoint_profile).then(profile),
        trust_domain_bundle: bundle.map(|bundle| bundle::to_proto(bundle, None)),
    }
}
