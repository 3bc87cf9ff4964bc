//! The server's own SVID, `/spire/server`: its key lives in this process's memory alone and lasts as long as one SVID.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use plastron_spiffe::{SpiffeId, SpiffeIdError};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::audit::AuditLog;
use crate::ca::{CertificateAuthority, Leaf, SignError};
use crate::clock::Clock;
use crate::meters;

/// The SVID that the server presents, with its key.
pub struct ServerSvid {
    /// `spiffe://td/spire/server`.
    pub id: SpiffeId,
    /// DER certificates, leaf first, without the root; last the one by which the authority before names that of now, where there is one.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8, DER.
    pub private_key: Zeroizing<Vec<u8>>,
    /// Validity, Unix seconds.
    pub not_before: u64,
    /// Validity, Unix seconds, inclusive.
    pub not_after: u64,
    /// When half of the life that it had left at its issue is over, Unix seconds. It begins some time before its issue.
    pub renew_at: u64,
    /// Subject key identifier of the root in the bundle that it hangs from, lower-case hex.
    pub anchor_id: Arc<str>,
}

impl fmt::Debug for ServerSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, chain, private_key: _, not_before, not_after, renew_at, anchor_id } = self;
        f.debug_struct("ServerSvid")
            .field("id", id)
            .field("certificates", &chain.len())
            .field("not_before", not_before)
            .field("not_after", not_after)
            .field("renew_at", renew_at)
            .field("anchor_id", anchor_id)
            .finish_non_exhaustive()
    }
}

/// Keeps the server's SVID fresh.
pub struct ServerSvidSource {
    ca: Arc<CertificateAuthority>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditLog>,
    ttl: Duration,
    id: SpiffeId,
    current: watch::Sender<Arc<ServerSvid>>,
}

impl ServerSvidSource {
    /// Has the first SVID signed.
    pub async fn start(
        ca: Arc<CertificateAuthority>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditLog>,
        ttl: Duration,
    ) -> Result<Self, ServerSvidError> {
        let id = ca.trust_domain().with_path("/spire/server")?;
        let call = meters::SERVER_SVID_ROTATE.start();
        let first = call.ended(issue(&ca, clock.as_ref(), &audit, &id, ttl).await)?;
        let (current, _) = watch::channel(Arc::new(first));
        Ok(Self { ca, clock, audit, ttl, id, current })
    }

    /// The SVID now and whenever it is replaced.
    pub fn subscribe(&self) -> watch::Receiver<Arc<ServerSvid>> {
        self.current.subscribe()
    }

    /// Replaces the SVID, and its key, once half its life is over, or at once where its authority was tainted or revoked, or it is not
    /// valid yet because the clock was set back. True where it did.
    pub async fn rotate_if_due(&self) -> Result<bool, ServerSvidError> {
        let svid = Arc::clone(&self.current.borrow());
        let trusted = self.ca.is_trusted(&svid.anchor_id);
        if trusted && (svid.not_before..svid.renew_at).contains(&self.clock.now().as_secs()) {
            return Ok(false);
        }
        if !trusted {
            let subject_key_id = &svid.anchor_id;
            tracing::info!(
                %subject_key_id,
                "Server SVID signed using a tainted authority, forcing rotation of the Server SVID"
            );
        }
        let call = meters::SERVER_SVID_ROTATE.start();
        let svid = call.ended(issue(&self.ca, self.clock.as_ref(), &self.audit, &self.id, self.ttl).await)?;
        self.current.send_replace(Arc::new(svid));
        Ok(true)
    }
}

async fn issue(
    ca: &CertificateAuthority,
    clock: &dyn Clock,
    audit: &AuditLog,
    id: &SpiffeId,
    ttl: Duration,
) -> Result<ServerSvid, ServerSvidError> {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
        .map_err(|_unspecified| ServerSvidError::Key)?;
    let private_key = Zeroizing::new(document.as_ref().to_vec());
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &private_key)
        .map_err(|_rejected| ServerSvidError::Key)?;
    let public_key: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_unspecified| ServerSvidError::Key)?;
    let svid = ca
        .sign(Leaf {
            spiffe_id: id,
            public_key: public_key.as_ref(),
            subject: None,
            dns_names: &[],
            ttl,
            not_after: None,
        })
        .await?;
    let svid = audit.record_own(svid).await.into_inner();
    let mut chain = svid.chain;
    chain.extend(ca.named_by_predecessor(svid.not_after).await);
    let now = clock.now().as_secs();
    Ok(ServerSvid {
        id: svid.id,
        chain,
        private_key,
        not_before: svid.not_before,
        not_after: svid.not_after,
        renew_at: now.saturating_add(svid.not_after.saturating_sub(now) / 2),
        anchor_id: svid.anchor_id,
    })
}

/// Why the server has no SVID.
#[derive(Debug, thiserror::Error)]
pub enum ServerSvidError {
    /// No key could be made.
    #[error("no key for the server's own SVID could be made")]
    Key,
    /// The trust domain leaves no room for the path.
    #[error("the server has no SPIFFE ID in its trust domain")]
    Id(#[from] SpiffeIdError),
    /// The CA did not sign.
    #[error("the server's own SVID was not signed")]
    Sign(#[from] SignError),
}
