//! `debug getinfo`

use plastron_proto::spire::api::server::debug::v1::debug_client::DebugClient;
use plastron_proto::spire::api::server::debug::v1::{GetInfoRequest, GetInfoResponse};

use crate::output::{id_text, printable, rfc3339};
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Verbs of `debug`.
#[derive(Debug, clap::Subcommand)]
pub enum DebugCommand {
    /// Print the server's uptime, counts and SVID
    Getinfo(GetInfoArgs),
}

/// Flags of `debug getinfo`.
#[derive(Debug, clap::Args)]
pub struct GetInfoArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl DebugCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let Self::Getinfo(args) = self;
        let channel = args.connection.connect(&io.environment).await?;
        let info = DebugClient::new(channel).get_info(GetInfoRequest {}).await?.into_inner();
        match args.output.output {
            Format::Json => io.json(&info),
            Format::Pretty => io.out(&render(&info)),
        }
    }
}

fn render(info: &GetInfoResponse) -> String {
    let GetInfoResponse { svid_chain, uptime, agents_count, entries_count, federated_bundles_count } = info;
    let uptime = go_seconds(*uptime);
    let mut text = format!(
        "Server Debug Info:\n  Uptime:                  {uptime}\n  Registered Agents:       {agents_count}\n  \
         Registration Entries:    {entries_count}\n  Federated Bundles:       {federated_bundles_count}\n"
    );
    if !svid_chain.is_empty() {
        text += "  SVID Chain:\n";
    }
    for (index, cert) in svid_chain.iter().enumerate() {
        let id = if cert.id.is_some() { id_text(cert.id.as_ref()) } else { "(none)".to_owned() };
        text += &format!(
            "    [{index}] SPIFFE ID:  {id}\n        Subject:    {}\n        Expires At: {}\n",
            printable(&cert.subject),
            rfc3339(cert.expires_at)
        );
    }
    text
}

/// Seconds as Go prints a duration: `1h2m3s`.
fn go_seconds(uptime: i32) -> String {
    let (sign, total) = (if uptime < 0 { "-" } else { "" }, uptime.unsigned_abs());
    match (total / 3600, total / 60 % 60, total % 60) {
        (0, 0, seconds) => format!("{sign}{seconds}s"),
        (0, minutes, seconds) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_a_go_duration() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m0s"), (3600, "1h0m0s"), (90_061, "25h1m1s"), (-1, "-1s")]
        {
            assert_eq!(go_seconds(seconds), text);
        }
    }
}
