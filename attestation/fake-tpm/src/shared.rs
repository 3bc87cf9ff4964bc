//! One TPM in the hands of an attestor and of a test.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plastron_attestation::{
    AkBlob, CertifyBytes, EkMaterial, EkTemplate, PcrSelection, QuoteBytes, SvidKeyBlob, TpmDevice, TpmDeviceError,
    TpmSvidKeys,
};
use zeroize::Zeroizing;

use crate::FakeTpm;

/// A TPM that a test can reach while an attestor owns it.
#[derive(Clone)]
pub struct SharedFakeTpm(pub Arc<Mutex<FakeTpm>>);

impl SharedFakeTpm {
    fn tpm(&self) -> MutexGuard<'_, FakeTpm> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TpmDevice for SharedFakeTpm {
    fn endorsement_key(&mut self, template: EkTemplate) -> Result<EkMaterial, TpmDeviceError> {
        self.tpm().endorsement_key(template)
    }

    fn create_attestation_key(&mut self, template: EkTemplate) -> Result<AkBlob, TpmDeviceError> {
        self.tpm().create_attestation_key(template)
    }

    fn activate_credential(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        credential: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmDeviceError> {
        self.tpm().activate_credential(template, ak, credential, secret)
    }

    fn quote(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        extra_data: &[u8],
        selection: &PcrSelection,
    ) -> Result<QuoteBytes, TpmDeviceError> {
        self.tpm().quote(template, ak, extra_data, selection)
    }
}

impl TpmSvidKeys for SharedFakeTpm {
    fn create_svid_key(&mut self, template: EkTemplate) -> Result<SvidKeyBlob, TpmDeviceError> {
        self.tpm().create_svid_key(template)
    }

    fn certify_svid_key(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        key: &SvidKeyBlob,
        extra_data: &[u8],
    ) -> Result<CertifyBytes, TpmDeviceError> {
        self.tpm().certify_svid_key(template, ak, key, extra_data)
    }

    fn sign_with_svid_key(
        &mut self,
        template: EkTemplate,
        key: &SvidKeyBlob,
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, TpmDeviceError> {
        self.tpm().sign_with_svid_key(template, key, digest)
    }
}
