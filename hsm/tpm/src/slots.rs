//! The TPM's few slots for loaded objects and sessions: which of the objects in them are ours, and what to say when none is free.
//!
//! An object says which key it is and never whose. Ours for certain are the keys whose wrapped blobs only we have: if one of them is
//! loaded and we do not use it, a predecessor that was killed left it. Everything else may be another program's and is left alone.

use std::collections::BTreeSet;

use tss_esapi::Context;
use tss_esapi::constants::CapabilityType;
use tss_esapi::constants::tss::{TPM2_LOADED_SESSION_FIRST, TPM2_TRANSIENT_FIRST};
use tss_esapi::handles::{ObjectHandle, TpmHandle};
use tss_esapi::structures::CapabilityData;

use crate::response::describe;

/// How many handles of one kind are asked for. No TPM has more loaded objects or sessions.
const MAX_HANDLES: u32 = 64;
/// As many bytes of a Name as a person compares.
const SHOWN_NAME: usize = 8;

/// What this connection loads.
#[derive(Default)]
pub(crate) struct Slots {
    /// Names of our keys.
    own: BTreeSet<Vec<u8>>,
    /// Names of those that are loaded now.
    in_use: Vec<Vec<u8>>,
}

impl Slots {
    /// A key of this Name is ours.
    pub(crate) fn know(&mut self, name: &[u8]) {
        self.own.insert(name.to_vec());
    }

    /// It is loaded.
    pub(crate) fn begin_use(&mut self, name: &[u8]) {
        self.in_use.push(name.to_vec());
    }

    /// It is flushed.
    pub(crate) fn end_use(&mut self) {
        self.in_use.pop();
    }

    /// Flushes those of our keys that are loaded although we do not use them; says how many.
    pub(crate) fn flush_abandoned(&self, context: &mut Context) -> tss_esapi::Result<usize> {
        let mut flushed = 0;
        for handle in handles(context, TPM2_TRANSIENT_FIRST)? {
            // Another program may flush it between these commands.
            let Ok(mut object) = context.tr_from_tpm_public(handle) else { continue };
            let name = context.tr_get_name(object).map(|name| name.value().to_vec()).unwrap_or_default();
            if self.own.contains(&name) && !self.in_use.contains(&name) {
                context.flush_context(object)?;
                flushed += 1;
            } else {
                forget(context, &mut object);
            }
        }
        Ok(flushed)
    }

    /// What fills the slots, for whoever has to stop it.
    pub(crate) fn holders(&self, context: &mut Context) -> tss_esapi::Result<String> {
        let mut objects = Vec::new();
        let mut own = 0;
        for handle in handles(context, TPM2_TRANSIENT_FIRST)? {
            let Ok(mut object) = context.tr_from_tpm_public(handle) else { continue };
            let name = context.tr_get_name(object).map(|name| name.value().to_vec()).unwrap_or_default();
            if self.own.contains(&name) {
                own += 1;
            } else {
                objects.push(name.iter().take(SHOWN_NAME).map(|byte| format!("{byte:02x}")).collect::<String>());
            }
            forget(context, &mut object);
        }
        let sessions = handles(context, TPM2_LOADED_SESSION_FIRST)?.len();
        let names = if objects.is_empty() { String::new() } else { format!(" (Names {}…)", objects.join("…, ")) };
        Ok(format!("{} objects that are not this program's{names}, {own} that are, {sessions} sessions", objects.len()))
    }
}

/// Flushes all objects and sessions. Only for a program that nobody shares the TPM with: what is loaded when it begins is what a killed
/// predecessor left.
pub(crate) fn flush_all(context: &mut Context) -> tss_esapi::Result<()> {
    for first in [TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST] {
        for handle in handles(context, first)? {
            if let Err(error) = context.tr_from_tpm_public(handle).and_then(|object| context.flush_context(object)) {
                tracing::warn!(?handle, reason = describe(&error), "can't flush what another process left in the TPM");
            }
        }
    }
    Ok(())
}

/// Drops libtss2's notion of an object that stays in the TPM.
pub(crate) fn forget(context: &mut Context, object: &mut ObjectHandle) {
    // The wrapper complains that a transient object should be flushed, and has forgotten it by then.
    let _ = context.tr_close(object);
}

fn handles(context: &mut Context, first: u32) -> tss_esapi::Result<Vec<TpmHandle>> {
    let (data, _) = context.get_capability(CapabilityType::Handles, first, MAX_HANDLES)?;
    let CapabilityData::Handles(handles) = data else { return Ok(Vec::new()) };
    let is_slot = |handle: &TpmHandle| {
        use TpmHandle::{HmacSession, LoadedSession, PolicySession, Transient};
        matches!(handle, Transient(_) | HmacSession(_) | LoadedSession(_) | PolicySession(_))
    };
    Ok(handles.into_inner().into_iter().filter(is_slot).collect())
}
