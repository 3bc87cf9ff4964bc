//! The key of the node's SVID, in the TPM.

use plastron_attestation::{AkBlob, CertifyBytes, EkTemplate, SvidKeyBlob, TpmDeviceError, TpmSvidKeys};
use plastron_attestation_tcg::{HashAlgorithm, Name, ObjectAttributes};

use super::{FakeTpm, MAX_DATA_LEN, qualified_name};
use crate::ak::{AkAlgorithm, AkKey};
use crate::attest::AttestParts;

/// Attributes of a good SVID key: no restriction, so that it signs what TLS hashes.
pub(super) const ATTRIBUTES: ObjectAttributes = ObjectAttributes::SIGN_ENCRYPT
    .with(ObjectAttributes::FIXED_TPM)
    .with(ObjectAttributes::FIXED_PARENT)
    .with(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
    .with(ObjectAttributes::USER_WITH_AUTH)
    .with(ObjectAttributes::NO_DA);

impl FakeTpm {
    /// The attributes of SVID keys that are made from now on.
    pub fn set_svid_key_attributes(&mut self, attributes: ObjectAttributes) {
        self.svid_key_attributes = attributes;
    }

    fn svid_key(&self, parent: EkTemplate, blob: &SvidKeyBlob) -> Result<&AkKey, TpmDeviceError> {
        self.svid_keys
            .get(&blob.private)
            .filter(|key| key.parent == parent && key.public() == blob.public)
            .ok_or_else(|| TpmDeviceError::SvidKeyNotLoadable { reason: "TPM_RC_INTEGRITY".to_owned() })
    }
}

impl TpmSvidKeys for FakeTpm {
    fn create_svid_key(&mut self, template: EkTemplate) -> Result<SvidKeyBlob, TpmDeviceError> {
        self.ek(template, "Create")?;
        let key = AkKey::generate(template, AkAlgorithm::P256, self.svid_key_attributes, &self.rsa);
        let public = key.public().to_vec();
        // Nothing is in it: the key is found by it, in this TPM and its copies.
        let handle = HashAlgorithm::Sha256.digest([public.as_slice()]);
        let private = [&[0, 32][..], &handle].concat();
        self.svid_keys.insert(private.clone(), key);
        Ok(SvidKeyBlob { private, public })
    }

    fn certify_svid_key(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        key: &SvidKeyBlob,
        extra_data: &[u8],
    ) -> Result<CertifyBytes, TpmDeviceError> {
        let ek_public = &self.ek(template, "Certify")?.public;
        let signer = self.ak(template, ak)?.clone();
        let qualified_signer = qualified_name(ek_public, signer.public()).as_bytes().to_vec();
        let certified = self.svid_key(template, key)?;
        if extra_data.len() > MAX_DATA_LEN {
            let reason = "TPM_RC_SIZE: qualifyingData".to_owned();
            return Err(TpmDeviceError::Command { command: "Certify", reason });
        }
        let name = Name::of(certified.hash(), &key.public).as_bytes().to_vec();
        let qualified_name = qualified_name(ek_public, &key.public).as_bytes().to_vec();
        self.clock += 1;
        let parts = AttestParts::certify(qualified_signer, extra_data.to_vec(), name, qualified_name);
        let (attest, signature) = self.attested(&signer, parts);
        Ok(CertifyBytes { attest, signature })
    }

    fn sign_with_svid_key(
        &mut self,
        template: EkTemplate,
        key: &SvidKeyBlob,
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, TpmDeviceError> {
        self.ek(template, "Sign")?;
        let signature = self.svid_key(template, key)?.sign_digest(digest);
        signature.ok_or_else(|| TpmDeviceError::Command { command: "Sign", reason: "TPM_RC_SCHEME".to_owned() })
    }
}
