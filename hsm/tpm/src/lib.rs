//! A TPM 2.0 by way of tss-esapi and libtss2: [`TpmDevice`] for the attester, and what `tpm info` prints. The only crate that
//! names `tss-esapi`, and the only one that links libtss2.
//!
//! Every object that a call loads is flushed before it returns, also when it fails: without a resource manager a TPM has three
//! slots. A refused authorisation value is never sent again, and a TPM in lockout is left alone. What the TPM answers is bounded and
//! checked before it is handed on; what it proves is the verifier's business, not this crate's.
//!
//! libtss2 writes to standard error whenever a TPM answers with an error, also an expected one; `TSS2_LOG=all+NONE` in the
//! environment, set before the program starts (the unit file does), silences it. swtpm is reached by `swtpm:host=…,port=…` only:
//! tss-esapi 7.7 does not pass a socket path on.
//! What this crate deliberately does not do: it takes no ownership, persists nothing, and changes no hierarchy.

mod activate;
mod ak;
mod child;
mod ek;
mod key_template;
mod link;
mod nv;
mod properties;
mod quote;
mod response;
mod session;
mod sign;
mod svid_key;

use plastron_attestation::{
    AkBlob, CertifyBytes, EkMaterial, EkTemplate, PcrSelection, QuoteBytes, SvidKeyBlob, TpmDevice, TpmDeviceError,
    TpmSvidKeys,
};
use zeroize::Zeroizing;

use link::Link;

pub use properties::TpmProperties;

/// Which TPM, and the authorisation values that its owner set.
pub struct TpmConfig {
    /// A device (`/dev/tpmrm0`) or a TCTI configuration (`device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321`, `tabrmd`).
    pub device: String,
    /// The endorsement hierarchy's authorisation value; `None` where it is empty.
    pub endorsement_auth: Option<Zeroizing<Vec<u8>>>,
    /// The owner hierarchy's authorisation value; read only for certificates whose NV index asks for it.
    pub owner_auth: Option<Zeroizing<Vec<u8>>>,
}

impl TpmConfig {
    /// A TPM whose hierarchies have no authorisation values.
    pub fn new(device: impl Into<String>) -> Self {
        Self { device: device.into(), endorsement_auth: None, owner_auth: None }
    }
}

/// An open TPM. Calls block; the agent gives it a thread of its own.
pub struct Tpm {
    link: Link,
}

impl Tpm {
    /// Connects. On a TPM without a resource manager, what a killed predecessor left loaded is flushed.
    pub fn open(config: TpmConfig) -> Result<Self, TpmDeviceError> {
        Ok(Self { link: Link::open(config)? })
    }

    /// What the TPM says of itself. None of it is proven.
    pub fn properties(&mut self) -> Result<TpmProperties, TpmDeviceError> {
        properties::read(&mut self.link)
    }
}

impl TpmDevice for Tpm {
    fn endorsement_key(&mut self, template: EkTemplate) -> Result<EkMaterial, TpmDeviceError> {
        ek::material(&mut self.link, template)
    }

    fn create_attestation_key(&mut self, template: EkTemplate) -> Result<AkBlob, TpmDeviceError> {
        ek::with(&mut self.link, template, |link, ek| ak::create(link, template, ek))
    }

    fn activate_credential(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        credential: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmDeviceError> {
        ek::with(&mut self.link, template, |link, ek| {
            ak::with(link, template, ek, ak, |link, ak| activate::run(link, template, ek, ak, credential, secret))
        })
    }

    fn quote(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        extra_data: &[u8],
        selection: &PcrSelection,
    ) -> Result<QuoteBytes, TpmDeviceError> {
        let hash = ak::signing_hash(ak)?;
        ek::with(&mut self.link, template, |link, ek| {
            ak::with(link, template, ek, ak, |link, ak| quote::run(link, ak, hash, extra_data, selection))
        })
    }
}

impl TpmSvidKeys for Tpm {
    fn create_svid_key(&mut self, template: EkTemplate) -> Result<SvidKeyBlob, TpmDeviceError> {
        ek::with(&mut self.link, template, |link, ek| svid_key::create(link, template, ek))
    }

    fn certify_svid_key(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        key: &SvidKeyBlob,
        extra_data: &[u8],
    ) -> Result<CertifyBytes, TpmDeviceError> {
        ek::with(&mut self.link, template, |link, ek| {
            ak::with(link, template, ek, ak, |link, ak| {
                svid_key::with(link, template, ek, key, |link, key| svid_key::certify(link, ak, key, extra_data))
            })
        })
    }

    fn sign_with_svid_key(
        &mut self,
        template: EkTemplate,
        key: &SvidKeyBlob,
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, TpmDeviceError> {
        ek::with(&mut self.link, template, |link, ek| {
            svid_key::with(link, template, ek, key, |link, key| svid_key::sign_digest(link, key, digest))
        })
    }
}
