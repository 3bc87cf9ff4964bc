//! State in memory beside the store that keeps it: writes go to the store, and what it committed goes to memory, in order.

mod write;

use std::future::Future;
use std::sync::Arc;

use plastron_plugins::node::{KeptEventLogs, KeptEventLogsError};
use plastron_telemetry::{Call, Status};
use tokio::sync::{Mutex, watch};

use crate::audit::chain;
use crate::meters;
use crate::state::State;
use crate::store::{Committed, Store, StoreError, StoreStatistics};
pub use write::Write;

/// The state and the only way to change it.
pub struct Ledger {
    store: Arc<dyn Store>,
    state: Arc<State>,
    writing: Arc<Mutex<()>>,
    revision: Arc<watch::Sender<u64>>,
}

impl Ledger {
    /// Loads everything from the store.
    pub async fn open(store: Arc<dyn Store>) -> Result<Arc<Self>, StoreError> {
        let snapshot = store.load().await?;
        let (revision, _) = watch::channel(snapshot.revision);
        Ok(Arc::new(Self {
            store,
            state: Arc::new(State::new(snapshot)),
            writing: Arc::new(Mutex::new(())),
            revision: Arc::new(revision),
        }))
    }

    /// The state as of the last change.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// For reads that are not of the hot paths.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What the store did so far.
    pub fn statistics(&self) -> StoreStatistics {
        self.store.statistics()
    }

    /// Tells the revision of the state after each change: push streams follow it.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Runs one store operation and applies what it committed, before anyone sees its result.
    ///
    /// It runs in a task of its own: a caller that goes away (a closed connection) can't leave memory behind the store. Writes
    /// follow one another, so changes are applied in the order of the log. If the log has rows that this process did not write,
    /// they are read first; where they can't be read, what was committed here counts all the same, and the next look at the log
    /// brings the rest.
    pub async fn write<T, E, F, R>(&self, write: Write, operation: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(Arc<dyn Store>) -> R + Send + 'static,
        R: Future<Output = Result<Committed<T>, E>> + Send,
    {
        let (store, state) = (Arc::clone(&self.store), Arc::clone(&self.state));
        let (writing, revision) = (Arc::clone(&self.writing), Arc::clone(&self.revision));
        let task = tokio::spawn(async move {
            let _guard = writing.lock().await;
            let call = meters::datastore(write).map(Call::start);
            let outcome = operation(Arc::clone(&store)).await;
            if let Some(call) = call {
                call.done(Status::of(&outcome));
            }
            let Committed { value, changes } = outcome?;
            let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
                return Ok(value);
            };
            if first.sequence == state.revision() + 1 {
                state.apply(&changes);
            } else {
                if let Err(error) = follow(store.as_ref(), &state).await {
                    tracing::error!(
                        purpose = write.purpose(),
                        error = chain(&error),
                        "Committed, but what others wrote before can't be read yet"
                    );
                    state.apply_ahead(&changes);
                    revision.send_replace(state.revision());
                    return Ok(value);
                }
            }
            revision.send_replace(state.revision().max(last.sequence));
            Ok(value)
        });
        match task.await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Interrupted { purpose: write.purpose(), reason: error.to_string() }.into()),
        }
    }

    /// Applies what others wrote to the store since.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let _guard = self.writing.lock().await;
        let before = self.state.revision();
        follow(self.store.as_ref(), &self.state).await?;
        if self.state.revision() != before {
            self.revision.send_replace(self.state.revision());
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl KeptEventLogs for Ledger {
    async fn event_log(&self, sha256: &[u8; 32], len: u32) -> Result<Option<Vec<u8>>, KeptEventLogsError> {
        self.store.event_log(*sha256, len).await.map_err(|error| KeptEventLogsError { reason: chain(&error) })
    }
}

/// Brings the state up to the store's: by the changes since, or as a whole where the log no longer has them.
async fn follow(store: &dyn Store, state: &State) -> Result<(), StoreError> {
    match store.changes_after(state.revision()).await {
        Ok(changes) => state.apply(&changes),
        Err(StoreError::LogTruncated { .. }) => state.replace(store.load().await?),
        Err(error) => return Err(error),
    }
    Ok(())
}
