//! The names that stand for something else than themselves, and what a proxy gets to verify its peers.

/// How an agent answers proxies: SPIRE's `sds` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdsSettings {
    /// The name of a workload's first SVID, whatever its ID.
    pub default_svid_name: String,
    /// The name of the own trust domain's bundle.
    pub default_bundle_name: String,
    /// The name of the own bundle together with the federated ones.
    pub default_all_bundles_name: String,
    /// For proxies that don't say what they want.
    pub validation: PeerValidation,
}

impl Default for SdsSettings {
    /// SPIRE's defaults.
    fn default() -> Self {
        Self {
            default_svid_name: "default".to_owned(),
            default_bundle_name: "ROOTCA".to_owned(),
            default_all_bundles_name: "ALL".to_owned(),
            validation: PeerValidation::ByTrustDomain,
        }
    }
}

/// What a bundle becomes on its way to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerValidation {
    /// Envoy's validator of SPIFFE certificates: a peer is verified by the bundle of the domain that it says it is of.
    ByTrustDomain,
    /// Plain roots: whoever they signed is believed, whatever ID it has. For proxies that match IDs themselves, or are too old.
    RootsOnly,
}
