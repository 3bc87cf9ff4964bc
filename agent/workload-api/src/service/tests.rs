//! A caller that is gone before its answer is there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use plastron_agent_core::Publisher;
use plastron_agent_core::upstream::AuthorizedEntry;
use plastron_plugins::workload::{Liveness, WorkloadAttestError, WorkloadAttestor};
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain};
use plastron_transport::PeerCredentials;
use rustls_pki_types::UnixTime;

use super::*;

struct NoTime;

impl Clock for NoTime {
    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::ZERO)
    }
}

/// Looked at this often, it is there; afterwards it is gone.
struct Lives(AtomicUsize);

impl Liveness for Lives {
    fn is_same_process(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

struct Attestor;

#[tonic::async_trait]
impl WorkloadAttestor for Attestor {
    fn name(&self) -> &str {
        "test"
    }

    async fn attest(&self, _process: &WorkloadProcess) -> Result<Vec<Selector>, WorkloadAttestError> {
        Ok(vec![Selector::new("test", "any").unwrap()])
    }
}

fn entry() -> Arc<AuthorizedEntry> {
    Arc::new(AuthorizedEntry {
        id: "web".into(),
        spiffe_id: SpiffeId::parse("spiffe://example.org/web").unwrap(),
        selectors: vec![Selector::new("test", "any").unwrap()],
        federates_with: Vec::new(),
        hint: String::new(),
        revision: 0,
        created_at: 1,
        admin: false,
        downstream: false,
        store_svid: false,
        disable_x509_svid_prefetch: false,
        jwt_svid_include_jti: false,
    })
}

/// Threat 38: a token may take its time, and the process may end meanwhile.
#[tokio::test]
async fn an_answer_is_not_for_whoever_has_the_connection_by_then() {
    let (publisher, identities) = Publisher::new();
    let bundle = Bundle::empty(TrustDomain::parse("example.org").unwrap());
    publisher.publish(vec![(entry(), None)], Arc::new(bundle), BTreeMap::new());
    // Nobody issues: what comes of the call is an error, and the caller's end goes before it.
    let (jwt_svids, signer) = JwtSvids::new(identities.clone(), Arc::new(NoTime), 1);
    drop(signer);
    let attestation = WorkloadAttestation::new(vec![Arc::new(Attestor)]);
    let access = Access {
        bundles: BundleAccess::IdentifiedWorkloads,
        foreign_claims: ForeignClaims::default(),
        rate_limits: RateLimits::default(),
        logged_selectors: Vec::new(),
    };
    let api = WorkloadApi::new(attestation, identities, jwt_svids, Arc::new(NoTime), access);
    let call = async |looks: usize| {
        let liveness = Arc::new(Lives(AtomicUsize::new(looks)));
        let process = WorkloadProcess { pid: 1, uid: 2, gid: 3, liveness };
        let mut extensions = Extensions::new();
        extensions.insert(PeerCredentials { uid: 2, gid: 3, process: Ok(process) });
        let request = wire::JwtsvidRequest { audience: vec!["x".to_owned()], spiffe_id: String::new() };
        api.tokens(&extensions, request, &mut BTreeSet::new()).await.unwrap_err()
    };
    assert!(matches!(call(9).await, Refusal::Token(_)));
    assert!(matches!(call(1).await, Refusal::ProcessGone { pid: 1 }), "gone after its attestation");
}

/// SPIRE's `log_selectors`: a prefix is a whole selector, or the whole of one up to a colon.
#[test]
fn only_selectors_that_the_operator_chose_are_named() {
    let selectors: BTreeSet<_> =
        ["k8s:ns:web", "k8s:nsx:web", "unix:uid:1", "unix:user:root"].map(|text| Selector::parse(text).unwrap()).into();
    let named = |prefixes: &[&str]| {
        let prefixes: Vec<_> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        chosen(&prefixes, &selectors)
    };
    assert_eq!(named(&[]), "");
    assert_eq!(named(&["k8s:ns"]), "k8s:ns:web");
    assert_eq!(named(&["unix", "k8s:ns:web"]), "k8s:ns:web,unix:uid:1,unix:user:root");
    assert_eq!(named(&["unix:u", "k8s:"]), "");
}
