//! Memory of a server and an agent at rest: the proportional set size (`smaps_rollup`) and the largest resident set so far (`VmHWM`).

use std::process::Command;
use std::time::{Duration, Instant};

use plastron_swtpm_tests::{HarnessError, Process, program};

use crate::client;
use crate::error::BenchError;
use crate::figures::{heading, line};
use crate::server::{CaKey, Server, TRUST_DOMAIN};

/// Until memory that was needed to start is given back, if it is.
const REST: Duration = Duration::from_secs(10);
const START_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn run() -> Result<(), BenchError> {
    heading(&format!("Memory at rest, {} s after the start", REST.as_secs()));
    let server = Server::start(CaKey::SoftP256, "NodeAttestor \"join_token\" { plugin_data {} }").await?;
    let mut agent = start_agent(&server).await?;
    tokio::time::sleep(REST).await;
    for (name, pid) in [("plastron-server", server.pid()), ("plastron-agent", agent.pid())] {
        let (pss, peak) = (field(pid, "smaps_rollup", "Pss:")?, field(pid, "status", "VmHWM:")?);
        line(name, &format!("{:.1} MiB PSS, {:.1} MiB at most", pss / 1024.0, peak / 1024.0));
    }
    agent.terminate(START_TIMEOUT)?;
    server.stop()
}

async fn start_agent(server: &Server) -> Result<Process, BenchError> {
    let directory = server.directory().join("agent");
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(BenchError::io(format!("write {}", path.display())))
    };
    std::fs::create_dir_all(&directory).map_err(BenchError::io("make the agent's directory"))?;
    write("bundle.pem", server.bundle().await?.to_pem())?;
    let (shown, port) = (directory.display(), server.port());
    let token = client::join_token(server.admin()).await?;
    let socket = directory.join("public/api.sock");
    write(
        "agent.conf",
        format!(
            r#"agent {{
  data_dir = "{shown}/data"
  log_level = "ERROR"
  server_address = "127.0.0.1"
  server_port = {port}
  socket_path = "{}"
  trust_bundle_path = "{shown}/bundle.pem"
  trust_domain = "{TRUST_DOMAIN}"
  join_token = "{token}"
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"#,
            socket.display(),
        ),
    )?;
    let mut command = Command::new(program("plastron-agent")?);
    command.arg("run").arg("-config").arg(directory.join("agent.conf"));
    let mut agent = Process::spawn("plastron-agent", &command)?;
    let deadline = Instant::now() + START_TIMEOUT;
    while !socket.exists() {
        if Instant::now() > deadline || !agent.is_running() {
            let what = "plastron-agent to listen".to_owned();
            return Err(HarnessError::Timeout { what, seconds: START_TIMEOUT.as_secs(), log: agent.log() }.into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(agent)
}

/// A number of KiB from a file in /proc.
fn field(pid: u32, file: &str, name: &str) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/{file}");
    let text = std::fs::read_to_string(&path).map_err(BenchError::io(format!("read {path}")))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
    number.ok_or_else(|| BenchError::wrong(format!("{path} has no {name}")))
}
