//! What an attestation costs the server: CPU with its TLS connection, and commits of the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use plastron_attestation::{AkBlob, Attester, AttesterAction, AttesterContext, AttesterEvent, Claims, EkTemplate};
use plastron_attestation_fake_tpm::event_log::LogBuilder;
use plastron_attestation_fake_tpm::{AkAlgorithm, FakeTpm, Fleet, Manufacturer};
use plastron_spiffe::{Bundle, X509Authority};
use plastron_transport::ClientTls;
use rcgen::PublicKeyData;

use crate::client::{self, KeyWithCsr};
use crate::commits::Commits;
use crate::cpu;
use crate::error::BenchError;
use crate::event_log;
use crate::figures::{heading, line};
use crate::server::{CaKey, Server, trust_domain};

/// Attestations of each kind: enough for the 10 ms steps of CPU time.
const ATTESTATIONS: usize = 200;
/// Machines, each with a TPM of its own.
const MACHINES: usize = 1_000;
/// How many of them attest at once: less than one source may have under way.
const IN_FLIGHT: usize = 8;

pub(crate) async fn run() -> Result<(), BenchError> {
    heading("Node attestations (CPU of the server, TLS connections included)");
    let manufacturer = Manufacturer::new("Bench");
    let files = tempfile::tempdir().map_err(BenchError::io("make a temporary directory"))?;
    let (root, intermediate) = (files.path().join("root.pem"), files.path().join("intermediate.pem"));
    for (path, certificate) in [(&root, manufacturer.root()), (&intermediate, manufacturer.intermediate())] {
        let mut bundle = Bundle::empty(trust_domain()?);
        bundle.x509_authorities.push(X509Authority { certificate, tainted: false });
        std::fs::write(path, bundle.to_pem()).map_err(BenchError::io(format!("write {}", path.display())))?;
    }
    let attestors = format!(
        "NodeAttestor \"join_token\" {{ plugin_data {{}} }}\n  NodeAttestor \"tpm\" {{ plugin_data {{ pool \"bench\" {{\n    \
         require = \"certificate\"\n    ek_template = \"p384\"\n    ek_ca_paths = [\"{}\"]\n    \
         ek_intermediate_paths = [\"{}\"]\n  }} }} }}",
        root.display(),
        intermediate.display(),
    );
    let server = Server::start(CaKey::SoftP256, &attestors).await?;
    let tls = client::anonymous(&server).await?;
    let mut tokens = Vec::with_capacity(ATTESTATIONS);
    for _ in 0..ATTESTATIONS {
        tokens.push(client::join_token(server.admin()).await?);
    }
    let mut cost = Cost::begin(&server)?;
    for token in tokens {
        client::attest_with_token(&server, &tls, token).await?;
        cost.one_more()?;
    }
    cost.end("join token")?;

    let log = event_log::log(88, 26_000)?;
    let fleet = Fleet::new(&manufacturer, &[TEMPLATE], AkAlgorithm::P256, MACHINES);
    let mut nodes: Vec<_> = fleet.map(|tpm| Node::booted(tpm, &log)).collect();
    let machines = format!("{MACHINES} machines, {IN_FLIGHT} at a time, log of 26 KB");
    for name in ["TPM enrolment (P-384 EK, P-256 AK", "TPM renewal (P-256 AK"] {
        let mut cost = Cost::begin(&server)?;
        let began = Instant::now();
        let mut under_way = stream::iter(&mut nodes).map(|node| node.attest(&server, &tls)).buffer_unordered(IN_FLIGHT);
        while let Some(outcome) = under_way.next().await {
            outcome?;
            cost.one_more()?;
        }
        let elapsed = began.elapsed().as_secs_f64();
        cost.end(&format!("{name}; {machines})"))?;
        line(
            &format!("{name}): attestations a second, generator included"),
            &format!("{:.0}", count(MACHINES) / elapsed),
        );
    }
    server.stop()
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Meters of one kind of attestation.
struct Cost<'a> {
    server: &'a Server,
    cpu: Duration,
    last: Commits,
    commits: u32,
    counted: u32,
    done: usize,
}

impl<'a> Cost<'a> {
    fn begin(server: &'a Server) -> Result<Self, BenchError> {
        let (cpu, last) = (cpu::of_process(server.pid())?, Commits::of(&server.database())?);
        Ok(Self { server, cpu, last, commits: 0, counted: 0, done: 0 })
    }

    /// After each attestation. One during which the database began its log anew is not counted.
    fn one_more(&mut self) -> Result<(), BenchError> {
        let now = Commits::of(&self.server.database())?;
        if let Some(commits) = now.since(self.last) {
            self.commits += commits;
            self.counted += 1;
        }
        self.last = now;
        self.done += 1;
        Ok(())
    }

    fn end(self, name: &str) -> Result<(), BenchError> {
        let Self { server, cpu, last: _, commits, counted, done } = self;
        let spent = cpu::of_process(server.pid())?.saturating_sub(cpu);
        let each = spent.as_secs_f64() / count(done);
        line(&format!("{name}: CPU of each"), &format!("{:.0} µs, {:.0} per CPU-second", each * 1e6, 1.0 / each));
        let commits = f64::from(commits) / f64::from(counted);
        line(&format!("{name}: commits of each"), &format!("{commits:.2} (of {counted} counted)"));
        Ok(())
    }
}

/// A machine with a TPM in memory.
struct Node {
    tpm: FakeTpm,
    ak: Option<AkBlob>,
    event_log: Arc<[u8]>,
}

const TEMPLATE: EkTemplate = EkTemplate::H3P384;

impl Node {
    fn booted(mut tpm: FakeTpm, log: &LogBuilder) -> Self {
        log.boot(&mut tpm);
        Self { tpm, ak: None, event_log: Arc::from(log.bytes()) }
    }

    async fn attest(&mut self, server: &Server, tls: &ClientTls) -> Result<(), BenchError> {
        let key = KeyWithCsr::new(None)?;
        let mut attester = Attester::new(AttesterContext {
            template: TEMPLATE,
            trust_domain: trust_domain()?,
            svid_public_key: key.key.subject_public_key_info(),
            claims: Claims::default(),
            ak: self.ak.clone(),
            ek: None,
            event_log: Some(Arc::clone(&self.event_log)),
            svid_key: None,
        });
        let payload = crate::appraise::send(&mut attester, &mut self.tpm, AttesterEvent::Begin)?;
        let respond =
            |challenge: &[u8]| crate::appraise::send(&mut attester, &mut self.tpm, AttesterEvent::Challenge(challenge));
        client::attest(server, tls, "tpm", payload, key, respond).await?;
        if let AttesterAction::Keep(ak) = attester.step(AttesterEvent::Admitted).map_err(BenchError::wrong)? {
            self.ak = Some(ak);
        }
        Ok(())
    }
}
