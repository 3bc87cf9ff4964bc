//! Nodes with a TPM: both halves of the `tpm` attestor, a TPM in memory, and the services between them.

use std::sync::{Arc, Mutex};

use plastron_attestation::TpmSvidKeys;
use plastron_attestation_appraise::{Check, EnrolledTpm, Verdict};
use plastron_attestation_fake_tpm::{FakeTpm, Manufacturer, SharedFakeTpm};
use plastron_plugins::node::{
    AgentContext, AgentConversation, AgentNodeAttestor as _, JudgesEnrolled, Refusal, RefusalCode,
};
use plastron_plugins_node_tpm::{
    AkStore, DeniedEk, DenyList, EkFingerprint, EkTemplate, EkTrust, GoldenPcr, HashAlgorithm, LogFiles,
    MissingEventLog, Pool, PoolConfig, TpmAgentAttestor, TpmNodeAttestor, TrustAnchors,
};
use plastron_server_core::admission::{AdmissionError, AdmittedAgent, Attestation, AttestationStep, RenewalError};
use plastron_server_core::authorization::{AgentDenial, Caller, Denied, rpc};
use plastron_server_core::issuance::SvidRequest;
use plastron_server_core::store::{AdmitError, NodeError, Standing};
use plastron_spiffe::Selector;
use plastron_spiffe::x509::verify_csr;
use rustls_pki_types::UnixTime;
use tempfile::TempDir;

use crate::audit::{ThreadLog, audit};
use crate::fixture::{Disk, Server, anonymous, csr, entry, id, local, trust_domain};

pub(crate) const TEMPLATE: EkTemplate = EkTemplate::H3P384;

pub(crate) struct Machine {
    pub(crate) tpm: Arc<Mutex<FakeTpm>>,
    agent: TpmAgentAttestor,
    _directory: TempDir,
}

/// An attestation that waits for the response to the server's challenge.
pub(crate) struct Halfway {
    agent: Box<dyn AgentConversation>,
    attestation: Attestation,
    challenge: Vec<u8>,
}

impl Halfway {
    async fn finish(mut self) -> Result<AdmittedAgent, AdmissionError> {
        let response = self.agent.respond(&self.challenge).await.unwrap();
        let AttestationStep::Admitted(admitted) = self.attestation.step(&response).await? else {
            unreachable!("one challenge is enough")
        };
        self.agent.admitted().await.unwrap();
        Ok(admitted)
    }
}

impl Machine {
    pub(crate) fn new(manufacturer: &Manufacturer) -> Self {
        Self::with(Arc::new(Mutex::new(FakeTpm::new(manufacturer, TEMPLATE))))
    }

    /// The same TPM in a machine whose disk is empty.
    pub(crate) fn reinstalled(&self) -> Self {
        Self::with(Arc::clone(&self.tpm))
    }

    fn with(tpm: Arc<Mutex<FakeTpm>>) -> Self {
        let directory = TempDir::new().unwrap();
        let store = AkStore::in_data_dir(directory.path());
        let logs = LogFiles::at(directory.path().join("event_log"), directory.path().join("ima_list"));
        let device = SharedFakeTpm(Arc::clone(&tpm));
        let open = move || Ok(Box::new(device.clone()) as Box<dyn TpmSvidKeys>);
        let agent = TpmAgentAttestor::start(Box::new(open), TEMPLATE, store, logs).unwrap();
        Self { tpm, agent, _directory: directory }
    }

    /// The agent binds its evidence to the key of `bound`; the server is sent `sent`.
    pub(crate) async fn begin(&self, server: &Server, bound: &[u8], sent: &[u8]) -> Result<Halfway, AdmissionError> {
        let svid_public_key = Arc::from(verify_csr(bound).unwrap().public_key);
        let mut agent = self.agent.begin(AgentContext { trust_domain: trust_domain(), svid_public_key });
        let permit = server.permit::<rpc::AttestAgent>(&anonymous()).await;
        let attestation = server.services.admission.begin(permit, "tpm", sent, None)?;
        match attestation.step(&agent.payload().await.unwrap()).await? {
            AttestationStep::Challenge(challenge, attestation) => Ok(Halfway { agent, attestation, challenge }),
            AttestationStep::Admitted(_) => unreachable!("nothing was proved yet"),
        }
    }

    pub(crate) async fn attest(&self, server: &Server) -> Result<AdmittedAgent, AdmissionError> {
        let request = csr(&[]);
        self.begin(server, &request, &request).await?.finish().await
    }
}

/// A disk that trusts one manufacturer, perhaps only machines that booted `golden` into PCR 4.
fn disk(manufacturer: &Manufacturer, golden: Option<&[u8]>) -> Disk {
    let config = pool_config(manufacturer, golden);
    Disk { pools: vec![Pool::new(config).unwrap()], ..Disk::new() }
}

pub(crate) fn pool_config(manufacturer: &Manufacturer, golden: Option<&[u8]>) -> PoolConfig {
    let anchors = TrustAnchors::new(vec![manufacturer.root()], vec![manufacturer.intermediate()]).unwrap();
    let mut config = PoolConfig::new("metal", EkTrust::Chain(anchors));
    config.ek_template = TEMPLATE;
    config.boot.missing_event_log = MissingEventLog::Accept;
    if let Some(event) = golden {
        let mut reference = FakeTpm::new(manufacturer, TEMPLATE);
        reference.measure(4, event);
        for bank in HashAlgorithm::ALL {
            let value = reference.pcr(bank, 4).map(<[u8]>::to_vec);
            config.golden_pcrs.extend(value.map(|value| GoldenPcr { bank, index: 4, value }));
        }
    }
    config
}

/// What the attestor refused it by.
fn refused_by(result: Result<AdmittedAgent, AdmissionError>) -> (Check, RefusalCode) {
    match result {
        Err(AdmissionError::Refused(refusal)) => (refusal.check, refusal.code),
        other => unreachable!("refused by the attestor, not {other:?}"),
    }
}

pub(crate) async fn denial(server: &Server, caller: &Caller) -> AgentDenial {
    match server.services.authorizer.authorize::<rpc::SyncAuthorizedEntries>(caller).await {
        Err(Denied::Agent { reason, .. }) => reason,
        other => unreachable!("an agent's refusal, not {other:?}"),
    }
}

#[tokio::test]
async fn a_node_enrols_and_its_selectors_lead_to_entries() {
    let manufacturer = Manufacturer::new("Turtle");
    let disk = disk(&manufacturer, None);
    let server = disk.start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    let before = server.store.statistics().commits;
    let admitted = machine.attest(&server).await.unwrap();
    assert_eq!(server.store.statistics().commits - before, 1, "one attestation, one commit");
    assert!(admitted.reattestable);
    assert!(admitted.svid.id.path().starts_with("/spire/agent/tpm/"));
    let node = server.services.ledger.state().node(&admitted.svid.id).unwrap();
    let selector = node.selectors.first().unwrap().to_string();
    server
        .create(vec![entry("/rack", &id("/spire/server"), &[&selector]), entry("/web", &id("/rack"), &["unix:uid:1"])])
        .await;
    // A restart knows as much.
    for server in [&server, &disk.start().await.unwrap()] {
        let permit = server.permit::<rpc::SyncAuthorizedEntries>(&server.caller(&admitted.svid)).await;
        let entries = server.services.registration.authorized_entries(&permit);
        assert_eq!(entries.iter().map(|entry| entry.spiffe_id.clone()).collect::<Vec<_>>(), [id("/web")]);
    }
    assert!(node.selectors.contains(&Selector::parse(&selector).unwrap()));
}

/// Threat 26
#[tokio::test]
async fn a_renewal_is_a_new_attestation() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer, None).start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    let first = machine.attest(&server).await.unwrap().svid;
    let old = server.caller(&first);
    let permit = server.permit::<rpc::RenewAgent>(&old).await;
    let refused = server.services.admission.renew(permit, &csr(&[])).await.unwrap_err();
    assert!(matches!(refused, RenewalError::Denied { reason: AgentDenial::MustReattest, .. }), "{refused}");
    let second = machine.attest(&server).await.unwrap().svid;
    assert_eq!(second.id, first.id);
    let new = server.caller(&second);
    server.permit::<rpc::SyncAuthorizedEntries>(&old).await;
    server.permit::<rpc::SyncAuthorizedEntries>(&new).await;
    assert_eq!(denial(&server, &old).await, AgentDenial::NotActive);
}

/// No workload SVID outlives the verdict on the node that it was issued to. A node without one is as in SPIRE.
#[tokio::test]
async fn workload_svids_end_with_the_verdict_on_their_node() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer, None).start().await.unwrap();
    let judged = Machine::new(&manufacturer).attest(&server).await.unwrap().svid;
    let (unjudged, unjudged_caller) = server.agent().await;
    let entries = [&judged.id, &unjudged].map(|agent| {
        let mut long = entry("/long", agent, &["unix:uid:1"]);
        long.x509_svid_ttl = 4 * 3600;
        long
    });
    let created = server.create(entries.to_vec()).await;
    server.clock.advance(600);
    let mut ends = Vec::new();
    for (caller, entry) in [server.caller(&judged), unjudged_caller].iter().zip(created) {
        let permit = server.permit::<rpc::BatchNewX509Svid>(caller).await;
        let request = SvidRequest { entry_id: entry.id.clone(), csr: csr(&[]) };
        let results = server.services.issuance.batch_new_x509_svid(permit, vec![request]).await.unwrap();
        ends.push(results.into_iter().next().unwrap().unwrap().not_after);
    }
    assert_eq!(ends, [judged.not_after, server.clock_now() + 4 * 3600]);
}

/// The conversation is about the CSR that it began with.
#[tokio::test]
async fn evidence_for_another_key_gets_no_svid() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer, None).start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    let halfway = machine.begin(&server, &csr(&[]), &csr(&[])).await.unwrap();
    assert_eq!(refused_by(halfway.finish().await).0, Check::QuoteBinding);
    let permit = server.permit::<rpc::CountAgents>(&local()).await;
    assert_eq!(server.services.nodes.count(permit, &Default::default()), 0);
}

/// Threat 11: a bad verdict cuts the node off at once, and it heals when the machine does.
#[tokio::test]
async fn a_bad_verdict_cuts_a_node_off_until_it_is_good_again() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer, Some(b"good kernel")).start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    machine.tpm.lock().unwrap().measure(4, b"good kernel");
    let svid = machine.attest(&server).await.unwrap().svid;
    let caller = server.caller(&svid);
    machine.tpm.lock().unwrap().measure(4, b"evil module");
    assert_eq!(refused_by(machine.attest(&server).await), (Check::GoldenPcr, RefusalCode::Denied));
    assert_eq!(denial(&server, &caller).await, AgentDenial::MustReattest);
    machine.tpm.lock().unwrap().reboot();
    machine.tpm.lock().unwrap().measure(4, b"good kernel");
    let healed = machine.attest(&server).await.unwrap().svid;
    server.permit::<rpc::SyncAuthorizedEntries>(&server.caller(&healed)).await;
    assert_eq!(denial(&server, &caller).await, AgentDenial::NotActive, "the SVID from before is not good again");
}

/// The audit line of a refusal says which node it is about where the quote proves it, and nothing where only the node says so.
#[tokio::test]
async fn a_refusal_names_the_node_that_its_quote_proves() {
    ThreadLog::record();
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer, Some(b"good kernel")).start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    machine.tpm.lock().unwrap().measure(4, b"good kernel");
    let svid = machine.attest(&server).await.unwrap().svid;
    machine.tpm.lock().unwrap().measure(4, b"evil module");
    ThreadLog::take();
    machine.attest(&server).await.unwrap_err();
    let stranger = Machine::new(&Manufacturer::new("Nobody"));
    stranger.attest(&server).await.unwrap_err();
    let lines = audit(&ThreadLog::take(), "node attestation");
    let nodes: Vec<_> = lines.iter().map(|line| (&line["verdict"], line["node"].as_str().unwrap())).collect();
    assert_eq!(nodes, [(&"untrusted".into(), svid.id.as_str()), (&"untrusted".into(), "")]);
}

/// A judge with an old revocation list, which says nothing of any node.
struct Undecided;

impl JudgesEnrolled for Undecided {
    fn judge_enrolled(&self, _enrolled: &EnrolledTpm, _now: UnixTime) -> Result<(), Refusal> {
        let (check, detail) = (Check::EkRevocation, "the list is stale".to_owned());
        Err(Refusal {
            check,
            detail,
            verdict: Verdict::Indeterminate,
            code: RefusalCode::Unavailable,
            records: Vec::new(),
            node: None,
        })
    }
}

/// What can't be decided now takes nothing away: or one list that nobody renewed would cut off a whole fleet when its server starts.
#[tokio::test]
async fn an_undecided_judge_cuts_nobody_off() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer, None).start().await.unwrap();
    let svid = Machine::new(&manufacturer).attest(&server).await.unwrap().svid;
    server.services.admission.judge_enrolled(&Undecided).await;
    server.permit::<rpc::SyncAuthorizedEntries>(&server.caller(&svid)).await;
}

/// Trust that was withdrawn cuts off the nodes that rested on it when the server starts, not when they renew.
#[tokio::test]
async fn withdrawn_trust_cuts_nodes_off_at_start() {
    let manufacturer = Manufacturer::new("Turtle");
    let disk = disk(&manufacturer, None);
    let server = disk.start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    let svid = machine.attest(&server).await.unwrap().svid;
    let (token_node, token_caller) = server.agent().await;
    let judge = |pools: &[Pool], deny: DenyList| {
        let ledger = &server.services.ledger;
        TpmNodeAttestor::new(pools.to_vec(), deny, Arc::clone(ledger.state()) as _, Arc::clone(ledger) as _)
    };
    server.services.admission.judge_enrolled(&judge(&disk.pools, DenyList::default())).await;
    server.permit::<rpc::SyncAuthorizedEntries>(&server.caller(&svid)).await;
    let fingerprint = svid.id.path().rsplit('/').next().and_then(EkFingerprint::from_hex).unwrap();
    let mut deny = DenyList::default();
    deny.keys.push(DeniedEk { fingerprint, reason: "stolen".to_owned() });
    for (judge, check) in [(judge(&[], DenyList::default()), Check::Pool), (judge(&disk.pools, deny), Check::DenyList)]
    {
        server.services.admission.judge_enrolled(&judge).await;
        assert_eq!(denial(&server, &server.caller(&svid)).await, AgentDenial::MustReattest);
        let node = server.services.ledger.state().node(&svid.id).unwrap();
        let Standing::CutOff { reason, .. } = &node.standing else { unreachable!("cut off, not {node:?}") };
        assert!(reason.starts_with(&format!("{check}: ")), "{reason}");
        // It heals by attesting to a server that trusts it; a node without a TPM is not judged.
        let healed = machine.attest(&server).await.unwrap().svid;
        server.permit::<rpc::SyncAuthorizedEntries>(&server.caller(&healed)).await;
    }
    assert!(server.services.ledger.state().node(&token_node).unwrap().current_svid().is_some());
    server.permit::<rpc::SyncAuthorizedEntries>(&token_caller).await;
}

/// Threat 13: a TPM whose state goes back is not believed again before an operator looked at it.
#[tokio::test]
async fn a_tpm_that_goes_back_is_quarantined_until_it_is_evicted() {
    let manufacturer = Manufacturer::new("Turtle");
    let disk = disk(&manufacturer, None);
    let server = disk.start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    let svid = machine.attest(&server).await.unwrap().svid;
    machine.tpm.lock().unwrap().before_signing(|attest| attest.reset_count = 0);
    machine.attest(&server).await.unwrap_err();
    assert_eq!(denial(&server, &server.caller(&svid)).await, AgentDenial::MustReattest);
    machine.tpm.lock().unwrap().before_signing(|_attest| {});
    // Also after a restart.
    for server in [&server, &disk.start().await.unwrap()] {
        let node = server.services.ledger.state().node(&svid.id).unwrap();
        assert!(matches!(node.standing, Standing::Quarantined { .. }));
        assert_eq!(refused_by(machine.attest(server).await), (Check::Standing, RefusalCode::NotYet));
    }
    let permit = server.permit::<rpc::DeleteAgent>(&local()).await;
    server.services.nodes.evict(permit, svid.id.clone()).await.unwrap();
    machine.attest(&server).await.unwrap();
}

/// Threat 27: the ban is committed between challenge and response.
#[tokio::test]
async fn a_ban_during_an_attestation_wins() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer, None).start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    let svid = machine.attest(&server).await.unwrap().svid;
    let request = csr(&[]);
    let halfway = machine.begin(&server, &request, &request).await.unwrap();
    let permit = server.permit::<rpc::BanAgent>(&local()).await;
    server.services.nodes.ban(permit, svid.id.clone()).await.unwrap();
    let refused = halfway.finish().await.unwrap_err();
    assert!(matches!(refused, AdmissionError::Admit(AdmitError::Banned)), "{refused}");
    assert_eq!(denial(&server, &server.caller(&svid)).await, AgentDenial::Banned);
    let again = machine.attest(&server).await.unwrap_err();
    assert!(matches!(again, AdmissionError::Admit(AdmitError::Banned)), "{again}");
    let permit = server.permit::<rpc::BanAgent>(&local()).await;
    assert!(server.services.nodes.ban(permit, svid.id.clone()).await.unwrap().is_banned(), "banning twice is no error");
}

/// Threat 13: two conversations of one node at the same time. The slower one was judged against a record that is gone.
#[tokio::test]
async fn of_two_conversations_one_is_admitted() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer, None).start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    machine.attest(&server).await.unwrap();
    let request = csr(&[]);
    let slow = machine.begin(&server, &request, &request).await.unwrap();
    machine.attest(&server).await.unwrap();
    let refused = slow.finish().await.unwrap_err();
    assert!(matches!(refused, AdmissionError::Admit(AdmitError::JudgedAgainstOther { .. })), "{refused}");
    machine.attest(&server).await.unwrap();
}

#[tokio::test]
async fn no_pool_no_trust() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = Disk::new().start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    assert_eq!(refused_by(machine.attest(&server).await).0, Check::Pool);
    let unknown = id("/spire/agent/tpm/none");
    let permit = server.permit::<rpc::BanAgent>(&local()).await;
    let absent = server.services.nodes.ban(permit, unknown.clone()).await;
    assert_eq!(absent, Err(NodeError::NotFound { id: unknown }));
}
