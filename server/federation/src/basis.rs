//! What a fetch rests on: a relationship, and the bundle that its endpoint is authenticated with. An answer may come seconds later; it
//! counts only while both are as they were, or whoever ends a relationship or takes an authority away would be overruled by it.

use std::sync::Arc;

use plastron_server_core::Services;
use plastron_spiffe::{Bundle, EndpointProfile, FederationRelationship};

/// What one fetch rests on.
pub(crate) struct Basis {
    services: Arc<Services>,
    relationship: FederationRelationship,
    /// The configuration does not change while the program runs, and wins over the API.
    configured: bool,
    /// The bundle that the endpoint is authenticated with; `https_web` has none.
    pub(crate) believed: Option<Arc<Bundle>>,
}

impl Basis {
    /// As it is now.
    pub(crate) fn now(services: &Arc<Services>, relationship: &FederationRelationship, configured: bool) -> Self {
        let (services, relationship) = (Arc::clone(services), relationship.clone());
        let believed = believed(&services, &relationship.profile);
        Self { services, relationship, configured, believed }
    }

    /// Whether it is still the same.
    pub(crate) fn stands(&self) -> bool {
        let kept = || self.services.federation.relationship(&self.relationship.trust_domain);
        (self.configured || kept().as_deref() == Some(&self.relationship))
            && believed(&self.services, &self.relationship.profile) == self.believed
    }
}

/// The bundle that an endpoint of this profile is authenticated with.
pub(crate) fn believed(services: &Services, profile: &EndpointProfile) -> Option<Arc<Bundle>> {
    match profile {
        EndpointProfile::HttpsWeb => None,
        EndpointProfile::HttpsSpiffe { id } => services.federation.bundle(id.trust_domain()),
    }
}
