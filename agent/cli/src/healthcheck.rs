//! `healthcheck`: `grpc.health.v1.Health` on the agent's socket.

use std::time::Duration;

use clap::Args;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::Context;
use crate::arguments::go_bool;
use crate::client::channel;
use crate::duration::parse_duration;
use crate::endpoint::{Endpoint, SocketFlags};
use crate::error::CliError;
use crate::fetch::within;

/// Flags of `healthcheck`.
#[derive(Debug, Args)]
pub struct Healthcheck {
    #[command(flatten)]
    socket: SocketFlags,
    /// Perform a less stringent check (accepted as SPIRE does; the check is the same)
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = go_bool, action = clap::ArgAction::Set)]
    shallow: bool,
    /// Print what is done
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = go_bool, action = clap::ArgAction::Set)]
    verbose: bool,
    /// Time to wait for a response; 0 waits for ever
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
}

pub(crate) async fn run(arguments: Healthcheck, context: Context<'_>) -> Result<(), CliError> {
    let Healthcheck { socket, shallow: _, verbose, timeout } = arguments;
    let endpoint = Endpoint::choose(&socket, context.environment)?;
    if verbose {
        writeln!(context.out, "Checking agent health...")?;
    }
    let status = within(timeout, check(&endpoint)).await;
    if let (true, Err(error)) = (verbose, &status) {
        writeln!(context.err, "Failed to check health: {error}")?;
    }
    match status.map_err(|error| CliError::UnknownHealth(Box::new(error)))? {
        ServingStatus::Serving => Ok(writeln!(context.out, "Agent is healthy.")?),
        other => Err(CliError::Unhealthy(other.as_str_name())),
    }
}

async fn check(endpoint: &Endpoint) -> Result<ServingStatus, CliError> {
    let request = HealthCheckRequest { service: String::new() };
    Ok(HealthClient::new(channel(endpoint).await?).check(request).await?.into_inner().status())
}
