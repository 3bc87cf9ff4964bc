//! `api validate jwt`: has the agent validate a token, and prints its claims.

use clap::Args;
use plastron_proto::json::to_json;
use plastron_proto::workload::{ValidateJwtsvidRequest, ValidateJwtsvidResponse};
use tonic::Code;

use crate::Context;
use crate::client::connect;
use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::fetch::{CallFlags, within};
use crate::print::Output;

/// Flags of `api validate jwt`.
#[derive(Debug, Args)]
pub(crate) struct ValidateJwt {
    #[command(flatten)]
    call: CallFlags,
    /// The audience that the token has to be for
    #[arg(long, value_name = "AUDIENCE", default_value = "")]
    audience: String,
    /// The token
    #[arg(long, value_name = "TOKEN", default_value = "")]
    svid: String,
    /// Form of the output
    #[arg(short, long, value_enum, ignore_case = true, default_value_t)]
    output: Output,
}

pub(crate) async fn run(arguments: ValidateJwt, context: Context<'_>) -> Result<(), CliError> {
    let ValidateJwt { call, audience, svid, output } = arguments;
    for (name, value) in [("audience", &audience), ("svid", &svid)] {
        if value.is_empty() {
            return Err(CliError::Usage(format!("{name} must be specified")));
        }
    }
    let endpoint = Endpoint::choose(&call.socket, context.environment)?;
    let request = ValidateJwtsvidRequest { audience, svid };
    let response: ValidateJwtsvidResponse = within(call.timeout, async {
        let mut client = connect(&endpoint).await?;
        match client.validate_jwtsvid(request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) if status.code() == Code::InvalidArgument => {
                Err(CliError::InvalidSvid { reason: status.message().to_owned() })
            }
            Err(status) => Err(CliError::validation(status)),
        }
    })
    .await?;
    let json = to_json(&response)?;
    match output {
        Output::Json => writeln!(context.out, "{json}")?,
        Output::Pretty => {
            writeln!(context.out, "SVID is valid.")?;
            writeln!(context.out, "SPIFFE ID : {}", response.spiffe_id.escape_debug())?;
            writeln!(context.out, "Claims    : {}", json.get("claims").unwrap_or(&serde_json::Value::Null))?;
        }
    }
    Ok(())
}
