//! `bundle show`

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::types::Bundle;

use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Characters on a line of PEM (RFC 7468, section 2).
const PEM_LINE: usize = 64;

/// Verbs of `bundle`.
#[derive(Debug, clap::Subcommand)]
pub enum BundleCommand {
    /// Print the server's CA bundle to stdout
    Show(ShowArgs),
}

/// The form of the bundle in the pretty output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum BundleFormat {
    /// The X.509 authorities as PEM.
    Pem,
    /// The JWK set of SPIFFE_Trust_Domain_and_Bundle.md.
    Spiffe,
}

/// Flags of `bundle show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The format to show the bundle (only pretty output format supports this flag)
    #[arg(long, value_enum, ignore_case = true, default_value = "pem")]
    format: BundleFormat,
}

impl BundleCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let Self::Show(args) = self;
        let channel = args.connection.connect(&io.environment).await?;
        let request = GetBundleRequest { output_mask: None };
        let bundle = BundleClient::new(channel).get_bundle(request).await?.into_inner();
        match (args.output.output, args.format) {
            (Format::Json, _) => io.json(&bundle),
            (Format::Pretty, BundleFormat::Pem) => io.out(&pem(&bundle)),
            (Format::Pretty, BundleFormat::Spiffe) => io.out(&jwk_set(&bundle)?),
        }
    }
}

fn pem(bundle: &Bundle) -> String {
    let mut text = String::new();
    for authority in &bundle.x509_authorities {
        text += "-----BEGIN CERTIFICATE-----\n";
        let mut encoded = STANDARD.encode(&authority.asn1);
        while encoded.len() > PEM_LINE {
            let rest = encoded.split_off(PEM_LINE);
            let _ = writeln!(text, "{encoded}");
            encoded = rest;
        }
        let _ = writeln!(text, "{encoded}\n-----END CERTIFICATE-----");
    }
    text
}

fn jwk_set(_bundle: &Bundle) -> Result<String, CliError> {
    Err(CliError::Usage("not yet"))
}
