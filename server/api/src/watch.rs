//! `plastron.server.watch.v1.Watch`: agents are told what changed. Ours; SPIRE's agents poll.
//!
//! A stream is pulled: while an agent takes nothing, nothing is made for it and nothing waits, and when it takes something again it gets the
//! latest state. A bundle is encoded once for all streams. Before every message the table is asked again, so that an agent that is
//! banned, evicted, cut off or expired is told nothing more: its stream ends with the reason that it acts on.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, stream};
use plastron_proto::plastron::server::watch::v1::watch_server::Watch;
use plastron_proto::plastron::server::watch::v1::{ForeignBundle, ForeignBundles, SubscribeRequest, SubscribeResponse};
use plastron_server_core::Services;
use plastron_server_core::authorization::{Caller, rpc};
use plastron_server_core::watch::{ForeignNames, Subscription, Update};
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain};
use plastron_transport::{Place, Places};
use prost::Message as _;
use prost::bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::context::Context;
use crate::convert::bundle;
use crate::limits::{FIRST_MESSAGE_TIMEOUT, MAX_WATCHES, MAX_WATCHES_OF_SOURCE, WATCH_AGE, WATCH_AGE_SPREAD};
use crate::ratelimit;
use crate::status::{Failure, decoded};

pub(crate) struct WatchService(pub(crate) Context);

#[tonic::async_trait]
impl Watch for WatchService {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let place = self.0.watches.begin(crate::caller::address(&request))?;
        let caller = crate::caller::caller(request.extensions());
        let mut requests = request.into_inner();
        let first = tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, requests.message()).await;
        let seconds = FIRST_MESSAGE_TIMEOUT.as_secs();
        let first =
            first.map_err(|_elapsed| Failure::Idle { what: "the agent's first message", seconds })?.map_err(decoded)?;
        let SubscribeRequest { acknowledged_bundle } = first.ok_or(Failure::Protocol("no first message"))?;
        let services = Arc::clone(&self.0.services);
        let permit = services.authorizer.authorize::<rpc::WatchSubscribe>(&caller).await.map_err(Failure::from)?;
        let ends = Instant::now() + age(permit.caller().id());
        let subscription = services.watchers.subscribe(&permit, acknowledged_bundle);
        let encoded = Arc::clone(&self.0.watches.encoded);
        let push = Push { services, caller, subscription, requests, ends, encoded, _place: place };
        Ok(Response::new(Box::pin(stream::unfold(Some(push), |push| async move {
            let mut push = push?;
            match push.next().await {
                Ok(Some(message)) => Some((Ok(message), Some(push))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        }))))
    }
}

/// How long a stream of this agent lives. They differ, so that streams which began together do not end together for ever.
fn age(id: &SpiffeId) -> Duration {
    let mut hasher = DefaultHasher::new();
    id.as_str().hash(&mut hasher);
    let spread = u64::try_from(WATCH_AGE_SPREAD.as_millis()).unwrap_or(u64::MAX).max(1);
    WATCH_AGE + Duration::from_millis(hasher.finish() % spread)
}

struct Push {
    services: Arc<Services>,
    caller: Caller,
    subscription: Subscription,
    requests: Streaming<SubscribeRequest>,
    ends: Instant,
    encoded: Arc<Encoded>,
    _place: Place<IpAddr>,
}

impl Push {
    /// The next message; `None` where the stream ends in order.
    async fn next(&mut self) -> Result<Option<SubscribeResponse>, Status> {
        loop {
            let update = tokio::select! {
                update = self.subscription.next() => update.map_err(Failure::from)?,
                request = self.requests.message() => match request {
                    Ok(Some(SubscribeRequest { acknowledged_bundle })) => {
                        self.subscription.acknowledge(acknowledged_bundle);
                        continue;
                    }
                    Ok(None) => return Ok(None),
                    // The connection ended: there is no one to tell.
                    Err(status) if status.code() == Code::Cancelled => return Ok(None),
                    Err(status) => return Err(decoded(status)),
                },
                () = sleep_until(self.ends) => return Ok(None),
            };
            self.services.authorizer.authorize::<rpc::WatchSubscribe>(&self.caller).await.map_err(Failure::from)?;
            if !update.is_empty() {
                let Update { bundle, entries, foreign } = update;
                let bundle = bundle.map(|bundle| self.encoded.get(&bundle));
                return Ok(Some(SubscribeResponse { bundle, entries, foreign: foreign.map(foreign_to_proto) }));
            }
        }
    }
}

fn foreign_to_proto(names: ForeignNames) -> ForeignBundles {
    let bundle =
        |(domain, bundle): (TrustDomain, Option<u64>)| ForeignBundle { trust_domain: domain.to_string(), bundle };
    ForeignBundles { bundles: names.into_iter().map(bundle).collect() }
}

/// The places for push streams, and what they share.
#[derive(Clone)]
pub(crate) struct Watches {
    places: Arc<Places<IpAddr>>,
    encoded: Arc<Encoded>,
}

impl Watches {
    pub(crate) fn new() -> Self {
        Self { places: Places::new(MAX_WATCHES, MAX_WATCHES_OF_SOURCE), encoded: Arc::default() }
    }

    /// A place for one more, until it is dropped.
    fn begin(&self, peer: Option<IpAddr>) -> Result<Place<IpAddr>, Failure> {
        let source = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), ratelimit::source);
        let busy = Failure::Busy { what: "push streams", all: MAX_WATCHES, of_source: MAX_WATCHES_OF_SOURCE };
        self.places.take(source).ok_or(busy)
    }
}

/// The last bundle in its wire form.
#[derive(Default)]
struct Encoded(Mutex<Option<(Arc<Bundle>, Bytes)>>);

impl Encoded {
    fn get(&self, wanted: &Arc<Bundle>) -> Bytes {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bundle, bytes)) = &*last
            && Arc::ptr_eq(bundle, wanted)
        {
            return bytes.clone();
        }
        let bytes = Bytes::from(bundle::to_proto(wanted, None).encode_to_vec());
        *last = Some((Arc::clone(wanted), bytes.clone()));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_share_the_bytes_of_a_bundle() {
        let encoded = Encoded::default();
        let bundle = Arc::new(Bundle::empty(TrustDomain::parse("example.org").unwrap()));
        let (one, two) = (encoded.get(&bundle), encoded.get(&bundle));
        assert_eq!(one.as_ptr(), two.as_ptr());
        let other = Arc::new(Bundle { sequence_number: 2, ..bundle.as_ref().clone() });
        assert_ne!(encoded.get(&other), one);
    }

    #[test]
    fn a_stream_ends_before_the_grace_of_its_connection_does() {
        assert!(WATCH_AGE + WATCH_AGE_SPREAD < plastron_transport::MAX_CONNECTION_AGE_GRACE);
        let ids = ["/spire/agent/a", "/spire/agent/b"]
            .map(|path| TrustDomain::parse("example.org").unwrap().with_path(path).unwrap());
        assert_ne!(age(&ids[0]), age(&ids[1]));
        assert_eq!(age(&ids[0]), age(&ids[0]));
    }

    /// Threat 29
    #[test]
    fn one_source_does_not_take_all_places_for_push_streams() {
        let watches = Watches::new();
        let from = |text: &str| Some(text.parse().unwrap());
        let held: Vec<_> = (0..MAX_WATCHES_OF_SOURCE).map(|_| watches.begin(from("192.0.2.1")).unwrap()).collect();
        assert!(matches!(watches.begin(from("192.0.2.1")), Err(Failure::Busy { .. })));
        watches.begin(from("192.0.2.2")).unwrap();
        drop(held);
        watches.begin(from("192.0.2.1")).unwrap();
    }
}
