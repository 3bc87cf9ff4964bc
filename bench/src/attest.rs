//! What an attestation costs the server: CPU with its TLS connection, and commits of the database.

use plastron_attestation::{AkBlob, Attester, AttesterAction, AttesterContext, AttesterEvent, Claims, EkTemplate};
use plastron_attestation_fake_tpm::{AkAlgorithm, FakeTpm, Manufacturer};
use plastron_spiffe::{Bundle, X509Authority};
use rcgen::PublicKeyData;

use crate::client::{self, KeyWithCsr, attest_with_token, connect};
use crate::commits::Commits;
use crate::cpu;
use crate::error::BenchError;
use crate::figures::{heading, line};
use crate::server::{CaKey, Server, trust_domain};

/// Attestations of each kind: enough for the 10 ms steps of CPU time, and few enough that the database's log is not begun anew.
const ATTESTATIONS: u32 = 100;

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
    let server = Server::start(CaKey::Soft, &attestors).await?;
    // The first of each kind makes what the others find.
    attest_with_token(&server).await?;

    let mut cost = Cost::begin(&server)?;
    for _ in 0..ATTESTATIONS {
        attest_with_token(&server).await?;
    }
    // One more commit made the token.
    cost.end(&server, "join token", 1)?;

    let mut nodes: Vec<_> = (0..ATTESTATIONS).map(|_| Node::new(&manufacturer)).collect();
    cost = Cost::begin(&server)?;
    for node in &mut nodes {
        node.attest(&server).await?;
    }
    cost.end(&server, "TPM enrolment (P-384 EK, P-256 AK)", 0)?;

    cost = Cost::begin(&server)?;
    for node in &mut nodes {
        node.attest(&server).await?;
    }
    cost.end(&server, "TPM renewal (P-256 AK)", 0)?;
    server.stop()
}

/// Meters, read before.
struct Cost {
    cpu: std::time::Duration,
    commits: Commits,
}

impl Cost {
    fn begin(server: &Server) -> Result<Self, BenchError> {
        Ok(Self { cpu: cpu::of_process(server.pid())?, commits: Commits::of(&server.database())? })
    }

    /// `others`: commits per attestation that are not the attestation's own.
    fn end(&self, server: &Server, name: &str, others: u32) -> Result<(), BenchError> {
        let spent = cpu::of_process(server.pid())?.saturating_sub(self.cpu);
        let each = spent.as_secs_f64() * 1e6 / f64::from(ATTESTATIONS);
        line(&format!("{name}: CPU of each"), &format!("{each:.0} µs"));
        let commits = match Commits::of(&server.database())?.since(self.commits) {
            Some(count) => format!("{:.2}", f64::from(count) / f64::from(ATTESTATIONS) - f64::from(others)),
            None => "not counted: the database began its log anew".to_owned(),
        };
        line(&format!("{name}: commits of each"), &commits);
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

    async fn attest(&mut self, server: &Server) -> Result<(), BenchError> {
        let key = KeyWithCsr::new(None)?;
        let mut attester = Attester::new(AttesterContext {
            template: TEMPLATE,
            trust_domain: trust_domain()?,
            svid_public_key: key.key.subject_public_key_info(),
            claims: Claims::default(),
            ak: self.ak.clone(),
            ek: None,
        });
        let payload = crate::appraise::send(&mut attester, &mut self.tpm, AttesterEvent::Begin)?;
        let respond =
            |challenge: &[u8]| crate::appraise::send(&mut attester, &mut self.tpm, AttesterEvent::Challenge(challenge));
        client::attest(connect(server).await?, "tpm", payload, key, respond).await?;
        if let AttesterAction::Keep(ak) = attester.step(AttesterEvent::Admitted).map_err(BenchError::wrong)? {
            self.ak = Some(ak);
        }
        Ok(())
    }
}
