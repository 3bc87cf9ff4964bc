//! The agent's half: runs an `Attester` for each conversation.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plastron_attestation::{
    AkBlob, Attester, AttesterAction, AttesterContext, AttesterEvent, EkMaterial, EkTemplate, SvidKeyBlob,
    TpmDeviceError, TpmReply, TpmRequest,
};
use plastron_attestation_appraise::spki_of_public_area;
use plastron_plugins::node::{
    AgentAttestError, AgentContext, AgentConversation, AgentNodeAttestor, HeldKey, HoldsSvidKey,
};

use crate::ak_store::{AkStore, KeptKeys};
use crate::claims;
use crate::log_files::LogFiles;
use crate::resident_key::ResidentSvidKey;
use crate::tpm_thread::{OpenTpm, StartError, TpmThread};

/// The `tpm` node attestor of an agent. Owns the TPM and drives it on a thread of its own.
pub struct TpmAgentAttestor {
    tpm: TpmThread,
    template: EkTemplate,
    ek: EkCache,
    svid_key: FreshSvidKey,
}

/// A key of the SVID that is in the TPM and not yet kept: it is written down with the AK, before the server is shown that both are real.
pub(crate) type FreshSvidKey = Arc<Mutex<Option<SvidKeyBlob>>>;

/// The EK does not change while a process lives, and reading its certificate from NV takes a discrete TPM long.
type EkCache = Arc<Mutex<Option<EkMaterial>>>;

impl TpmAgentAttestor {
    /// Opens the TPM and starts the thread that owns it. Nothing is asked of the TPM before the first conversation.
    pub fn start(open: OpenTpm, template: EkTemplate, store: AkStore, logs: LogFiles) -> Result<Self, StartError> {
        let tpm = TpmThread::start(open, template, store, logs)?;
        Ok(Self { tpm, template, ek: EkCache::default(), svid_key: FreshSvidKey::default() })
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
            svid_key: Arc::clone(&self.svid_key),
            context,
            kept: KeptKeys::default(),
            new_ak: None,
            attester: None,
        })
    }
}

#[async_trait::async_trait]
impl HoldsSvidKey for TpmAgentAttestor {
    async fn svid_key(&self) -> Result<Arc<dyn HeldKey>, AgentAttestError> {
        let kept = self.tpm.load().await.map_err(failed)?.map_err(failed)?;
        let blob = match kept.svid_key.or_else(|| locked(&self.svid_key).clone()) {
            Some(blob) => blob,
            None => {
                let blob = self.tpm.create_svid_key().await.map_err(failed)?.map_err(failed)?;
                locked(&self.svid_key).insert(blob).clone()
            }
        };
        Ok(Arc::new(ResidentSvidKey::new(self.tpm.clone(), blob, Arc::clone(&self.svid_key)).map_err(failed)?))
    }
}

struct Conversation {
    tpm: TpmThread,
    template: EkTemplate,
    ek: EkCache,
    svid_key: FreshSvidKey,
    context: AgentContext,
    /// What is kept.
    kept: KeptKeys,
    /// An AK that this conversation made, until it is kept.
    new_ak: Option<AkBlob>,
    /// Made with the payload, which needs the kept AK.
    attester: Option<Attester>,
}

#[async_trait::async_trait]
impl AgentConversation for Conversation {
    async fn payload(&mut self) -> Result<Vec<u8>, AgentAttestError> {
        self.kept = self.tpm.load().await.map_err(failed)?.map_err(failed)?;
        let event_log = self.tpm.event_log().await.map_err(failed)?.map_err(failed)?;
        let AgentContext { trust_domain, svid_public_key } = &self.context;
        let mut attester = Attester::new(AttesterContext {
            template: self.template,
            trust_domain: trust_domain.clone(),
            svid_public_key: svid_public_key.to_vec(),
            claims: claims::of_this_machine(),
            ak: self.kept.ak.clone(),
            ek: self.cached_ek(),
            event_log,
            svid_key: self.svid_key_of_the_csr(),
        });
        let payload = self.drive(&mut attester, AttesterEvent::Begin).await?;
        self.attester = Some(attester);
        Ok(payload)
    }

    async fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, AgentAttestError> {
        let mut attester = self.attester.take().ok_or_else(no_payload)?;
        let response = self.drive(&mut attester, AttesterEvent::Challenge(challenge)).await?;
        self.attester = Some(attester);
        // The response is what a server admits the node by. An agent that ends before it hears of that has to come back with the same
        // keys: others would retire those that were just admitted.
        if let Some(ak) = self.new_ak.take() {
            let keys = KeptKeys { ak: Some(ak), svid_key: self.svid_key_of_the_csr() };
            self.tpm.save(keys.clone()).await.map_err(failed)?.map_err(failed)?;
            self.kept = keys;
        }
        Ok(response)
    }

    async fn admitted(&mut self) -> Result<(), AgentAttestError> {
        let mut attester = self.attester.take().ok_or_else(no_payload)?;
        let svid_key = self.svid_key_of_the_csr().or_else(|| self.kept.svid_key.clone());
        let keys = match attester.step(AttesterEvent::Admitted).map_err(failed)? {
            // It was kept before the response was sent.
            AttesterAction::Keep(ak) => KeptKeys { ak: Some(ak), svid_key },
            AttesterAction::Done => KeptKeys { ak: self.kept.ak.clone(), svid_key },
            AttesterAction::Tpm(_)
            | AttesterAction::Certify(_)
            | AttesterAction::ReadImaList
            | AttesterAction::Send(_) => {
                return Err(error("nothing is to be sent after an admission"));
            }
        };
        if keys != self.kept {
            self.tpm.save(keys).await.map_err(failed)?.map_err(failed)?;
        }
        Ok(())
    }
}

impl Conversation {
    /// Does what the attester asks of the TPM, and of the kernel, until it has a message.
    async fn drive(&mut self, attester: &mut Attester, event: AttesterEvent<'_>) -> Result<Vec<u8>, AgentAttestError> {
        let mut action = attester.step(event).map_err(failed)?;
        loop {
            match action {
                AttesterAction::Send(message) => return Ok(message),
                AttesterAction::Tpm(request) => {
                    let reply = self.ask(request).await?;
                    action = attester.step(AttesterEvent::Tpm(reply)).map_err(failed)?;
                }
                AttesterAction::Certify(request) => {
                    let reply = self.tpm.certify(request).await.map_err(failed)?;
                    action = attester.step(AttesterEvent::Tpm(self.taken(reply).await?)).map_err(failed)?;
                }
                AttesterAction::ReadImaList => {
                    let ima_list = self.tpm.ima_list().await.map_err(failed)?.map_err(failed)?;
                    action = attester.step(AttesterEvent::ImaList(ima_list)).map_err(failed)?;
                }
                AttesterAction::Keep(_) | AttesterAction::Done => {
                    return Err(error("the conversation ended before the server's word"));
                }
            }
        }
    }

    /// The blob of the key that the CSR is for, where that is in the TPM.
    fn svid_key_of_the_csr(&self) -> Option<SvidKeyBlob> {
        let is_it = |blob: &SvidKeyBlob| {
            spki_of_public_area(&blob.public).is_ok_and(|spki| *spki == *self.context.svid_public_key)
        };
        self.kept.svid_key.clone().filter(is_it).or_else(|| locked(&self.svid_key).clone().filter(is_it))
    }

    async fn ask(&mut self, request: TpmRequest) -> Result<TpmReply, AgentAttestError> {
        let reply = self.tpm.perform(request).await.map_err(failed)?;
        let reply = self.taken(reply).await?;
        if let TpmReply::AttestationKey(ak) = &reply {
            self.new_ak = Some(ak.clone());
        }
        Ok(reply)
    }

    /// What the TPM answered. Keys that it does not take any more are put aside, so that the next attempt makes others.
    async fn taken(&self, reply: Result<TpmReply, TpmDeviceError>) -> Result<TpmReply, AgentAttestError> {
        match reply {
            Ok(reply) => {
                if let TpmReply::EndorsementKey(ek) = &reply {
                    self.cache_ek(Some(ek.clone()));
                }
                Ok(reply)
            }
            Err(unloadable @ (TpmDeviceError::AkNotLoadable { .. } | TpmDeviceError::SvidKeyNotLoadable { .. })) => {
                self.cache_ek(None);
                *locked(&self.svid_key) = None;
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
        locked(&self.ek).clone()
    }

    fn cache_ek(&self, ek: Option<EkMaterial>) {
        *locked(&self.ek) = ek;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
