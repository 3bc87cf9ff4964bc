//! `healthcheck`

use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::arguments::go_bool;
use crate::output::printable;
use crate::{CliError, ConnectionArgs, Io};

/// What a server calls its health while it issues nothing.
const CACHED: &str = "plastron.server.cached";

/// Flags of `healthcheck`.
#[derive(Debug, clap::Args)]
pub struct HealthcheckArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Perform a less stringent health check
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    shallow: bool,
    /// Print verbose information
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    verbose: bool,
}

impl HealthcheckArgs {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        if self.verbose {
            io.out("Checking server health...\n")?;
        }
        match self.check("", io).await {
            Ok(ServingStatus::Serving) => io.out("Server is healthy.\n"),
            Ok(status) => {
                let mut reason = format!("server returned status {:?}", status.as_str_name());
                if let Ok(ServingStatus::Serving) = self.check(CACHED, io).await {
                    reason.push_str("; it issues nothing and serves what it has from its cache");
                }
                Err(CliError::Unhealthy { reason })
            }
            Err(error) => {
                if self.verbose {
                    io.err(&format!("Failed to check health: {error}\n"))?;
                }
                Err(CliError::Unhealthy {
                    reason: format!("unable to determine health: {}", printable(&error.to_string())),
                })
            }
        }
    }

    async fn check(&self, service: &str, io: &Io<'_>) -> Result<ServingStatus, CliError> {
        let channel = self.connection.connect(&io.environment).await?;
        let request = HealthCheckRequest { service: service.to_owned() };
        let HealthCheckResponse { status } = HealthClient::new(channel).check(request).await?.into_inner();
        Ok(ServingStatus::try_from(status).unwrap_or(ServingStatus::Unknown))
    }
}
