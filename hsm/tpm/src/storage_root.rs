//! The storage root: the parent of keys that belong to a key store and not to an attestation.
//!
//! The persistent one of TCG's provisioning guidance where there is one that no key can leave, else the primary of the owner hierarchy
//! that [`key_template::storage_p256`] describes, which is made again each time and comes out the same until TPM2_Clear.

use plastron_attestation::TpmDeviceError;
use plastron_attestation_tcg::{ObjectAttributes, TpmtPublic};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::resource_handles;

use crate::ek::{close, persistent, read_public};
use crate::key_template;
use crate::link::{Hierarchy, Link};
use crate::session::{by_hierarchy, malformed};

/// TPM v2.0 Provisioning Guidance, section 7.8.
const HANDLE: u32 = 0x8100_0001;

/// What a parent has to be for fixedTPM to mean anything, and for nobody to lock it.
const NEEDED: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .with(ObjectAttributes::FIXED_PARENT)
    .with(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
    .with(ObjectAttributes::USER_WITH_AUTH)
    .with(ObjectAttributes::NO_DA)
    .with(ObjectAttributes::RESTRICTED)
    .with(ObjectAttributes::DECRYPT);

/// Runs `body` with the root's handle and Name. `wanted` is the Name that a child was made under; without it any root does.
pub(crate) fn with<T>(
    link: &mut Link,
    wanted: Option<&[u8]>,
    body: impl FnOnce(&mut Link, KeyHandle, &[u8]) -> Result<T, TpmDeviceError>,
) -> Result<T, TpmDeviceError> {
    if let Some(object) = persistent(link, HANDLE)? {
        let public = read_public(link, KeyHandle::from(object));
        let name = public.map(|public| name_if_suitable(&public));
        if let Ok(Some(name)) = &name
            && wanted.is_none_or(|wanted| wanted == name)
        {
            let outcome = body(link, KeyHandle::from(object), name);
            close(link, object);
            return outcome;
        }
        close(link, object);
        name?;
    }
    let template = key_template::storage_p256().map_err(|error| malformed("CreatePrimary", error.to_string()))?;
    let made = by_hierarchy(link, "CreatePrimary", Hierarchy::Owner, None, |context, proof| {
        context.execute_with_session(Some(proof), |context| {
            let hierarchy = resource_handles::Hierarchy::Owner;
            context.create_primary(hierarchy, template.clone(), None, None, None, None)
        })
    })?;
    let handle = made.key_handle;
    link.flushing(handle.into(), |link| {
        let public = read_public(link, handle)?;
        let name = name_if_suitable(&public)
            .ok_or_else(|| malformed("CreatePrimary", "not the storage key that was asked for"))?;
        match wanted {
            Some(wanted) if wanted != name => {
                let reason = "its parent is not in this TPM: the TPM was cleared, or is another one";
                Err(TpmDeviceError::KeyNotLoadable { reason: reason.to_owned() })
            }
            _ => body(link, handle, &name),
        }
    })
}

fn name_if_suitable(public: &[u8]) -> Option<Vec<u8>> {
    let public = TpmtPublic::parse(public).ok()?;
    let signs = public.attributes.contains(ObjectAttributes::SIGN_ENCRYPT);
    (public.attributes.contains(NEEDED) && !signs).then(|| public.name().as_bytes().to_vec())
}
