//! A server in memory: it verifies CSRs and signs real SVIDs, and can be told to be away, to deny, or to lie.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use plastron_agent_core::Clock;
use plastron_agent_core::upstream::{
    AgentDenial, AttestResult, AuthorizedEntry, Caller, EntrySync, ForeignNames, JwtSvidReply, KnownEntries,
    NodeAttestation, PushStream, Pushed, SvidOutcome, SvidRequest, Upstream, UpstreamError,
};
use plastron_plugins::node::{AgentAttestError, AgentContext, AgentConversation, AgentNodeAttestor};
use plastron_spiffe::x509::verify_csr;
use plastron_spiffe::{Bundle, Selector, TrustDomain};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::authority::Authority;
use crate::jwt_authority::JwtState;

/// Follows tokio's paused clock, and can be moved beside it.
pub(crate) struct PausedClock {
    base: u64,
    start: Instant,
    jump: Mutex<i64>,
}

impl PausedClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { base: 1_800_000_000, start: Instant::now(), jump: Mutex::new(0) })
    }

    pub(crate) fn seconds(&self) -> u64 {
        (self.base + self.start.elapsed().as_secs()).checked_add_signed(*self.jump.lock().unwrap()).unwrap()
    }

    pub(crate) fn jump(&self, by: Duration) {
        *self.jump.lock().unwrap() += i64::try_from(by.as_secs()).unwrap();
    }

    pub(crate) fn jump_back(&self, by: Duration) {
        *self.jump.lock().unwrap() -= i64::try_from(by.as_secs()).unwrap();
    }
}

impl Clock for PausedClock {
    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.seconds()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Denied,
    Banned,
    SpentToken,
    NotYet,
}

pub(crate) struct State {
    pub(crate) authority: Authority,
    pub(crate) bundle: Bundle,
    pub(crate) foreign: BTreeMap<TrustDomain, Bundle>,
    /// Asking for a foreign bundle fails.
    pub(crate) foreign_fails: bool,
    /// Asking for a foreign bundle takes as long as a call may take, and fails.
    pub(crate) foreign_hangs: bool,
    /// The stream tells which foreign bundles there are.
    pub(crate) foreign_pushed: bool,
    pub(crate) foreign_asked_for: usize,
    pub(crate) entries: BTreeMap<String, AuthorizedEntry>,
    pub(crate) away: bool,
    pub(crate) attest_refusal: Option<Refusal>,
    pub(crate) denial: Option<AgentDenial>,
    pub(crate) refuse_svids: bool,
    pub(crate) reattestable: bool,
    pub(crate) agent_ttl: u64,
    pub(crate) svid_ttl: u64,
    pub(crate) agent_path: &'static str,
    pub(crate) attestations: usize,
    pub(crate) renewals: usize,
    pub(crate) syncs: usize,
    pub(crate) batches: Vec<usize>,
    pub(crate) issued: usize,
    pub(crate) agent_keys: Vec<Vec<u8>>,
    pub(crate) jwt: JwtState,
    pub(crate) watch: WatchService,
    pub(crate) watches: usize,
    /// What the agent said that its workloads have, in order.
    pub(crate) acknowledged: Vec<u64>,
    pub(crate) bundles_asked_for: usize,
}

/// How the server does with push streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchService {
    /// It has none.
    Unimplemented,
    /// It pushes.
    Works,
    /// It lets none open.
    Busy,
    /// It lets them open and ends them in order after their first message.
    EndsAtOnce,
    /// It pushes nothing any more, and the agent does not notice.
    Mute,
}

pub(crate) struct FakeServer {
    me: Weak<FakeServer>,
    state: Mutex<State>,
    clock: Arc<PausedClock>,
    changed: watch::Sender<()>,
}

struct FakeStream {
    server: Arc<FakeServer>,
    caller: Caller,
    changed: watch::Receiver<()>,
    told: Option<(Bundle, u64, ForeignNames)>,
}

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

impl FakeServer {
    pub(crate) fn new(clock: &Arc<PausedClock>) -> Arc<Self> {
        let authority = Authority::new(&domain(), clock.seconds());
        let jwt = JwtState::new();
        let mut bundle = authority.bundle();
        bundle.jwt_authorities.push(jwt.key.authority());
        let state = State {
            bundle,
            authority,
            foreign: BTreeMap::new(),
            foreign_fails: false,
            foreign_hangs: false,
            foreign_pushed: false,
            foreign_asked_for: 0,
            entries: BTreeMap::new(),
            away: false,
            attest_refusal: None,
            denial: None,
            refuse_svids: false,
            reattestable: true,
            agent_ttl: 3600,
            svid_ttl: 3600,
            agent_path: "/spire/agent/fake/one",
            attestations: 0,
            renewals: 0,
            syncs: 0,
            batches: Vec::new(),
            issued: 0,
            agent_keys: Vec::new(),
            jwt,
            watch: WatchService::Unimplemented,
            watches: 0,
            acknowledged: Vec::new(),
            bundles_asked_for: 0,
        };
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            state: Mutex::new(state),
            clock: Arc::clone(clock),
            changed: watch::Sender::new(()),
        })
    }

    /// Lets streams see what the test changed.
    pub(crate) fn push(&self) {
        self.changed.send_replace(());
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn add_entry(&self, id: &str, path: &str, selectors: &[&str]) {
        let entry = entry(id, path, selectors);
        self.state().entries.insert(id.to_owned(), entry);
    }

    fn reach(&self) -> Result<(), UpstreamError> {
        if self.state().away {
            return Err(UpstreamError::Unavailable { server: "fake".to_owned(), reason: "away".to_owned() });
        }
        Ok(())
    }

    /// As TLS would: whoever believes none of its authorities does not call it.
    fn is_ours(&self, believed: &Bundle) -> Result<(), UpstreamError> {
        let state = self.state();
        let mut ours: Vec<_> = state.bundle.x509_authorities.iter().map(|authority| &authority.certificate).collect();
        ours.push(&state.authority.certificate);
        if believed.x509_authorities.iter().any(|authority| ours.contains(&&authority.certificate)) {
            return Ok(());
        }
        let reason = "certificate signed by unknown authority".to_owned();
        Err(UpstreamError::UntrustedServer { server: "fake".to_owned(), reason, unknown_authority: true })
    }

    /// It is another server from now on, which knows the same entries: the CA before is gone.
    pub(crate) fn lose_ca(&self) -> (Authority, Bundle) {
        let authority = Authority::new(&domain(), self.clock.seconds());
        let mut state = self.state();
        let mut bundle = authority.bundle();
        bundle.jwt_authorities.clone_from(&state.bundle.jwt_authorities);
        (std::mem::replace(&mut state.authority, authority), std::mem::replace(&mut state.bundle, bundle))
    }

    fn authenticate(&self, caller: &Caller) -> Result<(), UpstreamError> {
        self.reach()?;
        self.is_ours(&caller.bundle)?;
        let denied = |reason| UpstreamError::AgentDenied { reason, message: "no".to_owned() };
        if caller.svid.svid.not_after() <= self.clock.seconds() {
            return Err(denied(AgentDenial::Expired));
        }
        match self.state().denial {
            Some(reason) => Err(denied(reason)),
            None => Ok(()),
        }
    }

    fn agent_chain(&self, csr: &[u8]) -> Vec<Vec<u8>> {
        let csr = verify_csr(csr).unwrap();
        let now = self.clock.seconds();
        let mut state = self.state();
        let id = domain().with_path(state.agent_path).unwrap();
        state.agent_keys.push(csr.public_key.clone());
        vec![state.authority.leaf(&id, &csr.public_key, now - 10, now + state.agent_ttl)]
    }
}

pub(crate) fn entry(id: &str, path: &str, selectors: &[&str]) -> AuthorizedEntry {
    let mut selectors: Vec<Selector> = selectors.iter().map(|text| Selector::parse(text).unwrap()).collect();
    selectors.sort();
    AuthorizedEntry {
        id: Arc::from(id),
        spiffe_id: domain().with_path(path).unwrap(),
        selectors,
        federates_with: Vec::new(),
        hint: String::new(),
        revision: 0,
        created_at: 1,
        admin: false,
        downstream: false,
        store_svid: false,
        disable_x509_svid_prefetch: false,
        jwt_svid_include_jti: false,
    }
}

#[async_trait::async_trait]
impl Upstream for FakeServer {
    async fn attest(
        &self,
        trust: &Arc<Bundle>,
        attestation: NodeAttestation<'_>,
        csr: &[u8],
    ) -> Result<AttestResult, UpstreamError> {
        self.state().attestations += 1;
        self.reach()?;
        self.is_ours(trust)?;
        assert_eq!(attestation.kind, "fake");
        attestation.conversation.payload().await?;
        attestation.conversation.respond(b"challenge").await?;
        match self.state().attest_refusal {
            Some(Refusal::Denied) => {
                return Err(UpstreamError::PermissionDenied { message: "failed to attest: PcrMismatch".to_owned() });
            }
            Some(Refusal::Banned) => {
                return Err(UpstreamError::AgentDenied {
                    reason: AgentDenial::Banned,
                    message: "failed to attest: agent is banned".to_owned(),
                });
            }
            Some(Refusal::SpentToken) => {
                let message = "failed to attest: join token does not exist or has already been used".to_owned();
                return Err(UpstreamError::InvalidArgument { rpc: "AttestAgent", message });
            }
            Some(Refusal::NotYet) => {
                return Err(UpstreamError::Status {
                    rpc: "AttestAgent",
                    code: "FailedPrecondition".to_owned(),
                    message: "failed to attest: waits for an operator".to_owned(),
                });
            }
            None => {}
        }
        let chain = self.agent_chain(csr);
        let mut state = self.state();
        state.denial = None;
        Ok(AttestResult { chain, reattestable: state.reattestable, bundle: state.bundle.clone() })
    }

    async fn renew(&self, caller: &Caller, csr: &[u8]) -> Result<Vec<Vec<u8>>, UpstreamError> {
        self.authenticate(caller)?;
        self.state().renewals += 1;
        Ok(self.agent_chain(csr))
    }

    async fn post_status(&self, caller: &Caller, _version: &str) -> Result<(), UpstreamError> {
        self.authenticate(caller)
    }

    async fn bundle(&self, caller: &Caller) -> Result<Bundle, UpstreamError> {
        self.authenticate(caller)?;
        self.state().bundles_asked_for += 1;
        Ok(self.state().bundle.clone())
    }

    async fn federated_bundle(
        &self,
        caller: &Caller,
        trust_domain: &TrustDomain,
    ) -> Result<Option<Bundle>, UpstreamError> {
        self.authenticate(caller)?;
        let hangs = self.state().foreign_hangs;
        if hangs {
            tokio::time::sleep(Duration::from_secs(30)).await;
            return Err(busy());
        }
        let mut state = self.state();
        state.foreign_asked_for += 1;
        if state.foreign_fails {
            return Err(busy());
        }
        Ok(state.foreign.get(trust_domain).cloned())
    }

    async fn sync_entries(&self, caller: &Caller, known: &KnownEntries) -> Result<EntrySync, UpstreamError> {
        self.authenticate(caller)?;
        let mut state = self.state();
        state.syncs += 1;
        let entries = state.entries.values();
        Ok(EntrySync {
            authorized: entries.clone().map(|entry| Arc::clone(&entry.id)).collect(),
            entries: entries
                .filter(|entry| known.get(&entry.id).is_none_or(|known| known.revision != entry.revision))
                .cloned()
                .collect(),
        })
    }

    async fn new_x509_svids(
        &self,
        caller: &Caller,
        requests: &[SvidRequest],
    ) -> Result<Vec<SvidOutcome>, UpstreamError> {
        self.authenticate(caller)?;
        let now = self.clock.seconds();
        let mut state = self.state();
        state.batches.push(requests.len());
        let mut outcomes = Vec::new();
        for request in requests {
            let entry = state.entries.get(&*request.entry_id).cloned();
            let outcome = match entry {
                Some(entry) if !state.refuse_svids => {
                    let csr = verify_csr(&request.csr).unwrap();
                    assert_eq!(csr.uris, [entry.spiffe_id.as_str()]);
                    state.issued += 1;
                    let leaf = state.authority.leaf(&entry.spiffe_id, &csr.public_key, now - 10, now + state.svid_ttl);
                    SvidOutcome::Issued(vec![leaf])
                }
                _ => SvidOutcome::Refused { code: "NotFound".to_owned(), message: "entry not found".to_owned() },
            };
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    async fn new_jwt_svid(
        &self,
        caller: &Caller,
        entry_id: &str,
        audience: &[String],
    ) -> Result<JwtSvidReply, UpstreamError> {
        let delay = {
            let mut state = self.state();
            state.jwt.calls.push((entry_id.to_owned(), audience.to_vec()));
            state.jwt.delay
        };
        tokio::time::sleep(delay).await;
        self.authenticate(caller)?;
        let mut state = self.state();
        if let Some(error) = state.jwt.failures.pop_front() {
            return Err(error);
        }
        let entry = state.entries.get(entry_id).cloned().ok_or_else(|| UpstreamError::Status {
            rpc: "NewJWTSVID",
            code: "NotFound".to_owned(),
            message: "entry not found".to_owned(),
        })?;
        Ok(state.jwt.issue(&entry, audience, self.clock.seconds()))
    }

    async fn watch(&self, caller: &Caller, has: u64) -> Result<Box<dyn PushStream>, UpstreamError> {
        self.authenticate(caller)?;
        let mut state = self.state();
        state.watches += 1;
        match state.watch {
            WatchService::Unimplemented => {
                Err(UpstreamError::Unimplemented { rpc: "Watch/Subscribe", message: "unknown service".to_owned() })
            }
            WatchService::Busy => Err(busy()),
            WatchService::Works | WatchService::EndsAtOnce | WatchService::Mute => {
                state.acknowledged.push(has);
                let server = self.me.upgrade().unwrap();
                let changed = self.changed.subscribe();
                Ok(Box::new(FakeStream { server, caller: caller.clone(), changed, told: None }))
            }
        }
    }
}

impl State {
    /// What the real server's names are to the agent: others with another content.
    fn foreign_names(&self) -> ForeignNames {
        let needed = self.entries.values().flat_map(|entry| &entry.federates_with);
        let name = |bundle: &Bundle| {
            let mut hasher = DefaultHasher::new();
            format!("{bundle:?}").hash(&mut hasher);
            hasher.finish()
        };
        needed.map(|domain| (domain.clone(), self.foreign.get(domain).map(name))).collect()
    }

    fn entries_name(&self) -> u64 {
        let entry =
            |entry: &AuthorizedEntry| entry.id.bytes().map(u64::from).sum::<u64>() * 1000 + entry.revision as u64;
        self.entries.values().map(entry).fold(1, u64::wrapping_add)
    }
}

#[async_trait::async_trait]
impl PushStream for FakeStream {
    async fn next(&mut self) -> Result<Option<Pushed>, UpstreamError> {
        loop {
            self.changed.borrow_and_update();
            self.server.authenticate(&self.caller)?;
            {
                let state = self.server.state();
                let now = (state.bundle.clone(), state.entries_name(), state.foreign_names());
                match state.watch {
                    WatchService::Busy | WatchService::Unimplemented => return Err(busy()),
                    WatchService::EndsAtOnce if self.told.is_some() => return Ok(None),
                    WatchService::Mute if self.told.is_some() => {}
                    _ if self.told.as_ref() == Some(&now) => {}
                    _ => {
                        let bundle = self.told.as_ref().is_none_or(|told| told.0 != now.0).then(|| now.0.clone());
                        let entries = self.told.as_ref().is_none_or(|told| told.1 != now.1).then_some(now.1);
                        let told = self.told.as_ref().map(|told| &told.2);
                        let is_new = |(domain, name): &(&TrustDomain, &Option<u64>)| {
                            told.is_none_or(|told| told.get(*domain) != Some(*name))
                        };
                        let names: ForeignNames =
                            now.2.iter().filter(is_new).map(|(domain, name)| (domain.clone(), *name)).collect();
                        let foreign = (state.foreign_pushed && (told.is_none() || !names.is_empty())).then_some(names);
                        self.told = Some(now);
                        return Ok(Some(Pushed { bundle, entries, foreign }));
                    }
                }
            }
            self.changed.changed().await.unwrap();
        }
    }

    async fn acknowledge(&mut self, sequence: u64) -> Result<(), UpstreamError> {
        self.server.state().acknowledged.push(sequence);
        Ok(())
    }
}

fn busy() -> UpstreamError {
    UpstreamError::ResourceExhausted { rpc: "Watch/Subscribe", message: "no place".to_owned() }
}

#[derive(Default)]
pub(crate) struct FakeAttestor {
    pub(crate) admitted: Arc<Mutex<usize>>,
}

struct FakeConversation {
    admitted: Arc<Mutex<usize>>,
}

impl AgentNodeAttestor for FakeAttestor {
    fn name(&self) -> &str {
        "fake"
    }

    fn begin(&self, context: AgentContext) -> Box<dyn AgentConversation> {
        assert_eq!(context.trust_domain, domain());
        Box::new(FakeConversation { admitted: Arc::clone(&self.admitted) })
    }
}

#[async_trait::async_trait]
impl AgentConversation for FakeConversation {
    async fn payload(&mut self) -> Result<Vec<u8>, AgentAttestError> {
        Ok(b"payload".to_vec())
    }

    async fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, AgentAttestError> {
        Ok(challenge.to_vec())
    }

    async fn admitted(&mut self) -> Result<(), AgentAttestError> {
        *self.admitted.lock().unwrap() += 1;
        Ok(())
    }
}
