//! The `disk` upstream authority: a CA whose certificate and key are PEM files, with SPIRE's options (UpstreamAuthority "disk").
//!
//! The files are read for every certificate that is asked for, and looked at every few seconds in between, so that an upstream is
//! replaced by replacing files. What does not fit together is used by nobody: while only one of key and certificate is replaced,
//! nothing is signed, and the server asks again. SPIRE goes on with what it had read before; here a key that was taken away signs
//! nothing any more.
//!
//! What it does not do: it publishes no JWT keys, and it takes no encrypted key.

mod files;
mod key;

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use plastron_plugins::upstream::{MintX509Ca, MintedX509Ca, UpstreamAuthority, UpstreamError};
use plastron_spiffe::TrustDomain;
use plastron_spiffe::x509::{
    AuthorityChainError, CsrError, IntermediateTemplate, IssueError, SerialNumber, verify_csr,
};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;

pub use files::FileError;
pub use key::KeyFault;

use files::Upstream;

/// The plugin's name.
pub const NAME: &str = "disk";
/// How often the files are looked at for roots that came or went.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// How far back validity begins, for those whose clocks are late (SPIRE: 10 s).
const BACKDATE: Duration = Duration::from_secs(10);
/// A certificate that ends sooner is of no use to a server.
const MIN_TTL: Duration = Duration::from_secs(60);

/// Where the upstream's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// `cert_file_path`: the CA certificate, then those that lead to a root.
    pub cert_file: PathBuf,
    /// `key_file_path`: its key.
    pub key_file: PathBuf,
    /// `bundle_file_path`: the roots. Without it the certificate has to be self-signed, and is the root.
    pub bundle_file: Option<PathBuf>,
}

/// An upstream authority whose certificate and key are files.
pub struct DiskUpstream {
    config: DiskConfig,
    trust_domain: TrustDomain,
    roots: watch::Sender<Arc<[Vec<u8>]>>,
}

impl DiskUpstream {
    /// Looks at the files now and from then on. Where they can't be used now, that is logged and nothing is signed: a server whose CA is
    /// good starts without its upstream. Must be called within a Tokio runtime.
    pub fn start(config: DiskConfig, trust_domain: TrustDomain, now: fn() -> UnixTime) -> Arc<Self> {
        let (roots, _) = watch::channel(Arc::from([]));
        let started = Arc::new(Self { config, trust_domain, roots });
        let told = started.look(now(), None);
        tokio::spawn(keep_looking(Arc::downgrade(&started), now, told));
        started
    }

    /// Whether the files could be used, for a configuration that is only checked.
    pub fn check(config: &DiskConfig, now: UnixTime) -> Result<(), DiskError> {
        Upstream::read(config, now).map(|_upstream| ())
    }

    /// Tells roots that came or went, and what is wrong with the files where that was not `told` yet; it comes back.
    fn look(&self, now: UnixTime, told: Option<String>) -> Option<String> {
        match Upstream::read(&self.config, now) {
            Ok(Upstream { roots, .. }) => {
                if told.is_some() {
                    tracing::info!(plugin = NAME, "The upstream authority's files fit together again");
                }
                self.see(roots);
                None
            }
            Err(error) => {
                let reason = explain(&error);
                if told.as_ref() != Some(&reason) {
                    tracing::warn!(
                        plugin = NAME,
                        reason,
                        "The upstream authority's files can't be used; nothing is signed with them"
                    );
                }
                Some(reason)
            }
        }
    }

    fn see(&self, roots: Vec<Vec<u8>>) {
        self.roots.send_if_modified(|seen| {
            let changed = seen.as_ref() != roots.as_slice();
            if changed {
                *seen = Arc::from(roots);
            }
            changed
        });
    }

    fn mint(&self, request: &MintX509Ca) -> Result<MintedX509Ca, MintError> {
        let MintX509Ca { csr, preferred_ttl, now } = request;
        let csr = verify_csr(csr).map_err(CsrRefusal::from)?;
        let id = self.trust_domain.id();
        if csr.uris != [id.as_str()] || !csr.dns_names.is_empty() || !csr.other_names.is_empty() {
            return Err(CsrRefusal::Names { got: csr.uris, trust_domain: self.trust_domain.clone() }.into());
        }
        let Upstream { certificate, key, authority, roots, not_after: end } = Upstream::read(&self.config, *now)?;
        let not_after = now.as_secs().saturating_add(preferred_ttl.as_secs()).min(end);
        if not_after < now.as_secs().saturating_add(MIN_TTL.as_secs()) {
            return Err(DiskError::Ending { not_after: end, now: now.as_secs() }.into());
        }
        let mut octets = [0; 16];
        getrandom::fill(&mut octets).map_err(|error| DiskError::Random { reason: error.to_string() })?;
        let template = IntermediateTemplate {
            spiffe_id: &id,
            public_key: &csr.public_key,
            subject: &csr.subject,
            serial: &SerialNumber::from_random(octets),
            not_before: seconds(now.as_secs().saturating_sub(BACKDATE.as_secs())),
            not_after: seconds(not_after),
        };
        let tbs = template.to_tbs(&certificate, key.algorithm()).map_err(DiskError::Template)?;
        let signature = key.sign(tbs.as_bytes()).map_err(DiskError::Key)?;
        let minted = tbs.assemble(&signature).map_err(DiskError::Template)?;
        let mut chain = vec![minted];
        chain.extend(authority.chain().iter().cloned());
        self.see(roots.clone());
        Ok(MintedX509Ca { chain, roots })
    }
}

#[async_trait::async_trait]
impl UpstreamAuthority for DiskUpstream {
    fn name(&self) -> &str {
        NAME
    }

    /// Reads the files on the calling thread: they are small, and it is done a few times a day.
    async fn mint_x509_ca(&self, request: MintX509Ca) -> Result<MintedX509Ca, UpstreamError> {
        self.mint(&request).map_err(|error| match error {
            MintError::Csr(source) => UpstreamError::Refused { plugin: NAME, source: Box::new(source) },
            MintError::Disk(source) => UpstreamError::Unavailable { plugin: NAME, source: Box::new(source) },
        })
    }

    fn roots(&self) -> watch::Receiver<Arc<[Vec<u8>]>> {
        self.roots.subscribe()
    }
}

/// Finds roots that came while nothing is asked for: they are in the bundle long before anything below them signs.
async fn keep_looking(upstream: Weak<DiskUpstream>, now: fn() -> UnixTime, mut told: Option<String>) {
    loop {
        tokio::time::sleep(LOOK_PERIOD).await;
        let Some(upstream) = upstream.upgrade() else { return };
        told = upstream.look(now(), told);
    }
}

fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn seconds(since_epoch: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(since_epoch))
}

enum MintError {
    Csr(CsrRefusal),
    Disk(DiskError),
}

impl From<CsrRefusal> for MintError {
    fn from(refusal: CsrRefusal) -> Self {
        Self::Csr(refusal)
    }
}

impl From<DiskError> for MintError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum CsrRefusal {
    /// It does not parse, or is not signed by its key.
    #[error("the CSR is refused")]
    Csr(#[from] CsrError),
    /// It asks for other names than the trust domain's.
    #[error("the CSR has to ask for the URI of trust domain {trust_domain} and no other name, and asks for {got:?}")]
    Names {
        /// The URIs.
        got: Vec<String>,
        /// The trust domain.
        trust_domain: TrustDomain,
    },
}

/// Why the files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file is not what it should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// Key and certificate are not a pair: one of them is being replaced, or is the wrong one.
    #[error(
        "the key in {} is not that of the certificate in {}; where they are being replaced, replace the other one too",
        .key.display(), .certificate.display()
    )]
    Mismatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// Without a bundle there is one certificate, which is self-signed.
    #[error(
        "without bundle_file_path the certificate has to be self-signed and the only one, and {} has {got}",
        .certificate.display()
    )]
    NoBundle {
        /// The certificate file.
        certificate: PathBuf,
        /// How many certificates it has.
        got: usize,
    },
    /// The certificate is not one to sign CAs with.
    #[error("the certificate in {} can't sign for a server", .certificate.display())]
    Authority {
        /// The certificate file.
        certificate: PathBuf,
        /// Why not.
        source: AuthorityChainError,
    },
    /// It ends too soon to sign anything.
    #[error("the upstream certificate is not valid after {not_after}, now {now}: too soon to sign for a server")]
    Ending {
        /// Unix seconds.
        not_after: u64,
        /// Unix seconds.
        now: u64,
    },
    /// The operating system gives no random numbers.
    #[error("no random numbers: {reason}")]
    Random {
        /// What it said.
        reason: String,
    },
    /// No certificate can be made of the request.
    #[error("the CA certificate can't be made")]
    Template(#[source] IssueError),
    /// The key did not sign.
    #[error("the upstream key did not sign")]
    Key(#[source] KeyFault),
}

impl From<(&DiskConfig, AuthorityChainError)> for DiskError {
    fn from((config, source): (&DiskConfig, AuthorityChainError)) -> Self {
        Self::Authority { certificate: config.cert_file.clone(), source }
    }
}
