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

/// True for answers to C_Login after which the PIN must not be sent again.
pub(crate) fn refuses_pin(error: &Error) -> bool {
    let Error::Pkcs11(rv, _) = error else { return false };
    matches!(
        rv,
        RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::PinTooWeak
    )
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use cryptoki::error::{Error, RvError};

    use super::{Recovery, classify, refuses_pin};

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
            assert!(refuses_pin(&error));
            assert_eq!(classify(&error), Recovery::None);
        }
        assert!(!refuses_pin(&Error::Pkcs11(RvError::DeviceError, Function::Login)));
    }
}
