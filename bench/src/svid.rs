//! X.509-SVIDs through gRPC: CPU of the server's process, and how many a second, beside the raw signing rate of the CA's key.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_proto::spire::api::server::svid::v1::{BatchNewX509svidRequest, NewX509svidParams};
use plastron_spiffe::x509::{Purpose, X509Svid, verify_chain};
use plastron_spiffe::{Bundle, SpiffeId};
use plastron_swtpm_tests::tool;
use rcgen::PublicKeyData;
use rustls_pki_types::UnixTime;
use tonic::transport::Channel;

use crate::client::{self, KeyWithCsr};
use crate::error::BenchError;
use crate::figures::{Series, heading, line};
use crate::server::{CaKey, Server};
use crate::sign::SigningRate;
use crate::{Effort, cpu, overload, sign};

/// Entries of the agent, each with a key of its own.
const ENTRIES: usize = 100;
/// Calls in flight.
const IN_FLIGHT: usize = 8;
/// Every so many-th SVID is verified; not a divisor of a batch, so that each place in a batch has its turn.
const VERIFY_EVERY: usize = 97;
/// Target for a soft key and batches of 50: verifying the CSR and signing take 82 of it. What a token takes to sign comes on top.
const TARGET_MICROS: f64 = 100.0;

pub(crate) async fn run(effort: Effort) -> Result<(), BenchError> {
    for key in [CaKey::SoftP256, CaKey::SoftP384, CaKey::SoftHsm, CaKey::DelayedSoftHsm] {
        heading(&format!("X.509-SVIDs through gRPC, CA key: {}", key.name()));
        let server = Server::start(key, "NodeAttestor \"join_token\" { plugin_data {} }").await?;
        measure(&server, key, effort).await?;
        server.stop()?;
    }
    Ok(())
}

async fn measure(server: &Server, key: CaKey, effort: Effort) -> Result<(), BenchError> {
    let load = Arc::new(Load::prepare(server).await?);
    // Warm: caches filled, threads started.
    load.clone().run(50, Duration::from_millis(500)).await?;
    let (mut micros_50, mut micros_1, mut rate_50, mut rate_1) =
        (Series::default(), Series::default(), Series::default(), Series::default());
    let (mut raw_rate, mut raw_micros) = (Series::default(), Series::default());
    let (mut bare_one, mut bare_all) = (Series::default(), Series::default());
    for _ in 0..effort.rounds {
        for (batch, micros, rate) in [(50, &mut micros_50, &mut rate_50), (1, &mut micros_1, &mut rate_1)] {
            let before = cpu::of_process(server.pid())?;
            let begun = Instant::now();
            let issued = load.clone().run(batch, Duration::from_secs(effort.seconds)).await?;
            let (wall, spent) = (begun.elapsed(), cpu::of_process(server.pid())?.saturating_sub(before));
            micros.push(spent.as_secs_f64() * 1e6 / issued);
            rate.push(issued / wall.as_secs_f64());
        }
        let seconds = effort.seconds.div_ceil(2);
        match server.token() {
            None => {
                let raw = SigningRate::measure(key, seconds)?;
                raw_rate.push(raw.per_second);
                raw_micros.push(raw.cpu_micros);
            }
            Some(token) => {
                bare_one.push(sign::bare(token, key, 1, seconds)?);
                bare_all.push(sign::bare(token, key, key.sessions(), seconds)?);
            }
        }
    }
    let target = if key == CaKey::SoftP256 { format!(" (target {TARGET_MICROS:.0})") } else { String::new() };
    line("server CPU per SVID, batches of 50", &format!("{} µs{target}", micros_50.show(1)));
    line("server CPU per SVID, batches of 1", &format!("{} µs", micros_1.show(1)));
    line("SVIDs per second, batches of 50", &rate_50.show(0));
    line("SVIDs per second, batches of 1", &rate_1.show(0));
    if server.token().is_none() {
        line("CPU per signature of aws-lc-rs", &format!("{} µs", raw_micros.show(1)));
        line("SVID (50) over signature, CPU", &micros_50.over(&raw_micros).show(2));
        line("signatures of aws-lc-rs per second, all cores", &raw_rate.show(0));
        line("SVIDs (50) per signature, rate", &rate_50.over(&raw_rate).show(3));
        return Ok(());
    }
    let wanted = if key == CaKey::DelayedSoftHsm { " (at least 0.90)" } else { "" };
    line("bare C_Sign of the same key per second, 1 session", &bare_one.show(0));
    line(&format!("bare C_Sign of the same key per second, {} sessions", key.sessions()), &bare_all.show(0));
    line("SVIDs (50) per bare signature of 1 session, rate", &rate_50.over(&bare_one).show(3));
    line(
        "SVIDs (50) per bare signature of all sessions, rate",
        &format!("{}{wanted}", rate_50.over(&bare_all).show(3)),
    );
    // Where the token shares our cores, whoever asks for one SVID a call takes so much of them that the token is never the limit.
    let capacity = if key == CaKey::DelayedSoftHsm { rate_50.median() } else { rate_1.median() };
    overload::run(&load, capacity, effort).await
}

/// An agent with entries, and requests for their SVIDs.
pub(crate) struct Load {
    pub(crate) channel: Channel,
    bundle: Bundle,
    pub(crate) entries: Vec<(NewX509svidParams, SpiffeId, Vec<u8>)>,
    directory: tempfile::TempDir,
}

impl Load {
    pub(crate) async fn prepare(server: &Server) -> Result<Self, BenchError> {
        let token = client::join_token(server.admin()).await?;
        let agent = client::attest_with_token(server, &client::anonymous(server).await?, token).await?;
        let mut entries = Vec::with_capacity(ENTRIES);
        for (entry_id, id) in agent.entries(server.admin(), ENTRIES).await? {
            let KeyWithCsr { key, csr } = KeyWithCsr::new(Some(&id))?;
            entries.push((NewX509svidParams { entry_id, csr }, id, key.subject_public_key_info()));
        }
        let directory = tempfile::tempdir().map_err(BenchError::io("make a temporary directory"))?;
        let (channel, bundle) = (agent.connect(server).await?, server.bundle().await?);
        Ok(Self { channel, bundle, entries, directory })
    }

    /// Asks for SVIDs in batches for so long; how many were issued. Samples are verified by us, and one of each run by openssl.
    async fn run(self: Arc<Self>, batch: usize, duration: Duration) -> Result<f64, BenchError> {
        let deadline = Instant::now() + duration;
        let mut callers = Vec::with_capacity(IN_FLIGHT);
        for caller in 0..IN_FLIGHT {
            callers.push(tokio::spawn(Arc::clone(&self).call_until(deadline, batch, caller)));
        }
        let (mut issued, mut sample) = (0, None);
        for caller in callers {
            let (count, last) = caller.await.map_err(BenchError::wrong)??;
            issued += count;
            sample = sample.or(last);
        }
        if let Some(sample) = sample {
            ask_openssl(self.directory.path(), &self.bundle, &sample)?;
        }
        Ok(f64::from(u32::try_from(issued).unwrap_or(u32::MAX)))
    }

    async fn call_until(
        self: Arc<Self>,
        deadline: Instant,
        batch: usize,
        caller: usize,
    ) -> Result<(usize, Option<X509Svid>), BenchError> {
        let mut client = SvidClient::new(self.channel.clone());
        let (mut issued, mut next, mut sample) = (0, caller * ENTRIES / IN_FLIGHT, None);
        while Instant::now() < deadline {
            let asked: Vec<_> = self.entries.iter().cycle().skip(next % ENTRIES).take(batch).collect();
            next += batch;
            let params = asked.iter().map(|(params, _, _)| params.clone()).collect();
            let answer = client.batch_new_x509svid(BatchNewX509svidRequest { params }).await;
            let results = answer.map_err(BenchError::call("BatchNewX509SVID"))?.into_inner().results;
            if results.len() != batch {
                return Err(BenchError::wrong(format!("{} answers to {batch} requests", results.len())));
            }
            for (result, (_, id, public_key)) in results.into_iter().zip(asked) {
                if result.status.as_ref().is_none_or(|status| status.code != 0) {
                    return Err(BenchError::wrong(format!("an SVID was refused: {:?}", result.status)));
                }
                if issued % VERIFY_EVERY == 0 {
                    sample = Some(self.verify(client::parse(result.svid)?, id, public_key)?);
                }
                issued += 1;
            }
        }
        Ok((issued, sample))
    }

    fn verify(&self, svid: X509Svid, id: &SpiffeId, public_key: &[u8]) -> Result<X509Svid, BenchError> {
        if svid.claimed_id() != id || svid.public_key() != public_key {
            return Err(BenchError::wrong(format!("the SVID of {id} has another ID or key")));
        }
        verify_chain(svid.clone(), &self.bundle, Purpose::Any, UnixTime::now()).map_err(BenchError::wrong)?;
        Ok(svid)
    }
}

/// `openssl verify -x509_strict`: an opinion that is not ours.
fn ask_openssl(directory: &Path, bundle: &Bundle, svid: &X509Svid) -> Result<(), BenchError> {
    let (roots, chain) = (directory.join("roots.pem"), directory.join("chain.pem"));
    let mut certificates = bundle.clone();
    let write = |path: &Path, bundle: &Bundle| {
        std::fs::write(path, bundle.to_pem()).map_err(BenchError::io(format!("write {}", path.display())))
    };
    write(&roots, &certificates)?;
    certificates.x509_authorities = svid
        .chain()
        .iter()
        .map(|certificate| plastron_spiffe::X509Authority { certificate: certificate.clone(), tainted: false })
        .collect();
    write(&chain, &certificates)?;
    let mut command = Command::new(tool("openssl")?);
    command.args(["verify", "-x509_strict", "-CAfile"]).arg(roots).arg("-untrusted").args([&chain, &chain]);
    let output = command.output().map_err(BenchError::io("start openssl"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(BenchError::wrong(format!("openssl refuses an SVID: {}", String::from_utf8_lossy(&output.stderr))))
}
