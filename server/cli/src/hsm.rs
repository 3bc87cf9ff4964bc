//! `hsm gc`: keys that the key manager holds and no journal refers to. Without `-destroy` it only shows them; with it, each key is named.

use plastron_proto::plastron::server::hsm::v1::destroy_unreferenced_keys_response::Result as DestroyResult;
use plastron_proto::plastron::server::hsm::v1::hsm_client::HsmClient;
use plastron_proto::plastron::server::hsm::v1::{
    DestroyUnreferencedKeysRequest, ListUnreferencedKeysRequest, ListUnreferencedKeysResponse, UnreferencedKey,
};
use tonic::Code;

use crate::arguments::go_bool;
use crate::client::MAX_MESSAGE_LEN;
use crate::output::{code_name, printable, utc};
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Verbs of `hsm`.
#[derive(Debug, clap::Subcommand)]
pub enum HsmCommand {
    /// Show the keys that no journal of any server refers to, and destroy those that are named
    Gc(GcArgs),
}

/// Flags of `hsm gc`.
#[derive(Debug, clap::Args)]
pub struct GcArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Destroy the keys given by -id, for good
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    destroy: bool,
    /// Identifier of a key to destroy, as the list shows it; more than once for more keys
    #[arg(long)]
    id: Vec<String>,
}

impl HsmCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let Self::Gc(GcArgs { connection, output, destroy, id: ids }) = self;
        match (destroy, ids.is_empty()) {
            (true, true) => return Err(CliError::Usage("-destroy needs the -id of each key: look at the list first")),
            (false, false) => return Err(CliError::Usage("-id names what -destroy destroys; without it, nothing is")),
            (true, false) | (false, true) => {}
        }
        let channel = connection.connect(&io.environment).await?;
        let mut client = HsmClient::new(channel).max_decoding_message_size(MAX_MESSAGE_LEN);
        if !destroy {
            let listed = client.list_unreferenced_keys(ListUnreferencedKeysRequest {}).await?.into_inner();
            return match output.output {
                Format::Json => io.json(&listed),
                Format::Pretty => io.out(&list(&listed)),
            };
        }
        let request = DestroyUnreferencedKeysRequest { ids };
        let outcome = client.destroy_unreferenced_keys(request).await?.into_inner();
        if let Format::Json = output.output {
            io.json(&outcome)?;
        }
        report(&outcome.results, output.output, io)
    }
}

fn list(listed: &ListUnreferencedKeysResponse) -> String {
    let ListUnreferencedKeysResponse { key_manager, keys } = listed;
    let key_manager = printable(key_manager);
    if keys.is_empty() {
        return format!("A journal refers to every key of this server in {key_manager}\n");
    }
    let blocks = keys.iter().map(block).collect::<Vec<_>>().join("\n");
    format!("Keys in {key_manager} that no journal refers to: {}\n\n{blocks}", keys.len())
}

fn block(key: &UnreferencedKey) -> String {
    let UnreferencedKey { id, label, key_type, spki_sha256, made_at, state } = key;
    let made = if *made_at == 0 { "not known".to_owned() } else { utc(*made_at) };
    let lines = [
        ("ID", id),
        ("State", state),
        ("Label", label),
        ("Key type", key_type),
        ("SPKI SHA-256", spki_sha256),
        ("Made", &made),
    ];
    lines.iter().map(|(label, value)| format!("{label:<13}: {}\n", printable(value))).collect()
}

/// One line for each key; a failure's exit code is that of the first.
fn report(results: &[DestroyResult], format: Format, io: &mut Io<'_>) -> Result<(), CliError> {
    let mut first_failure = Code::Ok;
    for DestroyResult { id, status } in results {
        let status = status.clone().unwrap_or_default();
        let code = Code::from(status.code);
        let id = printable(id);
        if code == Code::Ok {
            if let Format::Pretty = format {
                io.out(&format!("Destroyed key {id}\n"))?;
            }
            continue;
        }
        if first_failure == Code::Ok {
            first_failure = code;
        }
        let (name, message) = (code_name(code), printable(&status.message));
        io.err(&format!("Failed to destroy key {id} (code: {name}, msg: \"{message}\")\n"))?;
    }
    match first_failure {
        Code::Ok => Ok(()),
        code => Err(CliError::Items { what: "failed to destroy one or more keys", code }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_what_is_known_and_escapes_what_others_wrote() {
        let key = UnreferencedKey {
            id: "a1b2".into(),
            label: "x509-CA-A\u{1b}[2J".into(),
            key_type: "ec-p256".into(),
            spki_sha256: "00ff".into(),
            made_at: 1_767_366_245,
            state: "orphan".into(),
        };
        let old = UnreferencedKey { made_at: 0, label: "x509-CA-B".into(), ..key.clone() };
        let listed = ListUnreferencedKeysResponse { key_manager: "pkcs11 token".into(), keys: vec![old, key] };
        let text = list(&listed);
        assert!(
            text.starts_with("Keys in pkcs11 token that no journal refers to: 2\n\nID           : a1b2\n"),
            "{text}"
        );
        assert!(text.contains("Made         : not known\n\nID"), "{text}");
        assert!(
            text.contains("Label        : x509-CA-A\\u{1b}[2J\n") && text.contains("2026-01-02 15:04:05"),
            "{text}"
        );
        let none = ListUnreferencedKeysResponse { keys: Vec::new(), ..listed };
        assert_eq!(list(&none), "A journal refers to every key of this server in pkcs11 token\n");
    }
}
