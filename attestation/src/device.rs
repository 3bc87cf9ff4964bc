//! The `TpmDevice` seam: what the attester asks of a TPM 2.0, whoever talks to it; and `TpmSvidKeys`, for a TPM that keeps the
//! SVID's key too.
//!
//! All byte strings are the TPM's own encodings (TPM 2.0 Library, part 2), without TPM2B sizes unless said.

use plastron_attestation_tcg::EkTemplate;
use zeroize::Zeroizing;

/// What the TPM has for an EK template.
#[derive(Clone, Debug)]
pub struct EkMaterial {
    /// TPMT_PUBLIC of the endorsement key.
    pub public: Vec<u8>,
    /// The EK certificate as NV holds it, padding included; `None` where the index is absent.
    pub certificate: Option<Vec<u8>>,
    /// Intermediate CA certificates from NV (on-die CAs), leaf's issuer first, as NV holds them.
    pub chain: Vec<Vec<u8>>,
}

/// An attestation key as the agent keeps it in its data directory: wrapped by the TPM, useless elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AkBlob {
    /// TPM2B_PRIVATE, with its size.
    pub private: Vec<u8>,
    /// TPMT_PUBLIC.
    pub public: Vec<u8>,
}

/// The PCR banks of a selection: `(TPM_ALG_ID, bitmap of PCR 0 to 23, PCR 0 in the lowest bit)`, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrSelection(pub Vec<(u16, u32)>);

/// Quote bytes exactly as the TPM returned them.
#[derive(Clone, Debug)]
pub struct QuoteBytes {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
    /// The PCR values of the selection that was quoted, bank by bank, rising index; read in the same breath, not covered by
    /// the signature other than through pcrDigest.
    pub pcr_values: Vec<Vec<u8>>,
}

/// A TPM that the attester can use. Calls block; the agent runs them on a thread of its own.
pub trait TpmDevice: Send {
    /// The EK of this template and its certificate.
    fn endorsement_key(&mut self, template: EkTemplate) -> Result<EkMaterial, TpmDeviceError>;

    /// Makes a restricted signing key as an ordinary child of that EK, so that TPM2_Clear destroys it.
    fn create_attestation_key(&mut self, template: EkTemplate) -> Result<AkBlob, TpmDeviceError>;

    /// TPM2_ActivateCredential. `credential` is TPM2B_ID_OBJECT and `secret` TPM2B_ENCRYPTED_SECRET, both without sizes.
    fn activate_credential(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        credential: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmDeviceError>;

    /// TPM2_Quote by that AK over the selection, with the PCR values that go with it.
    fn quote(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        extra_data: &[u8],
        selection: &PcrSelection,
    ) -> Result<QuoteBytes, TpmDeviceError>;
}

/// The key of an SVID as the agent keeps it in its data directory: wrapped by the TPM, useless elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SvidKeyBlob {
    /// TPM2B_PRIVATE, with its size.
    pub private: Vec<u8>,
    /// TPMT_PUBLIC.
    pub public: Vec<u8>,
}

/// A certification exactly as the TPM returned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifyBytes {
    /// TPMS_ATTEST of type TPM_ST_ATTEST_CERTIFY.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE by the AK.
    pub signature: Vec<u8>,
}

/// A TPM that also keeps the key of the node's SVID: TLS client authentication, without the private key ever in memory.
pub trait TpmSvidKeys: TpmDevice {
    /// Makes an ECDSA P-256 key with SHA-256 as an ordinary child of that EK: fixedTPM, fixedParent, sensitiveDataOrigin,
    /// userWithAuth with an empty value, noDA, sign; neither restricted nor decrypt. TPM2_Clear destroys it together with the AK.
    fn create_svid_key(&mut self, template: EkTemplate) -> Result<SvidKeyBlob, TpmDeviceError>;

    /// TPM2_Certify of that key by the AK, with `extra_data` as qualifyingData.
    fn certify_svid_key(
        &mut self,
        template: EkTemplate,
        ak: &AkBlob,
        key: &SvidKeyBlob,
        extra_data: &[u8],
    ) -> Result<CertifyBytes, TpmDeviceError>;

    /// TPM2_Sign: TPMT_SIGNATURE (ECDSA, SHA-256) over a digest that the caller made.
    fn sign_with_svid_key(
        &mut self,
        template: EkTemplate,
        key: &SvidKeyBlob,
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, TpmDeviceError>;
}

/// Why the TPM did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TpmDeviceError {
    /// The device can't be opened.
    #[error("can't open the TPM at {tcti}: {reason}")]
    Open {
        /// The TCTI configuration.
        tcti: String,
        /// What the stack said.
        reason: String,
    },
    /// The AK blob is not (or no longer) loadable in this TPM: cleared, replaced, or another machine's.
    #[error("the TPM does not accept the attestation key: {reason}")]
    AkNotLoadable {
        /// The TPM's answer.
        reason: String,
    },
    /// The SVID key's blob is not (or no longer) loadable in this TPM, as an AK can become.
    #[error("the TPM does not accept the SVID key: {reason}")]
    SvidKeyNotLoadable {
        /// The TPM's answer.
        reason: String,
    },
    /// The blob of a key of a key store is not (or no longer) loadable in this TPM.
    #[error("the TPM does not accept the stored key: {reason}")]
    KeyNotLoadable {
        /// The TPM's answer.
        reason: String,
    },
    /// The credential is not for this EK and AK.
    #[error("the TPM refuses the credential: {reason}")]
    CredentialRefused {
        /// The TPM's answer.
        reason: String,
    },
    /// TPM_RC_LOCKOUT: dictionary-attack protection; nothing is tried again.
    #[error(
        "indeterminate: tpm lockout: after too many wrong values the TPM refuses to use protected keys; nothing is tried again; \
         the lockout ends by itself or by tpm2_dictionarylockout --clear-lockout"
    )]
    Lockout,
    /// An authorisation value is wrong; never tried twice.
    #[error(
        "the TPM refuses the {hierarchy} authorisation value ({origin}); it is not sent again: correct it and start the program anew"
    )]
    WrongAuth {
        /// `endorsement` or `owner`.
        hierarchy: &'static str,
        /// Where the value comes from, or that there is none; never the value.
        origin: String,
    },
    /// The TPM has no slot for another object or session, and what fills them is not ours to flush.
    #[error(
        "the TPM is full ({reason}): it holds {holders}; stop the programs that hold them, or have all use a resource manager \
         (/dev/tpmrm0 or tpm2-abrmd)"
    )]
    Full {
        /// The response code, decoded.
        reason: String,
        /// What is loaded.
        holders: String,
    },
    /// PCRs that were extended during every attempt to quote them: no values were read that a quote is about.
    #[error(
        "PCRs changed during each of {attempts} attempts to quote them ({pcrs}): something extends them all the time; stop it, or leave \
         those PCRs out of the pool's 'pcrs'"
    )]
    PcrChanging {
        /// How often it was tried.
        attempts: u32,
        /// Which PCRs moved, by bank; in words.
        pcrs: String,
    },
    /// Any other response code.
    #[error("TPM2_{command} failed: {reason}")]
    Command {
        /// The command, as in part 3 of the library specification.
        command: &'static str,
        /// The response code, decoded.
        reason: String,
    },
    /// A reply that does not parse or breaks a limit.
    #[error("malformed reply to TPM2_{command}: {reason}")]
    MalformedReply {
        /// The command.
        command: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}
