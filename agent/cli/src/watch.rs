//! `api watch`: prints every update until interrupted. It comes back after what may heal, as SPIRE's does (go-spiffe's `workloadapi`), and
//! ends on InvalidArgument, which does not.

use std::time::{Duration, Instant};

use clap::Args;
use plastron_proto::workload::X509svidRequest;
use rustls_pki_types::UnixTime;

use crate::Context;
use crate::client::connect;
use crate::endpoint::{Endpoint, SocketFlags};
use crate::error::CliError;
use crate::print::{self, Verb};
use crate::svid::FetchedSvids;

/// Delay after the first failure in a row, which grows by as much with each, and the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Flags of `api watch`.
#[derive(Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    socket: SocketFlags,
}

pub(crate) async fn run(arguments: Watch, mut context: Context<'_>) -> Result<(), CliError> {
    let endpoint = Endpoint::choose(&arguments.socket, context.environment)?;
    let mut since = Instant::now();
    let mut delay = Duration::ZERO;
    loop {
        let error = match follow(&endpoint, &mut context, &mut since, &mut delay).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if !error.may_heal() {
            return Err(error);
        }
        delay = delay.saturating_add(FIRST_RETRY).min(LONGEST_RETRY);
        writeln!(context.err, "{error}")?;
        tokio::time::sleep(delay).await;
    }
}

/// One stream, from its beginning to its end.
async fn follow(
    endpoint: &Endpoint,
    context: &mut Context<'_>,
    since: &mut Instant,
    delay: &mut Duration,
) -> Result<std::convert::Infallible, CliError> {
    let mut client = connect(endpoint).await?;
    let mut stream = client.fetch_x509svid(X509svidRequest {}).await?.into_inner();
    while let Some(response) = stream.message().await? {
        let fetched = FetchedSvids::verify(&response, UnixTime::now())?;
        print::svids(context.out, Verb::Watch, &fetched, since.elapsed())?;
        *since = Instant::now();
        *delay = Duration::ZERO;
    }
    Err(CliError::NoAnswer)
}
