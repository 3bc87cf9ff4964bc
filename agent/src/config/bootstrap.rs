//! Whom an agent believes before its server tells it (`trust_bundle_*`), and whether that counts again later (`rebootstrap_*`). SPIRE's keys,
//! rules and words.

use std::path::PathBuf;

use plastron_agent_bootstrap::{BundleFormat, Endpoint, LocalUrl, Source};
use plastron_agent_core::{DEFAULT_REBOOTSTRAP_DELAY, Rebootstrap, RebootstrapMode};
use plastron_hcl1::Located;
use plastron_spiffe::{BundleEndpointUrl, EndpointUrlError};

use super::raw::RawAgent;
use super::{Chosen, ConfigProblem, missing};
use crate::arguments::Overrides;

/// An agent that believes whoever answers can be given to an attacker at its first start, and stays his.
const NO_INSECURE_BOOTSTRAP: &str = "is not supported: copy the server's bundle to this machine (plastron-server bundle show) and set trust_bundle_path";

const NOT_BOTH: &str =
    "only one of trust_bundle_path, trust_bundle_url or trust_bundle_spiffe_workload_api can be specified";

/// Exactly one source.
pub(super) fn source(raw: &RawAgent, flags: &Overrides) -> Result<Source, ConfigProblem> {
    if let Some(insecure) = raw.insecure_bootstrap.as_ref().filter(|insecure| insecure.value) {
        return Err(insecure.refuse(NO_INSECURE_BOOTSTRAP).into());
    }
    if flags.insecure_bootstrap {
        return Err(ConfigProblem::Flag { flag: "insecureBootstrap", problem: NO_INSECURE_BOOTSTRAP.to_owned() });
    }
    let format = Chosen::of("trustBundleFormat", flags.trust_bundle_format.as_ref(), raw.trust_bundle_format.clone());
    let format = format.map(|format| format.parse(|name| self::format(name))).transpose()?.unwrap_or_default();
    let path = Chosen::of("trustBundle", flags.trust_bundle.as_ref(), raw.trust_bundle_path.clone());
    let url = Chosen::of("trustBundleUrl", flags.trust_bundle_url.as_ref(), raw.trust_bundle_url.clone());
    let (socket, workload_api) = (&raw.trust_bundle_unix_socket, &raw.trust_bundle_spiffe_workload_api);
    if let Some(socket) = socket.as_ref().filter(|_| workload_api.is_some()) {
        return Err(socket.refuse("can't be used with trust_bundle_spiffe_workload_api").into());
    }
    if let Some(socket) = socket.as_ref().filter(|_| url.is_none()) {
        return Err(socket.refuse("if trust_bundle_unix_socket is specified, so must be trust_bundle_url").into());
    }
    match (path, url, workload_api) {
        (Some(path), None, None) => Ok(Source::File { path: path.value, format }),
        (None, Some(url), None) => self::url(url, socket.as_ref(), format),
        (None, None, Some(endpoint)) => {
            let endpoint = plastron_agent_cli::Endpoint::parse(&endpoint.value).map_err(|problem| {
                endpoint.refuse(format_args!("is not a valid SPIFFE Workload API endpoint address: {problem}"))
            })?;
            Ok(Source::WorkloadApi(match endpoint {
                plastron_agent_cli::Endpoint::Unix(path) => Endpoint::Unix(path),
                plastron_agent_cli::Endpoint::Tcp(address) => Endpoint::Tcp(address),
            }))
        }
        (None, None, None) => Err(missing(
            "trust_bundle_path",
            ": copy the server's bundle to this machine (plastron-server bundle show), or set trust_bundle_url or \
             trust_bundle_spiffe_workload_api",
        )),
        (_, _, Some(endpoint)) => Err(endpoint.refuse(NOT_BOTH).into()),
        (Some(_), Some(url), None) => url.parse(|_| Err::<Source, _>(NOT_BOTH)),
    }
}

fn url(url: Chosen<String>, socket: Option<&Located<PathBuf>>, format: BundleFormat) -> Result<Source, ConfigProblem> {
    match socket {
        Some(socket) => {
            let url = url.parse(|text| LocalUrl::parse(text))?;
            Ok(Source::Local { socket: socket.value.clone(), url, format })
        }
        None => {
            let url = url.parse(|text| {
                BundleEndpointUrl::parse(text).map_err(|problem| match problem {
                    EndpointUrlError::Scheme => {
                        "trust bundle URL must start with https://; http:// needs trust_bundle_unix_socket".to_owned()
                    }
                    other => other.to_string(),
                })
            })?;
            Ok(Source::Url { url, format })
        }
    }
}

/// When the source counts again.
pub(super) fn again(raw: &RawAgent, flags: &Overrides) -> Result<Rebootstrap, ConfigProblem> {
    let mode = Chosen::of("rebootstrapMode", flags.rebootstrap_mode.as_ref(), raw.rebootstrap_mode.clone());
    let delay = Chosen::of("rebootstrapDelay", flags.rebootstrap_delay.as_ref(), raw.rebootstrap_delay.clone());
    Ok(Rebootstrap {
        mode: mode.map(|mode| mode.parse(|name| self::mode(name))).transpose()?.unwrap_or_default(),
        delay: delay.map_or(Ok(DEFAULT_REBOOTSTRAP_DELAY), |delay| {
            delay.parse(|text| plastron_agent_cli::parse_duration(text))
        })?,
    })
}

fn format(name: &str) -> Result<BundleFormat, &'static str> {
    match name {
        "pem" => Ok(BundleFormat::Pem),
        "spiffe" => Ok(BundleFormat::Spiffe),
        _ => Err("use pem or spiffe"),
    }
}

fn mode(name: &str) -> Result<RebootstrapMode, String> {
    match name {
        "never" => Ok(RebootstrapMode::Never),
        "auto" => Ok(RebootstrapMode::Auto),
        "always" => Ok(RebootstrapMode::Always),
        _ => Err(format!("unknown rebootstrap mode specified: {name:?}; use never, auto or always")),
    }
}
