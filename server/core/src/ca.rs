//! The X.509 CA: finds or makes its authority, keeps it fresh, signs leaves with it.
//!
//! An authority is used in this order, and a crash between any two steps leaves a state from which the next start goes on:
//! the key store makes a key; the key signs its own certificate; one transaction journals the slot as prepared and puts the
//! certificate into the bundle; one transaction makes the slot the active one; then it signs. The next one is prepared at half
//! life and activated near the end, so that everyone has it in the bundle before they meet it. When a slot is used again, the key
//! that stood in it is destroyed; an authority that has expired leaves the bundle. JWT keys, taint and revocation are not here
//! yet.

mod error;
mod identity;
mod keys;
mod maker;
mod retirement;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use plastron_hsm::{KeyId, KeyType};
use plastron_spiffe::x509::{LeafTemplate, SerialNumber, Subject};
use plastron_spiffe::{SpiffeId, TrustDomain};
use rustls_pki_types::UnixTime;
use tokio::sync::Mutex;

use crate::audit::{AuditLog, Document, DocumentFacts, DocumentIdentity, Unrecorded};
use crate::authority::SigningAuthority;
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::limits::{BACKDATE, MIN_SVID_TTL};
use crate::store::{ServerId, SlotStatus};

pub use error::{CaError, SignError};
pub use keys::CaKeys;
use maker::{AuthorityMaker, Unpublished};

/// What configuration says about the CA.
#[derive(Clone, Debug)]
pub struct CaConfig {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Type of the keys to be made (`ca_key_type`).
    pub key_type: KeyType,
    /// Lifetime of a CA certificate (`ca_ttl`).
    pub ttl: Duration,
    /// Subject of the CA certificate (`ca_subject`).
    pub subject: CaSubject,
}

/// Subject of the CA certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaSubject {
    /// Country names.
    pub country: Vec<String>,
    /// Organisation names.
    pub organization: Vec<String>,
    /// Common name; empty for none.
    pub common_name: String,
}

impl Default for CaSubject {
    /// SPIRE's: C=US, O=SPIFFE.
    fn default() -> Self {
        Self { country: vec!["US".to_owned()], organization: vec!["SPIFFE".to_owned()], common_name: String::new() }
    }
}

/// A leaf to be signed. The SPIFFE ID is the server's decision and never the requester's.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// The only URI SAN.
    pub spiffe_id: &'a SpiffeId,
    /// SubjectPublicKeyInfo of a key that its owner proved to hold, DER.
    pub public_key: &'a [u8],
    /// Where an administrator asked for one; else it is SPIRE's.
    pub subject: Option<&'a Subject>,
    /// DNS SANs.
    pub dns_names: &'a [String],
    /// Wanted lifetime; cut to the CA's.
    pub ttl: Duration,
    /// The latest end that it may have all the same, Unix seconds: that of the verdict that it rests on, where it rests on one.
    pub not_after: Option<u64>,
}

/// A signed X.509-SVID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedSvid {
    /// Whose it is.
    pub id: SpiffeId,
    /// DER certificates, leaf first, without the root.
    pub chain: Vec<Vec<u8>>,
    /// Serial number of the leaf.
    pub serial: SerialNumber,
    /// The authority that signed it: its subject key identifier in lower-case hex.
    pub authority_id: String,
    /// Validity, Unix seconds.
    pub not_before: u64,
    /// Validity, Unix seconds, inclusive.
    pub not_after: u64,
}

impl IssuedSvid {
    /// Unix seconds, as the wire has it.
    pub fn expires_at(&self) -> i64 {
        i64::try_from(self.not_after).unwrap_or(i64::MAX)
    }
}

impl Document for IssuedSvid {
    fn facts(&self) -> DocumentFacts {
        DocumentFacts {
            event: "x509-svid issue",
            id: self.id.clone(),
            identity: DocumentIdentity::Serial(self.serial.clone()),
            authority_id: self.authority_id.clone(),
            not_after: self.not_after,
        }
    }
}

/// The CA with its active authority.
pub struct CertificateAuthority {
    server: ServerId,
    config: CaConfig,
    keys: CaKeys,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditLog>,
    active: ArcSwap<SigningAuthority>,
    /// Locked for the length of a rotation.
    rotation: Mutex<Rotation>,
}

/// What a rotation leaves for the next one.
#[derive(Default)]
struct Rotation {
    /// The next authority, published already.
    prepared: Option<SigningAuthority>,
    /// The key of the next authority while its publication fails.
    unpublished: Option<Unpublished>,
    /// Keys whose slot has another by now, to be destroyed.
    replaced: Vec<KeyId>,
}

impl CertificateAuthority {
    /// Finds the authority that the journal names, or makes the first one.
    ///
    /// A key that the key store has lost is replaced by a new authority; a key that is another than the journalled one is not.
    pub async fn open(
        config: CaConfig,
        keys: CaKeys,
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditLog>,
    ) -> Result<Self, CaError> {
        if let Some(bundle) = ledger.state().bundle()
            && bundle.trust_domain != config.trust_domain
        {
            let stored = bundle.trust_domain.clone();
            return Err(CaError::OtherTrustDomain { stored, configured: config.trust_domain });
        }
        let server = identity::find_or_make(&ledger, keys.store()).await?;
        let now = clock.now();
        let maker = AuthorityMaker {
            server,
            config: &config,
            keys: keys.store(),
            ledger: &ledger,
            clock: clock.as_ref(),
            audit: &audit,
        };
        let mut rotation = Rotation::default();
        let usable = |authority: &SigningAuthority| !authority.is_near_end(now);
        let active = maker.resume(SlotStatus::Active).await?.filter(usable);
        rotation.prepared = maker.resume(SlotStatus::Prepared).await?.filter(usable);
        let active = match active {
            Some(active) => active,
            None => {
                let next = match rotation.prepared.take() {
                    Some(prepared) => prepared,
                    None => maker.prepare(&mut rotation).await?,
                };
                maker.activate(&next).await?;
                next
            }
        };
        active.probe(keys.store()).await?;
        let active = ArcSwap::from_pointee(active);
        let ca = Self { server, config, keys, ledger, clock, audit, active, rotation: Mutex::new(rotation) };
        ca.retire().await;
        Ok(ca)
    }

    /// The authority that signs now.
    pub fn authority(&self) -> Arc<SigningAuthority> {
        self.active.load_full()
    }

    /// Whose slots are this server's.
    pub fn server_id(&self) -> ServerId {
        self.server
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.config.trust_domain
    }

    /// The key store, for the audit log and for people.
    pub fn key_store(&self) -> &plastron_hsm::StoreIdentity {
        self.keys.store().identity()
    }

    /// Signs a leaf. Its end is cut to the authority's. It is for nobody before it is recorded.
    pub async fn sign(&self, leaf: Leaf<'_>) -> Result<Unrecorded<IssuedSvid>, SignError> {
        let authority = self.active.load_full();
        let now = self.clock.now();
        let latest = leaf.not_after.unwrap_or(u64::MAX).min(authority.not_after());
        let not_after = now.as_secs().saturating_add(leaf.ttl.as_secs()).min(latest);
        if not_after < now.as_secs().saturating_add(MIN_SVID_TTL.as_secs()) {
            return Err(SignError::Expired { not_after, now: now.as_secs() });
        }
        let serial = random_serial().map_err(|reason| SignError::Random { reason })?;
        let not_before = now.as_secs().saturating_sub(BACKDATE.as_secs());
        let tbs = LeafTemplate {
            spiffe_id: leaf.spiffe_id,
            public_key: leaf.public_key,
            subject: leaf.subject,
            dns_names: leaf.dns_names,
            serial: &serial,
            not_before: seconds(not_before),
            not_after: seconds(not_after),
        }
        .to_tbs(authority.issuer())
        .map_err(SignError::Template)?;
        let signature = self
            .keys
            .store()
            .sign(authority.key_id(), authority.scheme(), &tbs.digest())
            .await
            .map_err(SignError::KeyStore)?;
        let certificate = tbs.assemble(&signature).map_err(SignError::Template)?;
        Ok(Unrecorded::new(IssuedSvid {
            id: leaf.spiffe_id.clone(),
            chain: vec![certificate],
            serial,
            authority_id: authority.authority_id().to_owned(),
            not_before,
            not_after,
        }))
    }

    /// Prepares the next authority at half life, and lets it sign when the present one is near its end. True where it now signs.
    pub async fn rotate_if_due(&self) -> Result<bool, CaError> {
        let mut rotation = self.rotation.lock().await;
        let (active, now) = (self.active.load_full(), self.clock.now());
        let (config, keys, ledger, clock) = (&self.config, self.keys.store(), &self.ledger, self.clock.as_ref());
        let maker = AuthorityMaker { server: self.server, config, keys, ledger, clock, audit: &self.audit };
        if active.is_past_half(now) && rotation.prepared.is_none() {
            // It may have been published although an error was reported.
            let resumed = maker.resume(SlotStatus::Prepared).await?.filter(|next| !next.is_near_end(now));
            rotation.prepared = match resumed {
                Some(resumed) => Some(resumed),
                None => Some(maker.prepare(&mut rotation).await?),
            };
        }
        if !active.is_near_end(now) {
            return Ok(false);
        }
        let Some(next) = rotation.prepared.as_ref() else { return Ok(false) };
        maker.activate(next).await?;
        self.active.store(Arc::new(next.clone()));
        rotation.prepared = None;
        Ok(true)
    }

    /// Whether the CA can sign: a real signature, verified.
    pub async fn probe(&self) -> Result<(), CaError> {
        let authority = self.active.load_full();
        let now = self.clock.now().as_secs();
        if authority.not_after() < now {
            return Err(CaError::Expired { not_after: authority.not_after(), now });
        }
        Ok(authority.probe(self.keys.store()).await?)
    }
}

fn random() -> Result<[u8; 16], String> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).map_err(|error| error.to_string())?;
    Ok(octets)
}

fn random_serial() -> Result<SerialNumber, String> {
    random().map(SerialNumber::from_random)
}

fn seconds(since_epoch: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(since_epoch))
}
