//! What changes the CA journals and the bundle, one transaction each.

use std::sync::Arc;

use plastron_server_core::store::{
    AuthorityChangeError, AuthoritySet, AuthorityStore, Committed, Event, JournalAuthority, JournalEntry, Publication,
    PublishError, Published, ServerId, SlotName, SlotStatus, StoreError,
};
use plastron_spiffe::{Bundle, JwtAuthority, SpiffeId, TrustDomain, X509Authority};

use crate::SqliteStore;
use crate::error::Purpose;
use crate::write::Write;

#[async_trait::async_trait]
impl AuthorityStore for SqliteStore {
    async fn prepare_authority(
        &self,
        trust_domain: TrustDomain,
        entry: JournalEntry,
        upstream_roots: Vec<X509Authority>,
    ) -> Result<Committed<Arc<Bundle>>, StoreError> {
        const PURPOSE: Purpose = Purpose("publish an authority");
        let mut write = Write::begin(self, PURPOSE).await?;
        let (mut x509, mut jwt) = (upstream_roots, Vec::new());
        match entry.own_publication() {
            Publication::X509(authority) => x509.push(authority),
            Publication::Jwt(authority) => jwt.push(authority),
            Publication::Upstream => {}
        }
        if !self.journal(write.connection()).await?.contains(&entry) {
            self.write_slot(write.connection(), &entry).await?;
            write.note(Event::Journal(Arc::new(entry)));
        }
        let bundle = append(&mut write, trust_domain, x509, jwt).await?;
        Ok(Committed { value: bundle, changes: write.commit(PURPOSE).await? })
    }

    async fn activate_authority(&self, server: ServerId, slot: SlotName) -> Result<Committed<()>, StoreError> {
        const PURPOSE: Purpose = Purpose("activate a CA slot");
        let mut write = Write::begin(self, PURPOSE).await?;
        let slots = self.journal(write.connection()).await?.into_iter();
        for mut entry in slots.filter(|entry| entry.server == server && entry.slot.kind() == slot.kind()) {
            let status = match entry.status {
                _ if entry.slot == slot => SlotStatus::Active,
                SlotStatus::Active => SlotStatus::Old,
                other => other,
            };
            if entry.status != status {
                entry.status = status;
                self.write_slot(write.connection(), &entry).await?;
                write.note(Event::Journal(Arc::new(entry)));
            }
        }
        Ok(Committed { value: (), changes: write.commit(PURPOSE).await? })
    }

    async fn append_authorities(
        &self,
        trust_domain: TrustDomain,
        x509: Vec<X509Authority>,
        jwt: Vec<JwtAuthority>,
    ) -> Result<Committed<Arc<Bundle>>, StoreError> {
        const PURPOSE: Purpose = Purpose("append to the bundle");
        let mut write = Write::begin(self, PURPOSE).await?;
        let bundle = append(&mut write, trust_domain, x509, jwt).await?;
        Ok(Committed { value: bundle, changes: write.commit(PURPOSE).await? })
    }

    async fn publish_jwt_authority(
        &self,
        trust_domain: TrustDomain,
        published: Published,
    ) -> Result<Committed<Arc<Bundle>>, PublishError> {
        self.publish(trust_domain, published).await
    }

    async fn living_jwt_authorities(&self, publisher: Option<SpiffeId>, now: i64) -> Result<usize, StoreError> {
        self.living_keys(publisher, now).await
    }

    async fn drop_authorities(&self, authorities: AuthoritySet) -> Result<Committed<usize>, StoreError> {
        const PURPOSE: Purpose = Purpose("drop expired authorities");
        let mut write = Write::begin(self, PURPOSE).await?;
        let mut dropped = 0;
        if let Some(mut bundle) = self.own_bundle(write.connection()).await? {
            let journal = self.journal(write.connection()).await?;
            let before = count(&bundle);
            let mut left = bundle.clone();
            left.x509_authorities.retain(|X509Authority { certificate, tainted: _ }| {
                let has = |entry: &JournalEntry| entry.ca().is_some_and(|ca| ca.certificate == *certificate);
                !authorities.x509.contains(certificate) || journal.iter().any(has)
            });
            left.jwt_authorities.retain(|JwtAuthority { key_id, .. }| {
                let has = |entry: &JournalEntry| matches!(&entry.authority, JournalAuthority::Jwt(key) if key.key_id == *key_id);
                !authorities.jwt.contains(key_id) || journal.iter().any(has)
            });
            if !left.x509_authorities.is_empty() {
                bundle.x509_authorities = left.x509_authorities;
            }
            bundle.jwt_authorities = left.jwt_authorities;
            dropped = before - count(&bundle);
            if dropped > 0 {
                rewrite(&mut write, bundle).await?;
            }
        }
        Ok(Committed { value: dropped, changes: write.commit(PURPOSE).await? })
    }

    async fn taint_authorities(&self, authorities: AuthoritySet) -> Result<Committed<()>, AuthorityChangeError> {
        const PURPOSE: Purpose = Purpose("taint an authority");
        let mut write = Write::begin(self, PURPOSE).await?;
        let mut bundle = find(&mut write, &authorities).await?;
        let mut changed = false;
        for authority in bundle.x509_authorities.iter_mut().filter(|it| authorities.x509.contains(&it.certificate)) {
            changed |= !std::mem::replace(&mut authority.tainted, true);
        }
        for authority in bundle.jwt_authorities.iter_mut().filter(|it| authorities.jwt.contains(&it.key_id)) {
            changed |= !std::mem::replace(&mut authority.tainted, true);
        }
        if !changed {
            return Err(AuthorityChangeError::AlreadyTainted);
        }
        rewrite(&mut write, bundle).await?;
        Ok(Committed { value: (), changes: write.commit(PURPOSE).await? })
    }

    async fn revoke_authorities(&self, authorities: AuthoritySet) -> Result<Committed<()>, AuthorityChangeError> {
        const PURPOSE: Purpose = Purpose("revoke an authority");
        let mut write = Write::begin(self, PURPOSE).await?;
        let mut bundle = find(&mut write, &authorities).await?;
        let goes_x509 = |authority: &X509Authority| authorities.x509.contains(&authority.certificate);
        let goes_jwt = |authority: &JwtAuthority| authorities.jwt.contains(&authority.key_id);
        let untainted = bundle.x509_authorities.iter().any(|authority| goes_x509(authority) && !authority.tainted)
            || bundle.jwt_authorities.iter().any(|authority| goes_jwt(authority) && !authority.tainted);
        if untainted {
            return Err(AuthorityChangeError::NotTainted);
        }
        bundle.x509_authorities.retain(|authority| !goes_x509(authority));
        bundle.jwt_authorities.retain(|authority| !goes_jwt(authority));
        rewrite(&mut write, bundle).await?;
        Ok(Committed { value: (), changes: write.commit(PURPOSE).await? })
    }
}

fn count(bundle: &Bundle) -> usize {
    bundle.x509_authorities.len() + bundle.jwt_authorities.len()
}

/// The bundle, where it has every one of these authorities.
async fn find(write: &mut Write<'_>, authorities: &AuthoritySet) -> Result<Bundle, AuthorityChangeError> {
    let store = write.store;
    let bundle = store.own_bundle(write.connection()).await?.ok_or(AuthorityChangeError::NotFound)?;
    let AuthoritySet { x509, jwt } = authorities;
    let has_x509 =
        |certificate: &Vec<u8>| bundle.x509_authorities.iter().any(|authority| authority.certificate == *certificate);
    let has_jwt = |key_id: &String| bundle.jwt_authorities.iter().any(|authority| authority.key_id == *key_id);
    if authorities.is_empty() || !x509.iter().all(has_x509) || !jwt.iter().all(has_jwt) {
        return Err(AuthorityChangeError::NotFound);
    }
    Ok(bundle)
}

/// Writes a bundle that changed; its sequence number rises.
pub(crate) async fn rewrite(write: &mut Write<'_>, mut bundle: Bundle) -> Result<(), StoreError> {
    let store = write.store;
    bundle.sequence_number = bundle.sequence_number.saturating_add(1);
    store.write_bundle(write.connection(), &bundle, true).await?;
    write.note(Event::Bundle(Arc::new(bundle)));
    Ok(())
}

/// Adds what the bundle does not have yet, and lets keys that come again live longer; its sequence number rises if there was something.
/// Another key with a key ID that the bundle has is left out, which the caller sees from the bundle that it gets.
pub(crate) async fn append(
    write: &mut Write<'_>,
    trust_domain: TrustDomain,
    x509: Vec<X509Authority>,
    jwt: Vec<JwtAuthority>,
) -> Result<Arc<Bundle>, StoreError> {
    let store = write.store;
    let present = store.own_bundle(write.connection()).await?;
    let known = present.is_some();
    let mut bundle = present.unwrap_or_else(|| Bundle::empty(trust_domain));
    let before = bundle.clone();
    for authority in x509 {
        if !bundle.x509_authorities.iter().any(|known| known.certificate == authority.certificate) {
            bundle.x509_authorities.push(authority);
        }
    }
    for authority in jwt {
        match bundle.jwt_authorities.iter_mut().find(|known| known.key_id == authority.key_id) {
            Some(known) if known.public_key == authority.public_key => {
                known.expires_at = later_end(known.expires_at, authority.expires_at);
            }
            Some(_) => {}
            None => bundle.jwt_authorities.push(authority),
        }
    }
    if bundle == before && known {
        return Ok(Arc::new(bundle));
    }
    bundle.sequence_number = bundle.sequence_number.saturating_add(1);
    store.write_bundle(write.connection(), &bundle, known).await?;
    let bundle = Arc::new(bundle);
    write.note(Event::Bundle(Arc::clone(&bundle)));
    Ok(bundle)
}

/// Of two ends of one key. What is not above zero never comes.
fn later_end(one: i64, other: i64) -> i64 {
    if one <= 0 || other <= 0 { one.min(other) } else { one.max(other) }
}
