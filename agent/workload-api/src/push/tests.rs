//! How streams end and what they wait for, under a clock of the test's own.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use plastron_agent_core::Publisher;
use plastron_plugins::workload::Liveness;
use plastron_spiffe::X509Authority;
use tokio::time::Instant;
use tonic::Code;

use super::*;

#[derive(Default)]
struct Dies(AtomicBool);

impl Liveness for Dies {
    fn is_same_process(&self) -> bool {
        !self.0.load(Ordering::SeqCst)
    }
}

struct World {
    publisher: Option<Publisher>,
    dies: Arc<Dies>,
    stop: CancellationToken,
    source: Option<Source>,
}

/// A caller without identities that may have the own bundle.
fn world() -> World {
    let (publisher, identities) = Publisher::new();
    let (dies, stop) = (Arc::new(Dies::default()), CancellationToken::new());
    let process = WorkloadProcess { pid: 1, uid: 2, gid: 3, liveness: dies.clone() };
    let subscription = identities.subscribe(BTreeSet::new());
    let source = Source::new(process, subscription, Some(identities.subscribe_bundles()), stop.clone());
    World { publisher: Some(publisher), dies, stop, source: Some(source) }
}

impl World {
    fn publish(&self, root: &[u8]) {
        let bundle = Bundle {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            x509_authorities: vec![X509Authority { certificate: root.to_vec(), tainted: false }],
            jwt_authorities: Vec::new(),
            refresh_hint: 0,
            sequence_number: 1,
        };
        self.publisher.as_ref().unwrap().publish(Vec::new(), Arc::new(bundle), BTreeMap::new());
    }

    async fn begin(&mut self) -> Result<impl Stream<Item = Result<Vec<u8>, Status>> + use<>, Refusal> {
        push(self.source.take().unwrap(), SHAPE).await
    }
}

const SHAPE: Shape<Vec<u8>> = Shape {
    render: |view| Ok(view.bundles().0.x509_authorities[0].certificate.clone()),
    repeats: |a, b| a.bundles().0 == b.bundles().0,
};

#[tokio::test(start_paused = true)]
async fn an_agent_with_nothing_to_give_yet_says_try_again() {
    let begun = Instant::now();
    let mut world = world();
    assert!(matches!(world.begin().await.err(), Some(Refusal::NotReady)));
    assert_eq!(begun.elapsed(), FIRST_MESSAGE_TIMEOUT);
}

/// Threat 38: an open stream outlives neither its process nor the next look at it.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_process() {
    let mut world = world();
    world.publish(b"root");
    let mut stream = pin!(world.begin().await.unwrap());
    assert_eq!(stream.next().await.unwrap().unwrap(), b"root");
    world.dies.0.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert!(begun.elapsed() <= LIVENESS_INTERVAL);
    assert!(stream.next().await.is_none());
}

/// Threat 38: what changed for a process that is gone is not delivered to whoever has its connection.
#[tokio::test(start_paused = true)]
async fn nothing_is_pushed_for_a_process_that_is_gone() {
    let mut world = world();
    world.publish(b"root");
    let mut stream = pin!(world.begin().await.unwrap());
    stream.next().await.unwrap().unwrap();
    world.dies.0.store(true, Ordering::SeqCst);
    world.publish(b"next");
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_gone_before_the_first_message_gets_none() {
    let mut world = world();
    world.publish(b"root");
    world.dies.0.store(true, Ordering::SeqCst);
    assert!(matches!(world.begin().await.err(), Some(Refusal::ProcessGone { pid: 1 })));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_the_agent_stops_or_loses_its_publisher() {
    for stops in [true, false] {
        let mut world = world();
        world.publish(b"root");
        let mut stream = pin!(world.begin().await.unwrap());
        stream.next().await.unwrap().unwrap();
        if stops {
            world.stop.cancel();
        } else {
            world.publisher = None;
        }
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the agent is shutting down"));
        assert!(stream.next().await.is_none());
    }
}
