//! A server with a token and an agent with a TPM, each by a clock of its own, and one workload.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use plastron_spiffe::x509::{Purpose, VerifiedSvid, X509Svid, verify_chain};
use plastron_spiffe::{Bundle, TrustDomain};
use plastron_swtpm_tests::{
    Attestor, EkKind, Manufacturer, ServerOptions, SoftHsm, Swtpm, TRUST_DOMAIN, TestAgent, TestServer, WallClock,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::workloads::testbed::{path_of, workload_program};

/// Seconds.
pub(super) const HOUR: i64 = 3600;
pub(super) const MONTH: i64 = 30 * 24 * HOUR;
/// Within this time everything has to be well again: an agent waits at most 75 s between two attempts.
pub(super) const BOUND: Duration = Duration::from_secs(120);

pub(super) struct Bed {
    pub(super) agent: TestAgent,
    pub(super) server: TestServer,
    pub(super) server_clock: Arc<WallClock>,
    pub(super) agent_clock: Arc<WallClock>,
    _tpm: Swtpm,
    web: PathBuf,
    directory: tempfile::TempDir,
    /// Seconds that the agent's clock is ahead.
    ahead: i64,
}

impl Bed {
    /// Both run by the machine's time, and the workload has its SVID. `lines` are further ones of the `server` block.
    pub(super) fn start(lines: &str) -> Self {
        Self::start_by(lines, 0, 0)
    }

    /// The server's clock, and the agent's, are so many seconds ahead from the start.
    pub(super) fn start_by(lines: &str, server_ahead: i64, ahead: i64) -> Self {
        let (server_clock, agent_clock) = (Arc::new(WallClock::new().unwrap()), Arc::new(WallClock::new().unwrap()));
        server_clock.set(server_ahead).unwrap();
        agent_clock.set(ahead).unwrap();
        let server = TestServer::start(ServerOptions {
            token: Some(SoftHsm::start().unwrap()),
            tpms: Some((Manufacturer::shared().unwrap(), EkKind::P384)),
            server_lines: format!("{lines}\n  ratelimit {{ attestation = false }}"),
            clock: Some(Arc::clone(&server_clock)),
            ..ServerOptions::default()
        });
        let server = server.unwrap();
        let tpm = Swtpm::start().unwrap();
        let agent = TestAgent::start_by(&agent_clock, &server, &Attestor::Tpm(&tpm, EkKind::P384)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let web = workload_program(directory.path(), "web");
        let bed = Self { agent, server, server_clock, agent_clock, _tpm: tpm, web, directory, ahead };
        bed.create_entry();
        bed.await_svid("the first SVID");
        bed
    }

    /// The workload's.
    pub(super) fn create_entry(&self) {
        let (node, id) = (self.node(), format!("spiffe://{TRUST_DOMAIN}/web"));
        let selector = path_of(&self.web);
        self.server.cli(&["entry", "create", "-parentID", &node, "-spiffeID", &id, "-selector", &selector]).unwrap();
    }

    /// How many private keys the server's token holds.
    pub(super) fn private_keys(&self) -> usize {
        let listed = self.server.token().unwrap().pkcs11_tool(&["--list-objects", "--type", "privkey"]).unwrap();
        String::from_utf8_lossy(&listed.stdout).matches("Private Key Object").count()
    }

    /// Sets both clocks.
    pub(super) fn set_clocks(&mut self, seconds_ahead: i64) {
        self.server_clock.set(seconds_ahead).unwrap();
        self.set_agent_clock(seconds_ahead);
    }

    pub(super) fn set_agent_clock(&mut self, seconds_ahead: i64) {
        self.agent_clock.set(seconds_ahead).unwrap();
        self.ahead = seconds_ahead;
    }

    /// The SPIFFE ID of the only node.
    pub(super) fn node(&self) -> String {
        let output = self.server.cli(&["agent", "list", "-output", "json"]).unwrap().stdout;
        let listed: serde_json::Value = serde_json::from_slice(&output).unwrap();
        let [agent] = listed["agents"].as_array().unwrap().as_slice() else { unreachable!("{listed}") };
        format!("spiffe://{TRUST_DOMAIN}{}", agent["id"]["path"].as_str().unwrap())
    }

    /// Unix seconds by the agent's clock, which is the workload's.
    pub(super) fn now(&self) -> u64 {
        let machine = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        machine.checked_add_signed(self.ahead).unwrap()
    }

    /// What the workload has now, if it verifies now by the bundle that came with it.
    pub(super) fn svid(&self) -> Result<VerifiedSvid, String> {
        let out = tempfile::tempdir_in(self.directory.path()).unwrap();
        let mut fetch = std::process::Command::new(&self.web);
        // It verifies what it is given, by the clock of its machine.
        self.agent_clock.show_to(&mut fetch).unwrap();
        fetch.args(["api", "fetch", "x509", "-timeout", "5s", "-write"]).arg(out.path());
        let fetched = fetch.arg("-socketPath").arg(self.agent.socket()).output().unwrap();
        if !fetched.status.success() {
            return Err(String::from_utf8_lossy(&fetched.stderr).into_owned());
        }
        let certificates = CertificateDer::pem_file_iter(out.path().join("svid.0.pem")).unwrap();
        let chain = certificates.map(|certificate| certificate.unwrap().to_vec()).collect();
        let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
        let bundle = Bundle::from_pem(trust_domain, &std::fs::read(out.path().join("bundle.0.pem")).unwrap()).unwrap();
        let svid = X509Svid::parse(chain).map_err(|error| error.to_string())?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.now()));
        verify_chain(svid, &bundle, Purpose::Any, now).map_err(|error| format!("{error:?}"))
    }

    /// Waits until the workload has an SVID that is valid now, and says how long that took.
    pub(super) fn await_svid(&self, what: &str) -> Duration {
        let started = Instant::now();
        loop {
            let last = match self.svid() {
                Ok(_) => {
                    println!("{what}: healed after {:.1} s", started.elapsed().as_secs_f64());
                    return started.elapsed();
                }
                Err(error) => error,
            };
            assert!(started.elapsed() < BOUND, "{what}: no SVID within {} s: {last}", BOUND.as_secs());
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}
