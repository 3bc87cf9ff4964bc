//! What a machine proves, stage by stage, by the verifier's own functions.

use plastron_attestation::{AkBlob, EkMaterial, EkTemplate, PcrSelection, QuoteBytes, TpmDevice, TpmDeviceError};
use plastron_attestation_appraise::{
    AcceptableAk, Binding, BoundAk, Checklist, CredentialEntropy, DenyList, EkEvidence, EkFingerprint, EkPin, EkTrust,
    MadeCredential, PendingActivation, Pool, PoolConfig, Purpose, TrustedEk, VerifiedQuote,
};
use plastron_attestation_tcg::{Attested, ClockInfo, HashAlgorithm, PcrBank, TpmsAttest};
use plastron_spiffe::TrustDomain;
use zeroize::Zeroizing;

use crate::{Fixture, Machine};

/// The pool that trusts the EKs of this template: by their certificates where they have any, else by a pin.
fn pool(fixture: &dyn Fixture, template: EkTemplate, material: &EkMaterial) -> Pool {
    let trust = if fixture.certified().contains(&template) {
        EkTrust::Chain(fixture.manufacturer())
    } else {
        EkTrust::Pin(vec![EkPin {
            fingerprint: EkFingerprint::of_bytes(&material.public).unwrap(),
            added_by: "the suite".to_owned(),
            added_at: fixture.now(),
            reason: "a test".to_owned(),
            obtained: "read from the device".to_owned(),
            expires: None,
        }])
    };
    let mut config = PoolConfig::new("conformance", trust);
    config.ek_template = template;
    Pool::new(config).unwrap()
}

/// The EK, which its pool trusts.
pub(crate) fn trusted_ek(fixture: &dyn Fixture, machine: &mut dyn Machine, template: EkTemplate) -> TrustedEk {
    let material = machine.device().endorsement_key(template).unwrap();
    let pool = pool(fixture, template, &material);
    let evidence = EkEvidence {
        public: &material.public,
        certificate: material.certificate.as_deref(),
        intermediates: &material.chain,
    };
    TrustedEk::judge(evidence, &[pool], &DenyList::default(), fixture.now(), &mut Checklist::new())
        .unwrap_or_else(|error| panic!("{}: {error}", template.name()))
}

/// A credential for that EK and AK, always with the same secret.
pub(crate) fn credential(ek: &TrustedEk, ak: &AkBlob) -> (PendingActivation, MadeCredential) {
    let ak = AcceptableAk::check(&ak.public, &mut Checklist::new()).unwrap();
    let entropy = CredentialEntropy { secret: Zeroizing::new([9; 32]), seed: Zeroizing::new([8; 48]) };
    PendingActivation::make(ek, ak, entropy).unwrap()
}

/// The AK, which is bound to that EK by a credential.
pub(crate) fn bound_ak(machine: &mut dyn Machine, template: EkTemplate, ek: &TrustedEk, ak: &AkBlob) -> BoundAk {
    let (pending, made) = credential(ek, ak);
    let device = machine.device();
    let secret = device.activate_credential(template, ak, &made.id_object, &made.encrypted_secret).unwrap();
    pending.activated(&secret, &mut Checklist::new()).unwrap()
}

/// What every quote of the suite is bound to.
pub(crate) fn binding() -> Binding {
    Binding {
        purpose: Purpose::Enrol,
        trust_domain: TrustDomain::parse("conformance.example").unwrap(),
        nonce: [1; 32],
        payload_sha256: vec![2; 32],
        challenge_sha256: vec![3; 32],
        svid_public_key: b"the SVID's key".to_vec(),
    }
}

/// An AK that is proven to be of a trusted EK of this machine.
pub(crate) struct Proven {
    pub(crate) template: EkTemplate,
    pub(crate) blob: AkBlob,
    pub(crate) ak: BoundAk,
}

impl Proven {
    pub(crate) fn new(fixture: &dyn Fixture, machine: &mut dyn Machine, template: EkTemplate) -> Self {
        let ek = trusted_ek(fixture, machine, template);
        let blob = machine.device().create_attestation_key(template).unwrap();
        let ak = bound_ak(machine, template, &ek, &blob);
        Self { template, blob, ak }
    }

    /// A quote over these PCRs, which verifies.
    pub(crate) fn quote(&self, device: &mut dyn TpmDevice, selection: &[PcrBank]) -> QuoteBytes {
        let quote = self.try_quote(device, selection).unwrap();
        let QuoteBytes { attest, signature, pcr_values } = &quote;
        let checks = &mut Checklist::new();
        VerifiedQuote::verify(&self.ak, attest, signature, pcr_values, selection, &binding(), checks)
            .unwrap_or_else(|error| panic!("{}: {error}", self.template.name()));
        quote
    }

    pub(crate) fn try_quote(
        &self,
        device: &mut dyn TpmDevice,
        selection: &[PcrBank],
    ) -> Result<QuoteBytes, TpmDeviceError> {
        let selection = PcrSelection(selection.iter().map(|bank| (bank.hash, bank.bitmap)).collect());
        device.quote(self.template, &self.blob, &binding().extra_data(), &selection)
    }

    /// Clock and counters of a quote taken now, and the firmware version.
    pub(crate) fn clock(&self, device: &mut dyn TpmDevice) -> (ClockInfo, u64) {
        let quote = self.quote(device, &[bank(HashAlgorithm::Sha256, 1)]);
        let attest = TpmsAttest::parse(&quote.attest).unwrap();
        (attest.clock_info, attest.firmware_version)
    }
}

/// The banks that a quote says it covers, and their PCRs.
pub(crate) fn covered(quote: &QuoteBytes) -> Vec<PcrBank> {
    match TpmsAttest::parse(&quote.attest).unwrap().attested {
        Attested::Quote { pcr_select, .. } => pcr_select,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn bank(hash: HashAlgorithm, bitmap: u32) -> PcrBank {
    PcrBank { hash: hash.id(), bitmap }
}
