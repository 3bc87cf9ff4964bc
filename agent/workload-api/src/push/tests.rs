//! How streams end and what they wait for, under a clock of the test's own.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use plastron_agent_core::upstream::AuthorizedEntry;
use plastron_agent_core::{Identity, PrivateKey, Publisher, WorkloadIdentities};
use plastron_plugins::workload::Liveness;
use plastron_spiffe::x509::X509Svid;
use plastron_spiffe::{Selector, SpiffeId, X509Authority};
use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Code;
use zeroize::Zeroizing;

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

/// An agent with one entry, whose SVID is another `Arc` whenever something is published.
struct Rotating {
    publisher: Publisher,
    identities: WorkloadIdentities,
    entry: Arc<AuthorizedEntry>,
    svid: Arc<X509Svid>,
    private_key: Arc<PrivateKey>,
}

impl Rotating {
    fn new() -> Self {
        let spiffe_id = SpiffeId::parse("spiffe://example.org/web").unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![SanType::URI(spiffe_id.as_str().try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let leaf = params.self_signed(&key).unwrap().der().to_vec();
        let entry = AuthorizedEntry {
            id: "web".into(),
            spiffe_id,
            selectors: vec![selector()],
            federates_with: Vec::new(),
            hint: String::new(),
            revision: 0,
            created_at: 1,
            admin: false,
            downstream: false,
            store_svid: false,
            disable_x509_svid_prefetch: false,
            jwt_svid_include_jti: false,
        };
        let (publisher, identities) = Publisher::new();
        Self {
            publisher,
            identities,
            entry: Arc::new(entry),
            svid: Arc::new(X509Svid::parse(vec![leaf]).unwrap()),
            private_key: Arc::new(PrivateKey::from_pkcs8(Zeroizing::new(key.serialize_der()))),
        }
    }

    /// Everything new, in a bundle of this number.
    fn publish(&self, sequence_number: u64) {
        let identity = Identity {
            entry_id: Arc::clone(&self.entry.id),
            spiffe_id: self.entry.spiffe_id.clone(),
            hint: String::new(),
            entry_created_at: 1,
            is_delegable: true,
            svid: Arc::clone(&self.svid),
            private_key: Arc::clone(&self.private_key),
        };
        let bundle = Bundle { sequence_number, ..Bundle::empty(TrustDomain::parse("example.org").unwrap()) };
        let held = vec![(Arc::clone(&self.entry), Some(Arc::new(identity)))];
        self.publisher.publish(held, Arc::new(bundle), BTreeMap::new());
    }

    /// A task of its own that says which bundle came when: one that shares the publisher's is woken with it.
    async fn follow(&self, has_bundles_too: bool) -> mpsc::UnboundedReceiver<(u64, Instant)> {
        let process = WorkloadProcess { pid: 1, uid: 2, gid: 3, liveness: Arc::new(Dies::default()) };
        let bundles = has_bundles_too.then(|| self.identities.subscribe_bundles());
        let subscription = self.identities.subscribe(BTreeSet::from([selector()]));
        let source = Source::new(process, subscription, bundles, CancellationToken::new());
        let shape = Shape { render: |view| Ok(view.bundles().0.sequence_number), repeats: |_, _| false };
        let stream = push(source, shape).await.unwrap();
        let (came, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut stream = pin!(stream);
            while let Some(Ok(sequence)) = stream.next().await {
                let _test_has_ended = came.send((sequence, Instant::now()));
            }
        });
        receiver
    }
}

fn selector() -> Selector {
    Selector::new("test", "any").unwrap()
}

/// When this bundle came.
async fn arrival(came: &mut mpsc::UnboundedReceiver<(u64, Instant)>, wanted: u64) -> Instant {
    loop {
        let (sequence, at) = tokio::time::timeout(LIVENESS_INTERVAL * 3, came.recv()).await.unwrap().unwrap();
        if sequence == wanted {
            return at;
        }
    }
}

/// The look at the process every five seconds would find a change that woke nobody, and hide that it did. This clock stands
/// still while anyone has something to do, so a change that waits for the next look comes seconds late.
#[tokio::test(start_paused = true)]
async fn a_change_arrives_when_it_is_made_whatever_else_wakes_the_stream() {
    for has_bundles_too in [false, true] {
        let rotating = Rotating::new();
        rotating.publish(0);
        let mut came = rotating.follow(has_bundles_too).await;
        arrival(&mut came, 0).await;
        for round in 1..200 {
            match round % 5 {
                // While the stream is on its way to its next wait, once it waits, and in the moment of a look, before it and after it.
                0 => {}
                1 => tokio::task::yield_now().await,
                2 => tokio::time::sleep(LIVENESS_INTERVAL).await,
                3 => tokio::time::sleep(LIVENESS_INTERVAL - std::time::Duration::from_millis(1)).await,
                _ => tokio::time::sleep(LIVENESS_INTERVAL + std::time::Duration::from_millis(1)).await,
            }
            let made = Instant::now();
            rotating.publish(round);
            assert_eq!(arrival(&mut came, round).await, made, "change {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_reaches_all_streams_of_all_threads() {
    let rotating = Rotating::new();
    rotating.publish(0);
    let mut streams = Vec::new();
    for number in 0..25 {
        streams.push(rotating.follow(number % 2 == 0).await);
    }
    for round in 1..1000 {
        let made = Instant::now();
        rotating.publish(round);
        for came in &mut streams {
            let took = arrival(came, round).await.saturating_duration_since(made);
            assert!(took < LIVENESS_INTERVAL / 2, "change {round} came after {took:?}");
        }
    }
}
