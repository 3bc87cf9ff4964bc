//! `tpm pending list|approve|reject`: TPMs that wait for a person, because their pool says `new_nodes = "approve"` or `new_ak = "approve"`.

use plastron_proto::plastron::server::tpm::v1::tpm_client::TpmClient;
use plastron_proto::plastron::server::tpm::v1::{DecideRequest, ListPendingRequest, PendingTpm};
use tonic::transport::Channel;

use crate::client::MAX_MESSAGE_LEN;
use crate::output::{printable, utc};
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Verbs of `tpm`.
#[derive(Debug, clap::Subcommand)]
pub enum TpmCommand {
    /// TPMs that proved themselves and wait for a person
    Pending {
        /// What to do.
        #[command(subcommand)]
        command: PendingCommand,
    },
}

/// Verbs of `tpm pending`.
#[derive(Debug, clap::Subcommand)]
pub enum PendingCommand {
    /// List the TPMs that wait, and those decided on that have not come back
    List(ListArgs),
    /// Let a TPM in: its next attempt is admitted, once
    Approve(DecideArgs),
    /// Keep a TPM out until it is approved
    Reject(DecideArgs),
}

/// Flags of `tpm pending list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of the verbs that decide.
#[derive(Debug, clap::Args)]
pub struct DecideArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The SPIFFE ID that the node would have, as the list shows it
    #[arg(long = "spiffeID")]
    spiffe_id: Option<String>,
    /// Why: the audit log keeps it
    #[arg(long)]
    reason: Option<String>,
}

impl TpmCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let Self::Pending { command } = self;
        match command {
            PendingCommand::List(ListArgs { connection, output }) => {
                let listed = client(&connection, io).await?.list_pending(ListPendingRequest {}).await?.into_inner();
                match output.output {
                    Format::Json => io.json(&listed),
                    Format::Pretty => io.out(&list(&listed.pending)),
                }
            }
            PendingCommand::Approve(args) => {
                let (request, connection, output) = args.request()?;
                let decided = client(&connection, io).await?.approve_pending(request).await?.into_inner();
                done(output, "TPM approved: its next attempt is admitted\n", &decided, io)
            }
            PendingCommand::Reject(args) => {
                let (request, connection, output) = args.request()?;
                let decided = client(&connection, io).await?.reject_pending(request).await?.into_inner();
                done(output, "TPM rejected\n", &decided, io)
            }
        }
    }
}

impl DecideArgs {
    fn request(self) -> Result<(DecideRequest, ConnectionArgs, OutputArgs), CliError> {
        let Self { connection, output, spiffe_id, reason } = self;
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        let spiffe_id = given(spiffe_id).ok_or(CliError::Usage("a SPIFFE ID is required"))?;
        let reason = given(reason).ok_or(CliError::Usage("a reason is required"))?;
        Ok((DecideRequest { spiffe_id, reason }, connection, output))
    }
}

async fn client(connection: &ConnectionArgs, io: &Io<'_>) -> Result<TpmClient<Channel>, CliError> {
    let channel = connection.connect(&io.environment).await?;
    Ok(TpmClient::new(channel).max_decoding_message_size(MAX_MESSAGE_LEN))
}

fn done(output: OutputArgs, text: &str, decided: &PendingTpm, io: &mut Io<'_>) -> Result<(), CliError> {
    match output.output {
        Format::Json => io.json(decided),
        Format::Pretty => io.out(&format!("{text}\n{}", block(decided))),
    }
}

fn list(all: &[PendingTpm]) -> String {
    if all.is_empty() {
        return "No TPMs wait\n".to_owned();
    }
    all.iter().map(block).collect::<Vec<_>>().join("\n")
}

/// What the node says of itself is marked as claimed and escaped.
fn block(pending: &PendingTpm) -> String {
    let PendingTpm {
        spiffe_id,
        asks_for,
        pool,
        ak_name,
        source,
        claimed_host_name,
        claimed_model,
        claimed_firmware,
        first_seen,
        last_seen,
        attempts,
        state,
        decided_by,
        decided_at,
        reason,
    } = pending;
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            text += &format!("{label:<18}: {}\n", printable(value));
        }
    };
    line("SPIFFE ID", spiffe_id);
    line("State", state);
    line("Asks for", asks_for);
    line("Pool", pool);
    line("AK name", ak_name);
    line("Source", source);
    line("Claimed host name", claimed_host_name);
    line("Claimed model", claimed_model);
    line("Claimed firmware", claimed_firmware);
    line("First seen", &utc(*first_seen));
    line("Last seen", &utc(*last_seen));
    line("Attempts", &attempts.to_string());
    if !decided_by.is_empty() {
        line("Decided by", decided_by);
        line("Decided at", &utc(*decided_at));
        line("Reason", reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_claims_is_marked_and_can_not_steer_a_terminal() {
        let waiting = PendingTpm {
            spiffe_id: "spiffe://example.org/spire/agent/tpm/ab".into(),
            asks_for: "new node".into(),
            pool: "racks".into(),
            claimed_host_name: "evil\u{1b}[2J\nState: approved".into(),
            first_seen: 1_767_366_245,
            last_seen: 1_767_366_245,
            attempts: 3,
            state: "pending".into(),
            ..Default::default()
        };
        let text = list(std::slice::from_ref(&waiting));
        assert!(text.contains("Claimed host name : evil\\u{1b}[2J\\u{a}State: approved\n"), "{text}");
        assert!(text.contains("State             : pending\n") && !text.contains("Decided"), "{text}");
        let decided =
            PendingTpm { state: "approved".into(), decided_by: "uid 0".into(), reason: "ticket 1".into(), ..waiting };
        assert!(list(&[decided.clone(), decided]).contains("Reason            : ticket 1\n\nSPIFFE ID"));
        assert_eq!(list(&[]), "No TPMs wait\n");
    }
}
