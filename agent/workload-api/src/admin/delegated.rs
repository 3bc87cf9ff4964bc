//! `spire.api.agent.delegatedidentity.v1.DelegatedIdentity`: the identities of workloads, for a process that acts for them.
//!
//! SVIDs of `admin` and `downstream` entries are for their owners alone and stay out. Hints are not made unique: the delegate acts for many.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use futures_util::Stream;
use plastron_agent_core::jwt::{Audience, JwtSvidError};
use plastron_agent_core::{BundleSet, BundleSubscription, Identity, Subscription, WorkloadState};
use plastron_plugins::workload::WorkloadProcess;
use plastron_proto::spire::api::agent::delegatedidentity::v1 as wire;
use plastron_proto::spire::api::agent::delegatedidentity::v1::delegated_identity_server::DelegatedIdentity;
use plastron_proto::types;
use plastron_spiffe::{Selector, SpiffeId};
use tonic::{Extensions, Request, Response, Status};

use super::delegate::{Delegate, Delegates};
use super::feed::{Feed, Source};
use crate::limits::MATCHES_PER_CALL;
use crate::refusal::Refusal;
use crate::service::{WorkloadApi, log};
use crate::{jwt, message};

#[derive(Clone)]
pub(super) struct DelegatedIdentityService {
    pub(super) api: WorkloadApi,
    pub(super) delegates: Delegates,
}

/// Whom the delegate acts for.
struct Target {
    selectors: BTreeSet<Selector>,
    /// Where it gave a PID.
    process: Option<WorkloadProcess>,
}

type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

impl DelegatedIdentityService {
    async fn delegate(&self, extensions: &Extensions) -> Result<Delegate, Refusal> {
        Delegate::admit(self.api.attest(extensions).await?, &self.delegates, self.api.identities())
    }

    /// A delegate's selectors are taken as they are; a PID is attested.
    async fn target(&self, selectors: Vec<types::Selector>, pid: i32) -> Result<Target, Refusal> {
        if selectors.is_empty() == (pid == 0) {
            return Err(Refusal::NoTarget);
        }
        if pid == 0 {
            let read = selectors.into_iter().map(|types::Selector { r#type, value }| Selector::new(r#type, value));
            let selectors = read.collect::<Result<_, _>>().map_err(Refusal::TargetSelectors)?;
            return Ok(Target { selectors, process: None });
        }
        let process = plastron_transport::process_of(pid).map_err(Refusal::Peer)?;
        let selectors = self.api.attest_process(&process).await?;
        Ok(Target { selectors, process: Some(process) })
    }

    async fn stream<S: Source>(
        &self,
        source: S,
        delegate: Delegate,
        target: Option<WorkloadProcess>,
    ) -> Result<Messages<S::Message>, Refusal>
    where
        S::Message: Clone,
    {
        let publications = self.api.identities().publications();
        let feed = Feed { source, delegate, target, publications, stop: self.api.stopping() };
        Ok(Box::pin(feed.begin().await?))
    }

    async fn bundles<M: Clone + PartialEq + Send + 'static>(
        &self,
        extensions: &Extensions,
        render: fn(&BundleSet) -> Result<M, Refusal>,
    ) -> Result<Messages<M>, Refusal> {
        let delegate = self.delegate(extensions).await?;
        let bundles = self.api.identities().subscribe_bundles();
        self.stream(Bundles { bundles, render }, delegate, None).await
    }

    async fn tokens(
        &self,
        extensions: &Extensions,
        request: wire::FetchJwtsviDsRequest,
    ) -> Result<wire::FetchJwtsviDsResponse, Refusal> {
        let wire::FetchJwtsviDsRequest { audience, selectors, pid } = request;
        let audience = Audience::parse(audience).map_err(Refusal::Audience)?;
        let delegate = self.delegate(extensions).await?;
        let target = self.target(selectors, pid).await?;
        let mut turns = MATCHES_PER_CALL;
        let tokens = loop {
            turns = turns.saturating_sub(1);
            let mut entries = self.api.identities().entries(&target.selectors);
            entries.retain(|entry| entry.is_delegable());
            match jwt::tokens(self.api.jwt_svids(), entries, &audience).await {
                Err(Refusal::Token(error)) if turns > 0 && matches!(*error, JwtSvidError::EntryGone) => {}
                tokens => break tokens?,
            }
        };
        // It may have taken half a minute.
        delegate.check()?;
        if let Some(process) = target.process.filter(|process| !process.liveness.is_same_process()) {
            return Err(Refusal::ProcessGone { pid: process.pid });
        }
        let svids = tokens.into_iter().map(|(entry, token)| types::Jwtsvid {
            token: token.reveal().to_owned(),
            id: Some(id(&entry.spiffe_id)),
            expires_at: seconds(token.expires_at()),
            issued_at: seconds(token.issued_at()),
            hint: entry.hint.clone(),
        });
        let svids: Vec<_> = svids.collect();
        if svids.is_empty() { Err(Refusal::NoIdentity) } else { Ok(wire::FetchJwtsviDsResponse { svids }) }
    }
}

/// The X.509-SVIDs of one workload. None is a message too: it may get some later.
struct Svids(Subscription);

impl Source for Svids {
    type Message = wire::SubscribeToX509sviDsResponse;

    async fn next(&mut self) -> Result<Self::Message, Refusal> {
        Ok(match self.0.next().await.ok_or(Refusal::ShuttingDown)? {
            WorkloadState::NoIdentity => wire::SubscribeToX509sviDsResponse::default(),
            WorkloadState::Identities(update) => wire::SubscribeToX509sviDsResponse {
                x509_svids: update.identities.iter().filter(|one| one.is_delegable).map(|one| svid(one)).collect(),
                federates_with: update.federated_bundles.keys().map(|domain| domain.id().to_string()).collect(),
            },
        })
    }
}

/// All bundles that the agent holds.
struct Bundles<M> {
    bundles: BundleSubscription,
    render: fn(&BundleSet) -> Result<M, Refusal>,
}

impl<M: PartialEq + Send + 'static> Source for Bundles<M> {
    type Message = M;

    async fn next(&mut self) -> Result<M, Refusal> {
        let set = self.bundles.next().await.ok_or(Refusal::ShuttingDown)?;
        (self.render)(&set)
    }
}

fn svid(identity: &Identity) -> wire::X509svidWithKey {
    let svid = types::X509svid {
        cert_chain: identity.svid.chain().to_vec(),
        id: Some(id(&identity.spiffe_id)),
        expires_at: seconds(identity.svid.not_after()),
        hint: identity.hint.clone(),
    };
    wire::X509svidWithKey { x509_svid: Some(svid), x509_svid_key: identity.private_key.reveal_pkcs8().to_vec() }
}

pub(super) fn id(id: &SpiffeId) -> types::Spiffeid {
    types::Spiffeid { trust_domain: id.trust_domain().to_string(), path: id.path().to_owned() }
}

pub(super) fn seconds(unix: u64) -> i64 {
    i64::try_from(unix).unwrap_or(i64::MAX)
}

fn x509_bundles(set: &BundleSet) -> Result<wire::SubscribeToX509BundlesResponse, Refusal> {
    let ca_certificates: BTreeMap<_, _> = message::x509_authorities(&set.bundle, &set.federated_bundles)?;
    Ok(wire::SubscribeToX509BundlesResponse { ca_certificates })
}

fn jwt_bundles(set: &BundleSet) -> Result<wire::SubscribeToJwtBundlesResponse, Refusal> {
    Ok(wire::SubscribeToJwtBundlesResponse { bundles: jwt::jwk_sets(&set.bundle, &set.federated_bundles)? })
}

/// Logs a refusal, and makes it the call's status.
fn answer<M>(method: &'static str, extensions: &Extensions, answer: Result<M, Refusal>) -> Result<Response<M>, Status> {
    Ok(Response::new(answer.inspect_err(|refusal| log(method, extensions, refusal))?))
}

#[tonic::async_trait]
impl DelegatedIdentity for DelegatedIdentityService {
    type SubscribeToX509SVIDsStream = Messages<wire::SubscribeToX509sviDsResponse>;
    type SubscribeToX509BundlesStream = Messages<wire::SubscribeToX509BundlesResponse>;
    type SubscribeToJWTBundlesStream = Messages<wire::SubscribeToJwtBundlesResponse>;

    async fn subscribe_to_x509svi_ds(
        &self,
        request: Request<wire::SubscribeToX509sviDsRequest>,
    ) -> Result<Response<Self::SubscribeToX509SVIDsStream>, Status> {
        let (_, extensions, wire::SubscribeToX509sviDsRequest { selectors, pid }) = request.into_parts();
        let begun = async {
            let delegate = self.delegate(&extensions).await?;
            let Target { selectors, process } = self.target(selectors, pid).await?;
            self.stream(Svids(self.api.identities().subscribe(selectors)), delegate, process).await
        };
        answer("SubscribeToX509SVIDs", &extensions, begun.await)
    }

    async fn subscribe_to_x509_bundles(
        &self,
        request: Request<wire::SubscribeToX509BundlesRequest>,
    ) -> Result<Response<Self::SubscribeToX509BundlesStream>, Status> {
        let extensions = request.extensions();
        answer("SubscribeToX509Bundles", extensions, self.bundles(extensions, x509_bundles).await)
    }

    async fn fetch_jwtsvi_ds(
        &self,
        request: Request<wire::FetchJwtsviDsRequest>,
    ) -> Result<Response<wire::FetchJwtsviDsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let stop = self.api.stopping();
        let tokens = tokio::select! {
            tokens = self.tokens(&extensions, request) => tokens,
            () = stop.cancelled() => Err(Refusal::ShuttingDown),
        };
        answer("FetchJWTSVIDs", &extensions, tokens)
    }

    async fn subscribe_to_jwt_bundles(
        &self,
        request: Request<wire::SubscribeToJwtBundlesRequest>,
    ) -> Result<Response<Self::SubscribeToJWTBundlesStream>, Status> {
        let extensions = request.extensions();
        answer("SubscribeToJWTBundles", extensions, self.bundles(extensions, jwt_bundles).await)
    }
}
