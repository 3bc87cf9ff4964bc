//! The audit log: one line per attestation and change, and no secret in any line.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::{Arc, Once};
use std::time::Duration;

use plastron_attestation_appraise::Verdict;
use plastron_hsm_soft::SoftStore;
use plastron_plugins::node::{AdmissionContext, NodeAttestor, NodeConversation, NodeStep, Refusal};
use plastron_server_core::admission::{AttestationStep, NodeAdmission};
use plastron_server_core::authorization::rpc;
use plastron_server_core::clock::Clock;
use rustls_pki_types::UnixTime;
use tracing_subscriber::fmt::MakeWriter;

use crate::fixture::{Disk, anonymous, csr, entry, id};

thread_local! {
    /// What this thread logged since it began to record.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Writes to the log of the thread that logs. A test's runtime has one thread, so tests do not see one another's lines.
pub(crate) struct ThreadLog;

impl ThreadLog {
    /// The subscriber is that of the process: a subscriber of one thread misses what another thread was the first to log.
    pub(crate) fn record() {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            let subscriber =
                tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE).with_writer(Self).finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        LOG.set(Some(Vec::new()));
    }

    pub(crate) fn take() -> Vec<serde_json::Value> {
        let text = String::from_utf8(LOG.replace(Some(Vec::new())).unwrap()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for ThreadLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| {
            if let Some(log) = log {
                log.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for ThreadLog {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

pub(crate) fn audit(lines: &[serde_json::Value], event: &str) -> Vec<serde_json::Value> {
    let is = |line: &&serde_json::Value| {
        line["target"].as_str().is_some_and(|target| target.starts_with("audit")) && line["fields"]["event"] == event
    };
    lines.iter().filter(is).map(|line| line["fields"].clone()).collect()
}

#[tokio::test]
async fn attestations_and_changes_have_one_line_each_and_tokens_none() {
    ThreadLog::record();
    let server = Disk::new().start().await.unwrap();
    let token = server.token(Some(id("/alias"))).await;
    server.attest("not-a-token", &csr(&[])).await.unwrap_err();
    server.create(vec![entry("/web", &id("/alias"), &["unix:uid:1"])]).await;
    let before = ThreadLog::take();
    let shown = serde_json::to_string(&before).unwrap();
    assert!(!shown.contains(&token), "an unspent token is nowhere in the log");
    assert!(!shown.contains("not-a-token"), "nor is what someone tried");

    let refused = audit(&before, "node attestation");
    let [refused] = refused.as_slice() else { unreachable!("one attestation, one line: {refused:?}") };
    assert_eq!(refused["verdict"], "untrusted");
    assert_eq!(refused["type"], "audit");
    let checks = refused["checks"].as_str().unwrap();
    assert!(checks.starts_with("join_token=failed("), "{checks}");
    assert_eq!(audit(&before, "join token create").len(), 1);
    let created = audit(&before, "entry create");
    let [created] = created.as_slice() else { unreachable!("one entry, one line") };
    assert_eq!(created["actor"], "local uid=0 gid=0 pid=1");
    assert!(created["subject"].as_str().unwrap().contains("spiffe://example.org/web"));

    let svid = server.attest(&token, &csr(&[])).await.unwrap().svid;
    let admitted = audit(&ThreadLog::take(), "node attestation");
    let [admitted] = admitted.as_slice() else { unreachable!("one attestation, one line") };
    assert_eq!(admitted["node"], svid.id.as_str());
    assert_eq!(admitted["serial"], svid.serial.to_decimal());
    assert_eq!(admitted["checks"], "join_token=passed(spent)");
}

/// A token that was lost or exchanged makes the server go on with a new CA; the auditor sees which key is gone.
#[tokio::test]
async fn a_lost_ca_key_is_named() {
    ThreadLog::record();
    let mut disk = Disk::new();
    let lost = disk.start().await.unwrap().services.ca.authority().key_id().to_string();
    assert_eq!(audit(&ThreadLog::take(), "x509 authority lose").len(), 0);
    disk.keys = Arc::new(SoftStore::in_memory("exchanged"));
    disk.start().await.unwrap();
    let lines = audit(&ThreadLog::take(), "x509 authority lose");
    let [line] = lines.as_slice() else { unreachable!("one key, one line: {lines:?}") };
    let subject = line["subject"].as_str().unwrap();
    assert!(subject.contains("x509-CA-A") && subject.contains(&lost) && subject.contains("exchanged"), "{subject}");
}

/// An attestor that is never satisfied.
struct Asking;

#[async_trait::async_trait]
impl NodeConversation for Asking {
    async fn step(&mut self, _message: &[u8], _now: UnixTime) -> Result<NodeStep, Refusal> {
        Ok(NodeStep::Challenge(b"more".to_vec()))
    }
}

impl NodeAttestor for Asking {
    fn name(&self) -> &'static str {
        "asking"
    }

    fn begin(&self, _context: AdmissionContext) -> Box<dyn NodeConversation> {
        Box::new(Self)
    }
}

#[tokio::test]
async fn an_attestation_that_is_abandoned_has_its_line() {
    ThreadLog::record();
    let server = Disk::new().start().await.unwrap();
    let (ca, ledger) = (Arc::clone(&server.services.ca), Arc::clone(&server.services.ledger));
    let clock: Arc<dyn Clock> = server.clock.clone();
    let recorder = Arc::clone(&server.services.audit);
    let admission =
        Arc::new(NodeAdmission::new(vec![Arc::new(Asking)], ca, ledger, clock, recorder, Duration::from_secs(60)));
    let permit = server.permit::<rpc::AttestAgent>(&anonymous()).await;
    let begun = admission.begin(permit, "asking", &csr(&[]), Some(Ipv4Addr::LOCALHOST.into())).unwrap();
    let AttestationStep::Challenge(_, waiting) = begun.step(b"payload").await.unwrap() else {
        unreachable!("it always asks")
    };
    assert!(audit(&ThreadLog::take(), "node attestation").is_empty(), "it has not ended");
    waiting.abandon(Verdict::Indeterminate, "the node closed the stream");
    let lines = audit(&ThreadLog::take(), "node attestation");
    let [line] = lines.as_slice() else { unreachable!("one attestation, one line: {lines:?}") };
    assert_eq!((&line["verdict"], &line["attestation_type"]), (&"indeterminate".into(), &"asking".into()));
    assert_eq!((&line["reason"], &line["peer"]), (&"the node closed the stream".into(), &"127.0.0.1".into()));
}
