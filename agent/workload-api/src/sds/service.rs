//! The gRPC service `envoy.service.secret.v3.SecretDiscoveryService`.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use plastron_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use plastron_proto::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryService;
use plastron_transport::{PeerCredentials, Place, Places};
use tonic::{Code, Extensions, Request, Response, Status, Streaming};

use super::SdsSettings;
use super::conversation::{Conversation, Question};
use crate::limits::{FIRST_MESSAGE_TIMEOUT, SDS_CALLS, SDS_CALLS_OF_USER};
use crate::push::Source;
use crate::ratelimit::Limited;
use crate::refusal::Refusal;
use crate::service::{WorkloadApi, log};

/// The service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SecretDiscovery {
    api: WorkloadApi,
    settings: SdsSettings,
}

impl SecretDiscovery {
    /// Serves those whom the Workload API would, with what they would have from it.
    pub(crate) fn new(api: WorkloadApi, settings: SdsSettings) -> Self {
        Self { api, settings }
    }

    /// What the caller may see, for as long as it lives. A caller without an identity sees the own bundle, as SPIRE has it.
    async fn source(&self, method: Limited, extensions: &Extensions) -> Result<Source, Refusal> {
        let (process, selectors) = self.api.attest(extensions).await?;
        self.api.limit(method, &selectors)?;
        let identities = self.api.identities();
        let bundles = Some(identities.subscribe_bundles());
        Ok(Source::new(process, identities.subscribe(selectors), bundles, self.api.stopping()))
    }

    async fn fetch(&self, extensions: &Extensions, request: DiscoveryRequest) -> Result<DiscoveryResponse, Refusal> {
        let question = Question::of(&self.settings, request)?;
        let mut source = self.source(Limited::FetchSecrets, extensions).await?;
        let view = tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, source.next());
        question.answer(&self.settings, &view.await.map_err(|_elapsed| Refusal::NotReady)??)
    }
}

type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for SecretDiscovery {
    type DeltaSecretsStream = Messages<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Messages<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Refusal::NoSecretDeltas.into())
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let (_, extensions, requests) = request.into_parts();
        let source = self.source(Limited::StreamSecrets, &extensions).await;
        let source = source.inspect_err(|refusal| log("StreamSecrets", &extensions, refusal))?;
        let conversation = Conversation::new(self.settings.clone());
        let subscription = Subscription { requests, source, conversation, extensions };
        let answers = unfold(Some(subscription), |subscription| async move {
            let mut subscription = subscription?;
            match subscription.next().await? {
                Ok(response) => Some((Ok(response), Some(subscription))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_secrets(&self, request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let response = self.fetch(&extensions, request).await;
        Ok(Response::new(response.inspect_err(|refusal| log("FetchSecrets", &extensions, refusal))?))
    }
}

/// An open stream. What the caller is known by, and its place among all streams, lie in `extensions` until the stream ends.
struct Subscription {
    requests: Streaming<DiscoveryRequest>,
    source: Source,
    conversation: Conversation,
    extensions: Extensions,
}

impl Subscription {
    /// The next answer; none once the proxy is done.
    async fn next(&mut self) -> Option<Result<DiscoveryResponse, Status>> {
        loop {
            let answer = tokio::select! {
                request = self.requests.message() => match request {
                    Ok(Some(request)) => self.conversation.hear(request),
                    Ok(None) => return None,
                    Err(status) if status.code() == Code::Cancelled => return None,
                    Err(status) => return Some(Err(status)),
                },
                view = self.source.next() => view.and_then(|view| self.conversation.see(view)),
            };
            match answer {
                Ok(None) => {}
                Ok(Some(response)) => return Some(Ok(response)),
                Err(refusal) => {
                    log("StreamSecrets", &self.extensions, &refusal);
                    return Some(Err(refusal.into()));
                }
            }
        }
    }
}

/// Places for calls of this service, so that no user's requests, which are large, take the memory of the others.
#[derive(Clone)]
pub(crate) struct StreamPlaces(Arc<Places<u32>>);

impl StreamPlaces {
    pub(crate) fn new() -> Self {
        Self(Places::new(SDS_CALLS, SDS_CALLS_OF_USER))
    }

    /// Lets a call begin that finds a place, which it holds until it ends: before a byte of its request is read.
    pub(crate) fn admit(&self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let uid = request.extensions().get::<PeerCredentials>().ok_or(Refusal::NoPeer)?.uid;
        let place: Arc<Place<u32>> = self.0.take(uid).ok_or(Refusal::TooManySecretCalls)?.into();
        request.extensions_mut().insert(place);
        Ok(request)
    }
}
