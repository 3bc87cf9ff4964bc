//! The gRPC service `SpiffeWorkloadAPI`.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use plastron_agent_core::jwt::{JwtSvidError, JwtSvids};
use plastron_agent_core::{Clock, WorkloadAttestation, WorkloadIdentities};
use plastron_plugins::workload::WorkloadProcess;
use plastron_proto::workload as wire;
use plastron_proto::workload::spiffe_workload_api_server::SpiffeWorkloadApi;
use plastron_spiffe::Selector;
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Request, Response, Status};

use crate::caller::caller;
use crate::claims::ForeignClaims;
use crate::jwt::{self, TokenRequest, Validation};
use crate::limits::{FIRST_MESSAGE_TIMEOUT, MATCHES_PER_CALL};
use crate::message;
use crate::push::{Shape, Source, View, push};
use crate::ratelimit::{Limited, RateLimits};
use crate::refusal::{Refusal, shortened};

/// Who may have the trust domain's own bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleAccess {
    /// Workloads with an identity: the standard's rule.
    IdentifiedWorkloads,
    /// Every local process (SPIRE's `allow_unauthenticated_verifiers`). Federated bundles still need an identity.
    AnyLocalProcess,
}

/// What the configuration decides about who sees what.
#[derive(Clone, Debug)]
pub struct Access {
    /// Who may have the own bundle.
    pub bundles: BundleAccess,
    /// What workloads are shown of foreign tokens.
    pub foreign_claims: ForeignClaims,
    /// How often workloads may call.
    pub rate_limits: RateLimits,
    /// Selectors that begin so are named in the log where a workload gets no identity (`log_selectors`).
    pub logged_selectors: Vec<String>,
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct WorkloadApi {
    attestation: WorkloadAttestation,
    identities: WorkloadIdentities,
    jwt_svids: JwtSvids,
    clock: Arc<dyn Clock>,
    access: Access,
    stop: CancellationToken,
}

impl WorkloadApi {
    /// Serves these identities and tokens to whoever these attestors recognise; tokens are validated by this clock.
    pub fn new(
        attestation: WorkloadAttestation,
        identities: WorkloadIdentities,
        jwt_svids: JwtSvids,
        clock: Arc<dyn Clock>,
        access: Access,
    ) -> Self {
        Self { attestation, identities, jwt_svids, clock, access, stop: CancellationToken::new() }
    }

    /// The agent's identities, to learn when it is ready.
    pub(crate) fn identities(&self) -> &WorkloadIdentities {
        &self.identities
    }

    /// Its tokens.
    pub(crate) fn jwt_svids(&self) -> &JwtSvids {
        &self.jwt_svids
    }

    /// Cancelled when all streams end.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Ends all streams.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Who calls: a process, attested now and for this call only.
    pub(crate) async fn attest(
        &self,
        extensions: &Extensions,
    ) -> Result<(WorkloadProcess, BTreeSet<Selector>), Refusal> {
        let process = caller(extensions)?;
        let selectors = self.attest_process(&process).await?;
        Ok((process, selectors))
    }

    /// What is known of a process.
    pub(crate) async fn attest_process(&self, process: &WorkloadProcess) -> Result<BTreeSet<Selector>, Refusal> {
        let selectors = self.attestation.attest(process).await?;
        let shown = selectors.iter().map(ToString::to_string);
        tracing::debug!(pid = process.pid, selectors = ?shown.collect::<Vec<_>>(), "PID attested to have selectors");
        Ok(selectors)
    }

    /// Counts a call of whoever has these selectors.
    pub(crate) fn limit(&self, method: Limited, selectors: &BTreeSet<Selector>) -> Result<(), Refusal> {
        self.access.rate_limits.take(method, selectors)
    }

    /// Logs that a call is refused; where the workload gets no identity, with those of its selectors that the operator chose.
    fn log(&self, method: &'static str, extensions: &Extensions, selectors: &BTreeSet<Selector>, refusal: &Refusal) {
        let chosen = chosen(&self.access.logged_selectors, selectors);
        match refusal {
            Refusal::NoIdentity if !chosen.is_empty() => {
                let pid = caller(extensions).ok().map(|process| process.pid);
                tracing::warn!(method, pid, registered = false, selectors = chosen, "No identity issued");
            }
            refusal => log(method, extensions, refusal),
        }
    }

    async fn stream<T, M: Send + 'static>(
        &self,
        method: Limited,
        request: Request<T>,
        access: BundleAccess,
        shape: Shape<M>,
    ) -> Result<Response<Messages<M>>, Status> {
        let mut known = BTreeSet::new();
        let begun = async {
            let (process, selectors) = self.attest(request.extensions()).await?;
            known.clone_from(&selectors);
            self.limit(method, &selectors)?;
            let bundles = match access {
                BundleAccess::IdentifiedWorkloads => None,
                BundleAccess::AnyLocalProcess => Some(self.identities.subscribe_bundles()),
            };
            let subscription = self.identities.subscribe(selectors);
            push(Source::new(process, subscription, bundles, self.stop.clone()), shape).await
        };
        let begun = begun.await;
        let messages = begun.inspect_err(|refusal| self.log(method.name(), request.extensions(), &known, refusal))?;
        Ok(Response::new(Box::pin(messages)))
    }
}

/// A call with one answer, which ends when the agent stops.
impl WorkloadApi {
    async fn tokens(
        &self,
        extensions: &Extensions,
        request: wire::JwtsvidRequest,
        known: &mut BTreeSet<Selector>,
    ) -> Result<wire::JwtsvidResponse, Refusal> {
        let request = TokenRequest::read(request)?;
        let (process, selectors) = self.attest(extensions).await?;
        known.clone_from(&selectors);
        self.limit(Limited::FetchJwtSvid, &selectors)?;
        let mut turns = MATCHES_PER_CALL;
        loop {
            turns = turns.saturating_sub(1);
            let entries = self.jwt_svids.entries(&selectors);
            let entries =
                tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, entries).await.map_err(|_elapsed| Refusal::NotReady)?;
            let tokens = jwt::fetch(&self.jwt_svids, &entries, &request).await;
            // It may have taken half a minute: the answer is not for whoever has the connection by now.
            if !process.liveness.is_same_process() {
                return Err(Refusal::ProcessGone { pid: process.pid });
            }
            match tokens {
                Err(Refusal::Token(error)) if turns > 0 && matches!(*error, JwtSvidError::EntryGone) => {}
                tokens => return tokens,
            }
        }
    }

    async fn validation(
        &self,
        extensions: &Extensions,
        request: wire::ValidateJwtsvidRequest,
    ) -> Result<wire::ValidateJwtsvidResponse, Refusal> {
        let validation = Validation::read(request)?;
        let (_, selectors) = self.attest(extensions).await?;
        let bundles = self.identities.bundles(&selectors);
        let bundles =
            tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, bundles).await.map_err(|_elapsed| Refusal::NotReady)?;
        validation.run(&bundles.ok_or(Refusal::ShuttingDown)?, &self.access.foreign_claims, self.clock.now())
    }

    async fn answer<M>(&self, call: impl Future<Output = Result<M, Refusal>>) -> Result<Response<M>, Refusal> {
        tokio::select! {
            answer = call => answer.map(Response::new),
            () = self.stop.cancelled() => Err(Refusal::ShuttingDown),
        }
    }
}

/// Of these selectors, those that begin with one of these prefixes, whole up to a colon; SPIRE's form.
fn chosen(prefixes: &[String], selectors: &BTreeSet<Selector>) -> String {
    let begins = |selector: &String| {
        let rest = prefixes.iter().filter_map(|prefix| selector.strip_prefix(prefix.as_str()));
        rest.into_iter().any(|rest| rest.is_empty() || rest.starts_with(':'))
    };
    let shown = selectors.iter().map(ToString::to_string).filter(begins);
    shown.collect::<Vec<_>>().join(",")
}

pub(crate) fn log(method: &'static str, extensions: &Extensions, refusal: &Refusal) {
    let pid = caller(extensions).ok().map(|process| process.pid);
    let source = std::error::Error::source(refusal).map(|source| shortened(source.to_string()));
    match refusal {
        Refusal::NoIdentity => tracing::warn!(method, pid, registered = false, "No identity issued"),
        other => tracing::warn!(method, pid, reason = %other, source, "Workload API call refused"),
    }
}

/// The SVID stream repeats nothing either: `agent/core` wakes it only when a certificate or bundle was replaced.
const SVIDS: Shape<wire::X509svidResponse> = Shape { render: svids, repeats: |_, _| false };
const BUNDLES: Shape<wire::X509BundlesResponse> = Shape { render: bundles, repeats: message::same_x509_bundles };

const JWT_BUNDLES: Shape<wire::JwtBundlesResponse> = Shape { render: jwt::bundles, repeats: jwt::same_bundles };

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
        self.stream(Limited::FetchX509Svid, request, BundleAccess::IdentifiedWorkloads, SVIDS).await
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<wire::X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        self.stream(Limited::FetchX509Bundles, request, self.access.bundles, BUNDLES).await
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<wire::JwtsvidRequest>,
    ) -> Result<Response<wire::JwtsvidResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let mut known = BTreeSet::new();
        let answer = self.answer(self.tokens(&extensions, request, &mut known)).await;
        Ok(answer.inspect_err(|refusal| self.log("FetchJWTSVID", &extensions, &known, refusal))?)
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<wire::JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        self.stream(Limited::FetchJwtBundles, request, self.access.bundles, JWT_BUNDLES).await
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<wire::ValidateJwtsvidRequest>,
    ) -> Result<Response<wire::ValidateJwtsvidResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let answer = self.answer(self.validation(&extensions, request)).await;
        Ok(answer.inspect_err(|refusal| log("ValidateJWTSVID", &extensions, refusal))?)
    }

    async fn fetch_witsvid(
        &self,
        _request: Request<wire::WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        Err(Refusal::NoWitSvids.into())
    }

    async fn fetch_wit_bundles(
        &self,
        _request: Request<wire::WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        Err(Refusal::NoWitBundles.into())
    }
}

#[cfg(test)]
mod tests;
