//! What an attestation costs the server: CPU with its TLS connection, and commits of the database.

use std::time::Duration;

use plastron_attestation::{AkBlob, Attester, AttesterAction, AttesterContext, AttesterEvent, Claims, EkTemplate};
use plastron_attestation_fake_tpm::{AkAlgorithm, FakeTpm, Manufacturer};
use plastron_spiffe::{Bundle, X509Authority};
use plastron_transport::ClientTls;
use rcgen::PublicKeyData;

use crate::client::{self, KeyWithCsr};
use crate::commits::Commits;
use crate::cpu;
use crate::error::BenchError;
use crate::figures::{heading, line};
use crate::server::{CaKey, Server, trust_domain};

/// Attestations of each kind: enough for the 10 ms steps of CPU time.
const ATTESTATIONS: usize = 200;

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
         ek_intermediate_paths = [\"{}\"]\n    missing_event_log = \"accept\"\n  }} }} }}",
        root.display(),
        intermediate.display(),
    );
    let server = Server::start(CaKey::Soft, &attestors).await?;
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

    let mut nodes: Vec<_> = (0..ATTESTATIONS).map(|_| Node::new(&manufacturer)).collect();
    for name in ["TPM enrolment (P-384 EK, P-256 AK)", "TPM renewal (P-256 AK)"] {
        let mut cost = Cost::begin(&server)?;
        for node in &mut nodes {
            node.attest(&server, &tls).await?;
            cost.one_more()?;
        }
        cost.end(name)?;
    }
    server.stop()
}

/// Meters of one kind of attestation.
struct Cost<'a> {
    server: &'a Server,
    cpu: Duration,
    last: Commits,
    commits: u32,
    counted: u32,
}

impl<'a> Cost<'a> {
    fn begin(server: &'a Server) -> Result<Self, BenchError> {
        let (cpu, last) = (cpu::of_process(server.pid())?, Commits::of(&server.database())?);
        Ok(Self { server, cpu, last, commits: 0, counted: 0 })
    }

    /// After each attestation. One during which the database began its log anew is not counted.
    fn one_more(&mut self) -> Result<(), BenchError> {
        let now = Commits::of(&self.server.database())?;
        if let Some(commits) = now.since(self.last) {
            self.commits += commits;
            self.counted += 1;
        }
        self.last = now;
        Ok(())
    }

    fn end(self, name: &str) -> Result<(), BenchError> {
        let Self { server, cpu, last: _, commits, counted } = self;
        let spent = cpu::of_process(server.pid())?.saturating_sub(cpu);
        let each = spent.as_secs_f64() * 1e6 / f64::from(u32::try_from(ATTESTATIONS).unwrap_or(u32::MAX));
        line(&format!("{name}: CPU of each"), &format!("{each:.0} µs"));
        let commits = f64::from(commits) / f64::from(counted);
        line(&format!("{name}: commits of each"), &format!("{commits:.2} (of {counted} counted)"));
        Ok(())
    }
}

/// A machine with a TPM in memory.
struct Node {
    tpm: FakeTpm,
    ak: Option<AkBlob>,
}

const TEMPLATE: EkTemplate = EkTemplate::H3P384;

impl Node {
    fn new(manufacturer: &Manufacturer) -> Self {
        let mut tpm = FakeTpm::new(manufacturer, TEMPLATE);
        tpm.set_ak_algorithm(AkAlgorithm::P256);
        Self { tpm, ak: None }
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
            event_log: None,
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
