//! What a TPM says of itself (TPM2_GetCapability).

use plastron_attestation::TpmDeviceError;
use tss_esapi::constants::{CapabilityType, PropertyTag};
use tss_esapi::structures::CapabilityData;
use tss_esapi::tss2_esys::TPML_PCR_SELECTION;

use crate::link::Link;
use crate::quote::bitmap;
use crate::session::malformed;

/// What a TPM says of itself. None of it is proven; text is as the TPM gave it and has to be escaped before a person reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TpmProperties {
    /// TPM_PT_MANUFACTURER as text, such as `IFX`.
    pub manufacturer: String,
    /// TPM_PT_VENDOR_STRING_1 to 4, joined.
    pub vendor: String,
    /// TPM_PT_FIRMWARE_VERSION_1 and 2 as four numbers of 16 bits.
    pub firmware: String,
    /// TPM_PT_FAMILY_INDICATOR and TPM_PT_REVISION, as `2.0 revision 1.59`.
    pub specification: String,
    /// Allocated PCR banks: TPM_ALG_ID, and which PCRs, PCR 0 in the lowest bit.
    pub banks: Vec<(u16, u32)>,
    /// TPM_PT_LOCKOUT_COUNTER: failed authorisations.
    pub lockout_counter: u32,
    /// TPM_PT_MAX_AUTH_FAIL: at how many of them the TPM locks.
    pub max_auth_fail: u32,
}

pub(crate) fn read(link: &mut Link) -> Result<TpmProperties, TpmDeviceError> {
    let mut number = |tag| property(link, tag).map(Option::unwrap_or_default);
    let manufacturer = text(&[number(PropertyTag::Manufacturer)?]);
    let vendor = text(&[
        number(PropertyTag::VendorString1)?,
        number(PropertyTag::VendorString2)?,
        number(PropertyTag::VendorString3)?,
        number(PropertyTag::VendorString4)?,
    ]);
    let parts = [number(PropertyTag::FirmwareVersion1)?, number(PropertyTag::FirmwareVersion2)?];
    let parts = parts.map(|part| format!("{}.{}", part >> 16, part & 0xffff));
    let family = text(&[number(PropertyTag::FamilyIndicator)?]);
    let revision = number(PropertyTag::Revision)?;
    let (lockout_counter, max_auth_fail) = (number(PropertyTag::LockoutCounter)?, number(PropertyTag::MaxAuthFail)?);
    Ok(TpmProperties {
        manufacturer,
        vendor,
        firmware: parts.join("."),
        specification: format!("{family} revision {}.{:02}", revision / 100, revision % 100),
        banks: banks(link)?,
        lockout_counter,
        max_auth_fail,
    })
}

/// One property, or `None` where the TPM does not have it.
pub(crate) fn property(link: &mut Link, tag: PropertyTag) -> Result<Option<u32>, TpmDeviceError> {
    let (data, _) = link.command("GetCapability", |context| {
        context.execute_without_session(|context| context.get_capability(CapabilityType::TpmProperties, tag.into(), 1))
    })?;
    let CapabilityData::TpmProperties(properties) = data else {
        return Err(malformed("GetCapability", "not the property that was asked for"));
    };
    // A TPM without the property answers with the next one that it has.
    Ok(properties.find(tag).map(|property| property.value()))
}

fn banks(link: &mut Link) -> Result<Vec<(u16, u32)>, TpmDeviceError> {
    let (data, _) = link.command("GetCapability", |context| {
        context.execute_without_session(|context| context.get_capability(CapabilityType::AssignedPcr, 0, 1))
    })?;
    let CapabilityData::AssignedPcr(assigned) = data else {
        return Err(malformed("GetCapability", "not the PCR banks that were asked for"));
    };
    let assigned = TPML_PCR_SELECTION::from(assigned);
    let count = usize::try_from(assigned.count).unwrap_or(usize::MAX);
    let banks = assigned.pcrSelections.iter().take(count).map(|bank| (bank.hash, bitmap(bank)));
    Ok(banks.filter(|(_, pcrs)| *pcrs != 0).collect())
}

/// Four characters per number, without the NULs and blanks that fill them up.
fn text(numbers: &[u32]) -> String {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).filter(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
