//! Reading NV indices whole (TPM 2.0 Library part 3, TPM2_NV_Read).

use std::collections::BTreeSet;

use plastron_attestation::TpmDeviceError;
use tss_esapi::constants::tss::TPM2_NV_INDEX_FIRST;
use tss_esapi::constants::{CapabilityType, PropertyTag};
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, ObjectHandle, TpmHandle};
use tss_esapi::interface_types::resource_handles::NvAuth;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::CapabilityData;

use crate::link::{Hierarchy, Link};
use crate::properties::property;
use crate::session::{by_hierarchy, malformed};

/// The largest content that is read: the largest known EK certificate has 2 KB, an on-die chain about 8 KB.
pub(crate) const MAX_NV: usize = 16 * 1024;
/// How many bytes are read at once where the TPM does not say how many it can.
const DEFAULT_CHUNK: u32 = 512;
/// Handles per TPM2_GetCapability, and how often it is asked: TPMs have room for a few dozen indices.
const HANDLES_AT_ONCE: u32 = 128;
const MAX_ROUNDS: usize = 8;

/// The NV indices that are defined. Asking first spares a failed command per index that is not there.
pub(crate) struct NvIndices(BTreeSet<u32>);

impl NvIndices {
    pub(crate) fn has(&self, index: u32) -> bool {
        self.0.contains(&index)
    }
}

pub(crate) fn indices(link: &mut Link) -> Result<NvIndices, TpmDeviceError> {
    let mut found = BTreeSet::new();
    let mut first = TPM2_NV_INDEX_FIRST;
    for _ in 0..MAX_ROUNDS {
        let (data, more) = link.command("GetCapability", |context| {
            context.execute_without_session(|context| {
                context.get_capability(CapabilityType::Handles, first, HANDLES_AT_ONCE)
            })
        })?;
        let CapabilityData::Handles(handles) = data else {
            return Err(malformed("GetCapability", "not the handles that were asked for"));
        };
        found.extend(handles.into_inner().into_iter().map(u32::from));
        match found.last().and_then(|last| last.checked_add(1)) {
            Some(next) if more && next > first => first = next,
            _ => break,
        }
    }
    Ok(NvIndices(found))
}

/// The content of an index, padding included, or `None` where it is not defined or was never written.
pub(crate) fn read_if_there(
    link: &mut Link,
    indices: &NvIndices,
    index: u32,
) -> Result<Option<Vec<u8>>, TpmDeviceError> {
    if !indices.has(index) {
        return Ok(None);
    }
    let handle = NvIndexTpmHandle::new(index).map_err(|error| malformed("GetCapability", error.to_string()))?;
    let mut object = link.command("NV_ReadPublic", |context| {
        context.execute_without_session(|context| context.tr_from_tpm_public(TpmHandle::NvIndex(handle)))
    })?;
    let content = read(link, index, object);
    // Nothing depends on it: the context closes what is left when it goes.
    let _ = link.send(|context| context.tr_close(&mut object));
    content
}

fn read(link: &mut Link, index: u32, object: ObjectHandle) -> Result<Option<Vec<u8>>, TpmDeviceError> {
    let handle = NvIndexHandle::from(object);
    let (public, _) = link.command("NV_ReadPublic", |context| {
        context.execute_without_session(|context| context.nv_read_public(handle))
    })?;
    let (size, attributes) = (public.data_size(), public.attributes());
    if size > MAX_NV {
        return Err(malformed("NV_ReadPublic", format!("index {index:#x} has {size} bytes, more than {MAX_NV}")));
    }
    if !attributes.written() {
        return Ok(None);
    }
    let chunk = property(link, PropertyTag::NvBufferMax)?.unwrap_or(DEFAULT_CHUNK).clamp(1, DEFAULT_CHUNK * 4);
    let chunk = usize::try_from(chunk).unwrap_or(1);
    let mut content = Vec::with_capacity(size);
    while content.len() < size {
        let wanted = chunk.min(size - content.len());
        let (length, offset) = (u16::try_from(wanted), u16::try_from(content.len()));
        let (Ok(length), Ok(offset)) = (length, offset) else {
            return Err(malformed("NV_ReadPublic", format!("index {index:#x} has {size} bytes")));
        };
        let part = if attributes.auth_read() {
            link.command("NV_Read", |context| {
                context.execute_with_session(Some(AuthSession::Password), |context| {
                    context.nv_read(NvAuth::NvIndex(handle), handle, length, offset)
                })
            })?
        } else {
            by_hierarchy(link, "NV_Read", Hierarchy::Owner, None, |context, proof| {
                context
                    .execute_with_session(Some(proof), |context| context.nv_read(NvAuth::Owner, handle, length, offset))
            })?
        };
        if part.len() != wanted {
            return Err(malformed("NV_Read", format!("{} bytes of index {index:#x} instead of {wanted}", part.len())));
        }
        content.extend_from_slice(&part);
    }
    Ok(Some(content))
}
