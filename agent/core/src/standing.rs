//! The agent's present standing with its server, shared by the task that keeps its SVID and the one that synchronises.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use plastron_spiffe::Bundle;
use tokio::sync::{Notify, mpsc};

use crate::AgentSvid;
use crate::upstream::{AgentDenial, Caller};

pub(crate) struct Standing {
    caller: Mutex<Caller>,
    denials: mpsc::Sender<Denial>,
    sync_now: Notify,
    cut_off: AtomicBool,
}

/// The server denied a caller that showed this SVID.
pub(crate) struct Denial {
    pub(crate) reason: AgentDenial,
    pub(crate) svid: Arc<AgentSvid>,
}

impl Standing {
    pub(crate) fn new(caller: Caller) -> (Self, mpsc::Receiver<Denial>) {
        let (denials, receiver) = mpsc::channel(1);
        let standing =
            Self { caller: Mutex::new(caller), denials, sync_now: Notify::new(), cut_off: AtomicBool::new(false) };
        (standing, receiver)
    }

    pub(crate) fn caller(&self) -> Caller {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new SVID is in use from now on; the agent is in good standing again.
    pub(crate) fn renewed(&self, caller: Caller) {
        *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = caller;
        self.cut_off.store(false, Ordering::Release);
        self.sync_now.notify_one();
    }

    pub(crate) fn set_bundle(&self, bundle: Arc<Bundle>) {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner).bundle = bundle;
    }

    /// Tells the keeper of the SVID. One denial that waits is enough.
    pub(crate) fn denied(&self, reason: AgentDenial, svid: Arc<AgentSvid>) {
        let _full_or_ending = self.denials.try_send(Denial { reason, svid });
    }

    /// The server denied the agent and refused to attest it again: workloads lose their identities until it heals.
    pub(crate) fn cut_off(&self) {
        self.cut_off.store(true, Ordering::Release);
        self.sync_now.notify_one();
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }

    /// Resolves when a synchronisation should not wait for its time.
    pub(crate) async fn sync_now(&self) {
        self.sync_now.notified().await;
    }
}
