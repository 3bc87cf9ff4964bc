//! `api fetch x509`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use plastron_proto::json::to_json;
use plastron_proto::workload::{X509svidRequest, X509svidResponse};
use rustls_pki_types::UnixTime;

use crate::Context;
use crate::arguments::go_bool;
use crate::client::connect;
use crate::duration::parse_duration;
use crate::endpoint::{Endpoint, SocketFlags};
use crate::error::CliError;
use crate::files;
use crate::print::{self, Output, Verb};
use crate::svid::FetchedSvids;

/// Flags of every call of the Workload API.
#[derive(Debug, Args)]
pub(crate) struct CallFlags {
    #[command(flatten)]
    pub(crate) socket: SocketFlags,
    /// Time to wait for a response; 0 waits for ever
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// Flags of `api fetch x509`.
#[derive(Debug, Args)]
pub(crate) struct FetchX509 {
    #[command(flatten)]
    call: CallFlags,
    /// Write SVIDs, keys and bundles into this directory
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Print nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = go_bool, action = clap::ArgAction::Set)]
    silent: bool,
    /// Form of the output
    #[arg(short, long, value_enum, ignore_case = true, default_value_t)]
    output: Output,
}

pub(crate) async fn run(arguments: FetchX509, context: Context<'_>) -> Result<(), CliError> {
    let FetchX509 { call, write, silent, output } = arguments;
    let endpoint = Endpoint::choose(&call.socket, context.environment)?;
    let begun = Instant::now();
    let response = within(call.timeout, fetch(&endpoint)).await?;
    let after = begun.elapsed();
    // Verified before anything is printed or written, in JSON too.
    let fetched = FetchedSvids::verify(&response, UnixTime::now())?;
    match output {
        _ if silent => {}
        Output::Json => {
            writeln!(context.out, "{}", to_json(&response)?)?;
        }
        Output::Pretty => print::svids(context.out, Verb::Fetch, &fetched, after)?,
    }
    if let Some(directory) = write {
        let speaks = output == Output::Pretty && !silent;
        files::write(&directory, &fetched, &mut |line| if speaks { writeln!(context.out, "{line}") } else { Ok(()) })?;
    }
    Ok(())
}

async fn fetch(endpoint: &Endpoint) -> Result<X509svidResponse, CliError> {
    let mut client = connect(endpoint).await?;
    let mut stream = client.fetch_x509svid(X509svidRequest {}).await?.into_inner();
    stream.message().await?.ok_or(CliError::NoAnswer)
}

/// Waits at most this long; zero is for ever.
pub(crate) async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    if timeout.is_zero() {
        return call.await;
    }
    tokio::time::timeout(timeout, call).await.map_err(|_elapsed| CliError::TimedOut { after: timeout })?
}
