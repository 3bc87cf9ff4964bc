//! The TPM itself.

mod svid_key;

use std::collections::BTreeMap;

use plastron_attestation::{AkBlob, EkMaterial, EkTemplate, PcrSelection, QuoteBytes, TpmDevice, TpmDeviceError};
use plastron_attestation_tcg::{
    HashAlgorithm, Name, ObjectAttributes, PcrBank, QualifiedName, TpmtPublic, pcr_indices,
};
use zeroize::Zeroizing;

use crate::activate::activate;
use crate::ak::{AkAlgorithm, AkKey};
use crate::attest::AttestParts;
use crate::ek::Ek;
use crate::manufacturer::{EkCertificate, Manufacturer};
use crate::rsa::RsaKeys;

/// PCRs of a PC Client TPM.
pub const PCR_COUNT: u8 = 24;

/// TPM2B_DATA: as long as the longest digest.
const MAX_DATA_LEN: usize = 64;
/// TPML_PCR_SELECTION.
const MAX_BANKS: usize = 16;

/// Attributes of a good AK.
const AK_ATTRIBUTES: ObjectAttributes = ObjectAttributes::RESTRICTED
    .with(ObjectAttributes::SIGN_ENCRYPT)
    .with(ObjectAttributes::FIXED_TPM)
    .with(ObjectAttributes::FIXED_PARENT)
    .with(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
    .with(ObjectAttributes::USER_WITH_AUTH)
    .with(ObjectAttributes::NO_DA);

type BeforeSigning = Box<dyn FnMut(&mut AttestParts) + Send>;

/// A TPM in memory, as its manufacturer ships it: SHA-1, SHA-256 and SHA-384 allocated, every PCR at zero.
pub struct FakeTpm {
    manufacturer: Manufacturer,
    // The first is the one whose certificate a test may change.
    eks: Vec<Ek>,
    rsa: RsaKeys,
    aks: BTreeMap<Vec<u8>, AkKey>,
    svid_keys: BTreeMap<Vec<u8>, AkKey>,
    banks: BTreeMap<HashAlgorithm, Vec<Vec<u8>>>,
    reset_count: u32,
    restart_count: u32,
    clock: u64,
    safe: bool,
    firmware_version: u64,
    ak_algorithm: AkAlgorithm,
    ak_attributes: ObjectAttributes,
    svid_key_attributes: ObjectAttributes,
    before_signing: Option<BeforeSigning>,
}

impl FakeTpm {
    /// A TPM with an EK of this template and a good certificate for it.
    pub fn new(manufacturer: &Manufacturer, template: EkTemplate) -> Self {
        Self::with_keys(manufacturer, &[template], RsaKeys::default())
    }

    /// A TPM with an EK of each template and a good certificate for each; its RSA keys come from there.
    pub(crate) fn with_keys(manufacturer: &Manufacturer, templates: &[EkTemplate], rsa: RsaKeys) -> Self {
        let mut tpm = Self {
            manufacturer: manufacturer.clone(),
            eks: Vec::new(),
            rsa,
            aks: BTreeMap::new(),
            svid_keys: BTreeMap::new(),
            banks: BTreeMap::new(),
            reset_count: 1,
            restart_count: 0,
            clock: 1_000,
            safe: true,
            firmware_version: 0x0001_0002_0003_0004,
            ak_algorithm: AkAlgorithm::default(),
            ak_attributes: AK_ATTRIBUTES,
            svid_key_attributes: svid_key::ATTRIBUTES,
            before_signing: None,
        };
        tpm.allocate(&[HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384]);
        for template in templates {
            tpm.add_ek(*template);
        }
        tpm
    }

    /// The same TPM state twice: what a copied virtual TPM is.
    pub fn copy(&self) -> Self {
        Self {
            manufacturer: self.manufacturer.clone(),
            eks: self.eks.clone(),
            rsa: self.rsa.clone(),
            aks: self.aks.clone(),
            svid_keys: self.svid_keys.clone(),
            banks: self.banks.clone(),
            before_signing: None,
            ..*self
        }
    }

    fn add_ek(&mut self, template: EkTemplate) {
        let mut ek = Ek::generate(template, &self.rsa);
        ek.certificate = Some(self.manufacturer.certify(&ek.spki(), ek.is_rsa(), &EkCertificate::default()));
        self.eks.push(ek);
    }

    fn first_ek(&self) -> &Ek {
        self.eks.first().expect("a TPM is made with one")
    }

    fn first_ek_mut(&mut self) -> &mut Ek {
        self.eks.first_mut().expect("a TPM is made with one")
    }

    /// Has its manufacturer certify the first EK like this.
    pub fn certify(&mut self, certificate: &EkCertificate) {
        let manufacturer = self.manufacturer.clone();
        let ek = self.first_ek_mut();
        ek.certificate = Some(manufacturer.certify(&ek.spki(), ek.is_rsa(), certificate));
    }

    /// Puts this in the NV index of the first EK's certificate, or empties it.
    pub fn set_certificate(&mut self, certificate: Option<Vec<u8>>) {
        self.first_ek_mut().certificate = certificate;
    }

    /// What is in the NV index of the first EK's certificate.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.first_ek().certificate.as_deref()
    }

    /// Puts intermediate certificates in NV.
    pub fn set_chain(&mut self, chain: Vec<Vec<u8>>) {
        self.first_ek_mut().chain = chain;
    }

    /// TPMT_PUBLIC of the first EK.
    pub fn ek_public(&self) -> Vec<u8> {
        self.first_ek().public.to_vec()
    }

    /// The type of AKs that are made from now on.
    pub fn set_ak_algorithm(&mut self, algorithm: AkAlgorithm) {
        self.ak_algorithm = algorithm;
    }

    /// The attributes of AKs that are made from now on.
    pub fn set_ak_attributes(&mut self, attributes: ObjectAttributes) {
        self.ak_attributes = attributes;
    }

    /// The attributes of AKs that are made now.
    pub fn ak_attributes(&self) -> ObjectAttributes {
        self.ak_attributes
    }

    /// Has this done to every TPMS_ATTEST before it is signed.
    pub fn before_signing(&mut self, forge: impl FnMut(&mut AttestParts) + Send + 'static) {
        self.before_signing = Some(Box::new(forge));
    }

    /// Allocates these banks and no other, with every PCR at zero.
    pub fn allocate(&mut self, banks: &[HashAlgorithm]) {
        let fresh = |bank: &HashAlgorithm| (*bank, vec![vec![0; bank.digest_len()]; PCR_COUNT.into()]);
        self.banks = banks.iter().map(fresh).collect();
    }

    /// TPM2_PCR_Event: extends a PCR in every allocated bank with the digest of this.
    pub fn measure(&mut self, index: u8, event: &[u8]) {
        for bank in self.banks.keys().copied().collect::<Vec<_>>() {
            self.extend(bank, index, &bank.digest([event]));
        }
    }

    /// TPM2_PCR_Extend in one bank.
    pub fn extend(&mut self, bank: HashAlgorithm, index: u8, digest: &[u8]) {
        if let Some(pcr) = self.banks.get_mut(&bank).and_then(|pcrs| pcrs.get_mut(usize::from(index))) {
            *pcr = bank.digest([pcr.as_slice(), digest]);
        }
    }

    /// TPM2_Startup from this locality, in which PCR 0 has it as its first value. Every PCR is as after a reset.
    pub fn start_up(&mut self, locality: u8) {
        let banks: Vec<_> = self.banks.keys().copied().collect();
        self.allocate(&banks);
        for last in self.banks.values_mut().filter_map(|pcrs| pcrs.first_mut()?.last_mut()) {
            *last = locality;
        }
    }

    /// Zeros in every PCR of one bank: what it shows where firmware does not extend it.
    pub fn clear_bank(&mut self, bank: HashAlgorithm) {
        if let Some(pcrs) = self.banks.get_mut(&bank) {
            *pcrs = vec![vec![0; bank.digest_len()]; PCR_COUNT.into()];
        }
    }

    /// A PCR's value.
    pub fn pcr(&self, bank: HashAlgorithm, index: u8) -> Option<&[u8]> {
        self.banks.get(&bank)?.get(usize::from(index)).map(Vec::as_slice)
    }

    /// Shut down and started again: PCRs at zero, resetCount one higher.
    pub fn reboot(&mut self) {
        self.reset_count += 1;
        self.restart_count = 0;
        self.clock += 1_000;
        self.safe = true;
        let banks: Vec<_> = self.banks.keys().copied().collect();
        self.allocate(&banks);
    }

    /// The power fails and comes back, without TPM2_Shutdown: a reboot after which the clock is not safe.
    pub fn power_cut(&mut self) {
        self.reboot();
        self.safe = false;
    }

    /// Suspended and resumed: PCRs stay, restartCount one higher.
    pub fn resume(&mut self) {
        self.restart_count += 1;
        self.clock += 1_000;
    }

    /// Time passes.
    pub fn advance_clock(&mut self, milliseconds: u64) {
        self.clock += milliseconds;
    }

    /// After a power cut the clock may repeat.
    pub fn set_safe(&mut self, safe: bool) {
        self.safe = safe;
    }

    /// The firmware version that quotes state.
    pub fn set_firmware_version(&mut self, version: u64) {
        self.firmware_version = version;
    }

    /// TPM2_Clear: children of the EKs are gone, the EKs stay, clock and resetCount begin anew.
    pub fn clear(&mut self) {
        self.aks.clear();
        self.svid_keys.clear();
        self.reset_count = 0;
        self.restart_count = 0;
        self.clock = 0;
        self.safe = true;
    }

    /// What the AK signs, after whoever forges it had a look.
    fn attested(&mut self, key: &AkKey, mut parts: AttestParts) -> (Vec<u8>, Vec<u8>) {
        parts.clock = self.clock;
        parts.reset_count = self.reset_count;
        parts.restart_count = self.restart_count;
        parts.safe = self.safe;
        parts.firmware_version = self.firmware_version;
        if let Some(forge) = &mut self.before_signing {
            forge(&mut parts);
        }
        let attest = parts.encode();
        let signature = key.sign(&attest);
        (attest, signature)
    }

    fn ak(&self, parent: EkTemplate, blob: &AkBlob) -> Result<&AkKey, TpmDeviceError> {
        self.aks
            .get(&blob.private)
            .filter(|key| key.parent == parent && key.public() == blob.public)
            .ok_or_else(|| TpmDeviceError::AkNotLoadable { reason: "TPM_RC_INTEGRITY".to_owned() })
    }

    fn ek(&self, template: EkTemplate, command: &'static str) -> Result<&Ek, TpmDeviceError> {
        self.eks.iter().find(|ek| ek.template == template).ok_or_else(|| TpmDeviceError::Command {
            command,
            reason: format!("this TPM has no EK of template {}", template.name()),
        })
    }
}

fn qualified_name(ek_public: &[u8], ak_public: &[u8]) -> QualifiedName {
    let mut name = QualifiedName::endorsement_hierarchy();
    for public in [ek_public, ak_public] {
        let public = TpmtPublic::parse(public).expect("our own public area");
        name = name.child(public.name_alg, &public.name());
    }
    name
}

impl TpmDevice for FakeTpm {
    fn endorsement_key(&mut self, template: EkTemplate) -> Result<EkMaterial, TpmDeviceError> {
        let Ek { public, certificate, chain, .. } = self.ek(template, "CreatePrimary")?;
        Ok(EkMaterial { public: public.to_vec(), certificate: certificate.clone(), chain: chain.clone() })
    }

    fn create_attestation_key(&mut self, template: EkTemplate) -> Result<AkBlob, TpmDeviceError> {
        self.ek(template, "Create")?;
        let key = AkKey::generate(template, self.ak_algorithm, self.ak_attributes, &self.rsa);
        let public = key.public().to_vec();
        // Nothing is in it: the key is found by it, in this TPM and its copies.
        let handle = HashAlgorithm::Sha256.digest([public.as_slice()]);
        let private = [&[0, 32][..], &handle].concat();
        self.aks.insert(private.clone(), key);
        Ok(AkBlob { private, public })
    }

    fn activate_credential(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        credential: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmDeviceError> {
        let ek = self.ek(template, "ActivateCredential")?;
        let name = Name::of(self.ak(template, ak)?.hash(), &ak.public);
        activate(ek, name.as_bytes(), credential, secret)
            .map(Zeroizing::new)
            .map_err(|reason| TpmDeviceError::CredentialRefused { reason: reason.to_owned() })
    }

    fn quote(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        extra_data: &[u8],
        selection: &PcrSelection,
    ) -> Result<QuoteBytes, TpmDeviceError> {
        let ek = self.ek(template, "Quote")?;
        let key = self.ak(template, ak)?.clone();
        let qualified_signer = qualified_name(&ek.public, key.public()).as_bytes().to_vec();
        check_quote(extra_data, selection)?;
        self.clock += 1;
        let mut select = Vec::new();
        let mut pcr_values = Vec::new();
        for (hash, bitmap) in &selection.0 {
            let pcrs = HashAlgorithm::from_id(*hash).and_then(|bank| self.banks.get(&bank));
            select.push(PcrBank { hash: *hash, bitmap: if pcrs.is_some() { *bitmap } else { 0 } });
            let Some(pcrs) = pcrs else { continue };
            pcr_values.extend(pcr_indices(*bitmap).filter_map(|index| pcrs.get(usize::from(index)).cloned()));
        }
        let digest = key.hash().digest(pcr_values.iter().map(Vec::as_slice));
        let parts = AttestParts::quote(qualified_signer, extra_data.to_vec(), select, digest);
        let (attest, signature) = self.attested(&key, parts);
        Ok(QuoteBytes { attest, signature, pcr_values })
    }
}

/// What TPM2_Quote refuses: more qualifying data than TPM2B_DATA holds, more banks than TPML_PCR_SELECTION holds, banks and PCRs that
/// no TPM has.
fn check_quote(extra_data: &[u8], selection: &PcrSelection) -> Result<(), TpmDeviceError> {
    let refused = |reason: &str| Err(TpmDeviceError::Command { command: "Quote", reason: reason.to_owned() });
    if extra_data.len() > MAX_DATA_LEN {
        return refused("TPM_RC_SIZE: qualifyingData");
    }
    if selection.0.len() > MAX_BANKS {
        return refused("TPM_RC_SIZE: PCRselect");
    }
    match selection.0.iter().find(|(bank, pcrs)| HashAlgorithm::from_id(*bank).is_none() || *pcrs >> PCR_COUNT != 0) {
        Some(_) => refused("TPM_RC_VALUE: PCRselect"),
        None => Ok(()),
    }
}
