//! One thread's way into the token: its session, the keys that it has loaded, and how it gets up again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cryptoki::error::Error;
use cryptoki::session::Session;
use plastron_hsm::{KeyId, KeyStoreError};

use crate::breaker::{Breaker, LeftAlone, Pass};
use crate::classify::{self, Recovery, Verdict, classify};
use crate::key::LoadedKey;
use crate::module::{Entered, Module};
use crate::token::{Login, LoginError};

/// How many keys a session remembers. Handles are found again when they are forgotten.
const MAX_LOADED: usize = 64;

/// When it is worth to ask a token again that had no room.
pub(crate) const COME_BACK: Duration = Duration::from_secs(1);

/// A key that is really gone must not make every call set the module up again, and disturb all who use it.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What the connections of one store share.
pub(crate) struct Link {
    pub(crate) store: String,
    pub(crate) instance: String,
    pub(crate) module: Arc<Module>,
    pub(crate) login: Login,
    /// The public key of every key that was loaded: an identifier means this key and no other, whatever the token says later.
    pub(crate) known: RwLock<HashMap<KeyId, Vec<u8>>>,
    pub(crate) breaker: Breaker,
    looked_again: Mutex<Option<Instant>>,
}

/// A failed step, before it is known whether something can be done about it.
pub(crate) enum Fault {
    /// The module's answer.
    Pkcs11(Error),
    /// A key that was there is not found: destroyed, or the token is gone (SoftHSM lists nothing and reports no error).
    Vanished(KeyId),
    /// The token is not in any slot. A token that came back is seen only by a module that is set up again.
    NoToken(String),
    /// Final.
    Store(KeyStoreError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Pkcs11(error)
    }
}

impl From<KeyStoreError> for Fault {
    fn from(error: KeyStoreError) -> Self {
        Self::Store(error)
    }
}

pub(crate) struct Connection {
    pub(crate) link: Arc<Link>,
    state: Option<State>,
}

struct State {
    generation: u64,
    session: Session,
    loaded: HashMap<KeyId, LoadedKey>,
}

/// A session for one call.
pub(crate) struct Open<'a> {
    pub(crate) link: &'a Link,
    pub(crate) session: &'a Session,
    pub(crate) loaded: &'a mut HashMap<KeyId, LoadedKey>,
}

impl Link {
    pub(crate) fn new(store: String, instance: String, module: Arc<Module>, login: Login) -> Self {
        Self {
            store,
            instance,
            module,
            login,
            known: RwLock::default(),
            breaker: Breaker::new(),
            looked_again: Mutex::new(None),
        }
    }

    pub(crate) fn unavailable(&self, reason: impl Into<String>) -> KeyStoreError {
        KeyStoreError::Unavailable { store: self.store.clone(), reason: reason.into() }
    }

    pub(crate) fn left_alone(&self, left: LeftAlone) -> KeyStoreError {
        let LeftAlone { reason, retry_after } = left;
        KeyStoreError::CircuitOpen { store: self.store.clone(), reason, retry_after }
    }

    /// True if the module was set up again for a key that vanished less than [`LOOK_AGAIN`] ago; marks it otherwise.
    fn looked_again_lately(&self) -> bool {
        let mut last = self.looked_again.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < LOOK_AGAIN) {
            return true;
        }
        *last = Some(Instant::now());
        false
    }

    /// What a fault asks for; `None` where nothing can be done about it.
    fn recovery(&self, fault: &Fault) -> Option<Recovery> {
        match fault {
            Fault::Store(_) => None,
            Fault::Vanished(_) if self.looked_again_lately() => None,
            // SoftHSM lists nothing where its token is gone, and reports no error.
            Fault::Vanished(_) | Fault::NoToken(_) => Some(Recovery::Module),
            Fault::Pkcs11(error) => match classify(error) {
                Verdict::Recover(recovery) => Some(recovery),
                Verdict::Later | Verdict::Operator(_) | Verdict::Refused => None,
            },
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let entered = self.module.enter();
        self.login.close(entered.generation);
    }
}

impl Connection {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, state: None }
    }

    /// Runs a call, and once more after what its error says has to be set up again. Where that leads to an error that asks for more
    /// (a new session finds that the login ended, a login that the module is dead), it goes one step further, and each step once. A
    /// key that vanished is looked for after the module was set up again; if it is then not there, it is not there.
    pub(crate) fn run<T>(
        &mut self,
        pass: Pass,
        mut call: impl FnMut(&mut Open<'_>) -> Result<T, Fault>,
    ) -> Result<T, KeyStoreError> {
        let link = Arc::clone(&self.link);
        link.breaker.still(pass, Instant::now()).map_err(|left| link.left_alone(left))?;
        let mut done = None;
        loop {
            let (seen, fault) = match self.attempt(&mut call) {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            let mut wanted = link.recovery(&fault);
            if pass == Pass::Probe {
                // What failed again and again was not helped by less.
                wanted = wanted.map(|_milder| Recovery::Module);
            }
            let Some(next) = wanted.filter(|wanted| done.is_none_or(|done| *wanted > done)) else {
                return Err(self.give_up(pass, fault, done));
            };
            let reason = describe(&fault);
            tracing::warn!(store = link.store, %reason, recovery = ?next, "the token failed; trying once more");
            if next == Recovery::Module {
                link.module.set_up_again(seen).map_err(|reason| {
                    link.breaker.failed(pass, Instant::now(), reason.clone(), true);
                    link.unavailable(reason)
                })?;
            }
            self.forget();
            done = Some(next);
        }
    }

    /// One attempt; a failure comes with the module's generation that it was seen in.
    fn attempt<T>(&mut self, call: &mut impl FnMut(&mut Open<'_>) -> Result<T, Fault>) -> Result<T, (u64, Fault)> {
        let link = Arc::clone(&self.link);
        let entered = link.module.enter();
        let generation = entered.generation;
        let outcome = self.open(&entered).and_then(|mut open| call(&mut open));
        outcome.map_err(|fault| (generation, fault))
    }

    fn open(&mut self, entered: &Entered<'_>) -> Result<Open<'_>, Fault> {
        let generation = entered.generation;
        let link = &*self.link;
        // A session of another generation is not closed: its number may be somebody else's by now.
        let state = match self.state.take().filter(|state| state.generation == generation) {
            Some(state) => state,
            None => {
                let session =
                    link.login.open_session(link.module.pkcs11(), generation).map_err(|error| match error {
                        LoginError::NoToken(reason) => Fault::NoToken(reason),
                        LoginError::Refused(reason, remedy) => {
                            let (store, remedy) = (link.store.clone(), remedy.to_owned());
                            Fault::Store(KeyStoreError::Open { store, reason, remedy })
                        }
                        LoginError::Pkcs11(error) => Fault::Pkcs11(error),
                    })?;
                State { generation, session, loaded: HashMap::new() }
            }
        };
        let state = self.state.insert(state);
        if state.loaded.len() > MAX_LOADED {
            state.loaded.clear();
        }
        Ok(Open { link, session: &state.session, loaded: &mut state.loaded })
    }

    /// Ends the session; the next attempt opens another and logs in if need be.
    pub(crate) fn forget(&mut self) {
        let entered = self.link.module.enter();
        if let Some(state) = self.state.take()
            && state.generation == entered.generation
        {
            let _ = state.session.close();
        }
    }

    /// The error for the caller, after the breaker was told.
    fn give_up(&self, pass: Pass, fault: Fault, done: Option<Recovery>) -> KeyStoreError {
        let link = &*self.link;
        let (store, reason) = (link.store.clone(), describe(&fault));
        let verdict = match &fault {
            Fault::Pkcs11(error) => classify(error),
            Fault::NoToken(_) => Verdict::Recover(Recovery::Module),
            Fault::Store(_) | Fault::Vanished(_) => Verdict::Refused,
        };
        match verdict {
            Verdict::Recover(_) => {
                link.breaker.failed(pass, Instant::now(), reason.clone(), done == Some(Recovery::Module));
                return link.unavailable(reason);
            }
            Verdict::Later => {
                link.breaker.gave_up(pass, Instant::now());
                return KeyStoreError::Overloaded { store, reason, retry_after: COME_BACK };
            }
            Verdict::Operator(_) | Verdict::Refused => link.breaker.answered(pass),
        }
        match (fault, verdict) {
            (Fault::Store(error), _) => error,
            (Fault::Vanished(id), _) => KeyStoreError::NoSuchKey { store, id },
            (Fault::Pkcs11(error), Verdict::Operator(remedy)) => {
                link.login.mind(&error, remedy);
                KeyStoreError::Open { store, reason, remedy: remedy.to_owned() }
            }
            (Fault::Pkcs11(_) | Fault::NoToken(_), _) => KeyStoreError::Refused { store, reason },
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.forget();
    }
}

fn describe(fault: &Fault) -> String {
    match fault {
        Fault::Pkcs11(error) => classify::describe(error),
        Fault::Vanished(id) => format!("the key {id}, which was in the token, is not found"),
        Fault::NoToken(reason) => reason.clone(),
        Fault::Store(error) => error.to_string(),
    }
}
