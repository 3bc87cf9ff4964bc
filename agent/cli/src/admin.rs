//! What the verbs on the agent's admin socket share: its flags, its connection, and SPIRE's `Error: ` before what goes wrong.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tonic::Status;
use tonic::transport::Channel;

use crate::client::channel;
use crate::duration::parse_duration;
use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::fetch::within;
use crate::print::Output;

/// SPIRE's default.
const DEFAULT_ADMIN_SOCKET: &str = "/tmp/spire-agent/private/admin.sock";

/// Flags of every verb on the admin socket.
#[derive(Debug, Args)]
pub(crate) struct AdminFlags {
    /// Path of the agent's admin socket
    #[arg(long = "socketPath", value_name = "PATH", default_value = DEFAULT_ADMIN_SOCKET)]
    socket_path: String,
    /// Time to wait for a response; 0 waits for ever
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    /// Form of the output
    #[arg(short, long, value_enum, ignore_case = true, default_value_t)]
    pub(crate) output: Output,
}

impl AdminFlags {
    /// One call on a new connection; `doing` stands before what the agent says, where SPIRE says what was tried.
    pub(crate) async fn call<T, F: Future<Output = Result<tonic::Response<T>, Status>>>(
        &self,
        doing: Option<&'static str>,
        call: impl FnOnce(Channel) -> F,
    ) -> Result<T, CliError> {
        let path = if self.socket_path.is_empty() { DEFAULT_ADMIN_SOCKET } else { &self.socket_path };
        let endpoint = Endpoint::Unix(PathBuf::from(path));
        let answer = async { Ok(call(channel(&endpoint).await?).await?.into_inner()) };
        within(self.timeout, answer).await.map_err(|cause| CliError::Admin { doing, cause: Box::new(cause) })
    }
}
