//! `debug getinfo`: what a running agent says about itself.

use std::time::Duration;

use clap::{Args, Subcommand};
use plastron_proto::json::to_json;
use plastron_proto::spire::agent::debug::v1::debug_client::DebugClient;
use plastron_proto::spire::agent::debug::v1::{GetInfoRequest, GetInfoResponse};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Context;
use crate::admin::AdminFlags;
use crate::duration::GoDuration;
use crate::error::CliError;
use crate::print::Output;

/// The verbs of `debug`.
#[derive(Debug, Subcommand)]
pub enum Debug {
    /// Prints debug information about the agent
    Getinfo(GetInfo),
}

/// Flags of `debug getinfo`.
#[derive(Debug, Args)]
pub struct GetInfo {
    #[command(flatten)]
    flags: AdminFlags,
}

pub(crate) async fn run(command: Debug, context: Context<'_>) -> Result<(), CliError> {
    let Debug::Getinfo(GetInfo { flags }) = command;
    let call = |channel| async { DebugClient::new(channel).get_info(GetInfoRequest {}).await };
    let info = flags.call(None, call).await?;
    match flags.output {
        Output::Json => writeln!(context.out, "{}", to_json(&info)?)?,
        Output::Pretty => write!(context.out, "{}", render(&info))?,
    }
    Ok(())
}

/// `svids_count` is an old name of the first count.
fn render(info: &GetInfoResponse) -> String {
    let GetInfoResponse {
        svid_chain,
        uptime,
        svids_count: _,
        last_sync_success,
        cached_x509_svids_count,
        cached_jwt_svids_count,
        cached_svidstore_x509_svids_count,
    } = info;
    let uptime = GoDuration(Duration::from_secs(u64::try_from(*uptime).unwrap_or_default()));
    let synced = if *last_sync_success == 0 { "(never)".to_owned() } else { rfc3339(*last_sync_success) };
    let mut text = format!("Agent Debug Info:\n  Uptime:                          {uptime}\n");
    text += &format!("  Last Sync Success:               {synced}\n");
    text += &format!("  Cached X.509 SVIDs:              {cached_x509_svids_count}\n");
    text += &format!("  Cached JWT SVIDs:                {cached_jwt_svids_count}\n");
    text += &format!("  Cached SVID Store X.509 SVIDs:   {cached_svidstore_x509_svids_count}\n");
    if !svid_chain.is_empty() {
        text += "  SVID Chain:\n";
    }
    for (index, cert) in svid_chain.iter().enumerate() {
        let id = cert.id.as_ref().map_or("(none)".to_owned(), |id| format!("spiffe://{}{}", id.trust_domain, id.path));
        text += &format!(
            "    [{index}] SPIFFE ID:  {}\n        Subject:    {}\n        Expires At: {}\n",
            id.escape_debug(),
            cert.subject.escape_debug(),
            rfc3339(cert.expires_at)
        );
    }
    text
}

fn rfc3339(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{seconds} s after 1970"))
}
