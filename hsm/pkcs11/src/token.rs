//! The token: found by label, serial number or slot, judged before anything is sent to it, logged in to once.

use std::sync::{Mutex, OnceLock, PoisonError};

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Limit, Slot, TokenInfo};
use cryptoki::types::AuthPin;
use plastron_hsm::StoreIdentity;
use secrecy::ExposeSecret;

use crate::TokenSelector;
use crate::classify::{PinVerdict, Verdict, classify, describe, pin_verdict};

/// Why there is no logged-in session.
pub(crate) enum LoginError {
    /// No such token: what was looked for among what.
    NoToken(String),
    /// The token is not in a state to send a PIN to, or it refused the PIN or may have: (reason, remedy). Permanent.
    Refused(String, &'static str),
    /// Another answer of the module.
    Pkcs11(Error),
}

impl From<Error> for LoginError {
    fn from(error: Error) -> Self {
        Self::Pkcs11(error)
    }
}

/// The login of this process to one token. Logins are per token and process, and end with the last session: the anchor session
/// keeps it.
pub(crate) struct Login {
    selector: TokenSelector,
    pin: AuthPin,
    // Set once and never reset: after a PIN that was refused, or may have been, a person has to look and start the program again.
    pin_is_spent: OnceLock<SpentPin>,
    anchor: Mutex<Option<Anchor>>,
}

/// Why the PIN is not sent again, and what to do.
struct SpentPin {
    reason: String,
    remedy: &'static str,
}

struct Anchor {
    generation: u64,
    slot: Slot,
    session: Session,
}

impl Login {
    pub(crate) fn new(selector: TokenSelector, pin: AuthPin) -> Self {
        Self { selector, pin, pin_is_spent: OnceLock::new(), anchor: Mutex::new(None) }
    }

    /// Opens a session on the token, logging in if the process is not. The module stays entered meanwhile.
    pub(crate) fn open_session(&self, pkcs11: &Pkcs11, generation: u64) -> Result<Session, LoginError> {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match &*anchor {
            Some(anchor) if anchor.generation == generation && is_logged_in(&anchor.session) => anchor.slot,
            _ => {
                let made = self.log_in(pkcs11, generation)?;
                let slot = made.slot;
                if let Some(old) = anchor.replace(made)
                    && old.generation == generation
                {
                    let _ = old.session.close();
                }
                slot
            }
        };
        Ok(pkcs11.open_rw_session_no_drop(slot)?)
    }

    fn log_in(&self, pkcs11: &Pkcs11, generation: u64) -> Result<Anchor, LoginError> {
        let (slot, token) = find(pkcs11, &self.selector)?;
        if let Some(SpentPin { reason, remedy }) = self.pin_is_spent.get() {
            return Err(LoginError::Refused(format!("the PIN is not sent again: {reason}"), remedy));
        }
        judge(&token, &self.pin)?;
        let session = pkcs11.open_rw_session_no_drop(slot)?;
        let Err(error) = session.login(UserType::User, Some(&self.pin)) else {
            return Ok(Anchor { generation, slot, session });
        };
        let said = describe(&error);
        let reason = match pin_verdict(&error) {
            // Another store of this process, or this store's other sessions, logged in.
            PinVerdict::LoggedIn => return Ok(Anchor { generation, slot, session }),
            PinVerdict::NotSeen => {
                let _ = session.close();
                return Err(error.into());
            }
            PinVerdict::Refused => format!("the token refused the user PIN ({said}); it is not tried again"),
            PinVerdict::Unclear => {
                format!("the login failed ({said}), and the token may have counted a wrong PIN; it is not tried again")
            }
        };
        let _ = session.close();
        let remedy = match classify(&error) {
            Verdict::Operator(remedy) => remedy,
            Verdict::Recover(_) | Verdict::Later | Verdict::Refused => PIN_REMEDY,
        };
        let _earlier = self.pin_is_spent.set(SpentPin { reason: reason.clone(), remedy });
        Err(LoginError::Refused(reason, remedy))
    }

    /// After an answer to another call that a person has to act on: if it says that the PIN is no good any more, no later login sends it.
    pub(crate) fn mind(&self, error: &Error, remedy: &'static str) {
        if pin_verdict(error) == PinVerdict::Refused {
            let _earlier = self.pin_is_spent.set(SpentPin { reason: describe(error), remedy });
        }
    }

    /// Ends the anchor session, after the others ended.
    pub(crate) fn close(&self, generation: u64) {
        let anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(anchor) = anchor
            && anchor.generation == generation
        {
            let _ = anchor.session.close();
        }
    }
}

const PIN_REMEDY: &str =
    "check the PIN source with pkcs11-tool --login before the next start: tokens lock after a few wrong PINs";

fn is_logged_in(session: &Session) -> bool {
    matches!(
        session.get_session_info().map(|info| info.session_state()),
        Ok(SessionState::RwUser | SessionState::RoUser)
    )
}

/// The slot of the token. Two tokens that match are none: which one was meant is not ours to guess.
pub(crate) fn find(pkcs11: &Pkcs11, selector: &TokenSelector) -> Result<(Slot, TokenInfo), LoginError> {
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for slot in pkcs11.get_slots_with_initialized_token()? {
        // A token that was pulled out between the two calls, perhaps not ours.
        let Ok(token) = pkcs11.get_token_info(slot) else { continue };
        seen.push(format!("{:?} (serial {:?}, slot {})", token.label(), token.serial_number(), slot.id()));
        let matches = match selector {
            TokenSelector::Label(label) => token.label() == label,
            TokenSelector::Serial(serial) => token.serial_number() == serial,
            TokenSelector::Slot(id) => slot.id() == *id,
        };
        if matches {
            found.push((slot, token));
        }
    }
    let count = found.len();
    match found.pop() {
        Some(one) if count == 1 => Ok(one),
        Some(_) => Err(LoginError::NoToken(format!("{count} tokens have {selector}: {}", seen.join(", ")))),
        None if seen.is_empty() => {
            Err(LoginError::NoToken(format!("no token with {selector}: the module has no initialised token")))
        }
        None => Err(LoginError::NoToken(format!("no token with {selector}; the module has {}", seen.join(", ")))),
    }
}

/// What can be known to be wrong without spending a try of the PIN.
fn judge(token: &TokenInfo, pin: &AuthPin) -> Result<(), LoginError> {
    let refused = |reason: String, remedy| Err(LoginError::Refused(reason, remedy));
    let (length, min, max) = (pin.expose_secret().len(), token.min_pin_length(), token.max_pin_length());
    if !token.user_pin_initialized() {
        return refused("the token has no user PIN yet".to_owned(), "set one as the security officer");
    }
    if token.user_pin_locked() {
        return refused("the token's user PIN is locked".to_owned(), "unlock it as the security officer");
    }
    if token.user_pin_final_try() {
        let reason = "one more wrong PIN locks the token".to_owned();
        return refused(reason, "log in once by hand with the right PIN, which resets the counter");
    }
    if length < min || length > max {
        let reason = format!("the PIN has {length} bytes, and the token takes {min} to {max}; it was not sent");
        return refused(reason, "check the PIN source");
    }
    if token.user_pin_count_low() {
        tracing::warn!(token = token.label(), "somebody tried a wrong PIN on the token since the last login");
    }
    Ok(())
}

/// What the audit log records about the token.
pub(crate) fn identity(pkcs11: &Pkcs11, module: &std::path::Path, token: &TokenInfo) -> StoreIdentity {
    let mut details = vec![("module", module.display().to_string())];
    if let Ok(library) = pkcs11.get_library_info() {
        let version = library.library_version();
        details.push(("library", format!("{} {}.{}", library.library_description(), version.major(), version.minor())));
    }
    let (hardware, firmware) = (token.hardware_version(), token.firmware_version());
    details.extend([
        ("manufacturer", token.manufacturer_id().to_owned()),
        ("model", token.model().to_owned()),
        ("serial", token.serial_number().to_owned()),
        ("hardware", format!("{}.{}", hardware.major(), hardware.minor())),
        ("firmware", format!("{}.{}", firmware.major(), firmware.minor())),
        ("label", token.label().to_owned()),
    ]);
    StoreIdentity { kind: "pkcs11", name: token.label().to_owned(), details, non_extractable: true }
}

/// How many sessions the token allows besides the anchor.
pub(crate) fn max_sessions(token: &TokenInfo) -> usize {
    let of = |limit: Limit| match limit {
        Limit::Max(number) => usize::try_from(number).unwrap_or(usize::MAX),
        Limit::Unavailable | Limit::Infinite => usize::MAX,
    };
    of(token.max_session_count()).min(of(token.max_rw_session_count())).saturating_sub(1).max(1)
}
