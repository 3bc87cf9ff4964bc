//! `x509 mint`: a new P-256 key, and an SVID for it.

mod csr;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::svid::v1::MintX509svidRequest;
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_spiffe::SpiffeId;
use serde::Serialize;
use zeroize::Zeroizing;

use self::csr::NewKey;
use crate::arguments::{Ttl, ttl};
use crate::error::failed;
use crate::files::{PRIVATE, PUBLIC, certificates, pem, replace};
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Verbs of `x509`.
#[derive(Debug, clap::Subcommand)]
pub enum X509Command {
    /// Mints an X509-SVID
    Mint(MintArgs),
}

/// Flags of `x509 mint`.
#[derive(Debug, clap::Args)]
pub struct MintArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// SPIFFE ID of the X509-SVID
    #[arg(long = "spiffeID")]
    spiffe_id: Option<String>,
    /// TTL of the X509-SVID
    #[arg(long, default_value = "0s", value_parser = ttl)]
    ttl: Ttl,
    /// DNS name that will be included in SVID. Can be used more than once.
    #[arg(long)]
    dns: Vec<String>,
    /// Directory to write output to instead of stdout
    #[arg(long)]
    write: Option<PathBuf>,
}

/// What was minted, with its key.
struct Minted {
    chain: Vec<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    roots: Vec<Vec<u8>>,
}

/// SPIRE's JSON: base64 in every member.
#[derive(Serialize)]
struct MintedJson<'a> {
    x509_svid: Vec<String>,
    private_key: &'a str,
    root_cas: Vec<String>,
}

impl X509Command {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let Self::Mint(MintArgs { connection, output, spiffe_id, ttl, dns, write }) = self;
        let text = spiffe_id.filter(|text| !text.is_empty()).ok_or(CliError::Usage("spiffeID must be specified"))?;
        let id = SpiffeId::parse(&text).map_err(|source| CliError::SpiffeId { what: "SPIFFE ID", text, source })?;
        let key = NewKey::generate()?;
        let request = MintX509svidRequest { csr: key.sign_csr(&id, &dns)?, ttl: ttl.0 };
        let channel = connection.connect(&io.environment).await?;
        let asked_at = unix_now();
        let malformed = |reason: &str| CliError::Malformed { reason: reason.to_owned() };
        let answer = SvidClient::new(channel.clone()).mint_x509svid(request).await;
        let answer = answer.map_err(failed("unable to mint SVID"))?.into_inner();
        let svid =
            answer.svid.filter(|svid| !svid.cert_chain.is_empty()).ok_or_else(|| malformed("it has no certificate"))?;
        let bundle = BundleClient::new(channel).get_bundle(GetBundleRequest { output_mask: None }).await;
        let bundle = bundle.map_err(failed("unable to get bundle"))?.into_inner();
        if bundle.x509_authorities.is_empty() {
            return Err(malformed("it has no X.509 authorities"));
        }
        if svid.expires_at.saturating_sub(asked_at) < i64::from(ttl.0) {
            let expires = crate::output::rfc3339(svid.expires_at);
            io.err(&format!("X509-SVID lifetime was capped shorter than specified ttl; expires \"{expires}\"\n"))?;
        }
        let roots = bundle.x509_authorities.into_iter().map(|authority| authority.asn1).collect();
        let minted = Minted { chain: svid.cert_chain, key: key.to_pkcs8()?, roots };
        match (write, output.output) {
            (Some(directory), _) => minted.write(&directory, io),
            (None, Format::Json) => minted.print_json(io),
            (None, Format::Pretty) => minted.print(io),
        }
    }
}

impl Minted {
    fn print(&self, io: &mut Io<'_>) -> Result<(), CliError> {
        io.out(&format!("X509-SVID:\n{}\n", certificates(&self.chain)))?;
        io.out(&Zeroizing::new(format!("Private key:\n{}\n", *pem("PRIVATE KEY", &self.key))))?;
        io.out(&format!("Root CAs:\n{}\n", certificates(&self.roots)))
    }

    fn print_json(&self, io: &mut Io<'_>) -> Result<(), CliError> {
        let base64 = |ders: &[Vec<u8>]| ders.iter().map(|der| STANDARD.encode(der)).collect();
        let private_key = Zeroizing::new(STANDARD.encode(&*self.key));
        let json =
            MintedJson { x509_svid: base64(&self.chain), private_key: &private_key, root_cas: base64(&self.roots) };
        let text = serde_json::to_string(&json).map_err(|error| CliError::Malformed { reason: error.to_string() })?;
        io.out(&Zeroizing::new(format!("{}\n", *Zeroizing::new(text))))
    }

    fn write(&self, directory: &Path, io: &mut Io<'_>) -> Result<(), CliError> {
        let path = directory.join("svid.pem");
        replace(&path, PUBLIC, certificates(&self.chain).as_bytes())?;
        io.out(&format!("X509-SVID written to {}\n", path.display()))?;
        let path = directory.join("key.pem");
        replace(&path, PRIVATE, pem("PRIVATE KEY", &self.key).as_bytes())?;
        io.out(&format!("Private key written to {}\n", path.display()))?;
        let path = directory.join("bundle.pem");
        replace(&path, PUBLIC, certificates(&self.roots).as_bytes())?;
        io.out(&format!("Root CAs written to {}\n", path.display()))
    }
}

/// The server is on this machine, so its clock is this one.
fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
