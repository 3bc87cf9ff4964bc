//! A private key that leaves this process only as PKCS#8, to the workload that it belongs to or to the agent's own file.

use std::fmt;

use zeroize::Zeroizing;

/// A private key as PKCS#8, wiped when dropped. No `Clone`: whoever shares it shares an `Arc`.
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// Wraps a PKCS#8 PrivateKeyInfo, DER.
    pub fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Self {
        Self { pkcs8 }
    }

    /// The PKCS#8 PrivateKeyInfo, DER. Copy it only into what is sent or written.
    pub fn reveal_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pkcs8: _ } = self;
        f.write_str("PrivateKey")
    }
}
