//! Foreign trust domains by name.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Bound;
use std::sync::Arc;

use plastron_spiffe::{Bundle, FederationRelationship, TrustDomain};

use crate::store::Event;
use crate::watch::ForeignNames;

/// The bundles of foreign trust domains, and how they are fetched.
#[derive(Default)]
pub(crate) struct Federated {
    bundles: BTreeMap<TrustDomain, Named>,
    relationships: BTreeMap<TrustDomain, Arc<FederationRelationship>>,
}

/// A bundle, and a name for its content.
struct Named {
    bundle: Arc<Bundle>,
    name: u64,
}

impl Named {
    /// The same content has the same name in every process of one build: agents fetch nothing anew because a server was restarted.
    fn new(bundle: Arc<Bundle>) -> Self {
        let mut hasher = DefaultHasher::new();
        bundle.hash(&mut hasher);
        Self { bundle, name: hasher.finish() }
    }
}

impl Federated {
    pub(crate) fn build(bundles: Vec<Bundle>, relationships: Vec<FederationRelationship>) -> Self {
        let bundles = bundles.into_iter().map(|bundle| (bundle.trust_domain.clone(), Named::new(Arc::new(bundle))));
        let relationships = relationships.into_iter().map(|one| (one.trust_domain.clone(), Arc::new(one)));
        Self { bundles: bundles.collect(), relationships: relationships.collect() }
    }

    /// Takes over what is about foreign trust domains.
    pub(crate) fn set(&mut self, event: &Event) {
        match event {
            Event::FederatedBundle(bundle) => {
                self.bundles.insert(bundle.trust_domain.clone(), Named::new(Arc::clone(bundle)));
            }
            Event::FederatedBundleDeleted { trust_domain } => {
                self.bundles.remove(trust_domain);
            }
            Event::Relationship(relationship) => {
                self.relationships.insert(relationship.trust_domain.clone(), Arc::clone(relationship));
            }
            Event::RelationshipDeleted { trust_domain } => {
                self.relationships.remove(trust_domain);
            }
            _ => {}
        }
    }

    pub(crate) fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        self.bundles.get(trust_domain).map(|named| Arc::clone(&named.bundle))
    }

    /// The names of the bundles that there are of these trust domains.
    pub(crate) fn names<'a>(&self, domains: impl Iterator<Item = &'a TrustDomain>) -> ForeignNames {
        domains.map(|domain| (domain.clone(), self.bundles.get(domain).map(|named| named.name))).collect()
    }

    pub(crate) fn bundles_after(&self, after: Option<&TrustDomain>) -> impl Iterator<Item = &Arc<Bundle>> {
        self.bundles.range((beyond(after), Bound::Unbounded)).map(|(_, named)| &named.bundle)
    }

    pub(crate) fn relationship(&self, trust_domain: &TrustDomain) -> Option<Arc<FederationRelationship>> {
        self.relationships.get(trust_domain).cloned()
    }

    pub(crate) fn relationships_after(
        &self,
        after: Option<&TrustDomain>,
    ) -> impl Iterator<Item = &Arc<FederationRelationship>> {
        self.relationships.range((beyond(after), Bound::Unbounded)).map(|(_, relationship)| relationship)
    }
}

fn beyond(after: Option<&TrustDomain>) -> Bound<TrustDomain> {
    after.cloned().map_or(Bound::Unbounded, Bound::Excluded)
}
