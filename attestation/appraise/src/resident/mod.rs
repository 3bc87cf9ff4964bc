//! An SVID key that lives in the TPM: `ResidentKey` is the proof that the AK certified it there (TPM2_Certify, TPM 2.0 Library part 3,
//! section 18.2), in this conversation or, by the record, in an earlier one under the same AK.
//!
//! Not here: whether the node holds the key at all; the CSR's signature says that.

mod attributes;

use plastron_attestation_tcg::{Attested, HashAlgorithm, Name, TPM_GENERATED_VALUE, TpmsAttest, TpmtPublic};
use subtle::ConstantTimeEq;

use crate::fingerprint::encode_spki;
use crate::quote::signature;
use crate::{AppraiseError, Binding, BoundAk, Check, Checklist, EnrolledTpm, FingerprintError, Purpose};

/// SubjectPublicKeyInfo (DER) of the key in this TPMT_PUBLIC, as a CSR for it has it.
pub fn spki_of_public_area(public: &[u8]) -> Result<Vec<u8>, FingerprintError> {
    encode_spki(&TpmtPublic::parse(public)?.key)
}

/// A TPM2_Certify as it came from the node.
#[derive(Clone, Copy, Debug)]
pub struct Certification<'a> {
    /// TPMS_ATTEST.
    pub attest: &'a [u8],
    /// TPMT_SIGNATURE.
    pub signature: &'a [u8],
}

/// A public area that says of the CSR's key that it was made in a TPM and can't leave it. Nothing proves that the public area is real.
#[derive(Clone, Debug)]
pub struct ClaimedResidentKey {
    name: Name,
    svid_public_key: Vec<u8>,
}

impl ClaimedResidentKey {
    /// Checks, in order: the public area parses; attributes; nameAlg at least SHA-256, because the Name is all that the AK certifies; the
    /// key is the CSR's. The Name is computed here.
    pub fn check(public: &[u8], svid_public_key: &[u8], checks: &mut Checklist) -> Result<Self, AppraiseError> {
        let parsed = TpmtPublic::parse(public)?;
        attributes::check(parsed.attributes)?;
        if parsed.name_alg == HashAlgorithm::Sha1 {
            return Err(AppraiseError::SvidKeyNameAlg { got: parsed.name_alg });
        }
        checks.pass(Check::SvidKeyAttributes, parsed.attributes.to_string());
        let got = encode_spki(&parsed.key)?;
        if got != svid_public_key {
            return Err(AppraiseError::SvidKeyPublic { got: hex::encode(got), wanted: hex::encode(svid_public_key) });
        }
        checks.pass(Check::SvidKeyPublic, "");
        Ok(Self { name: parsed.name(), svid_public_key: got })
    }
}

/// The proof that the key of the SVID is in the TPM of an AK.
#[derive(Debug)]
pub struct ResidentKey {
    ak_name: Name,
    svid_public_key: Vec<u8>,
    /// resetCount and restartCount of the certification; `None` where an earlier conversation had it.
    boot: Option<(u32, u32)>,
}

impl ResidentKey {
    /// Checks, in order, over the bytes that arrived: the AK's signature; magic; type; no trailing bytes; extraData, whose purpose is
    /// `certify`; qualifiedSigner; the certified Name is that of the public area.
    pub fn certified(
        ak: &BoundAk,
        key: ClaimedResidentKey,
        certification: Certification<'_>,
        binding: &Binding,
        checks: &mut Checklist,
    ) -> Result<Self, AppraiseError> {
        let Certification { attest, signature } = certification;
        signature::check(ak, attest, signature).map_err(|error| match error {
            AppraiseError::QuoteSignature { reason } => AppraiseError::CertifySignature { reason },
            other => other,
        })?;
        checks.pass(Check::CertifySignature, format!("AK {}", ak.name()));
        let attest = TpmsAttest::parse(attest)?;
        if attest.magic != TPM_GENERATED_VALUE {
            return Err(AppraiseError::CertifyMagic { got: attest.magic });
        }
        checks.pass(Check::CertifyMagic, "");
        let Attested::Certify { name, qualified_name: _ } = &attest.attested else {
            return Err(AppraiseError::CertifyType { got: attest.attest_type });
        };
        checks.pass(Check::CertifyType, "");
        let extra_data = Binding { purpose: Purpose::Certify, ..binding.clone() }.extra_data();
        if !bool::from(extra_data.ct_eq(attest.extra_data)) {
            let (got, wanted) = (hex::encode(attest.extra_data), hex::encode(extra_data));
            return Err(AppraiseError::CertifyBinding { got, wanted });
        }
        checks.pass(Check::CertifyBinding, "");
        if attest.qualified_signer != ak.qualified_name().as_bytes() {
            let (got, wanted) = (hex::encode(attest.qualified_signer), hex::encode(ak.qualified_name().as_bytes()));
            return Err(AppraiseError::CertifySigner { got, wanted });
        }
        checks.pass(Check::CertifySigner, "");
        let ClaimedResidentKey { name: wanted, svid_public_key } = key;
        if *name != wanted.as_bytes() {
            return Err(AppraiseError::CertifyName { got: hex::encode(name), wanted: wanted.to_string() });
        }
        checks.pass(Check::CertifyName, format!("svid_key: in the TPM, {wanted}"));
        let clock = attest.clock_info;
        let boot = Some((clock.reset_count, clock.restart_count));
        Ok(Self { ak_name: ak.name().clone(), svid_public_key, boot })
    }

    /// By the record, which says that this AK certified this very key; `None` where it does not. An AK and a key that can't leave the
    /// TPM stay where they are, so that what was proven once holds as long as both are used.
    pub fn enrolled(
        ak: &BoundAk,
        record: &EnrolledTpm,
        svid_public_key: &[u8],
        checks: &mut Checklist,
    ) -> Option<Self> {
        if record.ak_name().as_ref() != Some(ak.name()) || record.resident_svid_key.as_deref() != Some(svid_public_key)
        {
            return None;
        }
        checks.pass(Check::CertifyName, "svid_key: in the TPM, certified by this AK at an earlier attestation");
        Some(Self { ak_name: ak.name().clone(), svid_public_key: svid_public_key.to_vec(), boot: None })
    }

    pub(crate) fn ak_name(&self) -> &Name {
        &self.ak_name
    }

    pub(crate) fn svid_public_key(&self) -> &[u8] {
        &self.svid_public_key
    }

    pub(crate) fn boot(&self) -> Option<(u32, u32)> {
        self.boot
    }
}
