//! A federation relationship in flags, or any number of them in a file of SPIRE's JSON:
//! `{"federationRelationships": [{"trustDomain": "…", "bundleEndpointURL": "https://…", "bundleEndpointProfile": "https_web", …}]}`.

use plastron_proto::types::federation_relationship::BundleEndpointProfile;
use plastron_proto::types::{Bundle, FederationRelationship, HttpsWebProfile, HttpsspiffeProfile};
use plastron_spiffe::SpiffeId;
use serde::Deserialize;
use serde_json::Value;

use crate::bundle::{BundleFormat, MAX_FILE_LEN, parse};
use crate::{CliError, Io};

/// A file of relationships, each with a bundle.
const MAX_DATA_LEN: u64 = 256 * 1024 * 1024;

/// One relationship in flags, or a file.
#[derive(Debug, clap::Args)]
pub(super) struct RelationshipArgs {
    /// Path to a file containing federation relationships in JSON format (optional). If set to '-', read the JSON from stdin
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    data: String,
    /// Name of the trust domain to federate with (e.g., example.org)
    #[arg(long = "trustDomain", default_value = "")]
    trust_domain: String,
    /// URL of the SPIFFE bundle endpoint that provides the trust bundle (must use the HTTPS protocol)
    #[arg(long = "bundleEndpointURL", default_value = "")]
    bundle_endpoint_url: String,
    /// Endpoint profile type (either "https_web" or "https_spiffe")
    #[arg(long = "bundleEndpointProfile", default_value = "")]
    bundle_endpoint_profile: String,
    /// SPIFFE ID of the SPIFFE bundle endpoint server. Only used for 'https_spiffe' profile
    #[arg(long = "endpointSpiffeID", default_value = "")]
    endpoint_spiffe_id: String,
    /// Path to the trust domain bundle data (optional)
    #[arg(long = "trustDomainBundlePath", default_value = "")]
    trust_domain_bundle_path: String,
    /// The format of the bundle data (optional)
    #[arg(long = "trustDomainBundleFormat", value_enum, ignore_case = true, default_value = "pem")]
    trust_domain_bundle_format: BundleFormat,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "federationRelationships", default)]
    federation_relationships: Vec<FileRelationship>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FileRelationship {
    trust_domain: String,
    #[serde(rename = "bundleEndpointURL")]
    bundle_endpoint_url: String,
    bundle_endpoint_profile: String,
    #[serde(rename = "endpointSPIFFEID")]
    endpoint_spiffe_id: String,
    trust_domain_bundle: Option<Value>,
    trust_domain_bundle_format: String,
}

impl RelationshipArgs {
    /// The relationships, in order.
    pub(super) fn read(&self, io: &mut Io<'_>) -> Result<Vec<FederationRelationship>, CliError> {
        if self.data.is_empty() {
            return self.one(io).map(|one| vec![one]);
        }
        if !self.only_data() {
            return Err(CliError::Usage(
                "cannot use other flags to specify relationship fields when 'data' flag is set",
            ));
        }
        let bytes = io.read(&self.data, MAX_DATA_LEN)?;
        let file: File =
            serde_json::from_slice(&bytes).map_err(|source| CliError::Json { path: self.data.clone(), source })?;
        let parsed = file.federation_relationships.into_iter().enumerate().map(|(index, item)| {
            item.into_proto(&self.data)
                .map_err(|error| CliError::Value(format!("could not parse item {index}: {}", crate::describe(&error))))
        });
        parsed.collect()
    }

    fn only_data(&self) -> bool {
        let Self {
            data: _,
            trust_domain,
            bundle_endpoint_url,
            bundle_endpoint_profile,
            endpoint_spiffe_id,
            trust_domain_bundle_path,
            trust_domain_bundle_format,
        } = self;
        [trust_domain, bundle_endpoint_url, bundle_endpoint_profile, endpoint_spiffe_id, trust_domain_bundle_path]
            .iter()
            .all(|text| text.is_empty())
            && *trust_domain_bundle_format == BundleFormat::Pem
    }

    fn one(&self, io: &mut Io<'_>) -> Result<FederationRelationship, CliError> {
        let (mut relationship, bundle_of) = relationship(
            &self.trust_domain,
            &self.bundle_endpoint_url,
            &self.bundle_endpoint_profile,
            &self.endpoint_spiffe_id,
        )?;
        let path = &self.trust_domain_bundle_path;
        if !path.is_empty() {
            let bytes = io.read(path, MAX_FILE_LEN)?;
            let format = self.trust_domain_bundle_format;
            relationship.trust_domain_bundle = Some(parse(&bytes, format, &bundle_of).map_err(|error| error.of(path))?);
        }
        Ok(relationship)
    }
}

impl FileRelationship {
    fn into_proto(self, path: &str) -> Result<FederationRelationship, CliError> {
        let (mut relationship, bundle_of) = relationship(
            &self.trust_domain,
            &self.bundle_endpoint_url,
            &self.bundle_endpoint_profile,
            &self.endpoint_spiffe_id,
        )?;
        relationship.trust_domain_bundle = self
            .trust_domain_bundle
            .as_ref()
            .map(|value| bundle(value, &self.trust_domain_bundle_format, &bundle_of, path))
            .transpose()?;
        Ok(relationship)
    }
}

/// The bundle inside a file: a text of PEM, or a JWK set.
fn bundle(value: &Value, format: &str, trust_domain: &str, path: &str) -> Result<Bundle, CliError> {
    let parsed = match format {
        "pem" => match value {
            Value::String(pem) => parse(pem.as_bytes(), BundleFormat::Pem, trust_domain),
            _ => return Err(CliError::Usage("a trustDomainBundle of the format pem is a text")),
        },
        "spiffe" => parse(value.to_string().as_bytes(), BundleFormat::Spiffe, trust_domain),
        _ => return Err(CliError::Value(format!("bundle format {format:?} is unsupported"))),
    };
    parsed.map_err(|error| error.of(path))
}

/// The relationship without its bundle, and the trust domain whose bundle goes with it: the endpoint's own, since that is what the
/// endpoint is verified with.
fn relationship(
    trust_domain: &str,
    url: &str,
    profile: &str,
    endpoint_id: &str,
) -> Result<(FederationRelationship, String), CliError> {
    if trust_domain.is_empty() {
        return Err(CliError::Usage("trust domain is required"));
    }
    if url.is_empty() {
        return Err(CliError::Usage("bundle endpoint URL is required"));
    }
    let (profile, bundle_of) = match profile {
        "https_web" => (BundleEndpointProfile::HttpsWeb(HttpsWebProfile {}), trust_domain.to_owned()),
        "https_spiffe" => {
            if endpoint_id.is_empty() {
                return Err(CliError::Usage(
                    "endpoint SPIFFE ID is required if 'https_spiffe' endpoint profile is set",
                ));
            }
            let id = SpiffeId::parse(endpoint_id).map_err(|source| CliError::SpiffeId {
                what: "bundle endpoint SPIFFE ID",
                text: endpoint_id.to_owned(),
                source,
            })?;
            let profile = HttpsspiffeProfile { endpoint_spiffe_id: endpoint_id.to_owned() };
            (BundleEndpointProfile::HttpsSpiffe(profile), id.trust_domain().as_str().to_owned())
        }
        _ => return Err(CliError::Value(format!("unknown bundle endpoint profile type: {profile:?}"))),
    };
    let relationship = FederationRelationship {
        trust_domain: trust_domain.to_owned(),
        bundle_endpoint_url: url.to_owned(),
        bundle_endpoint_profile: Some(profile),
        trust_domain_bundle: None,
    };
    Ok((relationship, bundle_of))
}
