//! Follows what the server pushes: bundles, that entries changed, and which foreign bundles there are.
//!
//! A bundle is acknowledged when workloads have it, and not before. When a stream ends the next one is opened: at once where it ended in order, else
//! after a random delay that grows, so that a server that comes back is not met by all its agents at the same moment. Meanwhile, and where
//! the server has no such service (SPIRE's), the agent polls as it always did.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::agent::Parts;
use crate::enrol::millis;
use crate::foreign::ForeignBundles;
use crate::held_bundle::{HeldBundle, Taken};
use crate::report::Chain;
use crate::schedule::{SpreadBackoff, jittered};
use crate::standing::Standing;
use crate::upstream::{Caller, Pushed, UpstreamError};

/// The first delay is anywhere below this: ten thousand agents are back after a restart within about two seconds, at a third of a
/// millisecond of the server's time for each handshake.
const FIRST_DELAY: Duration = Duration::from_secs(2);
/// The last delay is anywhere below this. Polling goes on in the meantime.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// A stream that lived shorter was no success: the next one is delayed, and for longer than the one before.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);
/// How often a server that has no push stream is asked again: it may be another by then.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// Why a stream ended, where nothing went wrong.
enum Ended {
    /// The server ended it in order.
    InOrder,
    /// The agent has another SVID.
    OtherSvid,
}

pub(crate) struct Follower<'a> {
    parts: &'a Parts,
    standing: &'a Standing,
    bundle: &'a HeldBundle<'a>,
    foreign: &'a ForeignBundles<'a>,
    /// The name of the set of entries that the last requested synchronisation brings, or a later one.
    entries: Option<u64>,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(
        parts: &'a Parts,
        standing: &'a Standing,
        bundle: &'a HeldBundle<'a>,
        foreign: &'a ForeignBundles<'a>,
    ) -> Self {
        Self { parts, standing, bundle, foreign, entries: None }
    }

    /// Runs for ever.
    pub(crate) async fn run(mut self) -> Infallible {
        let mut backoff = SpreadBackoff::new(FIRST_DELAY, LONGEST_DELAY);
        loop {
            let (caller, began) = (self.standing.caller(), Instant::now());
            let outcome = self.stream(&caller).await;
            self.standing.set_followed(false);
            self.foreign.untold();
            if began.elapsed() >= SHORTEST_LIFE {
                backoff.reset();
            }
            let delay = match outcome {
                Ok(Ended::OtherSvid) => continue,
                Ok(Ended::InOrder) if began.elapsed() >= SHORTEST_LIFE => continue,
                Ok(Ended::InOrder) => backoff.next(),
                Err(UpstreamError::Unimplemented { .. }) => {
                    tracing::debug!("The server has no push stream; the agent polls");
                    jittered(ASK_AGAIN)
                }
                Err(error) => {
                    if let UpstreamError::AgentDenied { reason, .. } = &error {
                        self.standing.denied(*reason, Arc::clone(&caller.svid));
                    }
                    let delay = backoff.next();
                    tracing::info!(error = %Chain(&error), retry_in_ms = millis(delay), "The server's push stream ended");
                    delay
                }
            };
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.standing.svid_renewed() => {}
            }
        }
    }

    /// One stream, to its end.
    async fn stream(&mut self, caller: &Caller) -> Result<Ended, UpstreamError> {
        let mut stream = self.parts.upstream.watch(caller, self.bundle.published()).await?;
        let mut is_first = true;
        loop {
            let pushed = tokio::select! {
                pushed = stream.next() => pushed?,
                () = self.standing.svid_renewed() => return Ok(Ended::OtherSvid),
            };
            let Some(Pushed { bundle, entries, foreign }) = pushed else { return Ok(Ended::InOrder) };
            if let Some(bundle) = bundle {
                let sequence = bundle.sequence_number;
                match self.bundle.offer(bundle) {
                    Ok(Taken::Held) => stream.acknowledge(sequence).await?,
                    Ok(Taken::Older) => {}
                    Err(error) => tracing::error!(error = %Chain(&error), sequence, "A pushed bundle was not taken"),
                }
            }
            if entries.is_some_and(|entries| self.entries.replace(entries) != Some(entries)) {
                self.standing.request_sync();
            }
            self.standing.set_followed(true);
            let began = std::mem::take(&mut is_first);
            if began || foreign.is_some() {
                self.foreign.told(began, foreign);
            }
        }
    }
}
