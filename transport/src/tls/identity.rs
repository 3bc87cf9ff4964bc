//! What a program presents and what it trusts. Both sit in slots that rotation fills anew; a connection takes what is there when its
//! handshake begins.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use plastron_plugins::node::HeldKey;
use plastron_spiffe::x509::X509Svid;
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain};
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{InconsistentKeys, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::held_key::HeldSigningKey;
use crate::tls_profile;

/// An X.509-SVID with its private key, ready to be presented.
#[derive(Clone)]
pub struct TlsIdentity {
    id: SpiffeId,
    certified: Arc<CertifiedKey>,
}

impl TlsIdentity {
    /// From an SVID and its key as PKCS#8, which must belong together.
    pub fn new(svid: &X509Svid, pkcs8: &[u8]) -> Result<Self, IdentityError> {
        let provider = tls_profile::provider();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
        Self::from_parts(svid, provider.key_provider.load_private_key(key).map_err(IdentityError::Key)?)
    }

    /// From an SVID whose key some hardware holds, which must belong together.
    pub fn held(svid: &X509Svid, key: Arc<dyn HeldKey>) -> Result<Self, IdentityError> {
        Self::from_parts(svid, Arc::new(HeldSigningKey(key)))
    }

    fn from_parts(svid: &X509Svid, key: Arc<dyn SigningKey>) -> Result<Self, IdentityError> {
        let chain = svid.chain().iter().map(|certificate| CertificateDer::from(certificate.clone())).collect();
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(IdentityError::Mismatch { id: svid.claimed_id().clone() });
            }
            Err(error) => return Err(IdentityError::Key(error)),
        }
        Ok(Self { id: svid.claimed_id().clone(), certified: Arc::new(certified) })
    }

    /// The SPIFFE ID that is presented.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, certified: _ } = self;
        write!(f, "TlsIdentity({id})")
    }
}

/// Why an SVID can't be presented.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not a PKCS#8 key of a kind that TLS can use.
    #[error("the private key of an SVID can't be used for TLS")]
    Key(#[source] rustls::Error),
    /// A key of another certificate.
    #[error("the private key is not that of the SVID {id}")]
    Mismatch {
        /// Whose certificate it is.
        id: SpiffeId,
    },
}

/// Where the identity of a program is found; shared by its listeners and clients.
#[derive(Debug)]
pub struct IdentitySlot(ArcSwap<TlsIdentity>);

impl IdentitySlot {
    /// Holds this identity until it is replaced.
    pub fn new(identity: TlsIdentity) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(identity)))
    }

    /// Presents this one from the next handshake on.
    pub fn replace(&self, identity: TlsIdentity) {
        self.0.store(Arc::new(identity));
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.load().certified)
    }
}

impl ResolvesServerCert for IdentitySlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }
}

impl ResolvesClientCert for IdentitySlot {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Where the bundles are found that peers are verified against: the own trust domain's, and foreign ones.
#[derive(Debug)]
pub struct BundleSlot(ArcSwap<HashMap<TrustDomain, Bundle>>);

impl BundleSlot {
    /// Holds these bundles until they are replaced. Of several for one trust domain the last counts.
    pub fn new(bundles: impl IntoIterator<Item = Bundle>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(by_domain(bundles))))
    }

    /// Trusts these, and no others, from the next handshake on.
    pub fn replace(&self, bundles: impl IntoIterator<Item = Bundle>) {
        self.0.store(Arc::new(by_domain(bundles)));
    }

    /// What is trusted now.
    pub fn load(&self) -> Arc<HashMap<TrustDomain, Bundle>> {
        self.0.load_full()
    }
}

fn by_domain(bundles: impl IntoIterator<Item = Bundle>) -> HashMap<TrustDomain, Bundle> {
    bundles.into_iter().map(|bundle| (bundle.trust_domain.clone(), bundle)).collect()
}
