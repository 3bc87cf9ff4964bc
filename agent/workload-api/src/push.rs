//! A stream of messages to one workload: the first at once, then one for each change, until the workload has no identity, its process
//! is gone, or the agent shuts down.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use plastron_agent_core::{BundleSubscription, Subscription, WorkloadState, WorkloadUpdate};
use plastron_plugins::workload::WorkloadProcess;
use plastron_spiffe::{Bundle, TrustDomain};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::limits::{FIRST_MESSAGE_TIMEOUT, LIVENESS_INTERVAL};
use crate::refusal::Refusal;

/// What a workload may see at this moment.
pub(crate) enum View {
    /// Its identities, and bundles.
    Identities(WorkloadUpdate),
    /// The own trust domain's bundle alone, where the configuration gives that to everyone.
    OwnBundle(Arc<Bundle>),
}

impl View {
    /// The own bundle and the federated ones.
    pub(crate) fn bundles(&self) -> (&Bundle, &BTreeMap<TrustDomain, Arc<Bundle>>) {
        static NONE: BTreeMap<TrustDomain, Arc<Bundle>> = BTreeMap::new();
        match self {
            Self::Identities(update) => (&update.bundle, &update.federated_bundles),
            Self::OwnBundle(bundle) => (bundle, &NONE),
        }
    }
}

/// Everything that a stream follows.
pub(crate) struct Source {
    process: WorkloadProcess,
    subscription: Subscription,
    state: Option<WorkloadState>,
    /// Present where callers without an identity may have the own bundle.
    bundles: Option<BundleSubscription>,
    own_bundle: Option<Arc<Bundle>>,
    stop: CancellationToken,
}

impl Source {
    /// Follows a workload's identities until `stop`; `bundles` also lets it see the own bundle without one.
    pub(crate) fn new(
        process: WorkloadProcess,
        subscription: Subscription,
        bundles: Option<BundleSubscription>,
        stop: CancellationToken,
    ) -> Self {
        Self { process, subscription, state: None, bundles, own_bundle: None, stop }
    }

    /// The next view. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<View, Refusal> {
        loop {
            self.changed().await?;
            // Whatever woke the stream, nothing is sent on behalf of a process that is gone.
            if !self.process.liveness.is_same_process() {
                return Err(Refusal::ProcessGone { pid: self.process.pid });
            }
            match (&self.state, &self.own_bundle) {
                (Some(WorkloadState::Identities(update)), _) => return Ok(View::Identities(update.clone())),
                (Some(WorkloadState::NoIdentity), Some(bundle)) => return Ok(View::OwnBundle(Arc::clone(bundle))),
                (Some(WorkloadState::NoIdentity), None) if self.bundles.is_none() => return Err(Refusal::NoIdentity),
                (Some(WorkloadState::NoIdentity), None) | (None, _) => {}
            }
        }
    }

    async fn changed(&mut self) -> Result<(), Refusal> {
        tokio::select! {
            state = self.subscription.next() => self.state = Some(state.ok_or(Refusal::ShuttingDown)?),
            own_bundle = next_own_bundle(&mut self.bundles) => self.own_bundle = Some(own_bundle?),
            () = until_gone(&self.process) => {}
            () = self.stop.cancelled() => return Err(Refusal::ShuttingDown),
        }
        Ok(())
    }
}

async fn next_own_bundle(bundles: &mut Option<BundleSubscription>) -> Result<Arc<Bundle>, Refusal> {
    match bundles {
        Some(bundles) => Ok(bundles.next().await.ok_or(Refusal::ShuttingDown)?.bundle),
        None => std::future::pending().await,
    }
}

pub(crate) async fn until_gone(process: &WorkloadProcess) {
    let mut tick = tokio::time::interval(LIVENESS_INTERVAL);
    loop {
        tick.tick().await;
        if !process.liveness.is_same_process() {
            return;
        }
    }
}

/// How a view becomes a message.
pub(crate) struct Shape<M> {
    /// Makes the message.
    pub(crate) render: fn(&View) -> Result<M, Refusal>,
    /// Whether the second view makes the same message as the first, so that it is not sent again.
    pub(crate) repeats: fn(&View, &View) -> bool,
}

struct Push<M> {
    source: Source,
    shape: Shape<M>,
    delivered: Option<View>,
}

impl<M> Push<M> {
    /// The next message that differs from the one before.
    async fn next(&mut self) -> Result<M, Refusal> {
        loop {
            let view = self.source.next().await?;
            if self.delivered.as_ref().is_some_and(|delivered| (self.shape.repeats)(delivered, &view)) {
                continue;
            }
            let message = (self.shape.render)(&view)?;
            self.delivered = Some(view);
            return Ok(message);
        }
    }
}

/// Waits for the first message, so that a refusal is the call's own status, and returns the stream that begins with it.
pub(crate) async fn push<M: Send + 'static>(
    source: Source,
    shape: Shape<M>,
) -> Result<impl Stream<Item = Result<M, Status>> + Send + 'static, Refusal> {
    let mut push = Push { source, shape, delivered: None };
    let first =
        tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, push.next()).await.map_err(|_elapsed| Refusal::NotReady)??;
    Ok(unfold((Some(push), Some(first)), |(push, first)| async move {
        let mut push = push?;
        if let Some(first) = first {
            return Some((Ok(first), (Some(push), None)));
        }
        match push.next().await {
            Ok(message) => Some((Ok(message), (Some(push), None))),
            Err(refusal) => {
                tracing::info!(pid = push.source.process.pid, reason = %refusal, "Workload API stream ended");
                Some((Err(refusal.into()), (None, None)))
            }
        }
    }))
}

#[cfg(test)]
mod tests;
