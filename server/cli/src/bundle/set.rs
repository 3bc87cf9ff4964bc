//! `bundle set`: a foreign trust domain's bundle out of a file or standard input.

use plastron_proto::spire::api::server::bundle::v1::BatchSetFederatedBundleRequest;

use super::{BundleFormat, MAX_FILE_LEN, client, parse};
use crate::error::failed;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Flags of `bundle set`.
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// SPIFFE ID of the trust domain
    #[arg(long, default_value = "")]
    id: String,
    /// Path to the bundle data; standard input where it is not given
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    path: String,
    /// The format of the bundle data
    #[arg(long, value_enum, ignore_case = true, default_value = "pem")]
    format: BundleFormat,
}

impl SetArgs {
    pub(super) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        if self.id.is_empty() {
            return Err(CliError::Usage("id flag is required"));
        }
        let path = if self.path.is_empty() { "-" } else { &self.path };
        let bytes = io.read(path, MAX_FILE_LEN)?;
        let bundle = parse(&bytes, self.format, &self.id).map_err(|error| error.of(path))?;
        let setting = "failed to set federated bundle";
        let request = BatchSetFederatedBundleRequest { bundle: vec![bundle], output_mask: None };
        let mut client = client(&self.connection, io).await?;
        let answer = client.batch_set_federated_bundle(request).await.map_err(failed(setting))?.into_inner();
        if let Format::Json = self.output.output {
            return io.json(&answer);
        }
        let result =
            answer.results.into_iter().next().ok_or_else(|| CliError::Malformed { reason: "no result".into() })?;
        match result.status {
            Some(status) if status.code == 0 => io.out("bundle set.\n"),
            status => Err(CliError::item(setting.to_owned(), status)),
        }
    }
}
