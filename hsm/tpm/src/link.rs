//! The connection: made when it is needed, dropped when it breaks, cleaned of what a killed predecessor left.

use std::str::FromStr;
use std::thread;
use std::time::Duration;

use plastron_attestation::TpmDeviceError;
use tss_esapi::Context;
use tss_esapi::constants::CapabilityType;
use tss_esapi::constants::tss::{TPM2_LOADED_SESSION_FIRST, TPM2_TRANSIENT_FIRST};
use tss_esapi::handles::{ObjectHandle, TpmHandle};
use tss_esapi::structures::{Auth, CapabilityData};
use tss_esapi::tcti_ldr::TctiNameConf;
use zeroize::Zeroizing;

use crate::TpmConfig;
use crate::response::{describe, failed, is_busy, is_transport, refuses_auth};

/// How often a command that the TPM was too busy for is sent again. libtss2 itself sends it five times before that.
const BUSY_ATTEMPTS: u32 = 8;
/// The first pause; each is twice the one before, so that all together are 2.5 s: a firmware TPM's self-test.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// How many handles of one kind are asked for. No TPM has more loaded objects or sessions.
const MAX_HANDLES: u32 = 64;

/// A hierarchy whose authorisation value may have to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    Endorsement,
    Owner,
}

impl Hierarchy {
    fn name(self) -> &'static str {
        match self {
            Self::Endorsement => "endorsement",
            Self::Owner => "owner",
        }
    }
}

pub(crate) struct Link {
    tcti: String,
    config: TctiNameConf,
    endorsement_auth: Option<Zeroizing<Vec<u8>>>,
    owner_auth: Option<Zeroizing<Vec<u8>>>,
    // Hierarchies that refused their authorisation value: it is not sent a second time.
    refused: Vec<Hierarchy>,
    context: Option<Context>,
}

impl Link {
    pub(crate) fn open(config: TpmConfig) -> Result<Self, TpmDeviceError> {
        let TpmConfig { device, endorsement_auth, owner_auth } = config;
        let tcti = if device.starts_with('/') { format!("device:{device}") } else { device };
        let refused = |reason: &str| TpmDeviceError::Open { tcti: tcti.clone(), reason: reason.to_owned() };
        if tcti.starts_with("swtpm:") && tcti.contains("path=") {
            return Err(refused("tss-esapi reaches swtpm by host and port only; write swtpm:host=…,port=…"));
        }
        let parsed = TctiNameConf::from_str(&tcti);
        let parsed = parsed.map_err(|_| refused("not a TCTI configuration; write for example device:/dev/tpmrm0"))?;
        let refused = Vec::new();
        let mut link = Self { tcti, config: parsed, endorsement_auth, owner_auth, refused, context: None };
        link.context()?;
        Ok(link)
    }

    /// The context, connecting if there is none.
    fn context(&mut self) -> Result<&mut Context, TpmDeviceError> {
        let context = match self.context.take() {
            Some(context) => context,
            None => self.connect()?,
        };
        Ok(self.context.insert(context))
    }

    fn connect(&self) -> Result<Context, TpmDeviceError> {
        let failed = |error| TpmDeviceError::Open { tcti: self.tcti.clone(), reason: describe(&error) };
        let mut context = Context::new(self.config.clone()).map_err(failed)?;
        let auths = [(ObjectHandle::Endorsement, &self.endorsement_auth), (ObjectHandle::Owner, &self.owner_auth)];
        for (hierarchy, auth) in auths {
            if let Some(auth) = auth {
                let auth = Auth::try_from(auth.to_vec()).map_err(failed)?;
                context.tr_set_auth(hierarchy, auth).map_err(failed)?;
            }
        }
        if !self.has_resource_manager() {
            flush_leftovers(&mut context).map_err(failed)?;
        }
        Ok(context)
    }

    /// Behind a resource manager everyone sees only their own objects, and none survive their process.
    fn has_resource_manager(&self) -> bool {
        self.tcti.starts_with("tabrmd") || self.tcti.starts_with("device:/dev/tpmrm")
    }

    /// Sends a command, again while the TPM is busy. An error that has a meaning for the caller comes back as it is.
    pub(crate) fn send<T>(
        &mut self,
        mut command: impl FnMut(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, SendError> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match command(self.context().map_err(SendError::Connect)?) {
                Ok(answer) => return Ok(answer),
                Err(error) if is_busy(&error) && attempt < BUSY_ATTEMPTS => {
                    thread::sleep(pause);
                    pause *= 2;
                }
                Err(error) => {
                    if is_transport(&error) {
                        // The next command connects anew.
                        self.context = None;
                    }
                    return Err(SendError::Answer(error));
                }
            }
        }
        // The last attempt returns; this is for the compiler.
        Err(SendError::Answer(tss_esapi::Error::WrapperError(tss_esapi::WrapperErrorKind::InternalError)))
    }

    /// Sends a command whose errors have no special meaning.
    pub(crate) fn command<T>(
        &mut self,
        name: &'static str,
        command: impl FnMut(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmDeviceError> {
        self.send(command).map_err(|error| error.of(name))
    }

    /// Sends a command that carries a hierarchy's authorisation value. One that was refused is not sent again.
    pub(crate) fn authorised<T>(
        &mut self,
        name: &'static str,
        hierarchy: Hierarchy,
        command: impl FnMut(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmDeviceError> {
        let wrong = || TpmDeviceError::WrongAuth { hierarchy: hierarchy.name() };
        if self.refused.contains(&hierarchy) {
            return Err(wrong());
        }
        self.send(command).map_err(|error| match error {
            SendError::Answer(answer) if refuses_auth(&answer) => {
                self.refused.push(hierarchy);
                wrong()
            }
            other => other.of(name),
        })
    }

    /// Runs `body` and then flushes the object or session, whatever came of it.
    pub(crate) fn flushing<T>(
        &mut self,
        handle: ObjectHandle,
        body: impl FnOnce(&mut Self) -> Result<T, TpmDeviceError>,
    ) -> Result<T, TpmDeviceError> {
        let outcome = body(self);
        // With a new connection the handle means nothing, and what it meant was flushed when connecting.
        if let Some(context) = &mut self.context
            && let Err(error) = context.flush_context(handle)
        {
            tracing::warn!(tcti = self.tcti, reason = describe(&error), "the TPM did not flush a handle");
        }
        outcome
    }
}

/// Why a command has no answer.
pub(crate) enum SendError {
    Connect(TpmDeviceError),
    Answer(tss_esapi::Error),
}

impl SendError {
    pub(crate) fn of(self, command: &'static str) -> TpmDeviceError {
        match self {
            Self::Connect(error) => error,
            Self::Answer(error) => failed(command, &error),
        }
    }
}

/// Flushes objects and sessions that nobody can name any more.
fn flush_leftovers(context: &mut Context) -> tss_esapi::Result<()> {
    for first in [TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST] {
        let (data, _) = context.get_capability(CapabilityType::Handles, first, MAX_HANDLES)?;
        let CapabilityData::Handles(handles) = data else { continue };
        for handle in handles.into_inner() {
            let flushed = match handle {
                TpmHandle::Transient(_) | TpmHandle::HmacSession(_) | TpmHandle::LoadedSession(_) => {
                    context.tr_from_tpm_public(handle).and_then(|object| context.flush_context(object))
                }
                _ => continue,
            };
            if let Err(error) = flushed {
                tracing::warn!(?handle, reason = describe(&error), "can't flush what another process left in the TPM");
            }
        }
    }
    Ok(())
}
