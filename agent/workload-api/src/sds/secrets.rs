//! The secrets that a request is answered with: a workload's SVIDs and bundles, by the names that it asks for.

use std::collections::BTreeSet;
use std::sync::Arc;

use plastron_agent_core::Identity;
use plastron_proto::envoy::config::core::v3::data_source::Specifier;
use plastron_proto::envoy::config::core::v3::{DataSource, TypedExtensionConfig};
use plastron_proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use plastron_proto::envoy::extensions::transport_sockets::tls::v3::spiffe_cert_validator_config::TrustDomain as DomainRoots;
use plastron_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, SpiffeCertValidatorConfig, TlsCertificate,
};
use plastron_spiffe::Bundle;
use prost::Name;
use prost_types::Any;

use super::{PeerValidation, SdsSettings, pem};
use crate::push::View;
use crate::refusal::Refusal;

/// Envoy's validator that knows which root belongs to which trust domain.
const SPIFFE_VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";

/// What a workload has, by the names that it may use.
pub(super) struct Secrets<'a> {
    pub(super) settings: &'a SdsSettings,
    pub(super) validation: PeerValidation,
    pub(super) view: &'a View,
}

impl Secrets<'_> {
    /// Everything under these names, once each, in the order of the request; under its own name everything there is if none is asked for.
    /// A name that the workload may not use refuses all.
    pub(super) fn named(&self, wanted: &[String]) -> Result<Vec<Any>, Refusal> {
        let mut seen = BTreeSet::new();
        let wanted: Vec<&str> =
            wanted.iter().map(String::as_str).filter(|name| !name.is_empty() && seen.insert(*name)).collect();
        if wanted.is_empty() {
            return self.all();
        }
        let mut found = Vec::with_capacity(wanted.len());
        let mut unknown = BTreeSet::new();
        for name in wanted {
            match self.one(name)? {
                Some(secret) => found.push(secret),
                None => drop(unknown.insert(name.to_owned())),
            }
        }
        if unknown.is_empty() { Ok(found) } else { Err(Refusal::SecretNames { names: unknown }) }
    }

    fn all(&self) -> Result<Vec<Any>, Refusal> {
        let (own, federated) = self.view.bundles();
        let mut names = vec![own.trust_domain.id().to_string()];
        let foreign = federated.values().filter(|bundle| !bundle.x509_authorities.is_empty());
        names.extend(foreign.map(|bundle| bundle.trust_domain.id().to_string()));
        let mut all = Vec::new();
        for name in names {
            all.extend(self.one(&name)?);
        }
        // Two entries may give one ID: the first of them counts, as it does where it is asked for by name.
        let mut seen = BTreeSet::new();
        let svids = self.identities().iter().filter(|identity| seen.insert(identity.spiffe_id.as_str()));
        all.extend(svids.map(|identity| certificate(identity.spiffe_id.as_str(), identity)));
        Ok(all)
    }

    fn one(&self, name: &str) -> Result<Option<Any>, Refusal> {
        let (own, federated) = self.view.bundles();
        let SdsSettings { default_svid_name, default_bundle_name, default_all_bundles_name, validation: _ } =
            self.settings;
        if name == own.trust_domain.id().as_str() || name == default_bundle_name {
            return self.peers_of(name, own).map(Some);
        }
        if name == default_all_bundles_name {
            return self.peers_of_all(name).map(Some);
        }
        let foreign = federated.values().filter(|bundle| !bundle.x509_authorities.is_empty());
        if let Some(bundle) = foreign.into_iter().find(|bundle| name == bundle.trust_domain.id().as_str()) {
            return self.peers_of(name, bundle).map(Some);
        }
        let by_id = self.identities().iter().find(|identity| name == identity.spiffe_id.as_str());
        let first = || self.identities().first().filter(|_| name == default_svid_name);
        Ok(by_id.or_else(first).map(|identity| certificate(name, identity)))
    }

    fn identities(&self) -> &[Arc<Identity>] {
        match self.view {
            View::Identities(update) => &update.identities,
            View::OwnBundle(_) => &[],
        }
    }

    fn peers_of(&self, name: &str, bundle: &Bundle) -> Result<Any, Refusal> {
        if bundle.x509_authorities.is_empty() {
            return Err(Refusal::EmptyBundle);
        }
        Ok(match self.validation {
            PeerValidation::ByTrustDomain => by_trust_domain(name, vec![domain(bundle)]),
            PeerValidation::RootsOnly => {
                let context =
                    CertificateValidationContext { trusted_ca: Some(roots(bundle)), custom_validator_config: None };
                secret(name, Type::ValidationContext(context))
            }
        })
    }

    /// Without the validator all roots would be believed about all domains.
    fn peers_of_all(&self, name: &str) -> Result<Any, Refusal> {
        match self.validation {
            PeerValidation::RootsOnly => return Err(Refusal::NeedsSpiffeValidator),
            PeerValidation::ByTrustDomain => {}
        }
        let (own, federated) = self.view.bundles();
        // Nothing that a foreign server says stands under the own name.
        let foreign = federated.values().map(AsRef::as_ref).filter(|bundle| bundle.trust_domain != own.trust_domain);
        let mut domains: Vec<_> =
            foreign.chain([own]).filter(|bundle| !bundle.x509_authorities.is_empty()).map(domain).collect();
        if domains.is_empty() {
            return Err(Refusal::EmptyBundle);
        }
        domains.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(by_trust_domain(name, domains))
    }
}

fn by_trust_domain(name: &str, trust_domains: Vec<DomainRoots>) -> Any {
    let config = SpiffeCertValidatorConfig { trust_domains };
    let validator = TypedExtensionConfig { name: SPIFFE_VALIDATOR.to_owned(), typed_config: Some(any(&config)) };
    let context = CertificateValidationContext { trusted_ca: None, custom_validator_config: Some(validator) };
    secret(name, Type::ValidationContext(context))
}

fn domain(bundle: &Bundle) -> DomainRoots {
    DomainRoots { name: bundle.trust_domain.as_str().to_owned(), trust_bundle: Some(roots(bundle)) }
}

/// Tainted authorities stay: peers still hold SVIDs that they signed.
fn roots(bundle: &Bundle) -> DataSource {
    let certificates = bundle.x509_authorities.iter().map(|authority| authority.certificate.as_slice());
    inline(pem::encode(pem::CERTIFICATE, certificates))
}

fn certificate(name: &str, identity: &Identity) -> Any {
    let chain = identity.svid.chain().iter().map(Vec::as_slice);
    let tls_certificate = TlsCertificate {
        certificate_chain: Some(inline(pem::encode(pem::CERTIFICATE, chain))),
        private_key: Some(inline(pem::encode(pem::PRIVATE_KEY, [identity.private_key.reveal_pkcs8()]))),
    };
    secret(name, Type::TlsCertificate(tls_certificate))
}

fn inline(bytes: Vec<u8>) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(bytes)) }
}

fn secret(name: &str, kind: Type) -> Any {
    any(&Secret { name: name.to_owned(), r#type: Some(kind) })
}

fn any<M: Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}
