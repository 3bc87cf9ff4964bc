//! One agent's place among the watchers: what is known of it, and its streams.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::VerifiedSvid;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::limits::MAX_WATCHES_OF_AGENT;
use crate::store::Node;
use crate::watch::Authorized;

/// What a stream is to look at.
#[derive(Clone, Debug)]
pub(super) struct Signal {
    /// Rises when the node's record changed: ask the authorisation table again.
    pub(super) look: u64,
    /// What it may serve.
    pub(super) authorized: Authorized,
    /// When it may be told of `authorized`.
    pub(super) due: Instant,
    /// A later stream of the same agent took its place.
    pub(super) replaced: bool,
}

pub(super) struct Seat {
    id: SpiffeId,
    inner: Mutex<Inner>,
}

struct Inner {
    node: Option<Arc<Node>>,
    signal: Signal,
    acknowledged: u64,
    /// What its last stream was opened with. An agent opens another one as soon as it has another SVID.
    svid: Arc<VerifiedSvid>,
    streams: VecDeque<(u64, watch::Sender<Signal>)>,
    opened: u64,
    /// When the last stream ended; `None` while there is one.
    empty_since: Option<Instant>,
}

impl Seat {
    pub(super) fn new(svid: &Arc<VerifiedSvid>) -> Self {
        let now = Instant::now();
        let authorized = Authorized { entries: 0, foreign: Arc::default() };
        let signal = Signal { look: 0, authorized, due: now, replaced: false };
        let streams = VecDeque::with_capacity(MAX_WATCHES_OF_AGENT);
        let (id, svid) = (svid.id().clone(), Arc::clone(svid));
        let inner = Inner { node: None, signal, acknowledged: 0, svid, streams, opened: 0, empty_since: Some(now) };
        Self { id, inner: Mutex::new(inner) }
    }

    pub(super) fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// One more stream, by its number. The oldest ones give way.
    pub(super) fn open(&self, svid: &Arc<VerifiedSvid>) -> (u64, watch::Receiver<Signal>) {
        let mut inner = self.lock();
        inner.svid = Arc::clone(svid);
        while inner.streams.len() >= MAX_WATCHES_OF_AGENT {
            if let Some((_, oldest)) = inner.streams.pop_front() {
                oldest.send_modify(|signal| signal.replaced = true);
            }
        }
        inner.opened += 1;
        inner.empty_since = None;
        let (number, (sender, receiver)) = (inner.opened, watch::channel(inner.signal.clone()));
        inner.streams.push_back((number, sender));
        (number, receiver)
    }

    pub(super) fn close(&self, number: u64) {
        let mut inner = self.lock();
        inner.streams.retain(|(other, _)| *other != number);
        if inner.streams.is_empty() && inner.empty_since.is_none() {
            inner.empty_since = Some(Instant::now());
        }
    }

    /// Whether its last stream ended more than `linger` ago.
    pub(super) fn is_gone(&self, now: Instant, linger: Duration) -> bool {
        self.lock().empty_since.is_some_and(|since| now.duration_since(since) > linger)
    }

    /// Whether this is the record of the node that its streams were decided by.
    pub(super) fn has_node(&self, node: Option<&Arc<Node>>) -> bool {
        match (&self.lock().node, node) {
            (None, None) => true,
            (Some(held), Some(node)) => Arc::ptr_eq(held, node),
            _ => false,
        }
    }

    /// What it was found to be authorised to serve last.
    pub(super) fn authorized(&self) -> Authorized {
        self.lock().signal.authorized.clone()
    }

    /// Takes note of what is so now, and tells the streams what is new; whether what it may serve is.
    pub(super) fn note(&self, node: Option<Arc<Node>>, authorized: Authorized, due: Instant) -> bool {
        let mut inner = self.lock();
        let same_node = match (&inner.node, &node) {
            (None, None) => true,
            (Some(held), Some(node)) => Arc::ptr_eq(held, node),
            _ => false,
        };
        let is_other = inner.signal.authorized != authorized;
        if same_node && !is_other {
            return false;
        }
        inner.node = node;
        if !same_node {
            inner.signal.look += 1;
        }
        if is_other {
            inner.signal.authorized = authorized;
            inner.signal.due = appointed(inner.signal.due, due, Instant::now());
        }
        for (_, stream) in &inner.streams {
            stream.send_replace(inner.signal.clone());
        }
        is_other
    }

    pub(super) fn svid(&self) -> Arc<VerifiedSvid> {
        Arc::clone(&self.lock().svid)
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }

    /// The present bundle of its workloads. A lower number than before is believed: the agent may have lost its disk.
    pub(super) fn acknowledge(&self, sequence: u64) {
        self.lock().acknowledged = sequence;
    }

    // A panic under the lock leaves whole values behind.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When an agent is told that waits until `held` to be told of something already, and whose turn with what is new would be at `due`. It keeps
/// the earlier turn: where something changes all the time, the last of many would never be told.
fn appointed(held: Instant, due: Instant, now: Instant) -> Instant {
    if held > now { held.min(due) } else { due }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_agent_is_told_in_its_turn_however_often_something_changes() {
        let began = Instant::now();
        let (turn, round) = (Duration::from_secs(10), Duration::from_millis(50));
        let mut due = appointed(began, began + turn, began);
        for n in 1..200 {
            let now = began + round * n;
            due = appointed(due, now + turn, now);
            assert_eq!(due, began + turn, "the first turn, in round {n}");
        }
        let now = began + turn;
        assert_eq!(appointed(due, now + turn, now), now + turn, "told, and another turn");
        assert_eq!(appointed(now + turn, now + round, now), now + round, "an earlier turn counts");
    }
}
