//! How long the program's file is read: while somebody waits for the answer, and not for ever.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long one program is hashed. The agent gives all attestors together 20 s; hashing ends before, so that the caller learns why
/// there is no answer. A disk of 200 MB/s reads 3 GB in this time.
pub(crate) const HASH_TIME: Duration = Duration::from_secs(15);

/// Somebody waits while this lives.
pub(crate) struct Waiting {
    _alive: Arc<()>,
}

/// Tells the work on a blocking thread when to stop.
pub(crate) struct Patience {
    waiting: Weak<()>,
    until: Instant,
}

/// Why the work stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutOfPatience {
    /// The call was cancelled, or timed out.
    #[error("nobody waits for it any more")]
    Unwanted,
    /// The time is over.
    #[error(
        "it takes more than {} s; set workload_size_limit to what can be read in that time, or to -1 for no hash",
        HASH_TIME.as_secs()
    )]
    TooSlow,
}

impl Patience {
    /// From now on.
    pub(crate) fn begin() -> (Waiting, Self) {
        Self::until(Instant::now() + HASH_TIME)
    }

    pub(crate) fn until(until: Instant) -> (Waiting, Self) {
        let alive = Arc::new(());
        let waiting = Arc::downgrade(&alive);
        (Waiting { _alive: alive }, Self { waiting, until })
    }

    /// An error once it is of no use to go on.
    pub(crate) fn check(&self) -> Result<(), OutOfPatience> {
        if self.waiting.strong_count() == 0 {
            return Err(OutOfPatience::Unwanted);
        }
        if Instant::now() >= self.until {
            return Err(OutOfPatience::TooSlow);
        }
        Ok(())
    }
}
