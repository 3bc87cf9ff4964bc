//! `UpstreamAuthority "disk"` and `UpstreamAuthority "spire"`

use std::path::PathBuf;
use std::sync::Arc;

use plastron_daemon::config::{Absence, LoadError, Strictness, refuse_first};
use plastron_daemon::plugins::Plugin;
use plastron_hcl1::{Located, Notice};
use plastron_plugins::upstream::{UpstreamAuthority, UpstreamServer};
use plastron_plugins_upstream_disk::{DiskConfig, DiskError, DiskUpstream};
use plastron_plugins_upstream_spire::{SpireConfig, SpireUpstream};
use plastron_spiffe::{SpiffeIdError, TrustDomain};
use rustls_pki_types::UnixTime;
use serde::Deserialize;

/// The upstream authority that is configured.
#[derive(Debug)]
pub(super) enum Upstream {
    Disk(DiskConfig),
    Spire(SpireConfig),
}

/// An upstream authority at work.
pub(crate) struct OpenedUpstream {
    pub(crate) authority: Arc<dyn UpstreamAuthority>,
    /// The same, where it is a server of the trust domain.
    pub(crate) server: Option<Arc<dyn UpstreamServer>>,
}

#[derive(Deserialize)]
struct RawDisk {
    cert_file_path: Option<PathBuf>,
    key_file_path: Option<PathBuf>,
    bundle_file_path: Option<PathBuf>,
    ttl: Option<Located<String>>,
}

#[derive(Deserialize)]
struct RawSpire {
    server_address: Option<String>,
    /// SPIRE writes it as text.
    server_port: Option<Located<String>>,
    workload_api_socket: Option<PathBuf>,
    #[serde(default)]
    experimental: RawSpireExperimental,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSpireExperimental {
    require_pq_kem: Option<Located<bool>>,
    workload_api_named_pipe_name: Option<Located<String>>,
}

impl Upstream {
    pub(super) fn read_disk(plugin: &Plugin, strictness: &Strictness<'_>) -> Result<(Self, Vec<Notice>), LoadError> {
        let (RawDisk { cert_file_path, key_file_path, bundle_file_path, ttl }, notices) = plugin.decode(strictness)?;
        if let Some(ttl) = ttl {
            return Err(ttl.refuse("the lifetime is that of ca_ttl: take it out").into());
        }
        let set = |path: &PathBuf| !path.as_os_str().is_empty();
        let (Some(cert_file), Some(key_file)) = (cert_file_path.filter(set), key_file_path.filter(set)) else {
            return Err(plugin.place.refuse("'cert_file_path' and 'key_file_path' must be set and not empty").into());
        };
        let config = DiskConfig { cert_file, key_file, bundle_file: bundle_file_path.filter(set) };
        Ok((Self::Disk(config), notices))
    }

    pub(super) fn read_spire(plugin: &Plugin, strictness: &Strictness<'_>) -> Result<(Self, Vec<Notice>), LoadError> {
        let (RawSpire { server_address, server_port, workload_api_socket, experimental }, notices) =
            plugin.decode(strictness)?;
        let RawSpireExperimental { require_pq_kem, workload_api_named_pipe_name } = &experimental;
        let asked_for = [
            Absence::of(
                "setting for post-quantum key exchange alone",
                require_pq_kem.as_ref().filter(|switch| switch.value),
            ),
            Absence::of("named pipes", workload_api_named_pipe_name.as_ref().filter(|name| !name.value.is_empty())),
        ];
        refuse_first("this server", asked_for.into_iter().flatten())?;
        let port = server_port.ok_or_else(|| missing(plugin, "server_port"))?;
        let server_port = match port.value.parse::<u16>() {
            Ok(number) if number != 0 => number,
            _ => return Err(port.refuse("server_port must be a number from 1 to 65535").into()),
        };
        let socket = workload_api_socket.filter(|path| !path.as_os_str().is_empty());
        let socket = socket.ok_or_else(|| missing(plugin, "workload_api_socket"))?;
        let workload_api_socket = std::path::absolute(&socket)
            .map_err(|error| plugin.place.refuse(format_args!("workload_api_socket {socket:?}: {error}")))?;
        let server_address = server_address.filter(|address| !address.is_empty());
        let server_address = server_address.ok_or_else(|| missing(plugin, "server_address"))?;
        Ok((Self::Spire(SpireConfig { server_address, server_port, workload_api_socket }), notices))
    }

    /// What an upstream has on this machine; whether a server answers shows when it is needed.
    pub(super) fn check(&self) -> Result<(), DiskError> {
        match self {
            Self::Disk(config) => DiskUpstream::check(config, UnixTime::now()),
            Self::Spire(_) => Ok(()),
        }
    }

    pub(super) fn open(&self, trust_domain: TrustDomain) -> Result<OpenedUpstream, SpiffeIdError> {
        Ok(match self {
            Self::Disk(config) => OpenedUpstream {
                authority: DiskUpstream::start(config.clone(), trust_domain, UnixTime::now),
                server: None,
            },
            Self::Spire(config) => {
                let upstream = SpireUpstream::start(config.clone(), trust_domain)?;
                OpenedUpstream { authority: Arc::clone(&upstream) as _, server: Some(upstream) }
            }
        })
    }
}

fn missing(plugin: &Plugin, key: &str) -> LoadError {
    plugin.place.refuse(format_args!("{key} must be configured")).into()
}
