//! The CA: finds or makes its authorities, X.509 and JWT, keeps them fresh, and signs SVIDs with them.
//!
//! An authority is used in this order, and a crash between any two steps leaves a state from which the next start goes on:
//! the key store makes a key; for X.509, the key signs its own certificate; one transaction journals the slot as prepared and puts the
//! authority into the bundle; everyone who hands the bundle out is waited for; one transaction makes the slot the active one; then it signs.
//! The next one is prepared at half life and activated near the end, so that everyone has it in the bundle before they meet it. When a slot
//! is used again, the key that stood in it is destroyed; an authority that has expired leaves the bundle.
//!
//! What it does not do: it does not look at who asks for a signature, and it does not decide when it is called (`Services` does).

mod context;
mod downstream;
mod error;
mod identity;
mod keys;
mod leaf;
mod local;
mod maker;
mod presence;
mod retirement;
mod rotor;
mod succession;
mod upstream;
mod upstream_bundle;

use std::sync::Arc;
use std::time::Duration;

use plastron_hsm::{KeyId, KeyRecord, KeyStoreError, KeyType};
use plastron_spiffe::x509::SerialNumber;
use plastron_spiffe::{TrustDomain, X509Authority};
use rustls_pki_types::UnixTime;

use crate::audit::AuditLog;
use crate::authority::{JwtUse, SigningAuthority, SigningUse, X509Use};
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::store::{ServerId, subject_key_id};
use crate::watch::Watchers;

use context::CaContext;
pub use downstream::DownstreamCa;
pub use error::{CaError, SignError};
pub use keys::CaKeys;
pub(crate) use keys::KeysAtRest;
pub use leaf::{IssuedJwt, IssuedSvid, JwtLeaf, Leaf};
use rotor::Rotor;
use upstream::SeenRoots;
pub use upstream::UpstreamFault;
use upstream_bundle::Above;

/// What configuration says about the CA.
#[derive(Clone, Debug)]
pub struct CaConfig {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Type of the X.509 CA keys to be made (`ca_key_type`).
    pub key_type: KeyType,
    /// Type of the JWT keys to be made (`jwt_key_type`; SPIRE's default is `ca_key_type`).
    pub jwt_key_type: KeyType,
    /// Lifetime of a CA certificate and of a JWT key (`ca_ttl`).
    pub ttl: Duration,
    /// Subject of the CA certificate (`ca_subject`).
    pub subject: CaSubject,
    /// `iss` of JWT-SVIDs (`jwt_issuer`), where they are to have one.
    pub jwt_issuer: Option<String>,
    /// No JWT key is made and no JWT-SVID signed (`disable_jwt_svids`).
    pub disable_jwt_svids: bool,
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

/// The CA with its active authorities.
pub struct CertificateAuthority {
    context: CaContext,
    x509: Rotor<X509Use>,
    /// `None` where configuration switched JWT-SVIDs off.
    jwt: Option<Rotor<JwtUse>>,
    upstream_roots: SeenRoots,
}

impl CertificateAuthority {
    /// Finds the authorities that the journal of this server names, or makes the first ones.
    ///
    /// A key that the key store has lost is replaced by a new authority; a key that is another than the journalled one is not.
    pub async fn open(
        config: CaConfig,
        keys: CaKeys,
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditLog>,
        watchers: Arc<Watchers>,
    ) -> Result<Self, CaError> {
        if let Some(bundle) = ledger.state().bundle()
            && bundle.trust_domain != config.trust_domain
        {
            let stored = bundle.trust_domain.clone();
            return Err(CaError::OtherTrustDomain { stored, configured: config.trust_domain });
        }
        let server = identity::find_or_make(&ledger, keys.store()).await?;
        let (disable_jwt_svids, above) = (config.disable_jwt_svids, Above::default());
        let context = CaContext { server, config, keys, ledger, clock, audit, watchers, above };
        let x509 = Rotor::open(&context).await?;
        let jwt = if disable_jwt_svids { None } else { Some(Rotor::open(&context).await?) };
        let ca = Self { context, x509, jwt, upstream_roots: SeenRoots::default() };
        ca.retire().await;
        ca.report_orphans().await;
        Ok(ca)
    }

    /// The X.509 authority that is active now.
    pub fn authority(&self) -> Arc<SigningAuthority> {
        self.x509.active()
    }

    /// The JWT authority that is active now; `None` where JWT-SVIDs are switched off.
    pub fn jwt_authority(&self) -> Option<Arc<SigningAuthority<JwtUse>>> {
        self.jwt.as_ref().map(Rotor::active)
    }

    /// Whether the bundle has an X.509 authority with this subject key identifier that is not tainted.
    pub fn is_trusted(&self, anchor_id: &str) -> bool {
        let bundle = self.context.ledger.state().bundle();
        bundle.is_some_and(|bundle| {
            let is_it = |it: &X509Authority| subject_key_id(&it.certificate).as_deref() == Some(anchor_id);
            bundle.x509_authorities.iter().any(|it| !it.tainted && is_it(it))
        })
    }

    /// Whose slots are this server's.
    pub fn server_id(&self) -> ServerId {
        self.context.server
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.context.config.trust_domain
    }

    /// The key store, for the audit log and for people.
    pub fn key_store(&self) -> &plastron_hsm::StoreIdentity {
        self.context.key_store().identity()
    }

    /// Moves X.509 authorities that are due. True where another one now signs.
    pub async fn rotate_if_due(&self) -> Result<bool, CaError> {
        self.x509.rotate_if_due(&self.context).await
    }

    /// Moves JWT authorities that are due. True where another one now signs.
    pub async fn rotate_jwt_if_due(&self) -> Result<bool, CaError> {
        match &self.jwt {
            Some(jwt) => jwt.rotate_if_due(&self.context).await,
            None => Ok(false),
        }
    }

    /// Whether the CA can sign X.509-SVIDs: a real signature, verified.
    pub async fn probe(&self) -> Result<(), CaError> {
        self.probe_active(&self.x509).await
    }

    /// The same of JWT-SVIDs, unless they are switched off.
    pub async fn probe_jwt(&self) -> Result<(), CaError> {
        match &self.jwt {
            Some(jwt) => self.probe_active(jwt).await,
            None => Ok(()),
        }
    }

    async fn probe_active<U: SigningUse>(&self, rotor: &Rotor<U>) -> Result<(), CaError> {
        let authority = rotor.published(&self.context)?;
        let now = self.context.clock.now().as_secs();
        if authority.not_after() < now {
            return Err(CaError::Expired { not_after: authority.not_after(), now });
        }
        Ok(authority.probe(self.context.key_store()).await?)
    }

    /// Keys in the key store that no journal on this store names and that no step has under way. `None` where the key store can't tell.
    pub async fn orphans(&self) -> Result<Option<Vec<KeyRecord>>, KeyStoreError> {
        let Some(inventory) = self.context.keys.inventory() else { return Ok(None) };
        // In this order: a key that a step has under way while they are listed is in a slot, or with that step, afterwards.
        let keys = inventory.list().await?;
        let mut named = self.unpublished_keys().await;
        named.extend(self.context.ledger.state().journals().iter().map(|entry| entry.key_id.clone()));
        Ok(Some(keys.into_iter().filter(|key| !named.contains(&key.id)).collect()))
    }

    async fn unpublished_keys(&self) -> Vec<KeyId> {
        let mut keys: Vec<_> = self.x509.unpublished().await.into_iter().collect();
        if let Some(jwt) = &self.jwt {
            keys.extend(jwt.unpublished().await);
        }
        keys
    }

    /// Says which keys a crash, or a store that was lost, left behind. Nothing is destroyed.
    async fn report_orphans(&self) {
        match self.orphans().await {
            Ok(Some(orphans)) if !orphans.is_empty() => {
                let (keys, store) = (orphans.len(), &self.key_store().name);
                tracing::warn!(keys, store, "The key store has keys that no journal names; `hsm gc` lists them");
                for KeyRecord { id, label, .. } in orphans {
                    let subject = format!("key {id} label {label:?} in {store}");
                    crate::audit::change("server", "key orphaned", &subject, "no journal names it");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = crate::audit::chain(&error), "The key store's keys can't be listed"),
        }
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
