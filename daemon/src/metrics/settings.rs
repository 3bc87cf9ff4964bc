//! What the `telemetry` block asks for, as far as it can be told without opening anything (SPIRE's `doc/telemetry/telemetry_config.md`).

use std::fmt;
use std::path::PathBuf;

use plastron_hcl1::{ConfigError, Located};
use plastron_spiffe::SpiffeId;

use crate::config::{RawPrometheus, RawPrometheusTls, RawStatsd, RawTelemetry};

/// SPIRE's.
const DEFAULT_HOST: &str = "localhost";
/// Where DataDog's agent listens, in an address that names no port.
const DOG_STATSD_PORT: u16 = 8125;
/// What an address of DogStatsd begins with that is a socket's path.
const UNIX: &str = "unix://";

/// Who gets to know what is counted, and what it is called.
#[derive(Clone, Debug, Default)]
pub struct TelemetrySettings {
    pub(super) naming: Naming,
    pub(super) prometheus: Option<PrometheusSettings>,
    pub(super) pushed: Vec<Pushed>,
}

/// Names and labels of everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Naming {
    pub(super) prefix: Option<String>,
    pub(super) trust_domain_label: bool,
    pub(super) hostname_label: bool,
    pub(super) allowed_prefixes: Vec<String>,
    pub(super) blocked_prefixes: Vec<String>,
    pub(super) allowed_labels: Vec<String>,
    pub(super) blocked_labels: Vec<String>,
}

/// A listener that Prometheus fetches from.
#[derive(Clone, Debug)]
pub(super) struct PrometheusSettings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<TlsSettings>,
}

impl PrometheusSettings {
    /// Whether it listens where SPIRE's does unless it is told otherwise: only for this machine.
    pub(super) fn is_local(&self) -> bool {
        self.host == DEFAULT_HOST
    }
}

/// What that listener presents, and whom it lets in.
#[derive(Clone, Debug)]
pub(super) struct TlsSettings {
    pub(super) presents: Presents,
    pub(super) admits: Admits,
}

#[derive(Clone, Debug)]
pub(super) enum Presents {
    Svid,
    Files { certificate: PathBuf, key: PathBuf },
}

#[derive(Clone, Debug)]
pub(super) enum Admits {
    Anyone,
    CertifiedBy(PathBuf),
    Svids(Vec<SpiffeId>),
}

/// A receiver that is told of everything when it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pushed {
    pub(super) form: Form,
    pub(super) to: Destination,
}

/// How a receiver wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Statsd,
    DogStatsd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// `host:port`.
    Udp(String),
    Unix(PathBuf),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl TryFrom<&RawTelemetry> for TelemetrySettings {
    type Error = ConfigError;

    fn try_from(raw: &RawTelemetry) -> Result<Self, ConfigError> {
        let list = |list: &Option<Located<Vec<String>>>| list.as_ref().map_or_else(Vec::new, |list| list.value.clone());
        let prefix = raw.metric_prefix.as_ref().map(|prefix| prefix.value.clone()).filter(|prefix| !prefix.is_empty());
        let naming = Naming {
            prefix,
            trust_domain_label: raw.enable_trust_domain_label.as_ref().is_some_and(|enabled| enabled.value),
            hostname_label: raw.enable_hostname_label.as_ref().is_none_or(|enabled| enabled.value),
            allowed_prefixes: list(&raw.allowed_prefixes),
            blocked_prefixes: list(&raw.blocked_prefixes),
            allowed_labels: list(&raw.allowed_labels),
            blocked_labels: list(&raw.blocked_labels),
        };
        let mut pushed = receivers(Form::DogStatsd, raw.dog_statsd.as_ref())?;
        pushed.extend(receivers(Form::Statsd, raw.statsd.as_ref())?);
        let prometheus = raw.prometheus.as_ref().map(|raw| PrometheusSettings::try_from(&raw.value)).transpose()?;
        Ok(Self { naming, prometheus, pushed })
    }
}

impl TryFrom<&RawPrometheus> for PrometheusSettings {
    type Error = ConfigError;

    fn try_from(RawPrometheus { host, port, tls }: &RawPrometheus) -> Result<Self, ConfigError> {
        let host = host.as_ref().map(|host| host.value.clone()).filter(|host| !host.is_empty());
        Ok(Self {
            host: host.unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            port: port.as_ref().map_or(0, |port| port.value),
            tls: tls.as_ref().map(TlsSettings::try_from).transpose()?,
        })
    }
}

/// The combinations that SPIRE refuses are refused, in its words.
impl TryFrom<&Located<RawPrometheusTls>> for TlsSettings {
    type Error = ConfigError;

    fn try_from(raw: &Located<RawPrometheusTls>) -> Result<Self, ConfigError> {
        let RawPrometheusTls { cert_file, key_file, client_ca_file, use_spire_svid, authorized_spiffe_ids } =
            &raw.value;
        let path = |file: &Option<Located<String>>| {
            file.as_ref().map(|file| file.value.as_str()).filter(|path| !path.is_empty()).map(PathBuf::from)
        };
        let presents = match (use_spire_svid.as_ref().is_some_and(|it| it.value), path(cert_file), path(key_file)) {
            (true, None, None) => Presents::Svid,
            (true, _, _) => {
                return Err(raw.refuse("cert_file and key_file cannot be configured when use_spire_svid is enabled"));
            }
            (false, Some(certificate), Some(key)) => Presents::Files { certificate, key },
            (false, _, _) => {
                return Err(
                    raw.refuse("cert_file and key_file must both be configured unless use_spire_svid is enabled")
                );
            }
        };
        let ids = authorized_spiffe_ids.as_ref().filter(|ids| !ids.value.is_empty());
        let admits = match (path(client_ca_file), ids) {
            (None, None) => Admits::Anyone,
            (Some(authorities), None) => Admits::CertifiedBy(authorities),
            (None, Some(ids)) => Admits::Svids(spiffe_ids(ids)?),
            (Some(_), Some(_)) => {
                return Err(raw.refuse("client_ca_file cannot be configured with authorized_spiffe_ids"));
            }
        };
        Ok(Self { presents, admits })
    }
}

fn spiffe_ids(texts: &Located<Vec<String>>) -> Result<Vec<SpiffeId>, ConfigError> {
    let parse = |text: &String| {
        let refused = |error| texts.refuse(format_args!("invalid authorized SPIFFE ID {text:?}: {error}"));
        SpiffeId::parse(text).map_err(refused)
    };
    texts.value.iter().map(parse).collect()
}

fn receivers(form: Form, raw: Option<&Located<Vec<RawStatsd>>>) -> Result<Vec<Pushed>, ConfigError> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let receiver = |RawStatsd { address }: &RawStatsd| {
        let address = address.as_deref().filter(|address| !address.is_empty());
        let address = address.ok_or_else(|| raw.refuse("a receiver needs an address: host:port"))?;
        let to = destination(form, address)
            .ok_or_else(|| raw.refuse(format_args!("the address {address:?} has no port: write host:port")))?;
        Ok(Pushed { form, to })
    };
    raw.value.iter().map(receiver).collect()
}

/// Only DogStatsd has sockets, and a port where none is named.
fn destination(form: Form, address: &str) -> Option<Destination> {
    let has_port = address.rsplit_once(':').is_some_and(|(_host, port)| port.parse::<u16>().is_ok());
    match (form, address.strip_prefix(UNIX)) {
        (Form::DogStatsd, Some(path)) => Some(Destination::Unix(path.into())),
        (Form::DogStatsd, None) if !address.contains(':') => {
            Some(Destination::Udp(format!("{address}:{DOG_STATSD_PORT}")))
        }
        _ => has_port.then(|| Destination::Udp(address.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<TelemetrySettings, String> {
        let raw: RawTelemetry = plastron_hcl1::from_str(text, "x").map_err(|error| error.to_string())?.0;
        TelemetrySettings::try_from(&raw).map_err(|error| error.to_string())
    }

    #[test]
    fn several_receivers_of_each_kind_are_told() {
        let text = "DogStatsd = [{ address = \"a\" }, { address = \"unix:///run/d.sock\" }] \
                    Statsd = [{ address = \"[::1]:1\" }, { address = \"b:2\" }]";
        let udp = |form, address: &str| Pushed { form, to: Destination::Udp(address.to_owned()) };
        assert_eq!(
            settings(text).unwrap().pushed,
            [
                udp(Form::DogStatsd, "a:8125"),
                Pushed { form: Form::DogStatsd, to: Destination::Unix("/run/d.sock".into()) },
                udp(Form::Statsd, "[::1]:1"),
                udp(Form::Statsd, "b:2"),
            ]
        );
    }

    #[test]
    fn what_is_empty_counts_as_not_given_and_only_localhost_is_local() {
        assert_eq!(settings("MetricPrefix = \"\"").unwrap().naming.prefix, None);
        assert_eq!(settings("MetricPrefix = \"x\"").unwrap().naming.prefix.as_deref(), Some("x"));
        for (host, expected, is_local) in
            [("", "localhost", true), ("host = \"\"", "localhost", true), ("host = \"0.0.0.0\"", "0.0.0.0", false)]
        {
            let shown = settings(&format!("Prometheus {{ {host} port = 1 }}")).unwrap().prometheus.unwrap();
            assert_eq!((shown.host.as_str(), shown.is_local()), (expected, is_local), "{host}");
        }
    }

    #[test]
    fn an_address_that_leads_nowhere_is_refused() {
        for (text, fault) in [
            ("Statsd = [{}]", "needs an address"),
            ("Statsd = [{ address = \"\" }]", "needs an address"),
            ("DogStatsd = [{}]", "needs an address"),
            ("Statsd = [{ address = \"a\" }]", "has no port"),
            ("Statsd = [{ address = \"unix:///x\" }]", "has no port"),
            ("DogStatsd = [{ address = \"a:b\" }]", "has no port"),
        ] {
            let error = settings(text).unwrap_err();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }

    #[test]
    fn tls_has_one_certificate_and_one_rule_for_clients() {
        let tls = |keys: &str| settings(&format!("Prometheus {{ port = 1 tls {{ {keys} }} }}"));
        for (keys, fault) in [
            ("", "must both be configured unless use_spire_svid"),
            ("cert_file = \"c\"", "must both be configured unless use_spire_svid"),
            ("key_file = \"k\"", "must both be configured unless use_spire_svid"),
            ("use_spire_svid = true cert_file = \"c\"", "cannot be configured when use_spire_svid"),
            ("use_spire_svid = true key_file = \"k\"", "cannot be configured when use_spire_svid"),
            (
                "use_spire_svid = true client_ca_file = \"a\" authorized_spiffe_ids = [\"spiffe://a/b\"]",
                "client_ca_file cannot be configured with authorized_spiffe_ids",
            ),
            ("use_spire_svid = true authorized_spiffe_ids = [\"x\"]", "invalid authorized SPIFFE ID \"x\""),
        ] {
            let error = tls(keys).unwrap_err();
            assert!(error.contains(fault), "{keys}: {error}");
        }
        let of = |keys| tls(keys).unwrap().prometheus.unwrap().tls.unwrap();
        let TlsSettings { presents, admits } = of("cert_file = \"c\" key_file = \"k\" client_ca_file = \"a\"");
        assert!(matches!(presents, Presents::Files { .. }) && matches!(admits, Admits::CertifiedBy(_)));
        let TlsSettings { presents, admits } =
            of("use_spire_svid = true authorized_spiffe_ids = [\"spiffe://a/b\", \"spiffe://a/c\"]");
        assert!(matches!(presents, Presents::Svid));
        assert!(matches!(admits, Admits::Svids(ids) if ids.len() == 2));
        let TlsSettings { presents, admits } = of("use_spire_svid = true authorized_spiffe_ids = []");
        assert!(matches!(presents, Presents::Svid) && matches!(admits, Admits::Anyone));
    }
}
