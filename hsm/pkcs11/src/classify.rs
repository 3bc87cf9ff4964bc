//! What an answer of the token means: one place decides, with a row for every code of PKCS#11 2.40 and 3.x that has a name.
//!
//! A row says what an answer to any call leads to ([`Verdict`]), and what it says about the PIN where it is C_Login's
//! ([`PinVerdict`]). There is no arm for "the rest": a code that `cryptoki` learns to name breaks the build until it has a row here.
//! `docs/plugins/keymanager-pkcs11-errors.md` is this table, rendered, and a test holds the two together.
//!
//! To try a signature again is harmless: the digest is the same, nothing is counted, and of two signatures one is thrown away. Making
//! and destroying keys is not repeated blindly: see `Open::generate` and `Open::destroy`.

use cryptoki::error::{Error, RvError};

/// What has to be set up again before a call is tried once more, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Recovery {
    /// This thread's session, and with it the handles that it has found.
    Session,
    /// The login, and with it every session.
    Login,
    /// The module: C_Finalize, C_Initialize, login. Object handles die with it.
    Module,
}

/// What an answer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Something is set up again, and the call is tried once more.
    Recover(Recovery),
    /// The token has no room now. Nothing is set up again: the caller is told to come back.
    Later,
    /// Nothing that a program does helps: what a person has to do.
    Operator(&'static str),
    /// The same call will get the same answer.
    Refused,
}

/// What an answer to C_Login means for the PIN that was given to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinVerdict {
    /// The process is logged in already.
    LoggedIn,
    /// The call ended before the token could look at the PIN: it may be sent again. Only what certainly comes before counts as that.
    NotSeen,
    /// The token said no.
    Refused,
    /// The token may have counted a try: a general error, a device error, a vendor's own, an answer that got lost. A PIN that is sent
    /// again after each of them locks the token.
    Unclear,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// The code's name in the standard.
    name: &'static str,
    /// Of any call.
    call: Verdict,
    /// Of C_Login.
    login: PinVerdict,
    /// What the token says by it.
    says: &'static str,
}

/// The verdict on an error. What is not the token's answer is a fault of the module or of how it is called, and stays.
pub(crate) fn classify(error: &Error) -> Verdict {
    match error {
        Error::Pkcs11(code, _) => row(*code).call,
        Error::LibraryLoading(_)
        | Error::NotSupported
        | Error::TryFromInt(_)
        | Error::TryFromSlice(_)
        | Error::ParseInt(_)
        | Error::Utf8(_)
        | Error::NulError(_)
        | Error::NullFunctionPointer
        | Error::MissingSymbol(_)
        | Error::InvalidValue
        | Error::PinNotSet => Verdict::Refused,
    }
}

/// An error in the words of the table.
pub(crate) fn describe(error: &Error) -> String {
    let Error::Pkcs11(code, function) = error else { return error.to_string() };
    let Row { name, says, .. } = row(*code);
    match code {
        RvError::VendorDefined(number) | RvError::UnknownErrorCode(number) => {
            format!("C_{function}: {name} ({number:#x}): {says}")
        }
        _named => format!("C_{function}: {name}: {says}"),
    }
}

/// The verdict on the PIN, after an error of C_Login.
pub(crate) fn pin_verdict(error: &Error) -> PinVerdict {
    match error {
        Error::Pkcs11(code, _) => row(*code).login,
        Error::LibraryLoading(_)
        | Error::NotSupported
        | Error::TryFromInt(_)
        | Error::TryFromSlice(_)
        | Error::ParseInt(_)
        | Error::Utf8(_)
        | Error::NulError(_)
        | Error::NullFunctionPointer
        | Error::MissingSymbol(_)
        | Error::InvalidValue
        | Error::PinNotSet => PinVerdict::Unclear,
    }
}

const SESSION: Verdict = Verdict::Recover(Recovery::Session);
const LOGIN: Verdict = Verdict::Recover(Recovery::Login);
const MODULE: Verdict = Verdict::Recover(Recovery::Module);

const CORRECT_THE_PIN: Verdict = Verdict::Operator(
    "check the PIN source with pkcs11-tool --login, then start the server again: tokens lock after a few wrong PINs",
);
const CHANGE_THE_PIN: Verdict = Verdict::Operator(
    "change the user PIN with pkcs11-tool --change-pin, write it to the PIN source, start the server again",
);
const UNLOCK: Verdict =
    Verdict::Operator("unlock the user PIN as the security officer, check the PIN source, start the server again");
const SET_A_PIN: Verdict = Verdict::Operator("set a user PIN as the security officer");
const OTHER_MODULE: Verdict =
    Verdict::Operator("reinstall the token's PKCS#11 library, or ask its vendor for another one");
const MEND_THE_TOKEN: Verdict = Verdict::Operator("look at the token with its vendor's tools");

// One line for each row, so that it reads as a table.
#[rustfmt::skip]
fn row(code: RvError) -> Row {
    use RvError as E;
    use PinVerdict::{LoggedIn, NotSeen, Unclear};
    use Verdict::{Later, Refused};
    const PIN_REFUSED: PinVerdict = PinVerdict::Refused;
    let row = |name, call, login, says| Row { name, call, login, says };
    match code {
        E::Cancel => row("CKR_CANCEL", SESSION, Unclear, "a callback of the application cancelled the call"),
        E::HostMemory => row("CKR_HOST_MEMORY", Later, Unclear, "this host has no memory left for the module"),
        E::SlotIdInvalid => row("CKR_SLOT_ID_INVALID", MODULE, NotSeen, "the slot is gone"),
        E::GeneralError => row("CKR_GENERAL_ERROR", MODULE, Unclear, "something broke, and the token may be in any state"),
        E::FunctionFailed => row("CKR_FUNCTION_FAILED", MODULE, Unclear, "the call failed, and the token does not say why"),
        E::ArgumentsBad => row("CKR_ARGUMENTS_BAD", Refused, Unclear, "the module does not take these arguments"),
        E::NoEvent => row("CKR_NO_EVENT", Refused, Unclear, "no slot changed (C_WaitForSlotEvent)"),
        E::NeedToCreateThreads => row("CKR_NEED_TO_CREATE_THREADS", OTHER_MODULE, Unclear, "the module may not make threads and needs them"),
        E::CantLock => row("CKR_CANT_LOCK", OTHER_MODULE, Unclear, "the module can't be used by several threads"),
        E::AttributeReadOnly => row("CKR_ATTRIBUTE_READ_ONLY", Refused, Unclear, "an attribute can't be set"),
        E::AttributeSensitive => row("CKR_ATTRIBUTE_SENSITIVE", Refused, Unclear, "an attribute can't be read"),
        E::AttributeTypeInvalid => row("CKR_ATTRIBUTE_TYPE_INVALID", Refused, Unclear, "the token does not know an attribute"),
        E::AttributeValueInvalid => row("CKR_ATTRIBUTE_VALUE_INVALID", Refused, Unclear, "the token does not take an attribute's value"),
        E::ActionProhibited => row("CKR_ACTION_PROHIBITED", Refused, Unclear, "the token's policy forbids it"),
        E::DataInvalid => row("CKR_DATA_INVALID", Refused, Unclear, "the input is not what the mechanism takes"),
        E::DataLenRange => row("CKR_DATA_LEN_RANGE", Refused, Unclear, "the input is too long or too short"),
        E::DeviceError => row("CKR_DEVICE_ERROR", MODULE, Unclear, "the token or its slot has a problem"),
        E::DeviceMemory => row("CKR_DEVICE_MEMORY", Later, Unclear, "the token has no memory left"),
        E::DeviceRemoved => row("CKR_DEVICE_REMOVED", MODULE, NotSeen, "the token was removed during the call"),
        E::EncryptedDataInvalid => row("CKR_ENCRYPTED_DATA_INVALID", Refused, Unclear, "a ciphertext is not one"),
        E::EncryptedDataLenRange => row("CKR_ENCRYPTED_DATA_LEN_RANGE", Refused, Unclear, "a ciphertext has an impossible length"),
        E::FunctionCanceled => row("CKR_FUNCTION_CANCELED", SESSION, Unclear, "the call was cut off"),
        E::FunctionNotParallel => row("CKR_FUNCTION_NOT_PARALLEL", Refused, Unclear, "no function runs in parallel (old modules)"),
        E::FunctionNotSupported => row("CKR_FUNCTION_NOT_SUPPORTED", Refused, Unclear, "the module does not have the function"),
        E::CurveNotSupported => row("CKR_CURVE_NOT_SUPPORTED", Refused, Unclear, "the token does not have the curve"),
        E::KeyHandleInvalid => row("CKR_KEY_HANDLE_INVALID", LOGIN, Unclear, "no key has this handle: the login ended, or the token is another one"),
        E::KeySizeRange => row("CKR_KEY_SIZE_RANGE", Refused, Unclear, "the token does not take keys of this size"),
        E::KeyTypeInconsistent => row("CKR_KEY_TYPE_INCONSISTENT", SESSION, Unclear, "the handle has come to mean a key of another type: the key is found anew"),
        E::KeyNotNeeded => row("CKR_KEY_NOT_NEEDED", Refused, Unclear, "a key was given that is not needed (C_SetOperationState)"),
        E::KeyChanged => row("CKR_KEY_CHANGED", Refused, Unclear, "a key is not the one of the saved state (C_SetOperationState)"),
        E::KeyNeeded => row("CKR_KEY_NEEDED", Refused, Unclear, "a key is missing (C_SetOperationState)"),
        E::KeyIndigestible => row("CKR_KEY_INDIGESTIBLE", Refused, Unclear, "the key can't be digested"),
        E::KeyFunctionNotPermitted => row("CKR_KEY_FUNCTION_NOT_PERMITTED", SESSION, Unclear, "the handle has come to mean a key that may not sign: the key is found anew, and judged"),
        E::KeyNotWrappable => row("CKR_KEY_NOT_WRAPPABLE", Refused, Unclear, "the key can't be wrapped"),
        E::KeyUnextractable => row("CKR_KEY_UNEXTRACTABLE", Refused, Unclear, "the key can't leave the token"),
        E::MechanismInvalid => row("CKR_MECHANISM_INVALID", Refused, Unclear, "the token does not have the mechanism"),
        E::MechanismParamInvalid => row("CKR_MECHANISM_PARAM_INVALID", Refused, Unclear, "the token does not take the mechanism's parameters"),
        E::ObjectHandleInvalid => row("CKR_OBJECT_HANDLE_INVALID", LOGIN, Unclear, "no object has this handle: the login ended, or the token is another one"),
        E::OperationActive => row("CKR_OPERATION_ACTIVE", SESSION, Unclear, "the session is still in an earlier operation"),
        E::OperationNotInitialized => row("CKR_OPERATION_NOT_INITIALIZED", SESSION, Unclear, "the session has forgotten the operation"),
        E::PinIncorrect => row("CKR_PIN_INCORRECT", CORRECT_THE_PIN, PIN_REFUSED, "the PIN is wrong"),
        E::PinInvalid => row("CKR_PIN_INVALID", CORRECT_THE_PIN, PIN_REFUSED, "the PIN has characters that no PIN has"),
        E::PinLenRange => row("CKR_PIN_LEN_RANGE", CORRECT_THE_PIN, PIN_REFUSED, "the PIN is too long or too short"),
        E::PinExpired => row("CKR_PIN_EXPIRED", CHANGE_THE_PIN, PIN_REFUSED, "the PIN has expired"),
        E::PinLocked => row("CKR_PIN_LOCKED", UNLOCK, PIN_REFUSED, "the user PIN is locked"),
        E::SessionClosed => row("CKR_SESSION_CLOSED", SESSION, NotSeen, "the session was closed during the call"),
        E::SessionCount => row("CKR_SESSION_COUNT", Later, Unclear, "the token has no session left"),
        E::SessionHandleInvalid => row("CKR_SESSION_HANDLE_INVALID", SESSION, NotSeen, "the session is gone"),
        E::SessionParallelNotSupported => row("CKR_SESSION_PARALLEL_NOT_SUPPORTED", Refused, Unclear, "parallel sessions do not exist (old modules)"),
        E::SessionReadOnly => row("CKR_SESSION_READ_ONLY", Refused, Unclear, "the token takes no objects, though the session may write"),
        E::SessionExists => row("CKR_SESSION_EXISTS", Refused, Unclear, "a session is open (C_InitToken)"),
        E::SessionReadOnlyExists => row("CKR_SESSION_READ_ONLY_EXISTS", Refused, Unclear, "a read-only session keeps the security officer out"),
        E::SessionReadWriteSoExists => row("CKR_SESSION_READ_WRITE_SO_EXISTS", Later, Unclear, "the security officer is logged in"),
        E::SignatureInvalid => row("CKR_SIGNATURE_INVALID", Refused, Unclear, "a signature does not verify"),
        E::SignatureLenRange => row("CKR_SIGNATURE_LEN_RANGE", Refused, Unclear, "a signature has an impossible length"),
        E::TemplateIncomplete => row("CKR_TEMPLATE_INCOMPLETE", Refused, Unclear, "the token wants more attributes"),
        E::TemplateInconsistent => row("CKR_TEMPLATE_INCONSISTENT", Refused, Unclear, "the token takes these attributes not together"),
        E::TokenNotPresent => row("CKR_TOKEN_NOT_PRESENT", MODULE, NotSeen, "no token is in the slot"),
        E::TokenNotRecognized => row("CKR_TOKEN_NOT_RECOGNIZED", MODULE, NotSeen, "the module does not know the token in the slot"),
        E::TokenWriteProtected => row("CKR_TOKEN_WRITE_PROTECTED", MEND_THE_TOKEN, Unclear, "the token is write-protected"),
        E::UnwrappingKeyHandleInvalid => row("CKR_UNWRAPPING_KEY_HANDLE_INVALID", Refused, Unclear, "nothing is unwrapped here"),
        E::UnwrappingKeySizeRange => row("CKR_UNWRAPPING_KEY_SIZE_RANGE", Refused, Unclear, "nothing is unwrapped here"),
        E::UnwrappingKeyTypeInconsistent => row("CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT", Refused, Unclear, "nothing is unwrapped here"),
        E::UserAlreadyLoggedIn => row("CKR_USER_ALREADY_LOGGED_IN", SESSION, LoggedIn, "this process is logged in"),
        E::UserNotLoggedIn => row("CKR_USER_NOT_LOGGED_IN", LOGIN, Unclear, "the login has ended"),
        E::UserPinNotInitialized => row("CKR_USER_PIN_NOT_INITIALIZED", SET_A_PIN, PIN_REFUSED, "the token has no user PIN yet"),
        E::UserTypeInvalid => row("CKR_USER_TYPE_INVALID", Refused, Unclear, "the token does not know this kind of user"),
        E::UserAnotherAlreadyLoggedIn => row("CKR_USER_ANOTHER_ALREADY_LOGGED_IN", Later, Unclear, "somebody else is logged in by way of this process"),
        E::UserTooManyTypes => row("CKR_USER_TOO_MANY_TYPES", Later, Unclear, "too many kinds of users are logged in"),
        E::WrappedKeyInvalid => row("CKR_WRAPPED_KEY_INVALID", Refused, Unclear, "nothing is unwrapped here"),
        E::WrappedKeyLenRange => row("CKR_WRAPPED_KEY_LEN_RANGE", Refused, Unclear, "nothing is unwrapped here"),
        E::WrappingKeyHandleInvalid => row("CKR_WRAPPING_KEY_HANDLE_INVALID", Refused, Unclear, "nothing is wrapped here"),
        E::WrappingKeySizeRange => row("CKR_WRAPPING_KEY_SIZE_RANGE", Refused, Unclear, "nothing is wrapped here"),
        E::WrappingKeyTypeInconsistent => row("CKR_WRAPPING_KEY_TYPE_INCONSISTENT", Refused, Unclear, "nothing is wrapped here"),
        E::RandomSeedNotSupported => row("CKR_RANDOM_SEED_NOT_SUPPORTED", Refused, Unclear, "the token's random numbers can't be seeded"),
        E::RandomNoRng => row("CKR_RANDOM_NO_RNG", Refused, Unclear, "the token has no random numbers"),
        E::DomainParamsInvalid => row("CKR_DOMAIN_PARAMS_INVALID", Refused, Unclear, "the token does not take the curve"),
        E::BufferTooSmall => row("CKR_BUFFER_TOO_SMALL", Refused, Unclear, "the answer is longer than the module said before"),
        E::SavedStateInvalid => row("CKR_SAVED_STATE_INVALID", Refused, Unclear, "a saved state is not one (C_SetOperationState)"),
        E::InformationSensitive => row("CKR_INFORMATION_SENSITIVE", Refused, Unclear, "the token does not tell"),
        E::StateUnsaveable => row("CKR_STATE_UNSAVEABLE", Refused, Unclear, "the state can't be saved (C_GetOperationState)"),
        E::CryptokiNotInitialized => row("CKR_CRYPTOKI_NOT_INITIALIZED", MODULE, NotSeen, "the module was finalised"),
        E::CryptokiAlreadyInitialized => row("CKR_CRYPTOKI_ALREADY_INITIALIZED", Refused, Unclear, "the module is initialised; to C_Initialize that is an answer like CKR_OK"),
        E::MutexBad => row("CKR_MUTEX_BAD", MODULE, Unclear, "the module's locks are damaged"),
        E::MutexNotLocked => row("CKR_MUTEX_NOT_LOCKED", MODULE, Unclear, "the module's locks are damaged"),
        E::NewPinMode => row("CKR_NEW_PIN_MODE", CHANGE_THE_PIN, Unclear, "the token wants a new PIN (one-time passwords)"),
        E::NextOtp => row("CKR_NEXT_OTP", MEND_THE_TOKEN, Unclear, "the token wants its next one-time password"),
        E::ExceededMaxIterations => row("CKR_EXCEEDED_MAX_ITERATIONS", Refused, Unclear, "making domain parameters took too long"),
        E::FipsSelfTestFailed => row("CKR_FIPS_SELF_TEST_FAILED", MODULE, Unclear, "the token's self-test failed; initialising runs it again"),
        E::LibraryLoadFailed => row("CKR_LIBRARY_LOAD_FAILED", OTHER_MODULE, Unclear, "the module can't load a library that it needs"),
        E::PinTooWeak => row("CKR_PIN_TOO_WEAK", CORRECT_THE_PIN, PIN_REFUSED, "the PIN is too easy to guess"),
        E::PublicKeyInvalid => row("CKR_PUBLIC_KEY_INVALID", Refused, Unclear, "a public key is not one"),
        E::FunctionRejected => row("CKR_FUNCTION_REJECTED", Refused, Unclear, "a person at the token said no"),
        E::VendorDefined(_) => row("CKR_VENDOR_DEFINED", SESSION, Unclear, "a code of the vendor's own"),
        // Version 3 names these; cryptoki does not yet.
        E::UnknownErrorCode(0x042) => row("CKR_AEAD_DECRYPT_FAILED", Refused, Unclear, "a ciphertext is not authentic"),
        E::UnknownErrorCode(0x201) => row("CKR_TOKEN_RESOURCE_EXCEEDED", Later, Unclear, "the token has no room left"),
        E::UnknownErrorCode(0x202) => row("CKR_OPERATION_CANCEL_FAILED", SESSION, Unclear, "the session is stuck in an operation"),
        E::UnknownErrorCode(0x203) => row("CKR_KEY_EXHAUSTED", Verdict::Operator("prepare and activate the next authority"), Unclear, "the key was used as often as it may be"),
        E::UnknownErrorCode(0x204) => row("CKR_PENDING", Refused, Unclear, "an asynchronous call is under way, and none was asked for"),
        E::UnknownErrorCode(0x205) => row("CKR_SESSION_ASYNC_NOT_SUPPORTED", Refused, Unclear, "the token has no asynchronous sessions"),
        E::UnknownErrorCode(0x206) => row("CKR_SEED_RANDOM_REQUIRED", MEND_THE_TOKEN, Unclear, "the token's random numbers have to be seeded"),
        E::UnknownErrorCode(0x207) => row("CKR_OPERATION_NOT_VALIDATED", Refused, Unclear, "the token's validation does not cover the operation"),
        E::UnknownErrorCode(0x208) => row("CKR_TOKEN_NOT_INITIALIZED", MEND_THE_TOKEN, Unclear, "the token is not initialised"),
        E::UnknownErrorCode(0x209) => row("CKR_PARAMETER_SET_NOT_SUPPORTED", Refused, Unclear, "the token does not have the parameter set"),
        E::UnknownErrorCode(_) => row("any other code", SESSION, Unclear, "no version of the standard that we know has it"),
    }
}

#[cfg(test)]
mod tests;
