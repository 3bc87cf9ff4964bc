//! The X.509 CA: finds or makes its authority, keeps it fresh, signs leaves with it.
//!
//! An authority is used in this order, and a crash between any two steps leaves a state from which the next start goes on:
//! the key store makes a key; the key signs its own certificate; one transaction journals the slot as prepared and puts the
//! certificate into the bundle; one transaction makes the slot the active one; then it signs. JWT keys, taint and revocation are
//! not here yet.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use plastron_hsm::{KeyStore, KeyStoreError, KeyType};
use plastron_spiffe::x509::{CaTemplate, IssueError, LeafTemplate, SerialNumber};
use plastron_spiffe::{SpiffeId, TrustDomain};
use rustls_pki_types::UnixTime;
use tokio::sync::Mutex;

use crate::authority::{AuthorityError, MatchedKey, PublishedAuthority, SigningAuthority};
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::limits::{BACKDATE, MIN_SVID_TTL};
use crate::store::{JournalEntry, SlotName, SlotStatus, StoreError};

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
    /// DNS SANs.
    pub dns_names: &'a [String],
    /// Wanted lifetime; cut to the CA's.
    pub ttl: Duration,
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

/// The CA with its active authority.
pub struct CertificateAuthority {
    config: CaConfig,
    keys: Arc<dyn KeyStore>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    active: ArcSwap<SigningAuthority>,
    replacing: Mutex<()>,
}

impl CertificateAuthority {
    /// Finds the authority that the journal names, or makes the first one.
    ///
    /// A key that the key store has lost is replaced by a new authority; a key that is another than the journalled one is not.
    pub async fn open(
        config: CaConfig,
        keys: Arc<dyn KeyStore>,
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CaError> {
        if let Some(bundle) = ledger.state().bundle()
            && bundle.trust_domain != config.trust_domain
        {
            let stored = bundle.trust_domain.clone();
            return Err(CaError::OtherTrustDomain { stored, configured: config.trust_domain });
        }
        let maker = AuthorityMaker { config: &config, keys: keys.as_ref(), ledger: &ledger, clock: clock.as_ref() };
        let active = match maker.resume().await? {
            Some(authority) => authority,
            None => maker.make().await?,
        };
        active.probe(keys.as_ref()).await?;
        let active = ArcSwap::from_pointee(active);
        Ok(Self { config, keys, ledger, clock, active, replacing: Mutex::new(()) })
    }

    /// The authority that signs now.
    pub fn authority(&self) -> Arc<SigningAuthority> {
        self.active.load_full()
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.config.trust_domain
    }

    /// The key store, for the audit log and for people.
    pub fn key_store(&self) -> &plastron_hsm::StoreIdentity {
        self.keys.identity()
    }

    /// Signs a leaf. Its end is cut to the authority's.
    pub async fn sign(&self, leaf: Leaf<'_>) -> Result<IssuedSvid, SignError> {
        let authority = self.active.load();
        let now = self.clock.now();
        let not_after = now.as_secs().saturating_add(leaf.ttl.as_secs()).min(authority.not_after());
        if not_after < now.as_secs().saturating_add(MIN_SVID_TTL.as_secs()) {
            return Err(SignError::AuthorityExpired { not_after: authority.not_after(), now: now.as_secs() });
        }
        let serial = random_serial().map_err(|reason| SignError::Random { reason })?;
        let not_before = now.as_secs().saturating_sub(BACKDATE.as_secs());
        let tbs = LeafTemplate {
            spiffe_id: leaf.spiffe_id,
            public_key: leaf.public_key,
            dns_names: leaf.dns_names,
            serial: &serial,
            not_before: seconds(not_before),
            not_after: seconds(not_after),
        }
        .to_tbs(authority.issuer())
        .map_err(SignError::Template)?;
        let authority = Arc::clone(&authority);
        let signature =
            self.keys.sign(authority.key_id(), authority.scheme(), &tbs.digest()).await.map_err(SignError::KeyStore)?;
        let certificate = tbs.assemble(&signature).map_err(SignError::Template)?;
        Ok(IssuedSvid { id: leaf.spiffe_id.clone(), chain: vec![certificate], serial, not_before, not_after })
    }

    /// Replaces the authority if it is near its end. True where it did.
    pub async fn replace_if_due(&self) -> Result<bool, CaError> {
        let _guard = self.replacing.lock().await;
        if !self.active.load().is_near_end(self.clock.now()) {
            return Ok(false);
        }
        let (config, keys, ledger, clock) = (&self.config, self.keys.as_ref(), &self.ledger, self.clock.as_ref());
        let authority = AuthorityMaker { config, keys, ledger, clock }.make().await?;
        authority.probe(self.keys.as_ref()).await?;
        self.active.store(Arc::new(authority));
        Ok(true)
    }

    /// Whether the CA can sign: a real signature, verified.
    pub async fn probe(&self) -> Result<(), CaError> {
        let authority = self.active.load_full();
        let now = self.clock.now().as_secs();
        if authority.not_after() < now {
            return Err(CaError::Expired { not_after: authority.not_after(), now });
        }
        Ok(authority.probe(self.keys.as_ref()).await?)
    }
}

/// Takes an authority through its first steps.
struct AuthorityMaker<'a> {
    config: &'a CaConfig,
    keys: &'a dyn KeyStore,
    ledger: &'a Arc<Ledger>,
    clock: &'a dyn Clock,
}

impl AuthorityMaker<'_> {
    /// The authority that the journal has as active, or one that was prepared when the server stopped; `None` where neither can
    /// go on signing.
    async fn resume(&self) -> Result<Option<SigningAuthority>, CaError> {
        let mut entries: Vec<_> =
            SlotName::ALL.into_iter().filter_map(|slot| self.ledger.state().journal(slot)).collect();
        entries.sort_by_key(|entry| match entry.status {
            SlotStatus::Active => 0,
            SlotStatus::Prepared => 1,
            SlotStatus::Old => 2,
        });
        for entry in entries {
            if entry.status == SlotStatus::Old {
                continue;
            }
            let authority = match self.qualify(&entry).await {
                Ok(authority) => authority,
                Err(reason @ (AuthorityError::KeyMissing { .. } | AuthorityError::Unpublished { .. })) => {
                    tracing::warn!(slot = %entry.slot, %reason, "X509 CA can't go on with this slot");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if authority.is_near_end(self.clock.now()) {
                continue;
            }
            if entry.status == SlotStatus::Prepared {
                self.activate(&authority).await?;
            }
            return Ok(Some(authority));
        }
        Ok(None)
    }

    /// Makes a key and a certificate, publishes it, and only then lets it sign.
    async fn make(&self) -> Result<SigningAuthority, CaError> {
        let slot = self.next_slot();
        let entry = self.certify(slot).await?;
        let trust_domain = self.config.trust_domain.clone();
        self.ledger
            .write("publish a CA certificate", move |store| async move {
                store.prepare_authority(trust_domain, entry).await
            })
            .await
            .map_err(|source: StoreError| CaError::Store { step: "publish the CA certificate", source })?;
        let entry = self.ledger.state().journal(slot).ok_or(AuthorityError::Unpublished { slot })?;
        let authority = self.qualify(&entry).await?;
        tracing::info!(slot = %slot, local_authority_id = authority.authority_id(), "X509 CA prepared.");
        self.activate(&authority).await?;
        Ok(authority)
    }

    /// The slot that no active authority stands in.
    fn next_slot(&self) -> SlotName {
        let is_active = |slot: &SlotName| {
            self.ledger.state().journal(*slot).is_some_and(|entry| entry.status == SlotStatus::Active)
        };
        SlotName::ALL.into_iter().find(is_active).map_or(SlotName::X509CaA, SlotName::other)
    }

    async fn certify(&self, slot: SlotName) -> Result<JournalEntry, CaError> {
        let in_slot = |source| AuthorityError::KeyStore { slot, source };
        let record = self.keys.generate(slot.as_str(), self.config.key_type).await.map_err(in_slot)?;
        let now = self.clock.now().as_secs();
        let not_before = now.saturating_sub(BACKDATE.as_secs());
        let not_after = now.saturating_add(self.config.ttl.as_secs());
        let serial = random_serial().map_err(|reason| CaError::Random { reason })?;
        let CaSubject { country, organization, common_name } = &self.config.subject;
        let tbs = CaTemplate {
            spiffe_id: &self.config.trust_domain.id(),
            public_key: &record.public_key,
            country,
            organization,
            common_name,
            serial: &serial,
            not_before: seconds(not_before),
            not_after: seconds(not_after),
        }
        .to_tbs(crate::authority::certificate_algorithm(record.key_type))
        .map_err(CaError::Template)?;
        let scheme = record.key_type.default_scheme();
        let signature = self.keys.sign(&record.id, scheme, &tbs.digest()).await.map_err(in_slot)?;
        Ok(JournalEntry {
            slot,
            spki_sha256: crate::authority::spki_sha256(&record.public_key),
            key_id: record.id,
            certificate: tbs.assemble(&signature).map_err(CaError::Template)?,
            not_before,
            not_after,
            status: SlotStatus::Prepared,
        })
    }

    async fn qualify(&self, entry: &Arc<JournalEntry>) -> Result<SigningAuthority, AuthorityError> {
        let unpublished = AuthorityError::Unpublished { slot: entry.slot };
        let bundle = self.ledger.state().bundle().ok_or(unpublished)?;
        let published = PublishedAuthority::find(entry, &bundle)?;
        SigningAuthority::new(published, MatchedKey::find(entry, self.keys).await?)
    }

    async fn activate(&self, authority: &SigningAuthority) -> Result<(), CaError> {
        let slot = authority.slot();
        self.ledger
            .write("activate a CA slot", move |store| async move { store.activate_authority(slot).await })
            .await
            .map_err(|source: StoreError| CaError::Store { step: "activate the CA slot", source })?;
        tracing::info!(slot = %slot, local_authority_id = authority.authority_id(), "X509 CA activated");
        Ok(())
    }
}

fn random_serial() -> Result<SerialNumber, String> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).map_err(|error| error.to_string())?;
    Ok(SerialNumber::from_random(octets))
}

fn seconds(since_epoch: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(since_epoch))
}

/// Why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The store belongs to another trust domain.
    #[error(
        "the store holds the bundle of trust domain {stored}, and the configuration says {configured}; \
         give this server a store of its own or set trust_domain back"
    )]
    OtherTrustDomain {
        /// In the store.
        stored: TrustDomain,
        /// In the configuration.
        configured: TrustDomain,
    },
    /// An authority can't be used.
    #[error("the X.509 CA can't sign")]
    Authority(#[from] AuthorityError),
    /// A step could not be recorded, so what follows it is not done.
    #[error("can't {step}")]
    Store {
        /// The step.
        step: &'static str,
        /// What the store said.
        source: StoreError,
    },
    /// No certificate can be made of the configuration.
    #[error("the CA certificate can't be made")]
    Template(#[source] IssueError),
    /// The operating system gives no random numbers.
    #[error("no random numbers: {reason}")]
    Random {
        /// What it said.
        reason: String,
    },
    /// The authority has expired and could not be replaced.
    #[error("the CA certificate expired: not valid after {not_after}, now {now}")]
    Expired {
        /// Unix seconds.
        not_after: u64,
        /// Unix seconds.
        now: u64,
    },
}

/// Why a leaf was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The CA certificate ends too soon to sign anything.
    #[error("the CA certificate is not valid after {not_after}, now {now}")]
    AuthorityExpired {
        /// Unix seconds.
        not_after: u64,
        /// Unix seconds.
        now: u64,
    },
    /// No certificate can be made of these values.
    #[error("the certificate can't be made")]
    Template(#[source] IssueError),
    /// The key store did not sign.
    #[error("the CA key did not sign")]
    KeyStore(#[source] KeyStoreError),
    /// The operating system gives no random numbers.
    #[error("no random numbers: {reason}")]
    Random {
        /// What it said.
        reason: String,
    },
}
