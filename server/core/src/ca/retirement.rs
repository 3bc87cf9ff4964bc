//! What is left of an authority after its time: its certificate in the bundle and its key in the key store.
//!
//! A key goes once its slot has another one: it signs nothing any more. A key that was made and never came into a slot before the
//! server stopped is not known here; `hsm gc` is for those.

use std::time::Duration;

use der::Decode;
use plastron_hsm::{KeyId, KeyStoreError};
use plastron_spiffe::X509Authority;
use x509_cert::Certificate;

use super::CertificateAuthority;
use crate::audit;
use crate::store::{AuthoritySet, StoreError};

/// How long an authority stays in the bundle after it has expired (SPIRE: 24 h): for those whose clocks are late.
const EXPIRED_AUTHORITY_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Who the audit log says did it.
const ACTOR: &str = "server";

impl CertificateAuthority {
    /// Takes expired authorities out of the bundle and destroys keys that no slot has any more. What fails is logged, and tried
    /// again the next time: nothing depends on it.
    pub async fn retire(&self) {
        if let Err(error) = self.drop_expired().await {
            tracing::error!(
                error = audit::chain(&error),
                "Expired CA certificates could not be removed from the bundle"
            );
        }
        let mut rotation = self.rotation.lock().await;
        let mut left = Vec::new();
        for key in std::mem::take(&mut rotation.replaced) {
            if !self.destroy(&key).await {
                left.push(key);
            }
        }
        rotation.replaced = left;
    }

    async fn drop_expired(&self) -> Result<(), StoreError> {
        let Some(bundle) = self.ledger.state().bundle() else { return Ok(()) };
        let now = self.clock.now().as_secs();
        let has_expired = |authority: &&X509Authority| {
            not_after(&authority.certificate)
                .is_some_and(|end| end.saturating_add(EXPIRED_AUTHORITY_KEPT.as_secs()) < now)
        };
        let expired: Vec<_> =
            bundle.x509_authorities.iter().filter(has_expired).map(|expired| expired.certificate.clone()).collect();
        // What a slot has stays, so there may be something expired and nothing to do.
        let journals = self.ledger.state().journals();
        let in_slot = |certificate: &Vec<u8>| {
            journals.iter().any(|entry| entry.ca().is_some_and(|ca| ca.certificate == *certificate))
        };
        if expired.iter().all(in_slot) {
            return Ok(());
        }
        let dropped: usize = self
            .ledger
            .write("drop expired CA certificates", move |store| async move {
                store.drop_authorities(AuthoritySet { x509: expired, jwt: Vec::new() }).await
            })
            .await?;
        if dropped > 0 {
            audit::change(ACTOR, "x509 authority expire", &format!("{dropped} authorities"), "ok");
        }
        Ok(())
    }

    /// True where the key is gone, or nobody can make it go.
    async fn destroy(&self, key: &KeyId) -> bool {
        let Some(inventory) = self.keys.inventory() else { return true };
        let result = match inventory.destroy(key).await {
            Err(KeyStoreError::NoSuchKey { .. }) => return true,
            result => result,
        };
        audit::change(ACTOR, "x509 authority key destroy", &key.to_string(), &audit::outcome(&result));
        if let Err(error) = &result {
            tracing::error!(%key, error = audit::chain(error), "The key of an old CA could not be destroyed");
        }
        result.is_ok()
    }
}

/// Unix seconds; `None` where it does not parse.
fn not_after(certificate: &[u8]) -> Option<u64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}
