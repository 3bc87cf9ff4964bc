//! The Workload API: CPU of the agent's process per call, and how long a caller waits, for what the agent holds already.

use std::time::{Duration, Instant};

use plastron_agent_cli::{Endpoint, WorkloadApiClient, connect};
use plastron_proto::workload::{JwtsvidRequest, X509svidRequest};
use plastron_spiffe::jwt::UnverifiedJwt;
use plastron_swtpm_tests::{Attestor, ServerOptions, TestAgent, TestServer};
use serde_json::Value;

use crate::error::BenchError;
use crate::figures::{Series, heading, line};
use crate::{Effort, cpu};

/// What a workload of SPIRE's agent costs with a new connection for each call (308 to 396 µs), by three.
const TARGET_MICROS: f64 = 115.0;
/// How long the entry may take to reach the agent.
const PATIENCE: Duration = Duration::from_secs(30);
const AUDIENCE: &str = "bench";

#[derive(Clone, Copy)]
enum Call {
    /// FetchJWTSVID over one connection.
    Jwt,
    /// FetchJWTSVID with a connection of its own.
    JwtAnew,
    /// FetchX509SVID with a connection of its own.
    X509Anew,
}

pub(crate) async fn run(effort: Effort) -> Result<(), BenchError> {
    heading("Workload API: what the agent holds already");
    let server = TestServer::start(ServerOptions::default())?;
    let mut agent = TestAgent::start(&server, &Attestor::JoinToken(server.join_token()?))?;
    let uid = rustix::process::geteuid().as_raw();
    let nodes = json(&server, &["agent", "list"])?;
    let path = nodes.pointer("/agents/0/id/path").and_then(Value::as_str).ok_or_else(|| wrong("no agent"))?;
    let domain = plastron_swtpm_tests::TRUST_DOMAIN;
    let (parent, id) = (format!("spiffe://{domain}{path}"), format!("spiffe://{domain}/bench"));
    let selector = format!("unix:uid:{uid}");
    server.cli(&["entry", "create", "-parentID", &parent, "-spiffeID", &id, "-selector", &selector])?;

    let load = Load { endpoint: Endpoint::Unix(agent.socket()), pid: agent.process().pid() };
    load.wait().await?;
    let (mut jwt, mut jwt_anew, mut x509_anew) = (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..effort.rounds {
        for (call, figures) in [(Call::Jwt, &mut jwt), (Call::JwtAnew, &mut jwt_anew), (Call::X509Anew, &mut x509_anew)]
        {
            load.measure(call, Duration::from_secs(effort.seconds), figures).await?;
        }
    }
    jwt.show("FetchJWTSVID, kept token, one connection", "");
    jwt_anew.show("FetchJWTSVID, kept token, a connection each", &format!(" (target {TARGET_MICROS:.0})"));
    x509_anew.show("FetchX509SVID, a connection each", "");
    Ok(())
}

#[derive(Default)]
struct Figures {
    micros: Series,
    waited: Series,
}

impl Figures {
    fn show(&self, what: &str, target: &str) {
        line(&format!("{what}: CPU"), &format!("{} µs{target}", self.micros.show(1)));
        line(&format!("{what}: median wait"), &format!("{} µs", self.waited.show(0)));
    }
}

struct Load {
    endpoint: Endpoint,
    pid: u32,
}

impl Load {
    async fn client(&self) -> Result<WorkloadApiClient, BenchError> {
        connect(&self.endpoint).await.map_err(BenchError::wrong)
    }

    /// Until the entry is with the agent; the token is then kept.
    async fn wait(&self) -> Result<(), BenchError> {
        let deadline = Instant::now() + PATIENCE;
        let mut client = self.client().await?;
        loop {
            match token(&mut client).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// One caller, one call after the other.
    async fn measure(&self, call: Call, duration: Duration, figures: &mut Figures) -> Result<(), BenchError> {
        let mut client = self.client().await?;
        let mut waits = Vec::new();
        let before = cpu::of_process(self.pid)?;
        let begun = Instant::now();
        while begun.elapsed() < duration {
            let asked = Instant::now();
            match call {
                Call::Jwt => token(&mut client).await?,
                Call::JwtAnew => token(&mut self.client().await?).await?,
                Call::X509Anew => x509(&mut self.client().await?).await?,
            }
            waits.push(asked.elapsed().as_secs_f64() * 1e6);
        }
        let spent = cpu::of_process(self.pid)?.saturating_sub(before);
        let calls = f64::from(u32::try_from(waits.len()).unwrap_or(u32::MAX));
        figures.micros.push(spent.as_secs_f64() * 1e6 / calls);
        waits.sort_by(f64::total_cmp);
        figures.waited.push(waits.get(waits.len() / 2).copied().unwrap_or(f64::NAN));
        Ok(())
    }
}

async fn token(client: &mut WorkloadApiClient) -> Result<(), BenchError> {
    let request = JwtsvidRequest { audience: vec![AUDIENCE.to_owned()], spiffe_id: String::new() };
    let reply = client.fetch_jwtsvid(request).await.map_err(BenchError::call("FetchJWTSVID"))?.into_inner();
    let [svid] = reply.svids.as_slice() else { return Err(wrong("not one token")) };
    let token = UnverifiedJwt::parse(&svid.svid).map_err(BenchError::wrong)?;
    if token.claimed_audience() == [AUDIENCE] { Ok(()) } else { Err(wrong("a token for another audience")) }
}

async fn x509(client: &mut WorkloadApiClient) -> Result<(), BenchError> {
    let call = client.fetch_x509svid(X509svidRequest {}).await.map_err(BenchError::call("FetchX509SVID"))?;
    let reply = call.into_inner().message().await.map_err(BenchError::call("FetchX509SVID"))?;
    reply.filter(|reply| reply.svids.len() == 1).map(drop).ok_or_else(|| wrong("not one SVID"))
}

fn json(server: &TestServer, arguments: &[&str]) -> Result<Value, BenchError> {
    let output = server.cli(&[arguments, &["-output", "json"]].concat())?;
    serde_json::from_slice(&output.stdout).map_err(BenchError::wrong)
}

fn wrong(what: &str) -> BenchError {
    BenchError::wrong(what)
}
