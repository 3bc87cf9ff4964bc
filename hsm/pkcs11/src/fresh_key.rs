//! A key that was just made and that nobody knows of yet.
//!
//! A token makes a key even if whoever asked for it has given up meanwhile: after the deadline, or because the server stops. Without
//! its identifier such a key can't be used or destroyed by anyone but a person with the PIN, and a slow token would fill up with them.

use plastron_hsm::{KeyRecord, Operation};

use crate::breaker::Pass;
use crate::connection::Connection;
use crate::pool::{Afterwards, Delivery, Job};

/// Destroys its key when it is dropped, unless it was handed over.
pub(crate) struct FreshKey {
    record: KeyRecord,
    handed_over: bool,
    afterwards: Afterwards,
}

impl FreshKey {
    pub(crate) fn new(record: KeyRecord, afterwards: Afterwards) -> Self {
        Self { record, handed_over: false, afterwards }
    }

    /// To whoever asked for it.
    pub(crate) fn hand_over(mut self) -> KeyRecord {
        self.handed_over = true;
        self.record.clone()
    }
}

impl Drop for FreshKey {
    fn drop(&mut self) {
        if self.handed_over {
            return;
        }
        let id = self.record.id.clone();
        let run = Box::new(move |connection: &mut Connection| {
            let mut begun = false;
            match connection.run(Pass::Usual, |open| open.destroy(&mut begun, &id)) {
                Ok(()) => tracing::warn!(key = %id, "destroyed a key that the token made after nobody waited for it"),
                Err(error) => tracing::error!(
                    key = %id, %error,
                    "a key that nobody waited for is left in the token; see plastron-server hsm gc"
                ),
            }
            let counted = Delivery::Now(Box::new(|| {}));
            Some(counted)
        });
        if !self.afterwards.submit(Job { operation: Operation::Destroy, run }) {
            tracing::error!(
                key = %self.record.id,
                "a key that nobody waited for is left in the token; see plastron-server hsm gc"
            );
        }
    }
}
