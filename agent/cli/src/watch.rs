//! `api watch`: prints every update until interrupted.

use std::time::Instant;

use clap::Args;
use plastron_proto::workload::X509svidRequest;
use rustls_pki_types::UnixTime;

use crate::Context;
use crate::client::connect;
use crate::endpoint::{Endpoint, SocketFlags};
use crate::error::CliError;
use crate::print;
use crate::svid::FetchedSvids;

/// Flags of `api watch`.
#[derive(Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    socket: SocketFlags,
}

pub(crate) async fn run(arguments: Watch, context: Context<'_>) -> Result<(), CliError> {
    let endpoint = Endpoint::choose(&arguments.socket, context.environment)?;
    let mut since = Instant::now();
    let mut client = connect(&endpoint).await?;
    let mut stream = client.fetch_x509svid(X509svidRequest {}).await?.into_inner();
    while let Some(response) = stream.message().await? {
        let fetched = FetchedSvids::verify(&response, UnixTime::now())?;
        print::svids(context.out, &fetched, since.elapsed())?;
        since = Instant::now();
    }
    Err(CliError::NoAnswer)
}
