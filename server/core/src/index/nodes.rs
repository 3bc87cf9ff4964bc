//! Nodes by SPIFFE ID, by AK Name and by EK.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use plastron_attestation_appraise::{EkFingerprint, EnrolledTpm};
use plastron_spiffe::{Selector, SpiffeId};

use crate::store::Node;

/// All nodes.
#[derive(Default)]
pub(crate) struct NodeIndex {
    all: BTreeMap<SpiffeId, Arc<Node>>,
    /// Names of AKs that nodes have, or had: a quote by a retired AK is about its node too.
    by_ak_name: HashMap<Vec<u8>, SpiffeId>,
    by_ek: HashMap<EkFingerprint, SpiffeId>,
}

impl NodeIndex {
    pub(crate) fn build(nodes: Vec<Node>) -> Self {
        let mut index = Self::default();
        for node in nodes {
            index.set(Arc::new(node));
        }
        index
    }

    pub(crate) fn set(&mut self, node: Arc<Node>) {
        self.remove(&node.id);
        if let Some(tpm) = &node.tpm {
            for name in ak_names(tpm) {
                self.by_ak_name.insert(name, node.id.clone());
            }
            if let Ok(fingerprint) = EkFingerprint::of_bytes(&tpm.ek_public) {
                self.by_ek.insert(fingerprint, node.id.clone());
            }
        }
        self.all.insert(node.id.clone(), node);
    }

    pub(crate) fn remove(&mut self, id: &SpiffeId) {
        let Some(tpm) = self.all.remove(id).and_then(|node| node.tpm.clone()) else { return };
        for name in ak_names(&tpm) {
            if self.by_ak_name.get(&name) == Some(id) {
                self.by_ak_name.remove(&name);
            }
        }
        if let Ok(fingerprint) = EkFingerprint::of_bytes(&tpm.ek_public)
            && self.by_ek.get(&fingerprint) == Some(id)
        {
            self.by_ek.remove(&fingerprint);
        }
    }

    pub(crate) fn by_ek(&self, fingerprint: &EkFingerprint) -> Option<Arc<Node>> {
        self.get(self.by_ek.get(fingerprint)?)
    }

    pub(crate) fn get(&self, id: &SpiffeId) -> Option<Arc<Node>> {
        self.all.get(id).cloned()
    }

    pub(crate) fn by_ak_name(&self, ak_name: &[u8]) -> Option<Arc<Node>> {
        self.get(self.by_ak_name.get(ak_name)?)
    }

    /// What attestation found out about a node; nothing for a node that is unknown.
    pub(crate) fn selectors(&self, id: &SpiffeId) -> &[Selector] {
        self.all.get(id).map_or(&[], |node| &node.selectors)
    }

    pub(crate) fn after(&self, id: Option<&SpiffeId>) -> impl Iterator<Item = &Arc<Node>> {
        let start = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.all.range::<SpiffeId, _>((start, Bound::Unbounded)).map(|(_id, node)| node)
    }
}

/// The Names under which a node's TPM may speak.
fn ak_names(tpm: &EnrolledTpm) -> impl Iterator<Item = Vec<u8>> {
    let current = tpm.ak_name().map(|name| name.as_bytes().to_vec());
    current.into_iter().chain(tpm.retired_ak_names.iter().cloned())
}
