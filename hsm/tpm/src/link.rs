//! The connection: made when it is needed, dropped when it breaks. Every command passes here, so here is decided what is sent again.

use std::str::FromStr;
use std::thread;
use std::time::Duration;

use plastron_attestation::TpmDeviceError;
use plastron_attestation_tcg::TpmtPublic;
use tss_esapi::Context;
use tss_esapi::handles::{KeyHandle, ObjectHandle, SessionHandle};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::Auth;
use tss_esapi::tcti_ldr::TctiNameConf;

use crate::ek_context::SavedEk;
use crate::response::{BUSY_ATTEMPTS, describe, failed, is_busy, is_full, is_lost, is_transport, refuses_auth};
use crate::slots::{self, Slots};
use crate::{AuthValue, TpmConfig};

/// The first pause; each is twice the one before, so that all together are 1.3 s: a firmware TPM's self-test.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// A hierarchy whose authorisation value may have to be shown.
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
    endorsement_auth: AuthValue,
    owner_auth: AuthValue,
    sole_user: bool,
    slots: Slots,
    // An object or session of ours was gone when a command named it: somebody else flushed it.
    lost: bool,
    context: Option<Context>,
    /// The EK that was made last, where it is not persistent. It outlives a lost connection, not a reset of the TPM.
    pub(crate) saved_ek: Option<SavedEk>,
}

impl Link {
    pub(crate) fn open(config: TpmConfig) -> Result<Self, TpmDeviceError> {
        let TpmConfig { device, endorsement_auth, owner_auth, sole_user } = config;
        let tcti = if device.starts_with('/') { format!("device:{device}") } else { device };
        let refused = |reason: &str| TpmDeviceError::Open { tcti: tcti.clone(), reason: reason.to_owned() };
        if tcti.starts_with("swtpm:") && tcti.contains("path=") {
            return Err(refused("tss-esapi reaches swtpm by host and port only; write swtpm:host=…,port=…"));
        }
        let parsed = TctiNameConf::from_str(&tcti);
        let parsed = parsed.map_err(|_| refused("not a TCTI configuration; write for example device:/dev/tpmrm0"))?;
        let slots = Slots::default();
        let (lost, context, saved_ek) = (false, None, None);
        let mut link =
            Self { tcti, config: parsed, endorsement_auth, owner_auth, sole_user, slots, lost, context, saved_ek };
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
            if !auth.is_empty() {
                let auth = Auth::try_from(auth.as_bytes()).map_err(failed)?;
                context.tr_set_auth(hierarchy, auth).map_err(failed)?;
            }
        }
        if self.sole_user {
            slots::flush_all(&mut context).map_err(failed)?;
        }
        Ok(context)
    }

    /// The authorisation value of a hierarchy.
    pub(crate) fn auth(&self, hierarchy: Hierarchy) -> &AuthValue {
        match hierarchy {
            Hierarchy::Endorsement => &self.endorsement_auth,
            Hierarchy::Owner => &self.owner_auth,
        }
    }

    /// Sends a command, again while the TPM is busy or full. An error that has a meaning for the caller comes back as it is.
    pub(crate) fn send<T>(
        &mut self,
        mut command: impl FnMut(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, SendError> {
        let mut pause = FIRST_PAUSE;
        let mut may_clean = true;
        for attempt in 1.. {
            let error = match command(self.context().map_err(SendError::Device)?) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if is_full(&error) && std::mem::take(&mut may_clean) && self.flush_abandoned() {
                continue;
            }
            if attempt < BUSY_ATTEMPTS && (is_busy(&error) || is_full(&error)) {
                thread::sleep(pause);
                pause *= 2;
                continue;
            }
            self.lost |= is_lost(&error);
            if is_transport(&error) {
                // The next command connects anew.
                self.context = None;
            }
            if is_full(&error) {
                return Err(SendError::Device(self.full(&error)));
            }
            return Err(SendError::Answer(error));
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

    /// Sends a command that shows or proves a hierarchy's authorisation value. One that was refused is not sent again.
    pub(crate) fn authorised<T>(
        &mut self,
        name: &'static str,
        hierarchy: Hierarchy,
        command: impl FnMut(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmDeviceError> {
        self.auth(hierarchy).assert_not_refused(hierarchy.name())?;
        self.send(command).map_err(|error| match error {
            SendError::Answer(answer) if refuses_auth(&answer) => self.auth(hierarchy).refused(hierarchy.name()),
            other => other.of(name),
        })
    }

    /// Says that the key with this TPMT_PUBLIC is ours. One that does not parse is none.
    pub(crate) fn know(&mut self, public: &[u8]) {
        if let Ok(public) = TpmtPublic::parse(public) {
            self.slots.know(public.name().as_bytes());
        }
    }

    /// Runs `body` with a loaded key of ours, and flushes it.
    pub(crate) fn using<T>(
        &mut self,
        key: KeyHandle,
        name: &[u8],
        body: impl FnOnce(&mut Self) -> Result<T, TpmDeviceError>,
    ) -> Result<T, TpmDeviceError> {
        self.slots.begin_use(name);
        let outcome = self.flushing(key.into(), body);
        self.slots.end_use();
        outcome
    }

    /// Runs `body` and then flushes the object, whatever came of it.
    pub(crate) fn flushing<T>(
        &mut self,
        object: ObjectHandle,
        body: impl FnOnce(&mut Self) -> Result<T, TpmDeviceError>,
    ) -> Result<T, TpmDeviceError> {
        let outcome = body(self);
        if outcome.is_err()
            && let Some(context) = &mut self.context
            && !is_still_there(context, object)
        {
            // Somebody flushed it, and the number of the handle may be another program's by now.
            self.lost = true;
            let mut object = object;
            slots::forget(context, &mut object);
            return outcome;
        }
        self.flush(object);
        outcome
    }

    /// Runs `body` and then flushes the session, whatever came of it.
    pub(crate) fn flushing_session<T>(
        &mut self,
        session: AuthSession,
        body: impl FnOnce(&mut Self) -> Result<T, TpmDeviceError>,
    ) -> Result<T, TpmDeviceError> {
        let outcome = body(self);
        self.flush(ObjectHandle::from(SessionHandle::from(session)));
        outcome
    }

    fn flush(&mut self, handle: ObjectHandle) {
        // With a new connection the handle means nothing, and what it meant went with the old one.
        if let Some(context) = &mut self.context
            && let Err(error) = context.flush_context(handle)
        {
            tracing::warn!(tcti = self.tcti, reason = describe(&error), "the TPM did not flush a handle");
        }
    }

    /// Runs an operation, once more where somebody flushed what it had loaded: whoever shares a TPM without a resource manager does.
    pub(crate) fn whole<T>(
        &mut self,
        mut operation: impl FnMut(&mut Self) -> Result<T, TpmDeviceError>,
    ) -> Result<T, TpmDeviceError> {
        self.lost = false;
        let outcome = operation(self);
        if outcome.is_ok() || !self.lost {
            return outcome;
        }
        tracing::warn!(tcti = self.tcti, "another program flushed what was loaded in the TPM; trying once more");
        self.lost = false;
        operation(self)
    }

    /// True where something of ours that nobody used was flushed.
    fn flush_abandoned(&mut self) -> bool {
        let Some(context) = &mut self.context else { return false };
        match self.slots.flush_abandoned(context) {
            Ok(0) => false,
            Ok(count) => {
                tracing::warn!(tcti = self.tcti, count, "flushed keys that a killed predecessor left in the TPM");
                true
            }
            Err(error) => {
                tracing::warn!(tcti = self.tcti, reason = describe(&error), "can't look for what a predecessor left");
                false
            }
        }
    }

    fn full(&mut self, error: &tss_esapi::Error) -> TpmDeviceError {
        let holders = match &mut self.context {
            Some(context) => self.slots.holders(context).unwrap_or_else(|error| describe(&error)),
            None => "unknown".to_owned(),
        };
        TpmDeviceError::Full { reason: describe(error), holders }
    }
}

/// True where the handle is still the object that it was.
fn is_still_there(context: &mut Context, handle: ObjectHandle) -> bool {
    let Ok(expected) = context.tr_get_name(handle) else { return false };
    let now = context.execute_without_session(|context| context.read_public(KeyHandle::from(handle)));
    match now {
        Ok((_, name, _)) => name.value() == expected.value(),
        Err(error) => !is_lost(&error),
    }
}

/// Why a command has no answer.
pub(crate) enum SendError {
    Device(TpmDeviceError),
    Answer(tss_esapi::Error),
}

impl SendError {
    pub(crate) fn of(self, command: &'static str) -> TpmDeviceError {
        match self {
            Self::Device(error) => error,
            Self::Answer(error) => failed(command, &error),
        }
    }
}
