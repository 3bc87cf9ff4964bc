//! How much memory event logs and IMA lists may take that are fetched after a quote is verified, over all conversations. What comes with
//! a response is bounded by the length of a message; nothing else is kept of a node before its quote.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// 64 MiB: sixteen of the longest logs, or nearly a thousand of the longest that is known of a real machine, at the same time.
const LIMIT_KIB: usize = 64 * 1024;

/// Shared by all conversations of an attestor.
#[derive(Clone)]
pub(crate) struct LogMemory(Arc<Semaphore>);

/// Memory for one log, given back when this is dropped.
pub(crate) struct LogPlace {
    _permit: OwnedSemaphorePermit,
}

impl LogMemory {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(LIMIT_KIB)))
    }

    /// Memory for a log of this many bytes, or none now.
    pub(crate) fn reserve(&self, len: u32) -> Result<LogPlace, LogMemoryBusy> {
        let permit = Arc::clone(&self.0).try_acquire_many_owned(len.div_ceil(1024));
        permit.map(|permit| LogPlace { _permit: permit }).map_err(|_none_left| LogMemoryBusy)
    }
}

/// Too many logs are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event logs and IMA lists of other nodes take all {LIMIT_KIB} KiB that there are for logs under way")]
pub(crate) struct LogMemoryBusy;

#[cfg(test)]
mod tests {
    use super::*;

    /// Threat 18: proven nodes together can't exhaust the server either.
    #[test]
    fn logs_under_way_take_a_bounded_amount_of_memory() {
        let memory = LogMemory::new();
        let longest = u32::try_from(plastron_attestation_appraise::MAX_EVENT_LOG_LEN).unwrap();
        let mut places: Vec<_> = (0..16).map(|_| memory.reserve(longest).unwrap()).collect();
        assert_eq!(memory.reserve(1).err(), Some(LogMemoryBusy));
        places.pop();
        assert!(memory.reserve(longest).is_ok());
    }
}
