//! `agent purge`: evicts agents whose SVID expired long ago and that can attest again, so that none is locked out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plastron_proto::spire::api::server::agent::v1::{DeleteAgentRequest, ListAgentsRequest, list_agents_request};
use plastron_proto::types::{Agent, AgentMask};
use serde::Serialize;

use super::client;
use crate::arguments::{go_bool, go_duration_or_zero};
use crate::error::{failed, status_text};
use crate::output::id_text;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Flags of `agent purge`.
#[derive(Debug, clap::Args)]
pub struct PurgeArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Amount of time that has passed since the agent's SVID has expired. It is used to determine which agents to purge
    #[arg(long = "expiredFor", default_value = "720h", value_parser = go_duration_or_zero)]
    expired_for: Duration,
    /// Indicates that the command will not perform any action, but will print the agents that would be purged
    #[arg(long = "dryRun", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    dry_run: bool,
}

/// SPIRE's JSON.
#[derive(Serialize)]
struct Purged {
    expired_agents: Vec<PurgedAgent>,
}

#[derive(Serialize)]
struct PurgedAgent {
    agent_id: String,
    deleted: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

impl PurgeArgs {
    pub(super) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let mut client = client(&self.connection, io).await?;
        let filter = Some(list_agents_request::Filter { by_can_reattest: Some(true), ..Default::default() });
        let output_mask = Some(AgentMask { x509svid_expires_at: true, ..Default::default() });
        let mut agents: Vec<Agent> = Vec::new();
        let mut page_token = String::new();
        loop {
            let (filter, output_mask) = (filter.clone(), output_mask);
            let request = ListAgentsRequest { filter, output_mask, page_size: 0, page_token };
            let page = client.list_agents(request).await.map_err(failed("failed to list agents"))?.into_inner();
            agents.extend(page.agents);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut expired_agents = Vec::new();
        for agent in agents {
            if !is_expired(agent.x509svid_expires_at, self.expired_for, now) {
                continue;
            }
            let agent_id = id_text(agent.id.as_ref());
            let (mut deleted, mut error) = (false, String::new());
            if !self.dry_run {
                match client.delete_agent(DeleteAgentRequest { id: agent.id }).await {
                    Ok(_) => deleted = true,
                    Err(status) => error = status_text(&status),
                }
            }
            expired_agents.push(PurgedAgent { agent_id, deleted, error });
        }
        match self.output.output {
            Format::Json => {
                let purged = serde_json::to_string(&Purged { expired_agents });
                io.out(&(purged.map_err(|error| CliError::Malformed { reason: error.to_string() })? + "\n"))
            }
            Format::Pretty => io.out(&render(&expired_agents, self.dry_run)),
        }
    }
}

/// Whether more than `for_at_least` went by since `expires_at`, in Unix seconds.
fn is_expired(expires_at: i64, for_at_least: Duration, now: Duration) -> bool {
    // An expiry before 1970 is longer ago than any duration that a person writes.
    let expired_at = Duration::from_secs(u64::try_from(expires_at).unwrap_or(0));
    now.checked_sub(expired_at).is_some_and(|ago| ago > for_at_least)
}

fn render(agents: &[PurgedAgent], dry_run: bool) -> String {
    if agents.is_empty() {
        return "No agents to purge.\n".to_owned();
    }
    let mut text = format!("Found {} expired {}\n\n", agents.len(), super::render::agents(agents.len() == 1));
    let line = |agent: &PurgedAgent| format!("SPIFFE ID         : {}\n", agent.agent_id);
    if dry_run {
        text += "\nAgents that can be purged:\n";
        text.extend(agents.iter().map(line));
        return text;
    }
    let (purged, not_purged): (Vec<_>, Vec<_>) = agents.iter().partition(|agent| agent.deleted);
    if !purged.is_empty() {
        text += "Agents purged:\n";
        text.extend(purged.into_iter().map(line));
    }
    if !not_purged.is_empty() {
        text += "Agents not purged:\n";
        text.extend(
            not_purged.into_iter().map(|agent| format!("{}Error             : {}\n", line(agent), agent.error)),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_means_longer_ago_than_was_said() {
        let seconds = Duration::from_secs;
        assert!(is_expired(100, seconds(10), seconds(111)));
        assert!(!is_expired(100, seconds(10), seconds(110)));
        assert!(!is_expired(100, seconds(0), seconds(99)));
        assert!(is_expired(i64::MIN, seconds(10), seconds(11)));
        assert!(!is_expired(i64::MAX, seconds(0), seconds(11)));
    }
}
