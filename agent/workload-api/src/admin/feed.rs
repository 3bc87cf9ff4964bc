//! A stream of messages to a delegate: the first at once, then one for each change, until it is no delegate any more, a process that it
//! is about is gone, or the agent shuts down.

use futures_util::stream::{Stream, unfold};
use plastron_agent_core::Publications;
use plastron_plugins::workload::WorkloadProcess;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::delegate::Delegate;
use crate::limits::FIRST_MESSAGE_TIMEOUT;
use crate::push::until_gone;
use crate::refusal::Refusal;

/// Where the messages come from.
pub(super) trait Source: Send + 'static {
    /// What is sent.
    type Message: PartialEq + Send + 'static;

    /// The next one, which may repeat the last. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Result<Self::Message, Refusal>> + Send;
}

/// A source, and all that ends its stream.
pub(super) struct Feed<S: Source> {
    pub(super) source: S,
    pub(super) delegate: Delegate,
    /// The process that the delegate acts for, where it named one.
    pub(super) target: Option<WorkloadProcess>,
    pub(super) publications: Publications,
    pub(super) stop: CancellationToken,
}

impl<S: Source> Feed<S> {
    /// The next message. The delegate is checked whenever the agent publishes anything: an entry that goes ends the stream at once, and not
    /// only with the next message.
    async fn next(&mut self) -> Result<S::Message, Refusal> {
        loop {
            let message = tokio::select! {
                message = self.source.next() => Some(message?),
                goes_on = self.publications.next() => if goes_on { None } else { return Err(Refusal::ShuttingDown) },
                () = until_gone(self.delegate.process()) => None,
                () = target_gone(self.target.as_ref()) => None,
                () = self.stop.cancelled() => return Err(Refusal::ShuttingDown),
            };
            self.delegate.check()?;
            if let Some(target) = self.target.as_ref().filter(|target| !target.liveness.is_same_process()) {
                return Err(Refusal::ProcessGone { pid: target.pid });
            }
            if let Some(message) = message {
                return Ok(message);
            }
        }
    }

    /// Waits for the first message, so that a refusal is the call's own status, and returns the stream that begins with it.
    pub(super) async fn begin(mut self) -> Result<impl Stream<Item = Result<S::Message, Status>> + Send, Refusal>
    where
        S::Message: Clone,
    {
        let first =
            tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, self.next()).await.map_err(|_elapsed| Refusal::NotReady)??;
        let begun = (Some(self), first.clone(), Some(first));
        Ok(unfold(begun, |(feed, last, first)| async move {
            let mut feed = feed?;
            if let Some(first) = first {
                return Some((Ok(first), (Some(feed), last, None)));
            }
            loop {
                match feed.next().await {
                    Ok(message) if message == last => {}
                    Ok(message) => return Some((Ok(message.clone()), (Some(feed), message, None))),
                    Err(refusal) => {
                        tracing::info!(pid = feed.delegate.process().pid, reason = %refusal, "Delegated identity stream ended");
                        return Some((Err(refusal.into()), (None, last, None)));
                    }
                }
            }
        }))
    }
}

async fn target_gone(target: Option<&WorkloadProcess>) {
    match target {
        Some(target) => until_gone(target).await,
        None => std::future::pending().await,
    }
}
