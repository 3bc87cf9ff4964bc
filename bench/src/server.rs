//! A real `plastron-server` as a process, with its admin API.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_spiffe::{Bundle, TrustDomain, X509Authority};
use plastron_swtpm_tests::{FaultProxy, HarnessError, Process, SoftHsm, program};
use plastron_transport::unix_channel;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::error::BenchError;

pub(crate) const TRUST_DOMAIN: &str = "bench.example";
/// Key generation in a token takes a while on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the server's CA and JWT keys lie, and what they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CaKey {
    /// P-256 in a file, signed with in the server's own process.
    SoftP256,
    /// P-384 in a file.
    SoftP384,
    /// P-256 in a PKCS#11 token, which signs on the server's own cores.
    SoftHsm,
    /// The same behind a delay for each signature, as of an HSM that is another device: it costs time and no CPU here.
    DelayedSoftHsm,
}

/// What [`CaKey::DelayedSoftHsm`] waits before it signs.
pub(crate) const TOKEN_DELAY: Duration = Duration::from_millis(5);
/// Sessions of [`CaKey::DelayedSoftHsm`].
pub(crate) const DELAYED_SESSIONS: usize = 8;

impl CaKey {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SoftP256 => "soft P-256",
            Self::SoftP384 => "soft P-384",
            Self::SoftHsm => "SoftHSM P-256",
            Self::DelayedSoftHsm => "SoftHSM P-256 that takes 5 ms for a signature, 8 sessions",
        }
    }

    /// As SPIRE's configuration writes it.
    pub(crate) fn key_type(self) -> &'static str {
        match self {
            Self::SoftP256 | Self::SoftHsm | Self::DelayedSoftHsm => "ec-p256",
            Self::SoftP384 => "ec-p384",
        }
    }

    /// The PKCS#11 module of a key in a token.
    pub(crate) fn module(self) -> Result<PathBuf, HarnessError> {
        if self == Self::DelayedSoftHsm { FaultProxy::module() } else { SoftHsm::module() }
    }

    /// Sessions with the token: one more than cores makes a software token slower, and a distant one waits in each.
    pub(crate) fn sessions(self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if self == Self::DelayedSoftHsm { DELAYED_SESSIONS } else { cores }
    }
}

/// A server that runs, in a directory of its own.
pub(crate) struct Server {
    process: Process,
    token: Option<SoftHsm>,
    directory: TempDir,
    port: u16,
}

impl Server {
    /// Starts one and waits until it answers. `attestors`: NodeAttestor blocks.
    pub(crate) async fn start(key: CaKey, attestors: &str) -> Result<Self, BenchError> {
        let directory = tempfile::tempdir().map_err(BenchError::io("make a temporary directory"))?;
        let token = match key {
            CaKey::SoftP256 | CaKey::SoftP384 => None,
            CaKey::SoftHsm | CaKey::DelayedSoftHsm => Some(SoftHsm::start()?),
        };
        let port = free_port()?;
        let config = directory.path().join("server.conf");
        let text = configuration(directory.path(), port, token.as_ref(), key, attestors)?;
        std::fs::write(&config, text).map_err(BenchError::io(format!("write {}", config.display())))?;
        let mut command = Command::new(program("plastron-server")?);
        command.arg("run").arg("-config").arg(&config);
        if let Some(token) = &token {
            command.envs(token.environment()?);
        }
        let process = Process::spawn("plastron-server", &command)?;
        let mut server = Self { process, token, directory, port };
        server.wait_until_ready().await?;
        if let (CaKey::DelayedSoftHsm, Some(token)) = (key, &server.token) {
            FaultProxy::of(token).set(&[&format!("C_SignInit delay={}", TOKEN_DELAY.as_millis())])?;
        }
        Ok(server)
    }

    async fn wait_until_ready(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + START_TIMEOUT;
        while self.bundle().await.is_err() {
            if Instant::now() > deadline || !self.process.is_running() {
                let what = "plastron-server to answer".to_owned();
                let (seconds, log) = (START_TIMEOUT.as_secs(), self.process.log());
                return Err(HarnessError::Timeout { what, seconds, log }.into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn token(&self) -> Option<&SoftHsm> {
        self.token.as_ref()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join("server/datastore.sqlite3")
    }

    /// The admin API.
    pub(crate) fn admin(&self) -> Channel {
        unix_channel(self.directory.path().join("admin/api.sock"))
    }

    /// The trust domain's bundle.
    pub(crate) async fn bundle(&self) -> Result<Bundle, BenchError> {
        let answer = BundleClient::new(self.admin()).get_bundle(GetBundleRequest::default()).await;
        let mut bundle = Bundle::empty(trust_domain()?);
        for authority in answer.map_err(BenchError::call("GetBundle"))?.into_inner().x509_authorities {
            bundle.x509_authorities.push(X509Authority::parse(authority.asn1).map_err(BenchError::wrong)?);
        }
        if bundle.x509_authorities.is_empty() {
            return Err(BenchError::wrong("the server has no authority yet"));
        }
        Ok(bundle)
    }

    /// Stops it as an operator would.
    pub(crate) fn stop(mut self) -> Result<(), BenchError> {
        let status = self.process.terminate(STOP_TIMEOUT)?;
        if status.success() { Ok(()) } else { Err(BenchError::wrong(format!("plastron-server ended with {status}"))) }
    }
}

pub(crate) fn trust_domain() -> Result<TrustDomain, BenchError> {
    TrustDomain::parse(TRUST_DOMAIN).map_err(BenchError::wrong)
}

/// SPIRE's limits per address would stop a generator that comes from one.
fn configuration(
    directory: &Path,
    port: u16,
    token: Option<&SoftHsm>,
    key: CaKey,
    attestors: &str,
) -> Result<String, BenchError> {
    let (directory, key_type) = (directory.display(), key.key_type());
    let keys = match token {
        None => format!("KeyManager \"disk\" {{ plugin_data {{ directory = \"{directory}/keys\" }} }}"),
        Some(token) => format!(
            "KeyManager \"pkcs11\" {{ plugin_data {{\n    module = \"{}\"\n    token_label = \"{}\"\n    pin_file = \"{}\"\n    sessions = {}\n  }} }}",
            key.module()?.display(),
            token.label(),
            token.pin_file().display(),
            key.sessions(),
        ),
    };
    Ok(format!(
        r#"server {{
  bind_address = "127.0.0.1"
  bind_port = {port}
  socket_path = "{directory}/admin/api.sock"
  trust_domain = "{TRUST_DOMAIN}"
  data_dir = "{directory}/server"
  log_level = "ERROR"
  ca_key_type = "{key_type}"
  jwt_key_type = "{key_type}"
  ratelimit {{
    attestation = false
    signing = false
  }}
}}
plugins {{
  DataStore "sql" {{
    plugin_data {{
      database_type = "sqlite3"
      connection_string = "{directory}/server/datastore.sqlite3"
    }}
  }}
  {keys}
  {attestors}
}}
"#
    ))
}

fn free_port() -> Result<u16, BenchError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(BenchError::io("find a free port"))?;
    Ok(listener.local_addr().map_err(BenchError::io("find a free port"))?.port())
}
