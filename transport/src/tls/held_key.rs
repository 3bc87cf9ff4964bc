//! A TLS key that hardware holds: rustls asks for a signature, and the hardware makes it.

use std::sync::Arc;

use plastron_plugins::node::HeldKey;
use rustls::sign::{Signer, SigningKey};
use rustls::{OtherError, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use tokio::runtime::{Handle, RuntimeFlavor};

/// The one scheme of such a key.
const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

#[derive(Clone, Debug)]
pub(super) struct HeldSigningKey(pub(super) Arc<dyn HeldKey>);

impl SigningKey for HeldSigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SCHEME).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.0.public_key()))
    }
}

impl Signer for HeldSigningKey {
    /// rustls signs within a poll of the handshake, so this blocks the thread for one command of the hardware. A runtime of several
    /// threads is told, and moves its other tasks away.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let sign = || self.0.sign(message).map_err(|error| rustls::Error::Other(OtherError(Arc::new(error))));
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(sign),
            _ => sign(),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}
