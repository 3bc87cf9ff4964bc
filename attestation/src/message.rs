//! The three messages that every exchange has. Reading one proves nothing about what it holds.

use plastron_attestation_appraise::{
    AnnouncedLog, Claims, MAX_CLAIM_LEN, MAX_EK_INTERMEDIATES, MadeCredential, NONCE_LEN, Purpose,
};
use plastron_attestation_tcg::{PcrBank, encode_pcr_selection, parse_pcr_selection};
use zeroize::Zeroizing;

use crate::device::CertifyBytes;
use crate::wire::{Fields, Kind, WireError, Writer};

/// Most PCR values of a response: 32 PCRs of four banks.
const MAX_PCR_VALUES: usize = 128;

/// Agent to server: who the TPM is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// TPMT_PUBLIC of the EK.
    pub ek_public: Vec<u8>,
    /// The EK certificate as NV holds it.
    pub ek_certificate: Option<Vec<u8>>,
    /// Intermediate certificates as NV holds them.
    pub ek_intermediates: Vec<Vec<u8>>,
    /// TPMT_PUBLIC of the AK.
    pub ak_public: Vec<u8>,
    /// The node's own words.
    pub claimed: Claims,
    /// The firmware event log that the response will bring, if the machine has one.
    pub event_log: Option<AnnouncedLog>,
    /// TPMT_PUBLIC of the SVID's key, where it is in the TPM.
    pub svid_key: Option<Vec<u8>>,
}

impl Payload {
    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let Self { ek_public, ek_certificate, ek_intermediates, ak_public, claimed, event_log, svid_key } = self;
        let Claims { claimed_host_name, claimed_model, claimed_firmware } = claimed;
        Writer::new()
            .field(1, ek_public)
            .optional(2, ek_certificate.as_deref())
            .list(3, ek_intermediates)
            .field(4, ak_public)
            .optional(5, claimed_host_name.as_deref().map(str::as_bytes))
            .optional(6, claimed_model.as_deref().map(str::as_bytes))
            .optional(7, claimed_firmware.as_deref().map(str::as_bytes))
            .optional(8, event_log.as_ref().map(|log| log.sha256.as_slice()))
            .optional(9, event_log.as_ref().map(|log| log.len.to_be_bytes()).as_ref().map(<[u8; 4]>::as_slice))
            .optional(10, svid_key.as_deref())
            .finish()
    }

    /// Reads bytes that arrived.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::read(Kind::PAYLOAD, bytes)?;
        let payload = Self {
            ek_public: fields.required(1, "the EK's public area")?.to_vec(),
            ek_certificate: fields.optional(2).map(<[u8]>::to_vec),
            ek_intermediates: fields.list(3, "intermediate certificates", MAX_EK_INTERMEDIATES)?,
            ak_public: fields.required(4, "the AK's public area")?.to_vec(),
            claimed: Claims {
                claimed_host_name: claim(fields.optional(5), "claimed host name")?,
                claimed_model: claim(fields.optional(6), "claimed model")?,
                claimed_firmware: claim(fields.optional(7), "claimed firmware")?,
            },
            event_log: announced(&mut fields)?,
            svid_key: fields.optional(10).map(<[u8]>::to_vec),
        };
        fields.finish()?;
        Ok(payload)
    }
}

/// Hash and length come together, and a log that is empty is none.
fn announced(fields: &mut Fields<'_>) -> Result<Option<AnnouncedLog>, WireError> {
    let Some(sha256) = fields.sized(8, "the event log's hash")? else { return Ok(None) };
    let field = "the event log's length";
    let len = fields.sized(9, field)?.ok_or(WireError::Missing { message: Kind::PAYLOAD.name, field })?;
    match u32::from_be_bytes(*len) {
        0 => Err(WireError::Value { field, reason: "an empty log is left out" }),
        len => Ok(Some(AnnouncedLog { sha256: *sha256, len })),
    }
}

fn claim(value: Option<&[u8]>, field: &'static str) -> Result<Option<String>, WireError> {
    let Some(value) = value else { return Ok(None) };
    if value.len() > MAX_CLAIM_LEN {
        return Err(WireError::Value { field, reason: "too long" });
    }
    match std::str::from_utf8(value) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(WireError::Value { field, reason: "not UTF-8" }),
    }
}

/// Server to agent: prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// What the quote is for; a credential comes with `Enrol` and never with `Renew`.
    pub task: Task,
    /// Goes into the quote's binding.
    pub nonce: [u8; NONCE_LEN],
    /// The PCRs to quote, bank by bank, in this order.
    pub selection: Vec<PcrBank>,
    /// Whether the response has to bring the event log that the payload announced. The server may have it already.
    pub event_log_wanted: bool,
    /// Whether the response has to bring a certification of the SVID's key by the AK.
    pub certification_wanted: bool,
    /// Whether the response has to say how long the IMA list is, as it stands after the quote.
    pub ima_list_wanted: bool,
}

/// What a challenge asks for beside the quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Activate this credential.
    Enrol(MadeCredential),
    /// Nothing: the AK is known.
    Renew,
}

impl Challenge {
    /// The purpose of the quote.
    pub fn purpose(&self) -> Purpose {
        match self.task {
            Task::Enrol(_) => Purpose::Enrol,
            Task::Renew => Purpose::Renew,
        }
    }

    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let Self { task, nonce, selection, event_log_wanted, certification_wanted, ima_list_wanted } = self;
        let credential = match task {
            Task::Enrol(credential) => Some(credential),
            Task::Renew => None,
        };
        Writer::new()
            .field(1, self.purpose().name().as_bytes())
            .field(2, nonce)
            .field(3, &encode_pcr_selection(selection))
            .optional(4, credential.map(|credential| credential.id_object.as_slice()))
            .optional(5, credential.map(|credential| credential.encrypted_secret.as_slice()))
            .optional(6, event_log_wanted.then_some(&[][..]))
            .optional(7, certification_wanted.then_some(&[][..]))
            .optional(8, ima_list_wanted.then_some(&[][..]))
            .finish()
    }

    /// Reads bytes that arrived.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::read(Kind::CHALLENGE, bytes)?;
        let purpose = fields.required(1, "the purpose")?;
        let nonce = fields.required(2, "the nonce")?.try_into();
        let nonce = nonce.map_err(|_| WireError::Value { field: "nonce", reason: "not 32 bytes" })?;
        let written = fields.required(3, "the PCR selection")?;
        let selection =
            parse_pcr_selection(written).ok().filter(|selection| encode_pcr_selection(selection) == written).ok_or(
                WireError::Value { field: "PCR selection", reason: "it does not parse, or not as it is written here" },
            )?;
        let task = if purpose == Purpose::Enrol.name().as_bytes() {
            Task::Enrol(MadeCredential {
                id_object: fields.required(4, "the credential")?.to_vec(),
                encrypted_secret: fields.required(5, "the encrypted secret")?.to_vec(),
            })
        } else if purpose == Purpose::Renew.name().as_bytes() {
            Task::Renew
        } else {
            return Err(WireError::Value { field: "purpose", reason: "neither enrol nor renew" });
        };
        let event_log_wanted = fields.sized::<0>(6, "the wish for the event log")?.is_some();
        let certification_wanted = fields.sized::<0>(7, "the wish for a certification")?.is_some();
        let ima_list_wanted = fields.sized::<0>(8, "the wish for the IMA list")?.is_some();
        fields.finish()?;
        Ok(Self { task, nonce, selection, event_log_wanted, certification_wanted, ima_list_wanted })
    }
}

/// Agent to server: the proof.
#[derive(PartialEq, Eq)]
pub struct Response {
    /// The secret of the credential; only for `Enrol`.
    pub secret: Option<Zeroizing<Vec<u8>>>,
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
    /// Bank by bank, rising index.
    pub pcr_values: Vec<Vec<u8>>,
    /// The event log, or its first part where it is longer than a part may be; only where it was asked for.
    pub event_log: Option<Vec<u8>>,
    /// TPM2_Certify of the SVID's key; only where it was asked for.
    pub certification: Option<CertifyBytes>,
    /// Bytes of the IMA list, which is sent in rounds of its own; only where it was asked for, and there is one. Not 0.
    pub ima_list_len: Option<u32>,
}

impl Response {
    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let Self { secret, attest, signature, pcr_values, event_log, certification, ima_list_len } = self;
        Writer::new()
            .optional(1, secret.as_ref().map(|secret| secret.as_slice()))
            .field(2, attest)
            .field(3, signature)
            .list(4, pcr_values)
            .optional(5, event_log.as_deref())
            .optional(6, certification.as_ref().map(|certification| certification.attest.as_slice()))
            .optional(7, certification.as_ref().map(|certification| certification.signature.as_slice()))
            .optional(8, ima_list_len.map(u32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice))
            .finish()
    }

    /// Reads bytes that arrived.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::read(Kind::RESPONSE, bytes)?;
        let response = Self {
            secret: fields.optional(1).map(|secret| Zeroizing::new(secret.to_vec())),
            attest: fields.required(2, "the quote")?.to_vec(),
            signature: fields.required(3, "the signature")?.to_vec(),
            pcr_values: fields.list(4, "PCR values", MAX_PCR_VALUES)?,
            event_log: fields.optional(5).map(<[u8]>::to_vec),
            certification: match fields.optional(6) {
                None => None,
                Some(attest) => Some(CertifyBytes {
                    attest: attest.to_vec(),
                    signature: fields.required(7, "the certification's signature")?.to_vec(),
                }),
            },
            ima_list_len: ima_list_len(&mut fields)?,
        };
        fields.finish()?;
        Ok(response)
    }
}

/// A list that is empty is none.
fn ima_list_len(fields: &mut Fields<'_>) -> Result<Option<u32>, WireError> {
    let field = "the IMA list's length";
    match fields.sized(8, field)?.map(|len| u32::from_be_bytes(*len)) {
        Some(0) => Err(WireError::Value { field, reason: "an empty list is left out" }),
        len => Ok(len),
    }
}

/// The secret is not shown.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { secret, attest, signature, pcr_values, event_log, certification, ima_list_len } = self;
        f.debug_struct("Response")
            .field("secret", &secret.as_ref().map(|_| "…"))
            .field("attest", attest)
            .field("signature", signature)
            .field("pcr_values", &pcr_values.len())
            .field("event_log", &event_log.as_ref().map(Vec::len))
            .field("certification", certification)
            .field("ima_list_len", ima_list_len)
            .finish()
    }
}
