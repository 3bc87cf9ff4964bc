//! `UpstreamAuthority "disk"`

use std::path::PathBuf;
use std::sync::Arc;

use plastron_daemon::config::{LoadError, Strictness};
use plastron_daemon::plugins::Plugin;
use plastron_hcl1::{Located, Notice};
use plastron_plugins::upstream::UpstreamAuthority;
use plastron_plugins_upstream_disk::{DiskConfig, DiskError, DiskUpstream};
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;
use serde::Deserialize;

/// The upstream authority that is configured.
#[derive(Debug)]
pub(super) struct Upstream(DiskConfig);

#[derive(Deserialize)]
struct Raw {
    cert_file_path: Option<PathBuf>,
    key_file_path: Option<PathBuf>,
    bundle_file_path: Option<PathBuf>,
    ttl: Option<Located<String>>,
}

impl Upstream {
    pub(super) fn read(plugin: &Plugin, strictness: &Strictness<'_>) -> Result<(Self, Vec<Notice>), LoadError> {
        let (Raw { cert_file_path, key_file_path, bundle_file_path, ttl }, notices) = plugin.decode(strictness)?;
        if let Some(ttl) = ttl {
            return Err(ttl.refuse("the lifetime is that of ca_ttl: take it out").into());
        }
        let missing = |key: &str| LoadError::from(plugin.place.refuse(format_args!("{key} must be configured")));
        let config = DiskConfig {
            cert_file: cert_file_path.ok_or_else(|| missing("cert_file_path"))?,
            key_file: key_file_path.ok_or_else(|| missing("key_file_path"))?,
            bundle_file: bundle_file_path.filter(|path| !path.as_os_str().is_empty()),
        };
        Ok((Self(config), notices))
    }

    pub(super) fn check(&self) -> Result<(), DiskError> {
        DiskUpstream::check(&self.0, UnixTime::now())
    }

    pub(super) fn open(&self, trust_domain: TrustDomain) -> Arc<dyn UpstreamAuthority> {
        DiskUpstream::start(self.0.clone(), trust_domain, UnixTime::now)
    }
}
