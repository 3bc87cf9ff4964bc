//! A quote: `VerifiedQuote` is the proof that a bound AK signed it, now, for this conversation, over these PCR values.

mod selection;
pub(crate) mod signature;
pub(crate) mod values;

use plastron_attestation_tcg::{Attested, HashAlgorithm, Name, PcrBank, TPM_GENERATED_VALUE, TpmsAttest};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::{AppraiseError, Binding, BoundAk, Check, Checklist, ResidentKey, TpmState};
use values::PcrValues;

/// A quote that a bound AK signed for one conversation.
#[derive(Debug)]
pub struct VerifiedQuote {
    ak_name: Name,
    svid_public_key: Vec<u8>,
    key_is_resident: bool,
    sha256: [u8; 32],
    state: TpmState,
    allocated: Vec<HashAlgorithm>,
    pcrs: PcrValues,
}

impl VerifiedQuote {
    /// Checks, in order, over the bytes that arrived: the AK's signature; magic; type; no trailing bytes; extraData; qualifiedSigner;
    /// the selection and its banks; the PCR values' count and length; pcrDigest.
    pub fn verify(
        ak: &BoundAk,
        attest: &[u8],
        signature: &[u8],
        pcr_values: &[Vec<u8>],
        asked: &[PcrBank],
        binding: &Binding,
        checks: &mut Checklist,
    ) -> Result<Self, AppraiseError> {
        signature::check(ak, attest, signature)?;
        checks.pass(Check::QuoteSignature, format!("AK {}", ak.name()));
        let sha256 = Sha256::digest(attest).into();
        let attest = TpmsAttest::parse(attest)?;
        if attest.magic != TPM_GENERATED_VALUE {
            return Err(AppraiseError::QuoteMagic { got: attest.magic });
        }
        checks.pass(Check::QuoteMagic, "");
        let Attested::Quote { pcr_select, pcr_digest } = &attest.attested else {
            return Err(AppraiseError::QuoteType { got: attest.attest_type });
        };
        checks.pass(Check::QuoteType, "");
        let extra_data = binding.extra_data();
        if !bool::from(extra_data.ct_eq(attest.extra_data)) {
            let (got, wanted) = (hex::encode(attest.extra_data), hex::encode(extra_data));
            return Err(AppraiseError::QuoteBinding { got, wanted });
        }
        checks.pass(
            Check::QuoteBinding,
            format!("{} in {}, svid_key: bound", binding.purpose.name(), binding.trust_domain),
        );
        if attest.qualified_signer != ak.qualified_name().as_bytes() {
            let (got, wanted) = (hex::encode(attest.qualified_signer), hex::encode(ak.qualified_name().as_bytes()));
            return Err(AppraiseError::QualifiedSigner { got, wanted });
        }
        checks.pass(Check::QualifiedSigner, "");
        let allocated = selection::check(pcr_select, asked)?;
        checks.pass(Check::PcrSelection, selection::readable(pcr_select));
        note_banks(asked, &allocated, checks);
        let pcrs = values::check_form(&allocated, pcr_values)?;
        checks.pass(Check::PcrValues, "");
        values::check_digest(ak.scheme().hash(), pcr_values, pcr_digest)?;
        checks.pass(Check::PcrDigest, "");
        let clock = attest.clock_info;
        Ok(Self {
            ak_name: ak.name().clone(),
            svid_public_key: binding.svid_public_key.clone(),
            key_is_resident: false,
            sha256,
            state: TpmState {
                reset_count: clock.reset_count,
                restart_count: clock.restart_count,
                clock: clock.clock,
                safe: clock.safe,
                firmware_version: attest.firmware_version,
            },
            allocated: allocated.into_iter().map(|(bank, _)| bank).collect(),
            pcrs,
        })
    }

    /// Joins the proof that the SVID's key is in the TPM. Checks, in order: it is about the AK and the key of the quote; certification
    /// and quote are of one boot.
    pub fn with_resident_key(mut self, key: ResidentKey, checks: &mut Checklist) -> Result<Self, AppraiseError> {
        if *key.ak_name() != self.ak_name {
            return Err(AppraiseError::Subject { what: "the SVID's key was certified by another AK" });
        }
        if key.svid_public_key() != self.svid_public_key {
            return Err(AppraiseError::Subject { what: "the certified key is not the one that the quote is bound to" });
        }
        let quoted = (self.state.reset_count, self.state.restart_count);
        if let Some(certified) = key.boot() {
            if certified != quoted {
                return Err(AppraiseError::ResetBetween { certified, quoted });
            }
            checks.pass(Check::SameBoot, "");
        }
        self.key_is_resident = true;
        Ok(self)
    }

    /// Whether the key of the SVID is proven to be in the TPM.
    pub fn key_is_resident(&self) -> bool {
        self.key_is_resident
    }

    /// The AK that signed.
    pub fn ak_name(&self) -> &Name {
        &self.ak_name
    }

    pub(crate) fn svid_public_key(&self) -> &[u8] {
        &self.svid_public_key
    }

    /// SHA-256 of the signed bytes, nonce included: no other quote has it.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    pub(crate) fn state(&self) -> TpmState {
        self.state
    }

    pub(crate) fn allocated(&self) -> &[HashAlgorithm] {
        &self.allocated
    }

    pub(crate) fn pcrs(&self) -> &PcrValues {
        &self.pcrs
    }
}

/// A pool that does not ask for every bank can't know whether the others were extended: the verdict says so.
fn note_banks(asked: &[PcrBank], allocated: &[(HashAlgorithm, u32)], checks: &mut Checklist) {
    let banks = allocated.iter().map(|(bank, _)| bank.name()).collect::<Vec<_>>().join(", ");
    if HashAlgorithm::ALL.iter().all(|bank| asked.iter().any(|asked| asked.hash == bank.id())) {
        checks.pass(Check::PcrBanks, format!("allocated: {banks}"));
    } else {
        checks.not_checked(Check::PcrBanks, format!("allocated: {banks}; the pool does not ask for every bank"));
    }
}
