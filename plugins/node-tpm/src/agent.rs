//! The agent's half: runs an `Attester` for each conversation.

use std::sync::{Arc, Mutex, PoisonError};

use plastron_attestation::{
    Attester, AttesterAction, AttesterContext, AttesterEvent, EkMaterial, EkTemplate, TpmDeviceError, TpmReply,
    TpmRequest,
};
use plastron_plugins::node::{AgentAttestError, AgentContext, AgentConversation, AgentNodeAttestor};

use crate::ak_store::AkStore;
use crate::claims;
use crate::event_log::EventLogFile;
use crate::tpm_thread::{OpenTpm, StartError, TpmThread};

/// The `tpm` node attestor of an agent. Owns the TPM and drives it on a thread of its own.
pub struct TpmAgentAttestor {
    tpm: TpmThread,
    template: EkTemplate,
    ek: EkCache,
}

/// The EK does not change while a process lives, and reading its certificate from NV takes a discrete TPM long.
type EkCache = Arc<Mutex<Option<EkMaterial>>>;

impl TpmAgentAttestor {
    /// Opens the TPM and starts the thread that owns it. Nothing is asked of the TPM before the first conversation.
    pub fn start(
        open: OpenTpm,
        template: EkTemplate,
        store: AkStore,
        event_log: EventLogFile,
    ) -> Result<Self, StartError> {
        Ok(Self { tpm: TpmThread::start(open, template, store, event_log)?, template, ek: EkCache::default() })
    }
}

impl AgentNodeAttestor for TpmAgentAttestor {
    fn name(&self) -> &str {
        crate::NAME
    }

    fn begin(&self, context: AgentContext) -> Box<dyn AgentConversation> {
        Box::new(Conversation {
            tpm: self.tpm.clone(),
            template: self.template,
            ek: Arc::clone(&self.ek),
            context,
            attester: None,
        })
    }
}

struct Conversation {
    tpm: TpmThread,
    template: EkTemplate,
    ek: EkCache,
    context: AgentContext,
    /// Made with the payload, which needs the kept AK.
    attester: Option<Attester>,
}

#[async_trait::async_trait]
impl AgentConversation for Conversation {
    async fn payload(&mut self) -> Result<Vec<u8>, AgentAttestError> {
        let ak = self.tpm.load().await.map_err(failed)?.map_err(failed)?;
        let event_log = self.tpm.event_log().await.map_err(failed)?.map_err(failed)?;
        let AgentContext { trust_domain, svid_public_key } = &self.context;
        let mut attester = Attester::new(AttesterContext {
            template: self.template,
            trust_domain: trust_domain.clone(),
            svid_public_key: svid_public_key.to_vec(),
            claims: claims::of_this_machine(),
            ak,
            ek: self.cached_ek(),
            event_log,
        });
        let payload = self.drive(&mut attester, AttesterEvent::Begin).await?;
        self.attester = Some(attester);
        Ok(payload)
    }

    async fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, AgentAttestError> {
        let mut attester = self.attester.take().ok_or_else(no_payload)?;
        let response = self.drive(&mut attester, AttesterEvent::Challenge(challenge)).await?;
        self.attester = Some(attester);
        Ok(response)
    }

    async fn admitted(&mut self) -> Result<(), AgentAttestError> {
        let mut attester = self.attester.take().ok_or_else(no_payload)?;
        match attester.step(AttesterEvent::Admitted).map_err(failed)? {
            AttesterAction::Keep(blob) => self.tpm.save(blob).await.map_err(failed)?.map_err(failed),
            AttesterAction::Done => Ok(()),
            AttesterAction::Tpm(_) | AttesterAction::Send(_) => Err(error("nothing is to be sent after an admission")),
        }
    }
}

impl Conversation {
    /// Does what the attester asks of the TPM until it has a message.
    async fn drive(&self, attester: &mut Attester, event: AttesterEvent<'_>) -> Result<Vec<u8>, AgentAttestError> {
        let mut action = attester.step(event).map_err(failed)?;
        loop {
            match action {
                AttesterAction::Send(message) => return Ok(message),
                AttesterAction::Tpm(request) => {
                    let reply = self.ask(request).await?;
                    action = attester.step(AttesterEvent::Tpm(reply)).map_err(failed)?;
                }
                AttesterAction::Keep(_) | AttesterAction::Done => {
                    return Err(error("the conversation ended before the server's word"));
                }
            }
        }
    }

    async fn ask(&self, request: TpmRequest) -> Result<TpmReply, AgentAttestError> {
        match self.tpm.perform(request).await.map_err(failed)? {
            Ok(reply) => {
                if let TpmReply::EndorsementKey(ek) = &reply {
                    self.cache_ek(Some(ek.clone()));
                }
                Ok(reply)
            }
            Err(unloadable @ TpmDeviceError::AkNotLoadable { .. }) => {
                self.cache_ek(None);
                self.tpm.set_aside().await.map_err(failed)?.map_err(failed)?;
                let reason = describe(&unloadable);
                Err(error(&format!("{reason}; the TPM was cleared or replaced, so the next attempt enrols a new key")))
            }
            Err(other) => {
                self.cache_ek(None);
                Err(failed(other))
            }
        }
    }

    fn cached_ek(&self) -> Option<EkMaterial> {
        self.ek.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn cache_ek(&self, ek: Option<EkMaterial>) {
        *self.ek.lock().unwrap_or_else(PoisonError::into_inner) = ek;
    }
}

fn no_payload() -> AgentAttestError {
    error("no message of this conversation waits for an answer")
}

fn error(reason: &str) -> AgentAttestError {
    AgentAttestError { attestor: crate::NAME.to_owned(), reason: reason.to_owned() }
}

fn failed(cause: impl std::error::Error) -> AgentAttestError {
    error(&describe(&cause))
}

/// An error with its causes, on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
