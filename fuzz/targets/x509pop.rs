//! A conversation with a node that shows a certificate, seen from the server: `payload length ‖ payload ‖ response`, JSON both. Without the
//! key of a certificate nobody is admitted, whatever is sent.
#![no_main]

use std::future::Future as _;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use plastron_plugins::node::{AdmissionContext, NodeAttestor as _, NodeConversation, NodeStep};
use plastron_plugins_node_x509pop::{
    CaBundle, ChainLimits, ClientAddress, Mode, PathTemplate, X509PopNodeAttestor, X509PopPolicy,
};
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;

static ATTESTOR: LazyLock<X509PopNodeAttestor> = LazyLock::new(|| {
    let roots = CaBundle::new([include_bytes!("x509pop/root.der").to_vec()]).expect("the seeds' CA");
    X509PopNodeAttestor::new(X509PopPolicy {
        mode: Mode::ExternalPki { roots },
        agent_path: PathTemplate::by_fingerprint(),
        limits: ChainLimits::DEFAULT,
        client_address: ClientAddress::NotCompared,
    })
});

/// 2027-01-01, within the seeds' validity.
const NOW: Duration = Duration::from_secs(1_798_761_600);

fn step(conversation: &mut dyn NodeConversation, message: &[u8]) -> Option<NodeStep> {
    let step = conversation.step(message, UnixTime::since_unix_epoch(NOW));
    match pin!(step).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(step) => step.ok(),
        Poll::Pending => panic!("a step that waits for something"),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let Some((payload, response)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { return };
    let trust_domain = TrustDomain::parse("td").expect("a trust domain");
    let context = AdmissionContext { trust_domain, svid_public_key: vec![3; 91].into(), peer: None };
    let mut conversation = ATTESTOR.begin(context);
    match step(conversation.as_mut(), payload) {
        None => return,
        Some(NodeStep::Challenge(challenge)) => assert!(!challenge.is_empty(), "a challenge is never empty"),
        Some(_) => panic!("admitted before it was challenged"),
    }
    assert!(step(conversation.as_mut(), response).is_none(), "admitted without the key");
});
