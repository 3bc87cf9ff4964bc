//! One stream of one agent.

use std::sync::Arc;

use plastron_spiffe::Bundle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::authorized::news;
use super::seat::{Seat, Signal};
use super::{Authorized, ForeignNames};

/// What is new for an agent. With nothing, only its standing may be another: ask the authorisation table.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The bundle, where it is another than the last one that was told.
    pub bundle: Option<Arc<Bundle>>,
    /// The name of the set of its entries, where it is another than the last one that was told.
    pub entries: Option<u64>,
    /// The names of foreign bundles that are others than the last ones that were told: all in the first update, later never none.
    pub foreign: Option<ForeignNames>,
}

impl Update {
    /// Whether it says anything.
    pub fn is_empty(&self) -> bool {
        let Self { bundle, entries, foreign } = self;
        bundle.is_none() && entries.is_none() && foreign.is_none()
    }
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Too many streams of one agent.
    #[error("a later stream of the same agent took the place of this one")]
    Replaced,
    /// The server stops.
    #[error("the server stops")]
    Stopping,
}

/// A stream of an agent; its place is free again when it is dropped.
pub struct Subscription {
    seat: Arc<Seat>,
    number: u64,
    signals: watch::Receiver<Signal>,
    bundles: watch::Receiver<Arc<Bundle>>,
    acknowledgements: Arc<watch::Sender<()>>,
    stopped: CancellationToken,
    told_bundle: Option<Arc<Bundle>>,
    told: Option<Authorized>,
    looked: u64,
}

impl Subscription {
    pub(super) fn new(
        seat: Arc<Seat>,
        (number, signals): (u64, watch::Receiver<Signal>),
        bundles: watch::Receiver<Arc<Bundle>>,
        acknowledgements: Arc<watch::Sender<()>>,
        stopped: CancellationToken,
    ) -> Self {
        let looked = signals.borrow().look;
        Self { seat, number, signals, bundles, acknowledgements, stopped, told_bundle: None, told: None, looked }
    }

    /// The present state at once, then what differs from it. What changed twice in between is told once. Cancel-safe.
    pub async fn next(&mut self) -> Result<Update, Ended> {
        loop {
            if self.stopped.is_cancelled() {
                return Err(Ended::Stopping);
            }
            let signal = self.signals.borrow_and_update().clone();
            if signal.replaced {
                return Err(Ended::Replaced);
            }
            let is_due = signal.due <= Instant::now();
            let update = self.update(&signal, is_due);
            if !update.is_empty() || signal.look != self.looked {
                self.looked = signal.look;
                return Ok(update);
            }
            tokio::select! {
                changed = self.bundles.changed() => changed.map_err(|_gone| Ended::Stopping)?,
                changed = self.signals.changed() => changed.map_err(|_gone| Ended::Stopping)?,
                () = sleep_until(signal.due), if !is_due => {}
                () = self.stopped.cancelled() => {}
            }
        }
    }

    fn update(&mut self, signal: &Signal, is_due: bool) -> Update {
        let mut update = Update::default();
        let bundle = self.bundles.borrow_and_update().clone();
        if self.told_bundle.as_ref().is_none_or(|told| !Arc::ptr_eq(told, &bundle)) {
            update.bundle = Some(Arc::clone(&bundle));
            self.told_bundle = Some(bundle);
        }
        // The first message has everything, whatever the pace.
        let Authorized { entries, foreign } = &signal.authorized;
        match &self.told {
            None => (update.entries, update.foreign) = (Some(*entries), Some(foreign.as_ref().clone())),
            Some(told) if is_due => {
                update.entries = (told.entries != *entries).then_some(*entries);
                let is_same = Arc::ptr_eq(&told.foreign, foreign);
                update.foreign = (!is_same).then(|| news(&told.foreign, foreign)).filter(|news| !news.is_empty());
            }
            Some(_) => return update,
        }
        self.told = Some(signal.authorized.clone());
        update
    }

    /// The agent's workloads have the bundle of this sequence number.
    pub fn acknowledge(&self, sequence: u64) {
        // No one has what was not sent yet.
        self.seat.acknowledge(sequence.min(self.bundles.borrow().sequence_number));
        self.acknowledgements.send_replace(());
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.seat.close(self.number);
    }
}
