//! One TPM for all of a process: attestation, the SVID's key during TLS, a key store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};

use plastron_attestation::{
    AkBlob, CertifyBytes, EkMaterial, EkTemplate, PcrSelection, QuoteBytes, SvidKeyBlob, TpmDevice, TpmDeviceError,
    TpmSvidKeys,
};
use zeroize::Zeroizing;

use crate::{Tpm, TpmConfig};

/// A TPM that several owners in one process use in turn.
///
/// A TPM does one thing at a time and has three slots, so a second connection would gain nothing and take slots from the first:
/// there is one, behind a lock, and a call has the TPM to itself from loading its keys to flushing them. Calls block, from any thread,
/// until it is their turn and the TPM has answered. After a panic in the driver the next call opens the TPM anew.
#[derive(Clone)]
pub struct SharedTpm(Arc<Shared>);

struct Shared {
    config: TpmConfig,
    tpm: Mutex<Option<Tpm>>,
}

impl SharedTpm {
    /// Connects.
    pub fn open(config: TpmConfig) -> Result<Self, TpmDeviceError> {
        let tpm = Mutex::new(Some(Tpm::open(config.clone())?));
        Ok(Self(Arc::new(Shared { config, tpm })))
    }

    /// Runs `body` with the TPM, when it is free.
    pub(crate) fn with<T>(
        &self,
        body: impl FnOnce(&mut Tpm) -> Result<T, TpmDeviceError>,
    ) -> Result<T, TpmDeviceError> {
        let mut tpm = self.lock();
        let tpm = match &mut *tpm {
            Some(tpm) => tpm,
            none => none.insert(Tpm::open(self.0.config.clone())?),
        };
        body(tpm)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tpm>> {
        self.0.tpm.lock().unwrap_or_else(|poisoned| {
            tracing::error!("the TPM's driver panicked; the TPM is opened again");
            let mut tpm = poisoned.into_inner();
            let broken = tpm.take();
            // Closing may talk to the TPM too.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
            self.0.tpm.clear_poison();
            tpm
        })
    }
}

impl TpmDevice for SharedTpm {
    fn endorsement_key(&mut self, template: EkTemplate) -> Result<EkMaterial, TpmDeviceError> {
        self.with(|tpm| tpm.endorsement_key(template))
    }

    fn create_attestation_key(&mut self, template: EkTemplate) -> Result<AkBlob, TpmDeviceError> {
        self.with(|tpm| tpm.create_attestation_key(template))
    }

    fn activate_credential(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        credential: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmDeviceError> {
        self.with(|tpm| tpm.activate_credential(template, ak, credential, secret))
    }

    fn quote(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        extra_data: &[u8],
        selection: &PcrSelection,
    ) -> Result<QuoteBytes, TpmDeviceError> {
        self.with(|tpm| tpm.quote(template, ak, extra_data, selection))
    }
}

impl TpmSvidKeys for SharedTpm {
    fn create_svid_key(&mut self, template: EkTemplate) -> Result<SvidKeyBlob, TpmDeviceError> {
        self.with(|tpm| tpm.create_svid_key(template))
    }

    fn certify_svid_key(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        key: &SvidKeyBlob,
        extra_data: &[u8],
    ) -> Result<CertifyBytes, TpmDeviceError> {
        self.with(|tpm| tpm.certify_svid_key(template, ak, key, extra_data))
    }

    fn sign_with_svid_key(
        &mut self,
        template: EkTemplate,
        key: &SvidKeyBlob,
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, TpmDeviceError> {
        self.with(|tpm| tpm.sign_with_svid_key(template, key, digest))
    }
}
