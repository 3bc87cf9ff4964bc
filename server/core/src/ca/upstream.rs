//! A CA below an upstream authority: its certificate is asked for, and nothing of the answer is believed that was not checked.
//!
//! The upstream's root comes into the bundle in the transaction that prepares the slot, so long before the CA signs. Roots that the
//! upstream has besides, or will sign with later, are published when they are first seen. A root that was revoked here comes back if the
//! upstream still has it: it is taken out there first.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plastron_hsm::KeyRecord;
use plastron_plugins::upstream::{MintX509Ca, MintedX509Ca, UpstreamAuthority, UpstreamError};
use plastron_spiffe::x509::{AuthorityChainError, CaRequest, CertificateFacts, verify_authority};
use plastron_spiffe::{BundleError as AuthorityFault, TrustDomain, X509Authority};
use rustls_pki_types::UnixTime;

use super::context::CaContext;
use super::{CaError, CaSubject, CertificateAuthority};
use crate::audit::{self, Announced};
use crate::authority::{AuthorityError, certificate_algorithm};
use crate::ledger::Write;
use crate::limits::{MAX_AUTHORITIES, backdate};
use crate::store::{Committed, JournalCa, SlotName, StoreError, subject_key_id};

/// How long an upstream may take. A person who signs by hand is no upstream authority.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Most roots that an upstream may have: an agent keeps them all.
const MAX_ROOTS: usize = 64;
/// Who the audit log says did it.
pub(super) const ACTOR: &str = "server";

/// A CA that an upstream certified.
pub(super) struct Certified {
    pub(super) ca: JournalCa,
    /// Unix seconds.
    pub(super) not_before: u64,
    /// Unix seconds: the earliest end on the way to the root.
    pub(super) not_after: u64,
    /// The root that it leads to.
    pub(super) root: X509Authority,
}

/// Roots of the upstream that were looked at.
#[derive(Default)]
pub(super) struct SeenRoots(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// Not looked at again.
    settled: BTreeSet<Vec<u8>>,
    /// Left out so far, and it was said so: one whose time has not come is taken when it has.
    left_out: BTreeSet<Vec<u8>>,
}

impl SeenRoots {
    /// Looks at these again if they come back.
    pub(super) fn forget(&self, roots: &[Vec<u8>]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.settled.retain(|root| !roots.contains(root));
    }
}

/// Why an upstream's answer is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// No answer in time.
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    TooSlow,
    /// More roots than anyone wants in a bundle.
    #[error("it has {got} roots, of at most {MAX_ROOTS}")]
    TooManyRoots {
        /// How many there are.
        got: usize,
    },
    /// The certificate leads to none of its roots, or is not one to sign SVIDs with.
    #[error("its certificate can't be used")]
    Chain(#[from] AuthorityChainError),
    /// It gave back a root.
    #[error("its certificate is one of its roots")]
    IsRoot,
    /// Another key.
    #[error("its certificate is for another key")]
    OtherKey,
    /// Another name.
    #[error("its certificate is for {got:?}, and not for trust domain {trust_domain}")]
    OtherName {
        /// The URIs.
        got: Vec<String>,
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// Nobody could name it.
    #[error("the certificate of {what} has no subject key identifier")]
    NoIdentifier {
        /// Which.
        what: &'static str,
    },
    /// It gave back a list of JWT keys that lacks the one that was to be published, or has it as tainted.
    #[error("its JWT keys do not have the key {key_id:?} that it was to publish")]
    NotPublished {
        /// `kid`.
        key_id: String,
    },
    /// A JWT key that no token can be verified with.
    #[error("one of its JWT keys can't be used")]
    JwtKey(#[source] AuthorityFault),
    /// More than anyone wants in a bundle.
    #[error("with its authorities the bundle would have {got}, of at most {MAX_AUTHORITIES}")]
    TooManyAuthorities {
        /// How many there would be.
        got: usize,
    },
    /// It is on its way out.
    #[error("its root {root} is tainted; replace the upstream's certificate first")]
    Tainted {
        /// Subject key identifier.
        root: String,
    },
}

impl CaContext {
    /// Has the upstream certify this key. The answer is checked, in order: not too many roots; the chain leads to one of them, for a CA
    /// that stands directly over leaves; it is not itself a root; it is for this key and this trust domain; it and its root have
    /// identifiers; the key of the root is not tainted here.
    pub(super) async fn certify_upstream(
        &self,
        upstream: &dyn UpstreamAuthority,
        slot: SlotName,
        record: &KeyRecord,
    ) -> Result<Certified, CaError> {
        let CaSubject { country, organization, common_name } = &self.config.subject;
        let request = CaRequest {
            spiffe_id: &self.config.trust_domain.id(),
            public_key: &record.public_key,
            country,
            organization,
            common_name,
        };
        let request = request.to_tbs(certificate_algorithm(record.key_type)).map_err(CaError::Template)?;
        let scheme = record.key_type.default_scheme();
        let signed = self.key_store().sign(&record.id, scheme, &request.digest()).await;
        let signature = signed.map_err(|source| AuthorityError::KeyStore { slot, source })?;
        let csr = request.assemble(&signature).map_err(CaError::Template)?;
        let (preferred_ttl, now) = (self.config.ttl, self.clock.now());
        let plugin = || upstream.name().to_owned();
        let asked = upstream.mint_x509_ca(MintX509Ca { csr, preferred_ttl, now });
        let minted = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(minted) => minted?,
            Err(_elapsed) => return Err(CaError::UpstreamAnswer { plugin: plugin(), source: UpstreamFault::TooSlow }),
        };
        let certified = certified(minted, &record.public_key, &self.config.trust_domain, now)
            .and_then(|certified| self.check_taint(certified))
            .map_err(|source| CaError::UpstreamAnswer { plugin: plugin(), source })?;
        let root = certified.ca.upstream_authority_id.as_deref().unwrap_or_default();
        let authority = subject_key_id(&certified.ca.certificate).unwrap_or_default();
        let subject = format!("slot {slot} authority {authority} upstream {} root {root}", upstream.name());
        audit::change(ACTOR, "x509 authority certify", &subject, "ok");
        Ok(certified)
    }

    fn check_taint(&self, certified: Certified) -> Result<Certified, UpstreamFault> {
        match self.is_tainted(&certified.root.certificate) {
            true => Err(UpstreamFault::Tainted { root: certified.ca.upstream_authority_id.unwrap_or_default() }),
            false => Ok(certified),
        }
    }

    /// Whether the bundle has an authority with this one's key as tainted: another certificate for it does not make it better.
    fn is_tainted(&self, root: &[u8]) -> bool {
        let (bundle, id) = (self.ledger.state().bundle(), subject_key_id(root));
        let known = bundle.iter().flat_map(|bundle| &bundle.x509_authorities);
        known.filter(|it| it.tainted).any(|it| it.certificate == root || subject_key_id(&it.certificate) == id)
    }

    /// Publishes roots.
    async fn publish_roots(&self, upstream: &str, roots: Vec<X509Authority>) -> Result<(), CaError> {
        let names: Vec<_> = roots.iter().filter_map(|root| subject_key_id(&root.certificate)).collect();
        let subject = format!("upstream {upstream} roots {}", names.join(" "));
        let action = "x509 upstream root publish";
        let _announced: Announced = self.audit.announce(ACTOR, action, &subject).await?;
        let trust_domain = self.config.trust_domain.clone();
        let published: Result<(), StoreError> = self
            .ledger
            .write(Write::PublishUpstreamRoots, move |store| async move {
                let Committed { value: _bundle, changes } =
                    store.append_authorities(trust_domain, roots, Vec::new()).await?;
                Ok(Committed { value: (), changes })
            })
            .await;
        audit::change(ACTOR, action, &subject, &audit::outcome(&published));
        published.map_err(|source| CaError::Store { step: "publish the upstream's roots", source })
    }
}

impl CertificateAuthority {
    /// Publishes the upstream's roots that were not seen before; one that could not be one of a trust domain is named and left out. Where
    /// the upstream is a server, what it tainted, revoked and published is followed as well.
    pub async fn follow_upstream(&self) -> Result<(), CaError> {
        self.follow_roots().await?;
        self.follow_bundle().await
    }

    async fn follow_roots(&self) -> Result<(), CaError> {
        let Some(upstream) = self.context.keys.upstream() else { return Ok(()) };
        let roots = Arc::clone(&upstream.roots().borrow());
        let seen = || self.upstream_roots.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<_> = {
            let mut seen = seen();
            seen.left_out.retain(|root| roots.contains(root));
            roots.iter().take(MAX_ROOTS).filter(|root| !seen.settled.contains(*root)).cloned().collect()
        };
        let now = self.context.clock.now();
        let bundle = self.context.ledger.state().bundle();
        let is_known = |root: &[u8]| {
            bundle.as_ref().is_some_and(|bundle| bundle.x509_authorities.iter().any(|it| it.certificate == root))
        };
        let (mut settled, mut missing) = (Vec::new(), Vec::new());
        for root in new {
            if is_known(&root) {
                settled.push(root);
                continue;
            }
            if self.context.is_tainted(&root) {
                tracing::warn!("A root of the upstream has the key of one that is tainted, and is left out");
                settled.push(root);
                continue;
            }
            match verify_authority(vec![root.clone()], std::slice::from_ref(&root), 1, now) {
                Ok(_verified) if subject_key_id(&root).is_some() => {
                    missing.push(X509Authority { certificate: root.clone(), tainted: false });
                    settled.push(root);
                }
                Ok(_verified) => {
                    tracing::warn!("A root of the upstream has no subject key identifier and is left out");
                    settled.push(root);
                }
                Err(error) => {
                    if seen().left_out.insert(root) {
                        let reason = audit::chain(&error);
                        tracing::warn!(reason, "A root of the upstream is left out as long as it is so");
                    }
                }
            }
        }
        if !missing.is_empty() {
            self.context.publish_roots(upstream.name(), missing).await?;
        }
        seen().settled.extend(settled);
        Ok(())
    }
}

fn certified(
    MintedX509Ca { chain, roots }: MintedX509Ca,
    public_key: &[u8],
    trust_domain: &TrustDomain,
    now: UnixTime,
) -> Result<Certified, UpstreamFault> {
    if roots.len() > MAX_ROOTS {
        return Err(UpstreamFault::TooManyRoots { got: roots.len() });
    }
    let verified = verify_authority(chain, &roots, 0, now)?;
    let Some((certificate, intermediates)) = verified.chain().split_first() else {
        return Err(UpstreamFault::IsRoot);
    };
    let CertificateFacts { public_key: certified, uris, mut not_after } = CertificateFacts::read(certificate)?;
    if certified != public_key {
        return Err(UpstreamFault::OtherKey);
    }
    if uris != [trust_domain.id().as_str()] {
        return Err(UpstreamFault::OtherName { got: uris, trust_domain: trust_domain.clone() });
    }
    for above in intermediates.iter().map(Vec::as_slice).chain([verified.root()]) {
        not_after = not_after.min(CertificateFacts::read(above)?.not_after);
    }
    subject_key_id(certificate).ok_or(UpstreamFault::NoIdentifier { what: "the CA" })?;
    let root_id = subject_key_id(verified.root()).ok_or(UpstreamFault::NoIdentifier { what: "the root" })?;
    Ok(Certified {
        not_before: now.as_secs().saturating_sub(backdate(not_after.saturating_sub(now.as_secs()))),
        not_after,
        root: X509Authority { certificate: verified.root().to_vec(), tainted: false },
        ca: JournalCa {
            certificate: certificate.clone(),
            intermediates: intermediates.to_vec(),
            upstream_authority_id: Some(root_id),
        },
    })
}

impl From<UpstreamError> for CaError {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}
