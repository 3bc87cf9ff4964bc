//! The gRPC service `SpiffeWorkloadAPI`.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures_util::Stream;
use plastron_agent_core::{WorkloadAttestation, WorkloadIdentities};
use plastron_plugins::workload::WorkloadProcess;
use plastron_proto::workload as wire;
use plastron_proto::workload::spiffe_workload_api_server::SpiffeWorkloadApi;
use plastron_spiffe::Selector;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::caller::caller;
use crate::message;
use crate::push::{Shape, Source, View, push};
use crate::refusal::Refusal;

/// Who may have the trust domain's own bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleAccess {
    /// Workloads with an identity: the standard's rule.
    IdentifiedWorkloads,
    /// Every local process (SPIRE's `allow_unauthenticated_verifiers`). Federated bundles still need an identity.
    AnyLocalProcess,
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct WorkloadApi {
    attestation: WorkloadAttestation,
    identities: WorkloadIdentities,
    bundle_access: BundleAccess,
    stop: CancellationToken,
}

impl WorkloadApi {
    /// Serves these identities to whoever these attestors recognise.
    pub fn new(attestation: WorkloadAttestation, identities: WorkloadIdentities, bundle_access: BundleAccess) -> Self {
        Self { attestation, identities, bundle_access, stop: CancellationToken::new() }
    }

    /// The agent's identities, to learn when it is ready.
    pub(crate) fn identities(&self) -> &WorkloadIdentities {
        &self.identities
    }

    /// Ends all streams.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Who calls: a process, attested now and for this call only.
    async fn attest<T>(&self, request: &Request<T>) -> Result<(WorkloadProcess, BTreeSet<Selector>), Refusal> {
        let process = caller(request.extensions())?;
        let selectors = self.attestation.attest(&process).await?;
        let shown = selectors.iter().map(ToString::to_string);
        tracing::debug!(pid = process.pid, selectors = ?shown.collect::<Vec<_>>(), "PID attested to have selectors");
        Ok((process, selectors))
    }

    async fn stream<T, M: Send + 'static>(
        &self,
        method: &'static str,
        request: Request<T>,
        access: BundleAccess,
        shape: Shape<M>,
    ) -> Result<Response<Messages<M>>, Status> {
        let begun = async {
            let (process, selectors) = self.attest(&request).await?;
            let bundles = match access {
                BundleAccess::IdentifiedWorkloads => None,
                BundleAccess::AnyLocalProcess => Some(self.identities.subscribe_bundles()),
            };
            let subscription = self.identities.subscribe(selectors);
            push(Source::new(process, subscription, bundles, self.stop.clone()), shape).await
        };
        let messages = begun.await.inspect_err(|refusal| log(method, &request, refusal))?;
        Ok(Response::new(Box::pin(messages)))
    }
}

fn log<T>(method: &'static str, request: &Request<T>, refusal: &Refusal) {
    let pid = caller(request.extensions()).ok().map(|process| process.pid);
    let source = std::error::Error::source(refusal).map(ToString::to_string);
    match refusal {
        Refusal::NoIdentity => tracing::warn!(method, pid, registered = false, "No identity issued"),
        other => tracing::warn!(method, pid, reason = %other, source, "Workload API call refused"),
    }
}

/// The SVID stream repeats nothing either: `agent/core` wakes it only when a certificate or bundle was replaced.
const SVIDS: Shape<wire::X509svidResponse> = Shape { render: svids, repeats: |_, _| false };
const BUNDLES: Shape<wire::X509BundlesResponse> = Shape { render: bundles, repeats: message::same_x509_bundles };

fn svids(view: &View) -> Result<wire::X509svidResponse, Refusal> {
    match view {
        View::Identities(update) => message::x509_svids(update),
        View::OwnBundle(_) => Err(Refusal::NoIdentity),
    }
}

fn bundles(view: &View) -> Result<wire::X509BundlesResponse, Refusal> {
    let (own, federated) = view.bundles();
    message::x509_bundles(own, federated)
}

type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = Messages<wire::X509svidResponse>;
    type FetchX509BundlesStream = Messages<wire::X509BundlesResponse>;
    type FetchJWTBundlesStream = Messages<wire::JwtBundlesResponse>;
    type FetchWITSVIDStream = Messages<wire::WitsvidResponse>;
    type FetchWITBundlesStream = Messages<wire::WitBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<wire::X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        self.stream("FetchX509SVID", request, BundleAccess::IdentifiedWorkloads, SVIDS).await
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<wire::X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        self.stream("FetchX509Bundles", request, self.bundle_access, BUNDLES).await
    }

    async fn fetch_jwtsvid(
        &self,
        _request: Request<wire::JwtsvidRequest>,
    ) -> Result<Response<wire::JwtsvidResponse>, Status> {
        Err(Refusal::NoJwt.into())
    }

    async fn fetch_jwt_bundles(
        &self,
        _request: Request<wire::JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        Err(Refusal::NoJwt.into())
    }

    async fn validate_jwtsvid(
        &self,
        _request: Request<wire::ValidateJwtsvidRequest>,
    ) -> Result<Response<wire::ValidateJwtsvidResponse>, Status> {
        Err(Refusal::NoJwt.into())
    }

    async fn fetch_witsvid(
        &self,
        _request: Request<wire::WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        Err(Refusal::NoWit.into())
    }

    async fn fetch_wit_bundles(
        &self,
        _request: Request<wire::WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        Err(Refusal::NoWit.into())
    }
}
