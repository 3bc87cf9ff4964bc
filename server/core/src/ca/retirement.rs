//! What is left of an authority after its time: its entry in the bundle and its key in the key store.
//!
//! A key goes once its slot has another one, or once its authority was revoked: it signs nothing any more. A key that was made and never
//! came into a slot before the server stopped is not known here; `hsm gc` is for those. Of the journal only the present slots are kept: the
//! audit log is the history.

use std::time::Duration;

use der::Decode;
use plastron_hsm::{KeyId, KeyStoreError};
use x509_cert::Certificate;

use super::CertificateAuthority;
use super::context::CaContext;
use crate::ledger::Write;
use crate::store::{AuthoritySet, JournalAuthority, StoreError};
use crate::{audit, meters};

/// How long an authority stays in the bundle after it has expired (SPIRE: 24 h): for those whose clocks are late.
const EXPIRED_AUTHORITY_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Who the audit log says did it.
const ACTOR: &str = "server";

impl CertificateAuthority {
    /// Takes expired authorities out of the bundle and destroys keys that nothing signs with. What fails is logged, and tried again
    /// the next time: nothing depends on it.
    pub async fn retire(&self) {
        let call = meters::BUNDLE_PRUNE.start();
        if let Err(error) = call.ended(self.context.drop_expired().await) {
            tracing::error!(error = audit::chain(&error), "Expired authorities could not be removed from the bundle");
        }
        self.x509.destroy_old_keys(&self.context).await;
        if let Some(jwt) = &self.jwt {
            jwt.destroy_old_keys(&self.context).await;
        }
    }
}

impl CaContext {
    async fn drop_expired(&self) -> Result<(), StoreError> {
        let Some(bundle) = self.ledger.state().bundle() else { return Ok(()) };
        let now = self.clock.now().as_secs();
        let is_over = |end: u64| end.saturating_add(EXPIRED_AUTHORITY_KEPT.as_secs()) < now;
        // What a slot has stays, so there may be something expired and nothing to do. It also keeps what other servers sign with
        // where only this server's clock is ahead.
        let journals = self.ledger.state().journals();
        let in_slot =
            |wanted: &dyn Fn(&JournalAuthority) -> bool| journals.iter().any(|entry| wanted(&entry.authority));
        let x509 = bundle.x509_authorities.iter().map(|authority| &authority.certificate).filter(|certificate| {
            let has = |authority: &JournalAuthority| {
                matches!(authority, JournalAuthority::X509(ca) if ca.certificate == **certificate)
            };
            not_after(certificate).is_some_and(is_over) && !in_slot(&has)
        });
        let jwt = bundle.jwt_authorities.iter().filter(|key| {
            let has = |authority: &JournalAuthority| {
                matches!(authority, JournalAuthority::Jwt(jwt) if jwt.key_id == key.key_id)
            };
            u64::try_from(key.expires_at).is_ok_and(|end| end > 0 && is_over(end)) && !in_slot(&has)
        });
        let expired = AuthoritySet { x509: x509.cloned().collect(), jwt: jwt.map(|key| key.key_id.clone()).collect() };
        if expired.is_empty() {
            return Ok(());
        }
        let dropped: usize = self
            .ledger
            .write(Write::DropAuthorities, move |store| async move { store.drop_authorities(expired).await })
            .await?;
        if dropped > 0 {
            meters::BUNDLE_PRUNED.increment();
            audit::change(ACTOR, "authority expire", &format!("{dropped} authorities"), "ok");
        }
        Ok(())
    }

    /// True where the key is gone, or nobody can make it go.
    pub(super) async fn destroy_key(&self, key: &KeyId) -> bool {
        let Some(inventory) = self.keys.inventory() else { return true };
        let result = match inventory.destroy(key).await {
            Err(KeyStoreError::NoSuchKey { .. }) => return true,
            result => result,
        };
        audit::change(ACTOR, "authority key destroy", &key.to_string(), &audit::outcome(&result));
        if let Err(error) = &result {
            tracing::error!(%key, error = audit::chain(error), "The key of an old authority could not be destroyed");
        }
        result.is_ok()
    }
}

/// Unix seconds; `None` where it does not parse.
fn not_after(certificate: &[u8]) -> Option<u64> {
    let certificate = Certificate::from_der(&plastron_spiffe::x509::readable(certificate)).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}
