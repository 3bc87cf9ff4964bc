//! Response codes (TPM 2.0 Library part 2, section 6.6; layers: TSS 2.0 Overview): what each asks of us, decided in one place.

use plastron_attestation::TpmDeviceError;
use tss_esapi::Error;

/// How often a command that the TPM was too busy or too full for is sent. libtss2 itself sends it a few times before that.
pub(crate) const BUSY_ATTEMPTS: u32 = 8;

const RC_RETRY: u32 = 0x922;
const RC_YIELDED: u32 = 0x908;
const RC_TESTING: u32 = 0x90a;
const RC_NV_RATE: u32 = 0x920;
const RC_LOCKOUT: u32 = 0x921;
const RC_FAILURE: u32 = 0x101;
const RC_OBJECT_MEMORY: u32 = 0x902;
const RC_SESSION_MEMORY: u32 = 0x903;
const RC_SESSION_HANDLES: u32 = 0x905;
const RC_OBJECT_HANDLES: u32 = 0x906;
const RC_HANDLE: u32 = 0x8b;
/// TPM_RC_REFERENCE_H0 to H6 and S0 to S6.
const RC_REFERENCE: std::ops::RangeInclusive<u32> = 0x910..=0x91e;
const RC_AUTH_FAIL: u32 = 0x8e;
const RC_BAD_AUTH: u32 = 0xa2;
/// Format-one codes have this bit; parameter, handle and session numbers are in the bits that [`FORMAT_ONE_BASE`] leaves out.
const FORMAT_ONE: u32 = 0x80;
const FORMAT_ONE_BASE: u32 = 0xbf;
/// Set where a format-one code complains about a parameter.
const PARAMETER: u32 = 0x40;
/// The layers whose codes are the TPM's own: the TPM, and resource managers that pass its codes on.
const TPM_LAYERS: [u32; 3] = [0, 11, 12];
const TCTI_LAYER: u32 = 10;
/// The layers that read what the TPM answered: ESYS, SYS, MU, TCTI.
const READING_LAYERS: std::ops::RangeInclusive<u32> = 7..=TCTI_LAYER;
/// What they say of a reply that is cut short, too long, of a wrong value or not authenticated: TSS2_BASE_RC_GENERAL_FAILURE,
/// INSUFFICIENT_BUFFER, BAD_SEQUENCE, BAD_VALUE, BAD_SIZE, MALFORMED_RESPONSE, INSUFFICIENT_RESPONSE, RSP_AUTH_FAILED.
const UNREADABLE: [u32; 8] = [1, 6, BAD_SEQUENCE, 11, 16, 17, 19, 27];
/// What ESYS says when a reply left it in the middle of a command.
const BAD_SEQUENCE: u32 = 7;

/// A failed command's code, if the failure came from the stack and not from the wrapper crate.
fn code(error: &Error) -> Option<u32> {
    use tss_esapi::constants::response_code::Tss2ResponseCode::{FormatOne, FormatZero, Success};
    let Error::Tss2Error(response) = error else { return None };
    // The wrapper keeps the number to itself, and its `kind` mixes up layers; its Display ends with the number.
    let text = match response {
        Success => return Some(0),
        FormatZero(code) => code.to_string(),
        FormatOne(code) => code.to_string(),
    };
    text.rsplit_once("0x").and_then(|(_, digits)| u32::from_str_radix(digits, 16).ok())
}

/// The TPM's own code.
fn tpm_code(error: &Error) -> Option<u32> {
    code(error).filter(|code| TPM_LAYERS.contains(&(code >> 16))).map(|code| code & 0xffff)
}

/// True where the same command may simply be sent again: the TPM did nothing.
pub(crate) fn is_busy(error: &Error) -> bool {
    matches!(tpm_code(error), Some(RC_RETRY | RC_YIELDED | RC_TESTING | RC_NV_RATE))
}

/// True where the TPM has no slot for another object or session.
pub(crate) fn is_full(error: &Error) -> bool {
    let full = [RC_OBJECT_MEMORY, RC_SESSION_MEMORY, RC_SESSION_HANDLES, RC_OBJECT_HANDLES];
    tpm_code(error).is_some_and(|code| full.contains(&code))
}

/// True where an object or session that a command names is not in the TPM.
pub(crate) fn is_lost(error: &Error) -> bool {
    tpm_code(error).is_some_and(|code| {
        RC_REFERENCE.contains(&code)
            || code & (FORMAT_ONE | PARAMETER) == FORMAT_ONE && code & FORMAT_ONE_BASE == RC_HANDLE
    })
}

/// True where the connection to the TPM is gone or confused.
pub(crate) fn is_transport(error: &Error) -> bool {
    code(error).is_some_and(|code| {
        code >> 16 == TCTI_LAYER || READING_LAYERS.contains(&(code >> 16)) && code & 0xffff == BAD_SEQUENCE
    })
}

/// True where the TPM refused a parameter: a blob, a credential, a secret.
pub(crate) fn refuses_parameter(error: &Error) -> bool {
    tpm_code(error).is_some_and(|code| code & FORMAT_ONE != 0 && code & PARAMETER != 0)
}

/// True where the TPM, or its resource manager, answered the command; not where it was not reached or not understood.
pub(crate) fn is_answer(error: &Error) -> bool {
    tpm_code(error).is_some()
}

/// True where the TPM refused a saved context: TPM_RC_INTEGRITY after a reset or TPM2_Clear, and the other codes that TPM2_ContextLoad
/// has for a context that is none of this boot's.
pub(crate) fn refuses_context(error: &Error) -> bool {
    tpm_code(error).is_some_and(|code| code & FORMAT_ONE != 0)
}

/// True for TPM_RC_FAILURE: the TPM is in failure mode, or (libtpms) could not do one operation.
pub(crate) fn is_failure(error: &Error) -> bool {
    tpm_code(error) == Some(RC_FAILURE)
}

/// True where the TPM refused an authorisation value.
pub(crate) fn refuses_auth(error: &Error) -> bool {
    let base = tpm_code(error).filter(|code| code & FORMAT_ONE != 0).map(|code| code & FORMAT_ONE_BASE);
    matches!(base, Some(RC_AUTH_FAIL | RC_BAD_AUTH))
}

/// True where the answer does not parse, or holds what no TPM answers.
fn is_unreadable(error: &Error) -> bool {
    match error {
        // The wrapper crate could not convert what libtss2 had read.
        Error::WrapperError(_) => true,
        Error::Tss2Error(_) => code(error)
            .is_some_and(|code| READING_LAYERS.contains(&(code >> 16)) && UNREADABLE.contains(&(code & 0xffff))),
    }
}

/// What a failed command is for the caller.
pub(crate) fn failed(command: &'static str, error: &Error) -> TpmDeviceError {
    if tpm_code(error) == Some(RC_LOCKOUT) {
        return TpmDeviceError::Lockout;
    }
    if is_unreadable(error) {
        return TpmDeviceError::MalformedReply { command, reason: describe(error) };
    }
    if is_busy(error) {
        let reason = format!("the TPM was still busy after {BUSY_ATTEMPTS} attempts: {}", describe(error));
        return TpmDeviceError::Command { command, reason };
    }
    TpmDeviceError::Command { command, reason: describe(error) }
}

/// The code in words and in hexadecimal.
pub(crate) fn describe(error: &Error) -> String {
    match code(error) {
        Some(code) => format!("{error} (response code {code:#x})"),
        None => error.to_string(),
    }
}
