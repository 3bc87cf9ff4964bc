//! `bundle show`

use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::types;
use plastron_spiffe::{Bundle, JwtAuthority, TrustDomain, X509Authority};
use serde::Serialize as _;
use serde_json::ser::PrettyFormatter;

use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

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
            (Format::Pretty, BundleFormat::Pem) => io.out(&from_proto(bundle)?.to_pem()),
            (Format::Pretty, BundleFormat::Spiffe) => io.out(&jwk_set(&from_proto(bundle)?)?),
        }
    }
}

fn from_proto(bundle: types::Bundle) -> Result<Bundle, CliError> {
    let malformed = |reason: String| CliError::Malformed { reason };
    let trust_domain = TrustDomain::parse(&bundle.trust_domain).map_err(|error| malformed(error.to_string()))?;
    let x509 =
        |authority: types::X509Certificate| X509Authority { certificate: authority.asn1, tainted: authority.tainted };
    let jwt = |key: types::JwtKey| JwtAuthority {
        key_id: key.key_id,
        public_key: key.public_key,
        expires_at: key.expires_at,
        tainted: key.tainted,
    };
    Ok(Bundle {
        trust_domain,
        x509_authorities: bundle.x509_authorities.into_iter().map(x509).collect(),
        jwt_authorities: bundle.jwt_authorities.into_iter().map(jwt).collect(),
        refresh_hint: bundle.refresh_hint,
        sequence_number: bundle.sequence_number,
    })
}

/// The JWK set, indented as SPIRE indents it.
fn jwk_set(bundle: &Bundle) -> Result<String, CliError> {
    let malformed = |error: &dyn std::error::Error| CliError::Malformed { reason: error.to_string() };
    let document = bundle.to_spiffe_json().map_err(|error| malformed(&error))?;
    let value: serde_json::Value = serde_json::from_str(&document).map_err(|error| malformed(&error))?;
    let mut text = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    value.serialize(&mut writer).map_err(|error| malformed(&error))?;
    text.push(b'\n');
    String::from_utf8(text).map_err(|error| malformed(&error))
}
