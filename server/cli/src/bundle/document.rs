//! Bundles between the wire, PEM and JWK sets.

use plastron_proto::types;
use plastron_spiffe::{Bundle, BundleError, JwtAuthority, TrustDomain, X509Authority};

use crate::CliError;
use crate::output::printable;

/// Longest file of a bundle that is read, in bytes; one byte more shows that it is longer than the parsers take.
pub(crate) const MAX_FILE_LEN: u64 = 1024 * 1024 + 1;

const STARS: &str = "****************************************";

/// The form of a bundle outside of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BundleFormat {
    /// The X.509 authorities as PEM.
    Pem,
    /// The JWK set of SPIFFE_Trust_Domain_and_Bundle.md.
    Spiffe,
}

/// One bundle for people.
pub(super) fn text(bundle: types::Bundle, format: BundleFormat) -> Result<String, CliError> {
    let bundle = from_proto(bundle)?;
    match format {
        BundleFormat::Pem => Ok(bundle.to_pem()),
        BundleFormat::Spiffe => {
            let document = bundle.to_spiffe_json();
            Ok(document.map_err(|error| CliError::Malformed { reason: error.to_string() })? + "\n")
        }
    }
}

/// Bundles for people, each under the name of its trust domain.
pub(super) fn list(bundles: Vec<types::Bundle>, format: BundleFormat) -> Result<String, CliError> {
    let mut parts = Vec::with_capacity(bundles.len());
    for bundle in bundles {
        let name = printable(&bundle.trust_domain);
        parts.push(format!("{STARS}\n* {name}\n{STARS}\n{}", text(bundle, format)?));
    }
    Ok(parts.join("\n"))
}

/// A bundle as the API takes it. `trust_domain` is what the user wrote: a name or an ID.
pub(crate) fn parse(bytes: &[u8], format: BundleFormat, trust_domain: &str) -> Result<types::Bundle, ParseError> {
    let parsed = TrustDomain::parse(trust_domain).map_err(|source| {
        let text = trust_domain.to_owned();
        ParseError::TrustDomain(CliError::SpiffeId { what: "trust domain", text, source })
    })?;
    match format {
        BundleFormat::Pem => {
            let bundle = into_proto(Bundle::from_pem(parsed, bytes).map_err(ParseError::Bundle)?);
            // SPIRE hands on what the user wrote.
            Ok(types::Bundle { trust_domain: trust_domain.to_owned(), ..bundle })
        }
        BundleFormat::Spiffe => Ok(into_proto(Bundle::from_spiffe_json(parsed, bytes).map_err(ParseError::Bundle)?)),
    }
}

/// Why a bundle is none.
pub(crate) enum ParseError {
    /// There is no such trust domain.
    TrustDomain(CliError),
    /// The bytes are no bundle.
    Bundle(BundleError),
}

impl ParseError {
    /// The error of a command that read `path`.
    pub(crate) fn of(self, path: &str) -> CliError {
        match self {
            Self::TrustDomain(error) => error,
            Self::Bundle(source) => CliError::Bundle { path: path.to_owned(), source },
        }
    }
}

fn into_proto(bundle: Bundle) -> types::Bundle {
    let Bundle { trust_domain, x509_authorities, jwt_authorities, refresh_hint, sequence_number } = bundle;
    let x509 =
        |authority: X509Authority| types::X509Certificate { asn1: authority.certificate, tainted: authority.tainted };
    let jwt = |authority: JwtAuthority| types::JwtKey {
        public_key: authority.public_key,
        key_id: authority.key_id,
        expires_at: authority.expires_at,
        tainted: authority.tainted,
    };
    types::Bundle {
        trust_domain: trust_domain.as_str().to_owned(),
        x509_authorities: x509_authorities.into_iter().map(x509).collect(),
        jwt_authorities: jwt_authorities.into_iter().map(jwt).collect(),
        refresh_hint,
        sequence_number,
        ..types::Bundle::default()
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
