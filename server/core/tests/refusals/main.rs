//! The audit line of every refusal, as the server writes it, compared with the reviewed ones in `tests/golden/refusals.txt`.
//!
//! Each way in which evidence can be refused goes through an attestation to the log. After a deliberate change:
//! `UPDATE_GOLDEN=1 cargo test -p plastron-server-core --test refusals`, and read what changed as an auditor would: what failed, on which
//! input, what is to be done. A test program of its own, because a process has one log.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod boots;
#[path = "../all/fixture.rs"]
#[expect(dead_code, reason = "the other tests use more of it")]
mod fixture;
mod samples;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plastron_attestation::ExchangeError;
use plastron_attestation_appraise::{CheckOutcome, CheckRecord};
use plastron_daemon::logging::{self, LogOptions};
use plastron_plugins::node::{AdmissionContext, NodeAttestor, NodeConversation, NodeStep, Refusal, RefusalCode};
use plastron_server_core::admission::NodeAdmission;
use plastron_server_core::authorization::rpc;
use plastron_server_core::clock::Clock;
use rustls_pki_types::UnixTime;

use fixture::{Disk, Server, anonymous, csr};

/// An attestor that refuses with what it was made with.
struct Refusing(Refusal);

#[async_trait::async_trait]
impl NodeConversation for Refusing {
    async fn step(&mut self, _message: &[u8], _now: UnixTime) -> Result<NodeStep, Refusal> {
        Err(self.0.clone())
    }
}

impl NodeAttestor for Refusing {
    fn name(&self) -> &'static str {
        "tpm"
    }

    fn begin(&self, _context: AdmissionContext) -> Box<dyn NodeConversation> {
        Box::new(Self(self.0.clone()))
    }
}

/// What the attestor makes of an error; the checks that held before are left out.
fn refusal(error: &ExchangeError) -> Refusal {
    let (check, detail) = (error.check(), error.describe());
    let records = vec![CheckRecord { check, outcome: CheckOutcome::Failed, detail: detail.clone() }];
    // What the peer is told is not what is written down.
    Refusal { check, detail, verdict: error.verdict(), code: RefusalCode::Malformed, records, node: None }
}

async fn refuse(server: &Server, error: &ExchangeError) {
    let attestor = Arc::new(Refusing(refusal(error)));
    let (ca, ledger) = (Arc::clone(&server.services.ca), Arc::clone(&server.services.ledger));
    let clock: Arc<dyn Clock> = server.clock.clone();
    let audit = Arc::clone(&server.services.audit);
    let admission = Arc::new(NodeAdmission::new(vec![attestor], ca, ledger, clock, audit, Duration::from_secs(60)));
    let permit = server.permit::<rpc::AttestAgent>(&anonymous()).await;
    let peer = Some(Ipv4Addr::new(192, 0, 2, 7).into());
    let attestation = admission.begin(permit, "tpm", &csr(&[]), peer).unwrap();
    attestation.step(b"payload").await.map(drop).unwrap_err();
}

/// The lines of node attestations in the log since `seen`, without their time.
fn lines(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    let lines = text.lines().filter(|line| line.contains("event=\"node attestation\""));
    lines.map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[tokio::test]
async fn refusals_are_written_as_they_were_reviewed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    logging::start(&LogOptions { file: Some(log.clone()), ..LogOptions::default() }).unwrap();
    let server = Disk::new().start().await.unwrap();

    let samples: Vec<(String, ExchangeError)> = samples::all().into_iter().chain(boots::all()).collect();
    for (_, error) in &samples {
        refuse(&server, error).await;
    }
    server.attest("not-a-token", &csr(&[])).await.map(drop).unwrap_err();
    let names = samples.iter().map(|(name, _)| name.as_str()).chain(["a join token that does not exist"]);
    let lines = lines(&log);
    assert_eq!(lines.len(), samples.len() + 1, "one refusal, one line");
    let rendered: String = names.zip(&lines).map(|(name, line)| format!("# {name}\n{line}\n")).collect();

    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/refusals.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &rendered).unwrap();
    }
    let reviewed = std::fs::read_to_string(golden).unwrap();
    for (rendered, reviewed) in rendered.lines().zip(reviewed.lines()) {
        assert_eq!(rendered, reviewed);
    }
    assert_eq!(rendered, reviewed);
}
