//! Connected workloads, each of which judges what it is given, and what the others are given, at the moment that it comes.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use der::Decode as _;
use plastron_agent_cli::{Endpoint, connect};
use plastron_proto::workload::{X509svidRequest, X509svidResponse};
use plastron_spiffe::x509::{Purpose, X509Svid, verify_chain};
use plastron_spiffe::{Bundle, TrustDomain, X509Authority};
use rustls_pki_types::UnixTime;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tonic::Status;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectKeyIdentifier};

use super::super::testbed::{Agent, PATIENCE, TRUST_DOMAIN};

/// By how much the server dates an SVID back, in seconds.
const BACKDATE: u64 = 10;

/// An authority of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// Subject key identifier, hexadecimal.
    pub(super) id: String,
}

/// An SVID, parsed once for all workloads that have it.
struct Svid {
    svid: X509Svid,
    issuer: String,
}

/// A bundle, parsed once for all workloads that have it.
struct Trusted {
    /// Tells it from the others.
    number: usize,
    bundle: Bundle,
    authorities: Vec<Authority>,
}

/// What one workload has.
struct Holding {
    svid: Arc<Svid>,
    trusted: Arc<Trusted>,
    bundle_since: Instant,
}

#[derive(Default)]
struct Observed {
    holdings: HashMap<usize, Holding>,
    ended: HashMap<usize, Instant>,
    violations: Vec<String>,
    svids: HashMap<Vec<u8>, Arc<Svid>>,
    bundles: HashMap<Vec<u8>, Arc<Trusted>>,
    /// Verified once for all workloads that have the same bundle: by serial number and bundle.
    verified: HashMap<(Vec<u8>, usize), Result<(), String>>,
    messages: usize,
    rotations_of_svids: usize,
    judged: usize,
    issuers: BTreeSet<String>,
    least_left: Option<u64>,
    /// Seconds between the signature of an SVID and the moment that a workload takes it.
    latest: u64,
}

pub(super) struct Crowd {
    observed: Arc<Mutex<Observed>>,
    len: usize,
    of_agent: usize,
    _streams: JoinSet<()>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Crowd {
    /// As many workloads of each agent, numbered agent by agent. Waits until each has its first SVID.
    pub(super) async fn connect(agents: &[Agent], of_agent: usize) -> Self {
        let observed: Arc<Mutex<Observed>> = Arc::default();
        let mut streams = JoinSet::new();
        for (index, agent) in agents.iter().enumerate() {
            for number in 0..of_agent {
                let (socket, observed) = (agent.socket(), Arc::clone(&observed));
                let workload = index * of_agent + number;
                streams.spawn(async move {
                    let status = follow(workload, Endpoint::Unix(socket), &observed).await;
                    let mut observed = observed.lock().await;
                    observed.ended.insert(workload, Instant::now());
                    if let Some(status) = status {
                        println!("workload {workload}: {:?} {}", status.code(), status.message());
                    }
                });
            }
        }
        let crowd = Self { observed, len: agents.len() * of_agent, of_agent, _streams: streams };
        let deadline = Instant::now() + PATIENCE;
        while crowd.observed.lock().await.holdings.len() < crowd.len {
            assert!(Instant::now() < deadline, "not all workloads have an SVID");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        crowd
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The SPIFFE ID of the workloads of this agent.
    pub(super) fn node_of(&self, agent: usize) -> String {
        assert!(agent * self.of_agent < self.len);
        format!("spiffe://{TRUST_DOMAIN}/w{agent}")
    }

    /// Who issued what workloads have now, by authority key identifier.
    pub(super) async fn issuers(&self) -> BTreeSet<String> {
        self.observed.lock().await.holdings.values().map(|holding| holding.svid.issuer.clone()).collect()
    }

    pub(super) async fn until(&self, what: &str, reached: impl Fn(&BTreeSet<String>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached(&self.issuers().await) {
            assert!(Instant::now() < deadline, "waited for {what}");
            self.assert_sound().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every workload's bundle is like that; how long after `began` the last one had it.
    pub(super) async fn until_all_have_bundle(&self, began: Instant, is: impl Fn(&[Authority]) -> bool) -> Duration {
        let deadline = Instant::now() + PATIENCE;
        loop {
            {
                let observed = self.observed.lock().await;
                if observed.holdings.values().all(|holding| is(&holding.trusted.authorities)) {
                    let last = observed.holdings.values().map(|holding| holding.bundle_since).max().unwrap();
                    return last.saturating_duration_since(began);
                }
            }
            assert!(Instant::now() < deadline, "not all workloads have the bundle");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// When the last of these streams ended.
    pub(super) async fn until_ended(&self, workloads: Range<usize>) -> Instant {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended: Vec<Instant> = {
                let observed = self.observed.lock().await;
                workloads.clone().filter_map(|workload| observed.ended.get(&workload).copied()).collect()
            };
            if ended.len() == workloads.len() {
                return ended.into_iter().max().unwrap();
            }
            assert!(Instant::now() < deadline, "not all streams have ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn assert_running(&self, workloads: Range<usize>) {
        let observed = self.observed.lock().await;
        let ended: Vec<usize> = workloads.filter(|workload| observed.ended.contains_key(workload)).collect();
        assert!(ended.is_empty(), "{ended:?}");
    }

    /// Nothing that was seen so far broke a rule, no stream has ended, and everyone's SVID is valid.
    pub(super) async fn assert_sound(&self) {
        self.assert_running(0..self.len).await;
        let observed = self.observed.lock().await;
        let first: Vec<_> = observed.violations.iter().take(5).collect();
        assert!(first.is_empty(), "{} violations: {first:#?}", observed.violations.len());
        let now = now();
        for (workload, holding) in &observed.holdings {
            assert!(holding.svid.svid.not_after() >= now, "the SVID of workload {workload} has ended");
        }
    }

    pub(super) async fn report(&self) -> String {
        let observed = self.observed.lock().await;
        let mut report = format!("{} workloads took {} messages", self.len, observed.messages);
        let _ = write!(
            report,
            " with {} new SVIDs of {} issuers; {} verifications by others; an SVID was replaced {} s before its end at the latest, and taken {} s after its signature at the latest",
            observed.rotations_of_svids,
            observed.issuers.len(),
            observed.judged,
            observed.least_left.unwrap_or_default(),
            observed.latest,
        );
        report
    }
}

/// One workload: takes messages until the stream ends, which it does not by itself.
async fn follow(workload: usize, endpoint: Endpoint, observed: &Mutex<Observed>) -> Option<Status> {
    let mut client = connect(&endpoint).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    // The entry may reach the agent later than the workload does.
    let mut stream = loop {
        match client.fetch_x509svid(X509svidRequest {}).await {
            Ok(stream) => break stream.into_inner(),
            Err(status) if Instant::now() >= deadline => return Some(status),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    loop {
        match stream.message().await {
            Ok(Some(message)) => observed.lock().await.take(workload, message),
            Ok(None) => return None,
            Err(status) => return Some(status),
        }
    }
}

impl Observed {
    fn take(&mut self, workload: usize, message: X509svidResponse) {
        self.messages += 1;
        let received = now();
        let item = &message.svids[0];
        let (new, trusted) = (self.svid(&item.x509_svid), self.trusted(&item.bundle));
        self.issuers.insert(new.issuer.clone());
        let svid = &new.svid;
        if received < svid.not_before() || received > svid.not_after() {
            self.violations.push(format!("workload {workload} got an SVID that is not valid at {received}: {svid:?}"));
        }
        let (mut judges, mut since) = (vec![("itself".to_owned(), Arc::clone(&trusted))], Instant::now());
        let before = self.holdings.get(&workload);
        let is_new = before.is_none_or(|before| !Arc::ptr_eq(&before.svid, &new));
        if let Some(before) = before {
            let ended = before.svid.svid.not_after();
            if ended < received {
                self.violations.push(format!("workload {workload} had no valid SVID from {ended} to {received}"));
            }
            if is_new {
                self.rotations_of_svids += 1;
                let left = ended.saturating_sub(received);
                self.least_left = Some(self.least_left.map_or(left, |least| least.min(left)));
                self.latest = self.latest.max(received.saturating_sub(svid.not_before() + BACKDATE));
                judges.push(("itself, by the bundle that it had before".to_owned(), Arc::clone(&before.trusted)));
            }
            if before.trusted.number == trusted.number {
                since = before.bundle_since;
            }
        }
        if is_new {
            let others = self.holdings.iter().filter(|(other, _)| **other != workload);
            judges.extend(others.map(|(other, holding)| (format!("workload {other}"), Arc::clone(&holding.trusted))));
        }
        for (judge, trusted) in judges {
            self.judged += 1;
            if let Err(reason) = self.verify(&new, &trusted, received) {
                let issuer = &new.issuer;
                let violation = format!("the SVID of workload {workload} by {issuer} is refused by {judge}: {reason}");
                self.violations.push(violation);
            }
        }
        self.holdings.insert(workload, Holding { svid: new, trusted, bundle_since: since });
    }

    fn svid(&mut self, chain: &[u8]) -> Arc<Svid> {
        let parse = || {
            let svid = X509Svid::parse(certificates(chain)).unwrap();
            Arc::new(Svid { issuer: authority_key_id(&svid.chain()[0]), svid })
        };
        Arc::clone(self.svids.entry(chain.to_vec()).or_insert_with(parse))
    }

    fn trusted(&mut self, bundle: &[u8]) -> Arc<Trusted> {
        let number = self.bundles.len();
        let parse = || {
            let certificates = certificates(bundle);
            let authorities =
                certificates.iter().map(|certificate| Authority { id: subject_key_id(certificate) }).collect();
            let authority = |certificate| X509Authority { certificate, tainted: false };
            let bundle = Bundle {
                x509_authorities: certificates.into_iter().map(authority).collect(),
                ..Bundle::empty(TrustDomain::parse(TRUST_DOMAIN).unwrap())
            };
            Arc::new(Trusted { number, bundle, authorities })
        };
        Arc::clone(self.bundles.entry(bundle.to_vec()).or_insert_with(parse))
    }

    fn verify(&mut self, svid: &Svid, trusted: &Trusted, now: u64) -> Result<(), String> {
        let Trusted { number, bundle, authorities } = trusted;
        let key = (svid.svid.serial().to_vec(), *number);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let verify = || {
            let verified = verify_chain(svid.svid.clone(), bundle, Purpose::Any, now);
            verified.map(drop).map_err(|error| format!("{error}; it trusts {authorities:?}"))
        };
        self.verified.entry(key).or_insert_with(verify).clone()
    }
}

/// Concatenated DER certificates.
fn certificates(mut concatenated: &[u8]) -> Vec<Vec<u8>> {
    let mut certificates = Vec::new();
    while !concatenated.is_empty() {
        let (_, rest) = Certificate::from_der_partial(concatenated).unwrap();
        certificates.push(concatenated[..concatenated.len() - rest.len()].to_vec());
        concatenated = rest;
    }
    certificates
}

fn subject_key_id(certificate: &[u8]) -> String {
    let certificate = Certificate::from_der(certificate).unwrap();
    let (_, id) = certificate.tbs_certificate().get_extension::<SubjectKeyIdentifier>().unwrap().unwrap();
    hex::encode(id.0.as_bytes())
}

fn authority_key_id(certificate: &[u8]) -> String {
    let certificate = Certificate::from_der(certificate).unwrap();
    let (_, id) = certificate.tbs_certificate().get_extension::<AuthorityKeyIdentifier>().unwrap().unwrap();
    hex::encode(id.key_identifier.unwrap().as_bytes())
}
