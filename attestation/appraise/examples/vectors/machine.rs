//! A machine with a TPM in memory that was extended as a log says, so that the log can be judged against a real quote.

use std::error::Error;

use plastron_attestation::{AkBlob, EkTemplate, PcrSelection, TpmDevice};
use plastron_attestation_appraise::event_log::{self, JudgedBoot};
use plastron_attestation_appraise::{
    AcceptableAk, AppraiseError, Binding, BoundAk, Checklist, CredentialEntropy, DenyList, EkEvidence, EkTrust,
    PendingActivation, Pool, PoolConfig, Purpose, TrustAnchors, TrustedEk, VerifiedQuote,
};
use plastron_attestation_fake_tpm::{FakeTpm, Manufacturer};
use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::RawLog;
use plastron_spiffe::TrustDomain;
use zeroize::Zeroizing;

use crate::NOW;

const TEMPLATE: EkTemplate = EkTemplate::H3P384;

pub(crate) struct Machine {
    tpm: FakeTpm,
    ak: BoundAk,
    blob: AkBlob,
    pool: Pool,
}

impl Machine {
    /// Allocated are the banks of the log, and SHA-256 in any case.
    pub(crate) fn booted(log: &RawLog<'_>) -> Result<Self, Box<dyn Error>> {
        let manufacturer = Manufacturer::new("Vectors");
        let anchors = TrustAnchors::new(vec![manufacturer.root()], vec![manufacturer.intermediate()])?;
        let mut config = PoolConfig::new("vectors", EkTrust::Chain(anchors));
        config.ek_template = TEMPLATE;
        let pool = Pool::new(config)?;
        let mut tpm = FakeTpm::new(&manufacturer, TEMPLATE);
        let mut banks = log.banks().to_vec();
        banks.push(HashAlgorithm::Sha256);
        tpm.allocate(&banks);
        tpm.start_up(log.startup_locality().unwrap_or_default());
        for event in log.events().iter().filter(|event| event.is_extended()) {
            for (bank, digest) in log.banks().iter().filter_map(|bank| Some((*bank, event.digest(*bank)?))) {
                tpm.extend(bank, event.pcr, digest);
            }
        }
        let checks = &mut Checklist::new();
        let ek = tpm.endorsement_key(TEMPLATE)?;
        let evidence =
            EkEvidence { public: &ek.public, certificate: ek.certificate.as_deref(), intermediates: &ek.chain };
        let ek = TrustedEk::judge(evidence, std::slice::from_ref(&pool), &DenyList::default(), NOW, checks)?;
        let blob = tpm.create_attestation_key(TEMPLATE)?;
        let ak = AcceptableAk::check(&blob.public, checks)?;
        let entropy = CredentialEntropy { secret: Zeroizing::new([1; 32]), seed: Zeroizing::new([2; 48]) };
        let (pending, made) = PendingActivation::make(&ek, ak, entropy)?;
        let secret = tpm.activate_credential(TEMPLATE, &blob, &made.id_object, &made.encrypted_secret)?;
        let ak = pending.activated(&secret, checks)?;
        Ok(Self { tpm, ak, blob, pool })
    }

    /// Judges this log against a quote of the machine, and what it tells, as a pool does that names no exception.
    pub(crate) fn judge(&mut self, log: &[u8]) -> Result<(), AppraiseError> {
        let binding = Binding {
            purpose: Purpose::Renew,
            trust_domain: TrustDomain::parse("vectors.example").map_err(|_| AppraiseError::NoPool)?,
            nonce: [1; 32],
            payload_sha256: vec![2; 32],
            challenge_sha256: vec![3; 32],
            svid_public_key: vec![4],
        };
        let asked = self.pool.selection();
        let selection = PcrSelection(asked.iter().map(|bank| (bank.hash, bank.bitmap)).collect());
        let quote = self
            .tpm
            .quote(TEMPLATE, &self.blob, &binding.extra_data(), &selection)
            .map_err(|_| AppraiseError::QuoteSignature { reason: "the fake TPM does not quote" })?;
        let checks = &mut Checklist::new();
        let values = &quote.pcr_values;
        let quote = VerifiedQuote::verify(&self.ak, &quote.attest, &quote.signature, values, asked, &binding, checks)?;
        let log = event_log::judge(Some(log), &quote, self.pool.boot(), checks)?;
        JudgedBoot::judge(log.as_ref(), &quote, &self.pool, checks).map(drop)
    }
}
