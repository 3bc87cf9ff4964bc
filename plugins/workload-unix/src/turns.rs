//! One attestation at a time for each user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Hands out turns, per user id.
#[derive(Default)]
pub(crate) struct Turns {
    waiting: Arc<Mutex<HashMap<u32, Arc<tokio::sync::Mutex<()>>>>>,
}

/// A user's turn; it ends when this is dropped.
pub(crate) struct Turn {
    uid: u32,
    guard: Option<OwnedMutexGuard<()>>,
    waiting: Arc<Mutex<HashMap<u32, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Turns {
    /// Waits until no other attestation of this user runs.
    pub(crate) async fn take(&self, uid: u32) -> Turn {
        let lock = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(uid).or_default().clone();
        Turn { uid, guard: Some(lock.lock_owned().await), waiting: self.waiting.clone() }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.guard.take());
        // The map is locked, so nobody can begin to wait between the count and the removal.
        if waiting.get(&self.uid).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            waiting.remove(&self.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_user_waits_for_itself_only_and_leaves_nothing_behind() {
        let turns = Turns::default();
        let first = turns.take(1).await;
        let _other = turns.take(2).await;
        let mut second = Box::pin(turns.take(1));
        assert!(futures_pending(&mut second).await);
        drop(first);
        drop(second.await);
        assert_eq!(turns.waiting.lock().unwrap().len(), 1);
    }

    async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
