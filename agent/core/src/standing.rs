//! The agent's present standing with its server, shared by the task that keeps its SVID and the one that synchronises.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use plastron_spiffe::Bundle;
use tokio::sync::{Notify, mpsc};

use crate::AgentSvid;
use crate::upstream::{AgentDenial, Caller};

pub(crate) struct Standing {
    caller: Mutex<Caller>,
    denials: mpsc::Sender<Denial>,
    sync_now: Notify,
    svid_renewed: Notify,
    bundle_changed: Notify,
    svid_tainted: Notify,
    unfollowed: Notify,
    followed: AtomicBool,
    cut_off: AtomicBool,
    /// Unix seconds; 0 for never.
    last_sync: AtomicU64,
}

/// The server denied a caller that showed this SVID.
pub(crate) struct Denial {
    pub(crate) reason: AgentDenial,
    pub(crate) svid: Arc<AgentSvid>,
}

impl Standing {
    pub(crate) fn new(caller: Caller) -> (Self, mpsc::Receiver<Denial>) {
        let (denials, receiver) = mpsc::channel(1);
        let standing = Self {
            caller: Mutex::new(caller),
            denials,
            sync_now: Notify::new(),
            svid_renewed: Notify::new(),
            bundle_changed: Notify::new(),
            svid_tainted: Notify::new(),
            unfollowed: Notify::new(),
            followed: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            last_sync: AtomicU64::new(0),
        };
        (standing, receiver)
    }

    pub(crate) fn caller(&self) -> Caller {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new SVID is in use from now on; the agent is in good standing again.
    pub(crate) fn renewed(&self, caller: Caller) {
        *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = caller;
        self.cut_off.store(false, Ordering::Release);
        self.svid_renewed.notify_one();
        self.sync_now.notify_one();
    }

    /// Resolves when the agent has another SVID than before.
    pub(crate) async fn svid_renewed(&self) {
        self.svid_renewed.notified().await;
    }

    pub(crate) fn set_bundle(&self, bundle: Arc<Bundle>) {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner).bundle = bundle;
        self.bundle_changed.notify_one();
    }

    /// Resolves when another bundle is held than before.
    pub(crate) async fn bundle_changed(&self) {
        self.bundle_changed.notified().await;
    }

    /// The agent's own SVID was signed by an authority that is tainted.
    pub(crate) fn svid_is_tainted(&self) {
        self.svid_tainted.notify_one();
    }

    /// Resolves when the agent's own SVID is to be replaced before its time.
    pub(crate) async fn svid_tainted(&self) {
        self.svid_tainted.notified().await;
    }

    /// Whether the server tells what changes, so that polling is a safety net.
    pub(crate) fn set_followed(&self, followed: bool) {
        if self.followed.swap(followed, Ordering::AcqRel) && !followed {
            self.unfollowed.notify_one();
        }
    }

    pub(crate) fn is_followed(&self) -> bool {
        self.followed.load(Ordering::Acquire)
    }

    /// Resolves when the server does no longer tell what changes.
    pub(crate) async fn unfollowed(&self) {
        self.unfollowed.notified().await;
    }

    /// What the agent holds is not what the server has.
    pub(crate) fn request_sync(&self) {
        self.sync_now.notify_one();
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

    /// A synchronisation succeeded, in Unix seconds.
    pub(crate) fn synchronised(&self, now: u64) {
        self.last_sync.store(now, Ordering::Relaxed);
    }

    /// When one did last.
    pub(crate) fn last_sync(&self) -> u64 {
        self.last_sync.load(Ordering::Relaxed)
    }

    /// Resolves when a synchronisation should not wait for its time.
    pub(crate) async fn sync_now(&self) {
        self.sync_now.notified().await;
    }
}
