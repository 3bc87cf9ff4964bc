//! One thread's way into the token: its session, the keys that it has loaded, and how it gets up again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cryptoki::error::Error;
use cryptoki::session::Session;
use plastron_hsm::{KeyId, KeyStoreError};

use crate::classify::{Recovery, classify};
use crate::key::LoadedKey;
use crate::module::{Entered, Module};
use crate::token::{Login, LoginError};

/// How many keys a session remembers. Handles are found again when they are forgotten.
const MAX_LOADED: usize = 64;

/// After a recovery that failed, calls fail at once for this long, so that a dead token is not hammered with logins.
const BREAK: Duration = Duration::from_secs(2);

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
    broken: Mutex<Option<(Instant, String)>>,
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
            broken: Mutex::new(None),
            looked_again: Mutex::new(None),
        }
    }

    pub(crate) fn unavailable(&self, reason: impl Into<String>) -> KeyStoreError {
        KeyStoreError::Unavailable { store: self.store.clone(), reason: reason.into() }
    }

    fn refuse_while_broken(&self) -> Result<(), KeyStoreError> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        match &*broken {
            Some((until, reason)) if Instant::now() < *until => Err(self.unavailable(reason.clone())),
            _ => Ok(()),
        }
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

    fn set_broken(&self, outcome: Option<String>) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        *broken = outcome.map(|reason| (Instant::now() + BREAK, reason));
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

    /// Runs a call, and once more after what its error says has to be set up again. A key that vanished is looked for after the
    /// module was set up again; if it is then not there, it is not there.
    pub(crate) fn run<T>(
        &mut self,
        mut call: impl FnMut(&mut Open<'_>) -> Result<T, Fault>,
    ) -> Result<T, KeyStoreError> {
        let link = Arc::clone(&self.link);
        link.refuse_while_broken()?;
        let (seen, fault) = match self.attempt(&mut call) {
            Ok(value) => return Ok(value),
            Err(failed) => failed,
        };
        let mut recovery = match &fault {
            Fault::Store(_) => Recovery::None,
            Fault::Vanished(_) if link.looked_again_lately() => Recovery::None,
            Fault::Vanished(_) | Fault::NoToken(_) => Recovery::Module,
            Fault::Pkcs11(error) => classify(error),
        };
        if recovery == Recovery::None {
            return Err(self.give_up(fault));
        }
        tracing::warn!(store = link.store, reason = %describe(&fault), ?recovery, "the token failed; trying once more");
        loop {
            if recovery == Recovery::Module {
                link.module.set_up_again(seen).map_err(|reason| {
                    link.set_broken(Some(reason.clone()));
                    link.unavailable(reason)
                })?;
            }
            self.forget();
            let failed = match self.attempt(&mut call) {
                Ok(value) => {
                    link.set_broken(None);
                    return Ok(value);
                }
                Err((_, failed)) => failed,
            };
            // A login that did not help: SoftHSM without its token. One step further, once.
            if recovery != Recovery::Module && matches!(failed, Fault::Vanished(_) | Fault::NoToken(_)) {
                recovery = Recovery::Module;
                continue;
            }
            if let Fault::Pkcs11(_) | Fault::NoToken(_) = failed {
                link.set_broken(Some(describe(&failed)));
            }
            return Err(self.give_up(failed));
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
    fn forget(&mut self) {
        let entered = self.link.module.enter();
        if let Some(state) = self.state.take()
            && state.generation == entered.generation
        {
            let _ = state.session.close();
        }
    }

    fn give_up(&self, fault: Fault) -> KeyStoreError {
        match fault {
            Fault::Store(error) => error,
            Fault::Vanished(id) => KeyStoreError::NoSuchKey { store: self.link.store.clone(), id },
            other => self.link.unavailable(describe(&other)),
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
        Fault::Pkcs11(error) => error.to_string(),
        Fault::Vanished(id) => format!("the key {id}, which was in the token, is not found"),
        Fault::NoToken(reason) => reason.clone(),
        Fault::Store(error) => error.to_string(),
    }
}
