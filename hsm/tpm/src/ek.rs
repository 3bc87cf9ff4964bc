//! The endorsement key: the persistent one if it is what the template says, else made from the endorsement seed, which gives the same
//! key each time, and loaded from its saved context while the TPM takes that. With what NV holds about it: certificate, on-die chain, nonce and template (TCG EK Credential Profile 2.5, 2.2.1.4).

use plastron_attestation::{EkMaterial, EkTemplate, TpmDeviceError};
use plastron_attestation_tcg::{EkNvIndices, TpmtPublic};
use tss_esapi::constants::CapabilityType;
use tss_esapi::constants::tss::TPM2_PERSISTENT_FIRST;
use tss_esapi::handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles;
use tss_esapi::structures::{CapabilityData, EccParameter, EccPoint, Public, PublicKeyRsa};
use tss_esapi::traits::{Marshall, UnMarshall};

use crate::ek_context;
use crate::link::{Hierarchy, Link};
use crate::nv::{self, NvIndices};
use crate::session::{by_hierarchy, malformed};

/// How many persistent handles are asked for at once; TPMs hold a handful.
const MAX_PERSISTENT: u32 = 64;
/// On-die CA certificates: at most this many, in NV from this index on.
const MAX_CHAIN: usize = 8;
const CHAIN_INDICES: std::ops::RangeInclusive<u32> = 0x01c0_0100..=0x01c0_01ff;

/// The persistent handle of the EK: in the low range those of TCG's provisioning guidance, in the high range numbered as the NV index of
/// the certificate. Whatever lives there is compared with the template.
fn persistent_handle(template: EkTemplate) -> u32 {
    match template {
        EkTemplate::L1Rsa2048 => 0x8101_0001,
        EkTemplate::L2P256 => 0x8101_0002,
        EkTemplate::H1Rsa2048 => 0x8101_0012,
        EkTemplate::H2P256 => 0x8101_0014,
        EkTemplate::H3P384 => 0x8101_0016,
        EkTemplate::H6Rsa3072 => 0x8101_001c,
    }
}

/// EK, certificate and chain.
pub(crate) fn material(link: &mut Link, template: EkTemplate) -> Result<EkMaterial, TpmDeviceError> {
    let public = with(link, template, read_public)?;
    let indices = nv::indices(link)?;
    let certificate = nv::read_if_there(link, &indices, template.certificate_nv_index())?;
    let chain = chain(link, &indices)?;
    Ok(EkMaterial { public, certificate, chain })
}

/// Runs `body` with the EK's handle and lets go of it.
pub(crate) fn with<T>(
    link: &mut Link,
    template: EkTemplate,
    body: impl FnOnce(&mut Link, KeyHandle) -> Result<T, TpmDeviceError>,
) -> Result<T, TpmDeviceError> {
    if let Some(handle) = persistent_ek(link, template)? {
        let outcome = body(link, KeyHandle::from(handle));
        close(link, handle);
        return outcome;
    }
    if let Some(ek) = ek_context::load(link, template)? {
        return link.flushing(ek, |link| body(link, KeyHandle::from(ek)));
    }
    let public = template_public(link, template)?;
    let made = by_hierarchy(link, "CreatePrimary", Hierarchy::Endorsement, None, |context, proof| {
        context.execute_with_session(Some(proof), |context| {
            let hierarchy = resource_handles::Hierarchy::Endorsement;
            context.create_primary(hierarchy, public.clone(), None, None, None, None)
        })
    })?;
    link.flushing(made.key_handle.into(), |link| {
        ek_context::save(link, template, made.key_handle)?;
        body(link, made.key_handle)
    })
}

/// The persistent EK, if there is one that is this template's key. Something else may live at its handle.
fn persistent_ek(link: &mut Link, template: EkTemplate) -> Result<Option<ObjectHandle>, TpmDeviceError> {
    let Some(object) = persistent(link, persistent_handle(template))? else { return Ok(None) };
    let public = read_public(link, KeyHandle::from(object));
    let is_template = public
        .as_ref()
        .is_ok_and(|public| TpmtPublic::parse(public).is_ok_and(|public| template.difference(&public).is_none()));
    if is_template {
        return Ok(Some(object));
    }
    close(link, object);
    public.map(|_| None)
}

/// The object at a persistent handle.
pub(crate) fn persistent(link: &mut Link, handle: u32) -> Result<Option<ObjectHandle>, TpmDeviceError> {
    let listed = link.command("GetCapability", |context| {
        context.execute_without_session(|context| {
            context.get_capability(CapabilityType::Handles, TPM2_PERSISTENT_FIRST, MAX_PERSISTENT)
        })
    })?;
    let (CapabilityData::Handles(handles), _) = listed else {
        return Err(malformed("GetCapability", "not the handles that were asked for"));
    };
    let Ok(wanted) = PersistentTpmHandle::new(handle) else { return Ok(None) };
    if !handles.into_inner().contains(&TpmHandle::Persistent(wanted)) {
        return Ok(None);
    }
    let object = link.command("ReadPublic", |context| {
        context.execute_without_session(|context| context.tr_from_tpm_public(TpmHandle::Persistent(wanted)))
    })?;
    Ok(Some(object))
}

/// Forgets a handle of libtss2's; the object in the TPM stays.
pub(crate) fn close(link: &mut Link, handle: ObjectHandle) {
    let mut handle = handle;
    // Nothing depends on it: the context closes what is left when it goes.
    let _ = link.send(|context| context.tr_close(&mut handle));
}

pub(crate) fn read_public(link: &mut Link, key: KeyHandle) -> Result<Vec<u8>, TpmDeviceError> {
    let (public, name, _) =
        link.command("ReadPublic", |context| context.execute_without_session(|context| context.read_public(key)))?;
    let public = public.marshall().map_err(|error| malformed("ReadPublic", error.to_string()))?;
    let parsed = TpmtPublic::parse(&public).map_err(|error| malformed("ReadPublic", error.to_string()))?;
    // libtss2 reads past the end of a reply that was cut short, into what its buffer held before.
    if parsed.name().as_bytes() != name.value() {
        return Err(malformed("ReadPublic", "a Name that is not the public area's"));
    }
    Ok(public)
}

/// What CreatePrimary is given: the profile's template, or the one in NV with the nonce that belongs to it.
fn template_public(link: &mut Link, template: EkTemplate) -> Result<Public, TpmDeviceError> {
    let EkNvIndices { certificate: _, nonce: nonce_index, template: template_index } = template.nv_indices();
    let indices = nv::indices(link)?;
    let Some(bytes) = nv::read_if_there(link, &indices, template_index)? else {
        let public = Public::unmarshall(&template.create_primary_public(&[]));
        return public.map_err(|error| malformed("CreatePrimary", error.to_string()));
    };
    let public = Public::unmarshall(&bytes);
    let public = public.map_err(|error| malformed("NV_Read", format!("the EK template in NV: {error}")))?;
    let nonce = match nonce_index {
        Some(index) => nv::read_if_there(link, &indices, index)?,
        None => None,
    };
    match nonce {
        Some(nonce) => with_nonce(public, &nonce),
        None => Ok(public),
    }
}

/// The template with the nonce in front of zeros in its unique field: the modulus, or x beside a y of zeros.
fn with_nonce(public: Public, nonce: &[u8]) -> Result<Public, TpmDeviceError> {
    let malformed = |reason: String| malformed("NV_Read", format!("the EK nonce in NV: {reason}"));
    let padded = |len: usize| {
        let zeros = len.checked_sub(nonce.len()).map(|zeros| vec![0; zeros]);
        zeros.map(|zeros| [nonce, &zeros].concat()).ok_or_else(|| malformed(format!("{} bytes", nonce.len())))
    };
    match public {
        Public::Rsa { object_attributes, name_hashing_algorithm, auth_policy, parameters, .. } => {
            let len = usize::from(u16::from(parameters.key_bits()) / 8);
            let unique = PublicKeyRsa::try_from(padded(len)?).map_err(|error| malformed(error.to_string()))?;
            Ok(Public::Rsa { object_attributes, name_hashing_algorithm, auth_policy, parameters, unique })
        }
        Public::Ecc { object_attributes, name_hashing_algorithm, auth_policy, parameters, .. } => {
            let len = match parameters.ecc_curve() {
                EccCurve::NistP256 => 32,
                EccCurve::NistP384 => 48,
                other => return Err(malformed(format!("its template is of {other:?}"))),
            };
            let coordinate =
                |bytes: Vec<u8>| EccParameter::try_from(bytes).map_err(|error| malformed(error.to_string()));
            let unique = EccPoint::new(coordinate(padded(len)?)?, coordinate(vec![0; len])?);
            Ok(Public::Ecc { object_attributes, name_hashing_algorithm, auth_policy, parameters, unique })
        }
        _ => Err(malformed("its template is no RSA or ECC key".to_owned())),
    }
}

/// The on-die CA's certificates: the contents of the indices one after the other, cut where one certificate's DER ends.
fn chain(link: &mut Link, indices: &NvIndices) -> Result<Vec<Vec<u8>>, TpmDeviceError> {
    let mut contents = Vec::new();
    for index in CHAIN_INDICES {
        match nv::read_if_there(link, indices, index)? {
            Some(bytes) if contents.len() < nv::MAX_NV => contents.extend(bytes),
            Some(_) => return Err(malformed("NV_Read", format!("an EK chain of more than {} bytes", nv::MAX_NV))),
            None => break,
        }
    }
    let mut rest = contents.as_slice();
    let mut chain = Vec::new();
    while let Some(length) = der_length(rest) {
        let Some((certificate, after)) = rest.split_at_checked(length) else { break };
        if chain.len() >= MAX_CHAIN {
            return Err(malformed("NV_Read", format!("an EK chain of more than {MAX_CHAIN} certificates")));
        }
        chain.push(certificate.to_vec());
        rest = after;
    }
    Ok(chain)
}

/// The length of the DER SEQUENCE, header included, that the bytes begin with.
fn der_length(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0x30, short, ..] if *short < 0x80 => Some(2 + usize::from(*short)),
        [0x30, 0x81, length, ..] => Some(3 + usize::from(*length)),
        [0x30, 0x82, high, low, ..] => Some(4 + usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::der_length;

    #[test]
    fn the_length_of_a_certificate_is_its_headers() {
        assert_eq!(der_length(&[0x30, 0x82, 0x03, 0xf4, 0]), Some(0x3f8));
        assert_eq!(der_length(&[0x30, 0x81, 0x80]), Some(0x83));
        assert_eq!(der_length(&[0x30, 0x05]), Some(7));
        for other in [&[][..], &[0x30], &[0xff; 8], &[0; 8], &[0x30, 0x83, 1, 1, 1], &[0x31, 0x05]] {
            assert_eq!(der_length(other), None);
        }
    }
}
