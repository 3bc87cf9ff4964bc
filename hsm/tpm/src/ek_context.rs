//! The EK between two uses, where it is not persistent: the context that TPM2_ContextSave gave of it (TPM 2.0 Library part 1, chapter
//! "Context Management"), which only this TPM can read. Loading it takes a moment; making an RSA key anew takes a discrete TPM seconds.
//!
//! It is kept in memory only, by whoever keeps the connection. A TPM refuses what it saved before a reset or a TPM2_Clear; then
//! the EK is made again. Nothing is persisted here, and the key stays in no slot.

use plastron_attestation::{EkTemplate, TpmDeviceError};
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::utils::TpmsContext;

use crate::link::{Link, SendError};
use crate::response::{describe, is_answer, refuses_context};

/// The EK of this template as the TPM saved it.
pub(crate) struct SavedEk {
    template: EkTemplate,
    context: TpmsContext,
}

/// Loads the saved EK. `None` where none is saved, or where the TPM does not take it any more.
pub(crate) fn load(link: &mut Link, template: EkTemplate) -> Result<Option<ObjectHandle>, TpmDeviceError> {
    let saved = link.saved_ek.as_ref().filter(|saved| saved.template == template);
    let Some(saved) = saved.map(|saved| saved.context.clone()) else { return Ok(None) };
    match link.send(|context| context.context_load(saved.clone())) {
        Ok(ek) => Ok(Some(ek)),
        Err(SendError::Answer(answer)) if refuses_context(&answer) => {
            tracing::debug!(reason = describe(&answer), "the TPM was reset or cleared since the EK was saved");
            link.saved_ek = None;
            Ok(None)
        }
        Err(error) => Err(error.of("ContextLoad")),
    }
}

/// Saves an EK that was just made. Where the TPM, or what manages it, can't save, the next use makes the EK again.
pub(crate) fn save(link: &mut Link, template: EkTemplate, ek: KeyHandle) -> Result<(), TpmDeviceError> {
    match link.send(|context| context.context_save(ek.into())) {
        Ok(context) => link.saved_ek = Some(SavedEk { template, context }),
        Err(SendError::Answer(answer)) if is_answer(&answer) => {
            tracing::debug!(reason = describe(&answer), "the TPM did not save the EK; it is made again for each use");
        }
        Err(error) => return Err(error.of("ContextSave")),
    }
    Ok(())
}
