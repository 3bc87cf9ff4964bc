//! The agent's half of the exchange, as a state machine: it asks for what the TPM has to do, and says what to send.

use std::sync::Arc;

use plastron_attestation_appraise::{AnnouncedLog, Binding, Claims, Purpose};
use plastron_attestation_tcg::{EkTemplate, HashAlgorithm};
use plastron_spiffe::TrustDomain;
use zeroize::Zeroizing;

use crate::attester_error::AttesterError;
use crate::device::{
    AkBlob, CertifyBytes, EkMaterial, PcrSelection, QuoteBytes, SvidKeyBlob, TpmDevice, TpmDeviceError, TpmSvidKeys,
};
use crate::log_transfer::{LogChunk, LogKind, LogRequest, part};
use crate::message::{Challenge, Payload, Response, Task};

/// What the agent knows when it begins.
#[derive(Clone, Debug)]
pub struct AttesterContext {
    /// Which EK to show.
    pub template: EkTemplate,
    /// The trust domain of the agent's own configuration.
    pub trust_domain: TrustDomain,
    /// SubjectPublicKeyInfo of the key that the SVID will carry, DER.
    pub svid_public_key: Vec<u8>,
    /// What the agent says about its machine.
    pub claims: Claims,
    /// The AK of an earlier admission.
    pub ak: Option<AkBlob>,
    /// The EK, where it was read before.
    pub ek: Option<EkMaterial>,
    /// The firmware event log of this boot, where there is one.
    pub event_log: Option<Arc<[u8]>>,
    /// The SVID's key, where it is in the TPM. Its public key is `svid_public_key`.
    pub svid_key: Option<SvidKeyBlob>,
}

/// What the attester is told.
#[derive(Debug)]
pub enum AttesterEvent<'a> {
    /// Begin.
    Begin,
    /// What the TPM answered.
    Tpm(TpmReply),
    /// The IMA list as it stands now; `None` where the kernel has none.
    ImaList(Option<Arc<[u8]>>),
    /// The server's message.
    Challenge(&'a [u8]),
    /// The server admitted the node.
    Admitted,
}

/// What the attester wants done.
#[derive(Debug)]
pub enum AttesterAction {
    /// Ask the TPM and tell.
    Tpm(TpmRequest),
    /// Ask the TPM, which has the SVID's key too, and tell. Never asked for where `AttesterContext::svid_key` is `None`.
    Certify(CertifyRequest),
    /// Read the IMA list and tell. The quote is made; asked only where the server's challenge wants the list.
    ReadImaList,
    /// Send this to the server.
    Send(Vec<u8>),
    /// Keep this AK, where that is not done yet: it is new, and the server knows it now.
    Keep(AkBlob),
    /// Nothing is left to do.
    Done,
}

/// A request to the TPM.
#[derive(Clone, Debug)]
pub enum TpmRequest {
    /// The EK and its certificate.
    EndorsementKey,
    /// A new AK.
    CreateAttestationKey,
    /// The secret of a credential.
    ActivateCredential {
        /// The AK.
        ak: AkBlob,
        /// TPMS_ID_OBJECT.
        credential: Vec<u8>,
        /// The encrypted seed.
        secret: Vec<u8>,
    },
    /// A quote.
    Quote {
        /// The AK.
        ak: AkBlob,
        /// qualifyingData.
        extra_data: Vec<u8>,
        /// The PCRs.
        selection: PcrSelection,
    },
}

/// TPM2_Certify of the SVID's key by the AK.
#[derive(Clone, Debug)]
pub struct CertifyRequest {
    /// The AK.
    pub ak: AkBlob,
    /// The SVID's key.
    pub key: SvidKeyBlob,
    /// qualifyingData.
    pub extra_data: Vec<u8>,
}

/// The TPM's answer to a request of the same kind.
pub enum TpmReply {
    /// The EK.
    EndorsementKey(EkMaterial),
    /// The AK.
    AttestationKey(AkBlob),
    /// The secret.
    Secret(Zeroizing<Vec<u8>>),
    /// The quote.
    Quote(QuoteBytes),
    /// The certification.
    Certification(CertifyBytes),
}

impl TpmReply {
    fn name(&self) -> &'static str {
        match self {
            Self::EndorsementKey(_) => "EK",
            Self::AttestationKey(_) => "AK",
            Self::Secret(_) => "secret",
            Self::Quote(_) => "quote",
            Self::Certification(_) => "certification",
        }
    }
}

/// The secret is not shown.
impl std::fmt::Debug for TpmReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TpmReply({})", self.name())
    }
}

/// Does what an attester asks of its TPM. Blocks.
pub fn perform(
    device: &mut dyn TpmDevice,
    template: EkTemplate,
    request: TpmRequest,
) -> Result<TpmReply, TpmDeviceError> {
    Ok(match request {
        TpmRequest::EndorsementKey => TpmReply::EndorsementKey(device.endorsement_key(template)?),
        TpmRequest::CreateAttestationKey => TpmReply::AttestationKey(device.create_attestation_key(template)?),
        TpmRequest::ActivateCredential { ak, credential, secret } => {
            TpmReply::Secret(device.activate_credential(template, &ak, &credential, &secret)?)
        }
        TpmRequest::Quote { ak, extra_data, selection } => {
            TpmReply::Quote(device.quote(template, &ak, &extra_data, &selection)?)
        }
    })
}

/// Does what an attester asks of a TPM that has the SVID's key. Blocks.
pub fn perform_certify(
    device: &mut dyn TpmSvidKeys,
    template: EkTemplate,
    request: CertifyRequest,
) -> Result<TpmReply, TpmDeviceError> {
    let CertifyRequest { ak, key, extra_data } = request;
    Ok(TpmReply::Certification(device.certify_svid_key(template, &ak, &key, &extra_data)?))
}

/// One conversation, seen from the agent.
pub struct Attester {
    context: AttesterContext,
    state: State,
}

enum State {
    Begin,
    WaitingForEk,
    WaitingForAk { ek: EkMaterial },
    Sent { ak: NewOrKept, payload_sha256: Vec<u8> },
    Activating(Box<Proving>),
    Certifying(Box<Proving>),
    Quoting(Box<Proving>),
    ReadingImaList { ak: NewOrKept, response: Box<Response> },
    Answered { ak: NewOrKept, ima_list: Option<Arc<[u8]>> },
    Over,
}

/// What a challenge asks for, and what of it the TPM has done.
struct Proving {
    ak: NewOrKept,
    /// Still to be done, last of all: the quote tells the server where the TPM stands.
    quote: TpmRequest,
    certify: Option<CertifyRequest>,
    event_log_wanted: bool,
    ima_list_wanted: bool,
    secret: Option<Zeroizing<Vec<u8>>>,
    certification: Option<CertifyBytes>,
}

/// An AK, and whether the agent has it in its keeping already.
#[derive(Clone)]
enum NewOrKept {
    New(AkBlob),
    Kept(AkBlob),
}

impl NewOrKept {
    fn blob(&self) -> &AkBlob {
        match self {
            Self::New(blob) | Self::Kept(blob) => blob,
        }
    }
}

impl Attester {
    /// Begins a conversation.
    pub fn new(context: AttesterContext) -> Self {
        Self { context, state: State::Begin }
    }

    /// Takes one event.
    pub fn step(&mut self, event: AttesterEvent<'_>) -> Result<AttesterAction, AttesterError> {
        match (std::mem::replace(&mut self.state, State::Over), event) {
            (State::Begin, AttesterEvent::Begin) => match self.context.ek.take() {
                Some(ek) => self.have_ek(ek),
                None => {
                    self.state = State::WaitingForEk;
                    Ok(AttesterAction::Tpm(TpmRequest::EndorsementKey))
                }
            },
            (State::WaitingForEk, AttesterEvent::Tpm(TpmReply::EndorsementKey(ek))) => self.have_ek(ek),
            (State::WaitingForAk { ek }, AttesterEvent::Tpm(TpmReply::AttestationKey(ak))) => {
                Ok(self.introduce(ek, NewOrKept::New(ak)))
            }
            (State::Sent { ak, payload_sha256 }, AttesterEvent::Challenge(bytes)) => {
                self.answer(ak, payload_sha256, bytes)
            }
            (State::Activating(mut proving), AttesterEvent::Tpm(TpmReply::Secret(secret))) => {
                proving.secret = Some(secret);
                Ok(self.certify_or_quote(proving))
            }
            (State::Certifying(mut proving), AttesterEvent::Tpm(TpmReply::Certification(certification))) => {
                proving.certification = Some(certification);
                Ok(self.certify_or_quote(proving))
            }
            (State::Quoting(proving), AttesterEvent::Tpm(TpmReply::Quote(quote))) => {
                let Proving { ak, quote: _, certify: _, event_log_wanted, ima_list_wanted, secret, certification } =
                    *proving;
                let QuoteBytes { attest, signature, pcr_values } = quote;
                let event_log = if event_log_wanted {
                    Some(log_part(LogKind::EventLog, self.context.event_log.as_deref(), 0)?.to_vec())
                } else {
                    None
                };
                let response =
                    Response { secret, attest, signature, pcr_values, event_log, certification, ima_list_len: None };
                if ima_list_wanted {
                    self.state = State::ReadingImaList { ak, response: Box::new(response) };
                    return Ok(AttesterAction::ReadImaList);
                }
                self.state = State::Answered { ak, ima_list: None };
                Ok(AttesterAction::Send(response.encode()))
            }
            (State::ReadingImaList { ak, mut response }, AttesterEvent::ImaList(ima_list)) => {
                // More than 4 GiB is more than any server takes, and so is the length that stands for it.
                let len = ima_list.as_ref().map(|list| u32::try_from(list.len()).unwrap_or(u32::MAX));
                response.ima_list_len = len.filter(|len| *len != 0);
                self.state = State::Answered { ak, ima_list };
                Ok(AttesterAction::Send(response.encode()))
            }
            (State::Answered { ak, ima_list }, AttesterEvent::Challenge(bytes)) => {
                let LogRequest { log, offset } = LogRequest::decode(bytes)?;
                let whole = match log {
                    LogKind::EventLog => self.context.event_log.as_deref(),
                    LogKind::ImaList => ima_list.as_deref(),
                };
                let bytes = log_part(log, whole, offset)?.to_vec();
                self.state = State::Answered { ak, ima_list };
                Ok(AttesterAction::Send(LogChunk { bytes }.encode()))
            }
            (State::Answered { ak, ima_list: _ }, AttesterEvent::Admitted) => Ok(match ak {
                NewOrKept::New(blob) => AttesterAction::Keep(blob),
                NewOrKept::Kept(_) => AttesterAction::Done,
            }),
            (_, AttesterEvent::Begin) => Err(AttesterError::Sequence { got: "begin" }),
            (_, AttesterEvent::Tpm(reply)) => Err(AttesterError::Sequence { got: reply.name() }),
            (_, AttesterEvent::ImaList(_)) => Err(AttesterError::Sequence { got: "IMA list" }),
            (_, AttesterEvent::Challenge(_)) => Err(AttesterError::Sequence { got: "challenge" }),
            (_, AttesterEvent::Admitted) => Err(AttesterError::Sequence { got: "admission" }),
        }
    }

    fn have_ek(&mut self, ek: EkMaterial) -> Result<AttesterAction, AttesterError> {
        match self.context.ak.take() {
            Some(ak) => Ok(self.introduce(ek, NewOrKept::Kept(ak))),
            None => {
                self.state = State::WaitingForAk { ek };
                Ok(AttesterAction::Tpm(TpmRequest::CreateAttestationKey))
            }
        }
    }

    fn introduce(&mut self, ek: EkMaterial, ak: NewOrKept) -> AttesterAction {
        let EkMaterial { public, certificate, chain } = ek;
        let payload = Payload {
            ek_public: public,
            ek_certificate: certificate,
            ek_intermediates: chain,
            ak_public: ak.blob().public.clone(),
            claimed: self.context.claims.clone(),
            event_log: self.context.event_log.as_deref().and_then(AnnouncedLog::of),
            svid_key: self.context.svid_key.as_ref().map(|key| key.public.clone()),
        }
        .encode();
        self.state = State::Sent { ak, payload_sha256: HashAlgorithm::Sha256.digest([payload.as_slice()]) };
        AttesterAction::Send(payload)
    }

    fn answer(
        &mut self,
        ak: NewOrKept,
        payload_sha256: Vec<u8>,
        bytes: &[u8],
    ) -> Result<AttesterAction, AttesterError> {
        let challenge = Challenge::decode(bytes)?;
        let binding = Binding {
            purpose: challenge.purpose(),
            trust_domain: self.context.trust_domain.clone(),
            nonce: challenge.nonce,
            payload_sha256,
            challenge_sha256: HashAlgorithm::Sha256.digest([bytes]),
            svid_public_key: self.context.svid_public_key.clone(),
        };
        let quote = TpmRequest::Quote {
            ak: ak.blob().clone(),
            extra_data: binding.extra_data(),
            selection: PcrSelection(challenge.selection.iter().map(|bank| (bank.hash, bank.bitmap)).collect()),
        };
        let certify = match (challenge.certification_wanted, &self.context.svid_key) {
            (false, _) => None,
            (true, None) => return Err(AttesterError::NoKeyToCertify),
            (true, Some(key)) => Some(CertifyRequest {
                ak: ak.blob().clone(),
                key: key.clone(),
                extra_data: Binding { purpose: Purpose::Certify, ..binding }.extra_data(),
            }),
        };
        let activation = match challenge.task {
            Task::Enrol(credential) => Some(TpmRequest::ActivateCredential {
                ak: ak.blob().clone(),
                credential: credential.id_object,
                secret: credential.encrypted_secret,
            }),
            Task::Renew => None,
        };
        let proving = Box::new(Proving {
            ak,
            quote,
            certify,
            event_log_wanted: challenge.event_log_wanted,
            ima_list_wanted: challenge.ima_list_wanted,
            secret: None,
            certification: None,
        });
        Ok(match activation {
            Some(request) => {
                self.state = State::Activating(proving);
                AttesterAction::Tpm(request)
            }
            None => self.certify_or_quote(proving),
        })
    }

    fn certify_or_quote(&mut self, mut proving: Box<Proving>) -> AttesterAction {
        match proving.certify.take() {
            Some(certify) => {
                self.state = State::Certifying(proving);
                AttesterAction::Certify(certify)
            }
            None => {
                let quote = proving.quote.clone();
                self.state = State::Quoting(proving);
                AttesterAction::Tpm(quote)
            }
        }
    }
}

fn log_part(log: LogKind, whole: Option<&[u8]>, offset: u32) -> Result<&[u8], AttesterError> {
    let whole = whole.unwrap_or_default();
    part(whole, offset).ok_or(AttesterError::LogPart { log, offset, len: whole.len() })
}
