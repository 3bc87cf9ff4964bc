//! `federation { … }`: where this server shows its bundle, and whose bundles it fetches.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use plastron_hcl1::{ConfigError, Located};
use plastron_server_cli::go_duration_or_zero;
use plastron_server_federation::{CertificateFiles, CertificateFilesError};
use plastron_spiffe::{
    BundleEndpointUrl, EndpointProfile, EndpointUrlError, FederationRelationship, SpiffeId, SpiffeIdError, TrustDomain,
};

use super::raw::federation::{
    RawAcme, RawBundleEndpoint, RawFederatesWith, RawFederation, RawFetchingProfile, RawServingCertFile,
    RawServingProfile,
};

const DEFAULT_REFRESH_HINT: Duration = Duration::from_secs(5 * 60);
/// What peers make of a shorter one.
const LEAST_REFRESH_HINT: Duration = Duration::from_secs(60);
/// From here on an unscheduled change takes long to arrive.
const HIGH_REFRESH_HINT: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(3600);
/// Files are not looked at more often.
const LEAST_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// What the server does about other trust domains.
#[derive(Debug, Default)]
pub(crate) struct FederationSettings {
    pub(crate) endpoint: Option<EndpointSettings>,
    pub(crate) federates_with: Vec<FederationRelationship>,
}

/// Where it shows its bundle.
#[derive(Debug)]
pub(crate) struct EndpointSettings {
    /// `None` for all addresses.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) refresh_hint: Duration,
    pub(crate) presents: Presents,
}

/// What the endpoint is authenticated by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Presents {
    /// `https_spiffe`.
    Svid,
    /// `https_web`.
    Files(CertificateFiles),
}

impl FederationSettings {
    /// Whether what the configuration points to can be used.
    pub(crate) fn check(&self) -> Result<(), CertificateFilesError> {
        match &self.endpoint {
            Some(EndpointSettings { presents: Presents::Files(files), .. }) => files.clone().open().map(drop),
            _ => Ok(()),
        }
    }
}

/// Reads the block. `own` is the server's trust domain, which federates with no one by that name.
pub(super) fn read(
    raw: Option<Located<RawFederation>>,
    own: &TrustDomain,
    warnings: &mut Vec<String>,
) -> Result<FederationSettings, ConfigError> {
    let Some(Located { value: RawFederation { bundle_endpoint, federates_with }, .. }) = raw else {
        return Ok(FederationSettings::default());
    };
    let endpoint = bundle_endpoint.map(|raw| endpoint(raw, warnings)).transpose()?;
    let mut relationships = BTreeMap::new();
    for (key, raw) in federates_with {
        let relationship = relationship(&key, &raw, own)?;
        let trust_domain = relationship.trust_domain.clone();
        if relationships.insert(trust_domain, relationship).is_some() {
            return Err(raw.refuse("the trust domain is named twice: once by its name and once by its SPIFFE ID"));
        }
    }
    Ok(FederationSettings { endpoint, federates_with: relationships.into_values().collect() })
}

fn endpoint(raw: Located<RawBundleEndpoint>, warnings: &mut Vec<String>) -> Result<EndpointSettings, ConfigError> {
    let Located { value: RawBundleEndpoint { address, port, refresh_hint, acme, profile }, place } = raw;
    no_acme(acme.as_ref())?;
    let address = address.filter(|address| !address.value.is_empty());
    let read_address = |address: Located<String>| {
        address.parse::<IpAddr>().map_err(|_invalid| address.refuse("an IP address is expected"))
    };
    let refresh_hint = match refresh_hint {
        Some(hint) => {
            let (hint, place) = (duration(&hint)?, hint.place);
            if hint >= HIGH_REFRESH_HINT {
                warnings.push(format!(
                    "{place}: Bundle endpoint refresh hint set to a high value. To cover the case of unscheduled trust bundle \
                     updates, it's recommended to have a smaller value, e.g. 5m"
                ));
            }
            if hint < LEAST_REFRESH_HINT {
                warnings.push(format!(
                    "{place}: Bundle endpoint refresh hint set too low. Peers will not refresh more often than 1 minute"
                ));
            }
            hint
        }
        None => DEFAULT_REFRESH_HINT,
    };
    if port.is_none() {
        warnings.push(format!("{place}: Bundle endpoint has no port: any free one is used"));
    }
    let presents = match profile {
        Some(profile) => presents(profile)?,
        None => {
            warnings.push(format!(
                "{place}: Bundle endpoint is configured but has no profile set, using https_spiffe as default; please \
                 configure a profile explicitly. This will be fatal in a future release."
            ));
            Presents::Svid
        }
    };
    Ok(EndpointSettings {
        address: address.map(read_address).transpose()?,
        port: port.map_or(0, |port| port.value),
        refresh_hint,
        presents,
    })
}

fn presents(profile: Located<RawServingProfile>) -> Result<Presents, ConfigError> {
    let Located { value: RawServingProfile { https_spiffe, https_web }, place } = profile;
    match (https_spiffe, https_web) {
        (Some(_), None) => Ok(Presents::Svid),
        (None, Some(web)) => {
            no_acme(web.acme.as_ref())?;
            let Located { value: web, place } = web;
            let files = web.serving_cert_file.ok_or_else(|| {
                place.refuse("malformed https_web profile configuration: 'acme' or 'serving_cert_file' is required")
            })?;
            certificate_files(files).map(Presents::Files)
        }
        (Some(_), Some(_)) => Err(place.refuse("exactly one bundle endpoint profile is expected")),
        (None, None) => Err(place.refuse(
            "unknown bundle endpoint profile configured; current supported profiles are \"https_spiffe\" and \"https_web\"",
        )),
    }
}

fn certificate_files(raw: Located<RawServingCertFile>) -> Result<CertificateFiles, ConfigError> {
    let Located { value: RawServingCertFile { cert_file_path, key_file_path, file_sync_interval }, place } = raw;
    let must = |name: &str| place.refuse(format_args!("{name} must be configured"));
    let interval = match file_sync_interval.filter(|text| !text.value.is_empty()) {
        Some(text) => duration(&text)?,
        None => Duration::ZERO,
    };
    Ok(CertificateFiles {
        certificate: cert_file_path.ok_or_else(|| must("cert_file_path"))?.value,
        key: key_file_path.ok_or_else(|| must("key_file_path"))?.value,
        interval: if interval.is_zero() { DEFAULT_SYNC_INTERVAL } else { interval.max(LEAST_SYNC_INTERVAL) },
    })
}

fn no_acme(acme: Option<&Located<RawAcme>>) -> Result<(), ConfigError> {
    acme.map_or(Ok(()), |acme| {
        Err(acme.refuse(
            "this server has no ACME yet: let an ACME client write files, and configure serving_cert_file in profile \
             \"https_web\", or use profile \"https_spiffe\"",
        ))
    })
}

fn relationship(
    key: &str,
    raw: &Located<RawFederatesWith>,
    own: &TrustDomain,
) -> Result<FederationRelationship, ConfigError> {
    let trust_domain = trust_domain(key).map_err(|error| raw.refuse(error))?;
    if trust_domain == *own {
        return Err(raw.refuse("this is the server's own trust domain: nobody else says whom it trusts"));
    }
    let RawFederatesWith { bundle_endpoint_url, bundle_endpoint_profile } = &raw.value;
    let url = bundle_endpoint_url.as_ref().ok_or_else(|| raw.refuse("bundle_endpoint_url must be configured"))?;
    let bundle_endpoint_url = BundleEndpointUrl::parse(url).map_err(|error| match error {
        EndpointUrlError::Scheme => url.refuse(format_args!("must use the HTTPS protocol; URL found: {:?}", url.value)),
        error => url.refuse(error),
    })?;
    let profile =
        bundle_endpoint_profile.as_ref().ok_or_else(|| raw.refuse("missing bundle endpoint configuration"))?;
    Ok(FederationRelationship { trust_domain, bundle_endpoint_url, profile: fetching(profile)? })
}

/// A name, or a SPIFFE ID in it.
fn trust_domain(key: &str) -> Result<TrustDomain, SpiffeIdError> {
    if key.contains("://") { SpiffeId::parse(key).map(|id| id.trust_domain().clone()) } else { TrustDomain::parse(key) }
}

fn fetching(profile: &Located<RawFetchingProfile>) -> Result<EndpointProfile, ConfigError> {
    let RawFetchingProfile { https_spiffe, https_web } = &profile.value;
    match (https_spiffe, https_web) {
        (None, Some(_)) => Ok(EndpointProfile::HttpsWeb),
        (Some(spiffe), None) => {
            let id = spiffe.endpoint_spiffe_id.as_ref();
            let id = id.ok_or_else(|| spiffe.refuse("endpoint_spiffe_id must be configured"))?;
            let could_not = |error| id.refuse(format_args!("could not get endpoint SPIFFE ID: {error}"));
            Ok(EndpointProfile::HttpsSpiffe { id: SpiffeId::parse(id).map_err(could_not)? })
        }
        (Some(_), Some(_)) => Err(profile.refuse("exactly one bundle endpoint profile is expected")),
        (None, None) => Err(profile.refuse(
            "no bundle endpoint profile defined; current supported profiles are \"https_spiffe\" and \"https_web\"",
        )),
    }
}

fn duration(text: &Located<String>) -> Result<Duration, ConfigError> {
    go_duration_or_zero(text).map_err(|error| text.refuse(error))
}

#[cfg(test)]
mod tests;
