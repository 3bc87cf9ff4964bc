//! A loaded PKCS#11 module: initialised once per process, shared by every store on it, and set up again as a whole when nothing
//! else helps.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

/// C_Initialize is per process, so this table has to be as well. Modules stay loaded: unloading a vendor's library under its own
/// threads crashes.
static MODULES: Mutex<Option<HashMap<PathBuf, Arc<Module>>>> = Mutex::new(None);

/// How long a new set-up waits for calls under way. A call that hangs must not make the recovery hang.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Module {
    pkcs11: Pkcs11,
    gate: Mutex<Gate>,
    changed: Condvar,
}

/// Counts the calls in the module, and how often it was set up. Sessions and handles of an earlier generation are dead; their
/// numbers are given out again, so closing them would close somebody else's.
struct Gate {
    generation: u64,
    calls: usize,
    closed: bool,
}

/// A call is in the module: while this lives, the module is not set up again.
pub(crate) struct Entered<'a> {
    module: &'a Module,
    pub(crate) generation: u64,
}

/// Why a module can't be used.
pub(crate) enum ModuleError {
    Load(Error),
    Initialize(Error),
}

impl Module {
    /// Loads and initialises the module, or returns the one that this process has.
    pub(crate) fn load(path: &Path) -> Result<Arc<Self>, ModuleError> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let modules = modules.get_or_insert_default();
        if let Some(module) = modules.get(&path) {
            return Ok(Arc::clone(module));
        }
        let pkcs11 = Pkcs11::new(&path).map_err(ModuleError::Load)?;
        initialize(&pkcs11).map_err(ModuleError::Initialize)?;
        let gate = Mutex::new(Gate { generation: 0, calls: 0, closed: false });
        let module = Arc::new(Self { pkcs11, gate, changed: Condvar::new() });
        modules.insert(path, Arc::clone(&module));
        Ok(module)
    }

    pub(crate) fn pkcs11(&self) -> &Pkcs11 {
        &self.pkcs11
    }

    /// Registers a call; waits while the module is being set up.
    pub(crate) fn enter(&self) -> Entered<'_> {
        let mut gate = self.lock();
        while gate.closed {
            gate = self.changed.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        gate.calls += 1;
        Entered { module: self, generation: gate.generation }
    }

    /// Finalises and initialises the module, unless somebody did so since `seen`. The caller is not in the module.
    pub(crate) fn set_up_again(&self, seen: u64) -> Result<(), String> {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        let mut gate = self.lock();
        while gate.closed {
            gate = self.changed.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        if gate.generation != seen {
            return Ok(());
        }
        gate.closed = true;
        while gate.calls > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                gate.closed = false;
                self.changed.notify_all();
                return Err(format!("{} calls hang in the module, so it can't be initialised again", gate.calls));
            }
            gate = self.changed.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        // Not initialised is where finalising leads to, so its error does not matter; C_Initialize's does.
        let _ = self.pkcs11.clone().finalize();
        let outcome = initialize(&self.pkcs11);
        gate.generation += 1;
        gate.closed = false;
        self.changed.notify_all();
        outcome.map_err(|error| format!("the module can't be initialised again: {error}"))
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut gate = self.module.lock();
        gate.calls -= 1;
        if gate.closed {
            self.module.changed.notify_all();
        }
    }
}

fn initialize(pkcs11: &Pkcs11) -> Result<(), Error> {
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Some other part of the process uses the module too.
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        outcome => outcome,
    }
}
