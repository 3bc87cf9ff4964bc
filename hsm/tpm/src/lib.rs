//! A TPM 2.0 by way of tss-esapi and libtss2: [`TpmDevice`] and [`TpmSvidKeys`] for the attester, [`TpmStore`] for keys that sign, and
//! what `tpm info` prints. The only crate that names `tss-esapi`, and the only one that links libtss2.
//!
//! Every object that a call loads is flushed before it returns, also when it fails: without a resource manager a TPM has three
//! slots. What other programs loaded is never flushed. A refused authorisation value is never sent again, and a TPM in lockout is
//! left alone. What the TPM answers is bounded and checked before it is handed on; what it proves is the verifier's business, not
//! this crate's.
//!
//! libtss2 writes to standard error whenever a TPM answers with an error, also an expected one; `TSS2_LOG=all+NONE` in the
//! environment, set before the program starts (the unit file does), silences it. swtpm is reached by `swtpm:host=…,port=…` only:
//! tss-esapi 7.7 does not pass a socket path on.
//! What this crate deliberately does not do: it takes no ownership, persists nothing, and changes no hierarchy.

mod activate;
mod ak;
mod auth;
mod child;
mod ek;
mod ek_context;
mod key_template;
mod link;
mod nv;
mod properties;
mod quote;
mod response;
mod session;
mod shared;
mod sign;
mod slots;
mod storage_root;
mod store;
mod stored_key;
mod svid_key;

use plastron_attestation::{
    AkBlob, CertifyBytes, EkMaterial, EkTemplate, PcrSelection, QuoteBytes, SvidKeyBlob, TpmDevice, TpmDeviceError,
    TpmSvidKeys,
};
use tss_esapi::handles::KeyHandle;
use zeroize::Zeroizing;

use link::Link;

pub use auth::AuthValue;
pub use properties::TpmProperties;
pub use shared::SharedTpm;
pub use store::TpmStore;

/// Which TPM, and the authorisation values that its owner set. A clone shares the memory of what the TPM refused.
#[derive(Clone, Debug)]
pub struct TpmConfig {
    /// A device (`/dev/tpmrm0`) or a TCTI configuration (`device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321`, `tabrmd`).
    pub device: String,
    /// The endorsement hierarchy's authorisation value.
    pub endorsement_auth: AuthValue,
    /// The owner hierarchy's: for certificates whose NV index asks for it, and to make the storage root where it is not persistent.
    pub owner_auth: AuthValue,
    /// True where nobody else uses the TPM while this program does, so that what is loaded in the beginning may be flushed.
    pub sole_user: bool,
}

impl TpmConfig {
    /// A TPM whose hierarchies have no authorisation values.
    ///
    /// It is taken to be shared, unless it is the kernel's device without a resource manager, which only one program can open.
    pub fn new(device: impl Into<String>) -> Self {
        let device = device.into();
        let path = device.strip_prefix("device:").unwrap_or(&device);
        let sole_user =
            path.strip_prefix("/dev/tpm").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        Self { device, endorsement_auth: AuthValue::unset(), owner_auth: AuthValue::unset(), sole_user }
    }
}

/// An open TPM. Calls block; the agent gives it a thread of its own.
pub struct Tpm {
    link: Link,
}

impl Tpm {
    /// Connects.
    pub fn open(config: TpmConfig) -> Result<Self, TpmDeviceError> {
        Ok(Self { link: Link::open(config)? })
    }

    /// Runs an operation that needs the EK and these keys of ours, given as TPMT_PUBLIC.
    fn with_ek<T>(
        &mut self,
        template: EkTemplate,
        keys: &[&[u8]],
        mut operation: impl FnMut(&mut Link, KeyHandle) -> Result<T, TpmDeviceError>,
    ) -> Result<T, TpmDeviceError> {
        keys.iter().for_each(|public| self.link.know(public));
        self.link.whole(|link| ek::with(link, template, &mut operation))
    }

    /// The templates whose certificate is in NV. No key is made.
    pub fn certified_templates(&mut self) -> Result<Vec<EkTemplate>, TpmDeviceError> {
        let indices = self.link.whole(nv::indices)?;
        let is_there = |template: &EkTemplate| indices.has(template.certificate_nv_index());
        Ok(EkTemplate::ALL.into_iter().filter(is_there).collect())
    }

    /// What the TPM says of itself. None of it is proven.
    pub fn properties(&mut self) -> Result<TpmProperties, TpmDeviceError> {
        properties::read(&mut self.link)
    }
}

impl TpmDevice for Tpm {
    fn endorsement_key(&mut self, template: EkTemplate) -> Result<EkMaterial, TpmDeviceError> {
        self.link.whole(|link| ek::material(link, template))
    }

    fn create_attestation_key(&mut self, template: EkTemplate) -> Result<AkBlob, TpmDeviceError> {
        self.with_ek(template, &[], |link, ek| ak::create(link, template, ek))
    }

    fn activate_credential(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        credential: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmDeviceError> {
        self.with_ek(template, &[&ak.public], |link, ek| {
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
        self.with_ek(template, &[&ak.public], |link, ek| {
            ak::with(link, template, ek, ak, |link, ak| quote::run(link, ak, hash, extra_data, selection))
        })
    }
}

impl TpmSvidKeys for Tpm {
    fn create_svid_key(&mut self, template: EkTemplate) -> Result<SvidKeyBlob, TpmDeviceError> {
        self.with_ek(template, &[], |link, ek| svid_key::create(link, template, ek))
    }

    fn certify_svid_key(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        key: &SvidKeyBlob,
        extra_data: &[u8],
    ) -> Result<CertifyBytes, TpmDeviceError> {
        self.with_ek(template, &[&ak.public, &key.public], |link, ek| {
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
        self.with_ek(template, &[&key.public], |link, ek| {
            svid_key::with(link, template, ek, key, |link, key| svid_key::sign_digest(link, key, digest))
        })
    }
}
