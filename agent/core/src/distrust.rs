//! Since when the server has been one that the agent's bundle does not lead to, and when its source is asked whom to believe instead
//! (SPIRE: `rebootstrap_mode`). Nothing is given up meanwhile: the SVID and the bundle of before serve until an attestation brings others.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::AgentSvid;
use crate::agent::AgentError;
use crate::bootstrap::{BootstrapAttempt, BootstrapReason, Rebootstrap, RebootstrapMode};
use crate::meters;
use crate::upstream::{Distrusted, UpstreamError};

pub(crate) struct Distrust {
    policy: Rebootstrap,
    state: Mutex<State>,
    changed: Notify,
}

/// Whether an agent may leave the bundle that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// The source is asked when it is due.
    Permitted,
    /// It stays with its bundle, whatever the server shows.
    Barred,
}

#[derive(Default)]
struct State {
    /// When the server was first found to be of an unknown authority, if nothing else was found since.
    since: Option<Instant>,
    /// A source that was asked in vain is not asked again before.
    not_before: Option<Instant>,
    /// How often a source was asked, and since when, if no attestation came of it yet.
    asked: Option<(BootstrapReason, u64, UnixTime)>,
}

impl Distrust {
    pub(crate) fn new(policy: Rebootstrap) -> Self {
        Self { policy, state: Mutex::default(), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a call told about the server: it was not the one that the held bundle leads to, it was, or nothing.
    pub(crate) fn note(&self, failure: Option<&UpstreamError>) {
        match failure.map_or(Distrusted::No, UpstreamError::distrusted) {
            Distrusted::UnknownAuthority => {
                let since = *self.state().since.get_or_insert_with(Instant::now);
                if self.policy.mode != RebootstrapMode::Never {
                    let left = self.policy.delay.saturating_sub(since.elapsed());
                    if !left.is_zero() {
                        let time_left = format!("{}s", left.as_secs());
                        tracing::info!(time_left, "Trust Bundle and Server don't agree, ignoring for now");
                    }
                }
                self.changed.notify_one();
            }
            Distrusted::No => {
                if self.state().since.take().is_some() {
                    self.changed.notify_one();
                }
            }
            Distrusted::Unknown => {}
        }
    }

    /// Resolves when the source is to be asked. Never where the mode says so.
    pub(crate) async fn due(&self) {
        if self.policy.mode == RebootstrapMode::Never {
            return std::future::pending().await;
        }
        loop {
            match self.due_at() {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => return,
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Whether the source is to be asked now.
    pub(crate) fn is_due(&self) -> bool {
        self.policy.mode != RebootstrapMode::Never && self.due_at().is_some_and(|at| at <= Instant::now())
    }

    fn due_at(&self) -> Option<Instant> {
        let state = self.state();
        let at = state.since? + self.policy.delay;
        Some(state.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// It was asked in vain, or to no avail.
    pub(crate) fn put_off(&self, delay: Duration) {
        self.state().not_before = Some(Instant::now() + delay);
    }

    /// The source is asked at this moment.
    pub(crate) fn asks(&self, reason: BootstrapReason, now: UnixTime) -> BootstrapAttempt {
        let mut state = self.state();
        let (number, since) = state.asked.map_or((1, now), |(_, number, since)| (number.saturating_add(1), since));
        state.asked = Some((reason, number, since));
        if reason == BootstrapReason::Rebootstrap {
            meters::rebootstrapping(since.as_secs(), number);
        }
        BootstrapAttempt { reason, number, since }
    }

    /// An attestation succeeded: whoever answered it is the server.
    pub(crate) fn attested(&self) {
        let mut state = self.state();
        if let Some((reason, number, since)) = state.asked {
            tracing::info!(
                attempts = number,
                since = since.as_secs(),
                "The server was attested by the bundle to begin with"
            );
            if reason == BootstrapReason::Rebootstrap {
                meters::rebootstrapped();
            }
        }
        *state = State::default();
        drop(state);
        self.changed.notify_one();
    }

    /// Whether an agent with this SVID may leave its bundle for what the source names; the error where it must be able to and is not.
    pub(crate) fn permits(&self, svid: &AgentSvid) -> Result<Departure, AgentError> {
        match self.policy.mode {
            RebootstrapMode::Never => Ok(Departure::Barred),
            RebootstrapMode::Auto | RebootstrapMode::Always if svid.reattestable => Ok(Departure::Permitted),
            RebootstrapMode::Auto => {
                tracing::warn!(
                    spiffe_id = %svid.id(),
                    "Rebootstrapping is disabled: the node attestor, or what the server says of it, does not let this node attest again"
                );
                Ok(Departure::Barred)
            }
            RebootstrapMode::Always => Err(AgentError::CanNotRebootstrap { agent_id: svid.id().clone() }),
        }
    }
}
