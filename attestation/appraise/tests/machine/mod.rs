//! A machine, enrolled: its TPM and its AK, and quotes of it.

use plastron_attestation::{AkBlob, EkTemplate, PcrSelection, TpmDevice};
use plastron_attestation_appraise::{
    AcceptableAk, Binding, BoundAk, Checklist, CredentialEntropy, DenyList, EkEvidence, EkTrust, PendingActivation,
    Pool, PoolConfig, Purpose, TrustAnchors, TrustedEk, VerifiedQuote,
};
use plastron_attestation_fake_tpm::{FakeTpm, Manufacturer};
use plastron_spiffe::TrustDomain;
use zeroize::Zeroizing;

const TEMPLATE: EkTemplate = EkTemplate::H3P384;

/// 2026-06-01.
const NOW: u64 = 1_780_272_000;

pub(crate) struct Machine {
    pub(crate) tpm: FakeTpm,
    blob: AkBlob,
    ak: BoundAk,
    pool: Pool,
}

impl Machine {
    /// Of which these PCRs are quoted.
    pub(crate) fn with_pcrs(pcrs: &[u8]) -> Self {
        let manufacturer = Manufacturer::new("Acme");
        let anchors = TrustAnchors::new(vec![manufacturer.root()], vec![manufacturer.intermediate()]).unwrap();
        let mut config = PoolConfig::new("test", EkTrust::Chain(anchors));
        config.ek_template = TEMPLATE;
        config.pcrs = pcrs.to_vec();
        let pool = Pool::new(config).unwrap();
        let mut tpm = FakeTpm::new(&manufacturer, TEMPLATE);
        let checks = &mut Checklist::new();
        let material = tpm.endorsement_key(TEMPLATE).unwrap();
        let evidence = EkEvidence {
            public: &material.public,
            certificate: material.certificate.as_deref(),
            intermediates: &material.chain,
        };
        let ek = TrustedEk::judge(evidence, std::slice::from_ref(&pool), &DenyList::default(), NOW, checks).unwrap();
        let blob = tpm.create_attestation_key(TEMPLATE).unwrap();
        let ak = AcceptableAk::check(&blob.public, checks).unwrap();
        let entropy = CredentialEntropy { secret: Zeroizing::new([9; 32]), seed: Zeroizing::new([8; 48]) };
        let (pending, made) = PendingActivation::make(&ek, ak, entropy).unwrap();
        let secret = tpm.activate_credential(TEMPLATE, &blob, &made.id_object, &made.encrypted_secret).unwrap();
        let ak = pending.activated(&secret, checks).unwrap();
        Self { tpm, blob, ak, pool }
    }

    /// A quote of it as it is now, for the conversation of that nonce.
    pub(crate) fn quote(&mut self, nonce: u8) -> VerifiedQuote {
        let binding = Binding {
            purpose: Purpose::Renew,
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            nonce: [nonce; 32],
            payload_sha256: vec![2; 32],
            challenge_sha256: vec![3; 32],
            svid_public_key: vec![4],
        };
        let asked = self.pool.selection();
        let selection = PcrSelection(asked.iter().map(|bank| (bank.hash, bank.bitmap)).collect());
        let quote = self.tpm.quote(TEMPLATE, &self.blob, &binding.extra_data(), &selection).unwrap();
        let (attest, signature) = (&quote.attest, &quote.signature);
        VerifiedQuote::verify(&self.ak, attest, signature, &quote.pcr_values, asked, &binding, &mut Checklist::new())
            .unwrap()
    }
}
