//! What an error of the token means: one place decides.

use cryptoki::error::{Error, RvError};

/// What has to be set up again before a call is tried once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// This thread's session.
    Session,
    /// The login, and with it every session.
    Login,
    /// The module: C_Finalize, C_Initialize, login. Object handles die with it.
    Module,
    /// Nothing helps: the request or the token's state is at fault.
    None,
}

/// The recovery for an error of a call that had a session.
pub(crate) fn classify(error: &Error) -> Recovery {
    let Error::Pkcs11(rv, _) = error else { return Recovery::None };
    match rv {
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::OperationActive
        | RvError::OperationNotInitialized
        | RvError::FunctionCanceled => Recovery::Session,
        RvError::UserNotLoggedIn => Recovery::Login,
        // SoftHSM answers so after a logout by another session as well as after the loss of the token: a login is tried
        // first, and a key that is then not found leads to `Module` (see `Connection::run`).
        RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid => Recovery::Login,
        RvError::CryptokiNotInitialized
        | RvError::DeviceError
        | RvError::DeviceRemoved
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SlotIdInvalid
        | RvError::GeneralError
        | RvError::FunctionFailed => Recovery::Module,
        _ => Recovery::None,
    }
}

/// What an error of C_Login means for the PIN that was given to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinVerdict {
    /// The call ended before the token could look at the PIN: it may be sent again.
    NotSeen,
    /// The token said no.
    Refused,
    /// The token may have counted a try: a general error, a device error, a vendor's own, an answer that got lost. A PIN that is sent
    /// again after each of them locks the token.
    Unclear,
}

/// Of an error of C_Login. Only what certainly comes before the PIN is looked at counts as that.
pub(crate) fn pin_verdict(error: &Error) -> PinVerdict {
    let Error::Pkcs11(rv, _) = error else { return PinVerdict::Unclear };
    match rv {
        RvError::CryptokiNotInitialized
        | RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::SlotIdInvalid
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::DeviceRemoved => PinVerdict::NotSeen,
        RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinExpired
        | RvError::PinLocked
        | RvError::PinTooWeak => PinVerdict::Refused,
        _ => PinVerdict::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use cryptoki::error::{Error, RvError};

    use super::{PinVerdict, Recovery, classify, pin_verdict};

    #[test]
    fn each_class_has_its_recovery() {
        let of = |rv| classify(&Error::Pkcs11(rv, Function::Sign));
        assert_eq!(of(RvError::SessionHandleInvalid), Recovery::Session);
        assert_eq!(of(RvError::UserNotLoggedIn), Recovery::Login);
        assert_eq!(of(RvError::ObjectHandleInvalid), Recovery::Login);
        assert_eq!(of(RvError::DeviceError), Recovery::Module);
        assert_eq!(of(RvError::TokenNotPresent), Recovery::Module);
        assert_eq!(of(RvError::MechanismInvalid), Recovery::None);
        assert_eq!(of(RvError::PinLocked), Recovery::None);
        assert_eq!(classify(&Error::NotSupported), Recovery::None);
    }

    /// A wrong PIN that is sent again locks the token.
    #[test]
    fn a_refused_pin_is_recognised_and_never_leads_to_a_retry() {
        for rv in [RvError::PinIncorrect, RvError::PinLocked, RvError::PinExpired, RvError::PinLenRange] {
            let error = Error::Pkcs11(rv, Function::Login);
            assert_eq!(pin_verdict(&error), PinVerdict::Refused);
            assert_eq!(classify(&error), Recovery::None);
        }
    }

    /// An answer that does not say whether a try was counted is no reason to try again.
    #[test]
    fn only_an_error_from_before_the_pin_was_seen_lets_it_be_sent_again() {
        let of = |rv| pin_verdict(&Error::Pkcs11(rv, Function::Login));
        for rv in [RvError::CryptokiNotInitialized, RvError::SessionHandleInvalid, RvError::TokenNotPresent] {
            assert_eq!(of(rv), PinVerdict::NotSeen, "{rv:?}");
        }
        let unclear = [
            RvError::GeneralError,
            RvError::FunctionFailed,
            RvError::DeviceError,
            RvError::DeviceMemory,
            RvError::HostMemory,
            RvError::FunctionCanceled,
            RvError::UserAnotherAlreadyLoggedIn,
            RvError::VendorDefined(7),
        ];
        for rv in unclear {
            assert_eq!(of(rv), PinVerdict::Unclear, "{rv:?}");
        }
        assert_eq!(pin_verdict(&Error::NotSupported), PinVerdict::Unclear);
    }
}
