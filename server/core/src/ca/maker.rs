//! Takes an authority through its steps: key, certificate, publication, activation.

use std::sync::Arc;

use plastron_hsm::{KeyRecord, KeyStore, StoreIdentity};
use plastron_spiffe::x509::CaTemplate;

use super::identity::lose;
use super::{CaConfig, CaError, CaSubject, Rotation, random_serial, seconds};
use crate::audit::{self, Announced, AuditLog};
use crate::authority::{AuthorityError, MatchedKey, PublishedAuthority, SigningAuthority};
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::limits::BACKDATE;
use crate::store::{JournalAuthority, JournalCa, JournalEntry, ServerId, SlotKind, SlotName, SlotStatus, StoreError};

/// Who the audit log says did it.
const ACTOR: &str = "server";
/// What it calls the moment from which on an authority signs.
const ACTIVATE: &str = "x509 authority activate";

/// A key for a slot, with its certificate once it has one, before the store has it.
pub(super) struct Unpublished {
    slot: SlotName,
    key: KeyRecord,
    entry: Option<JournalEntry>,
}

/// Takes an authority through its first steps.
pub(super) struct AuthorityMaker<'a> {
    pub(super) server: ServerId,
    pub(super) config: &'a CaConfig,
    pub(super) keys: &'a dyn KeyStore,
    pub(super) ledger: &'a Arc<Ledger>,
    pub(super) clock: &'a dyn Clock,
    pub(super) audit: &'a AuditLog,
}

impl AuthorityMaker<'_> {
    /// What the journal has in this status, if its key is still there and its certificate published. A slot that lost either is
    /// passed over; one whose key is another than the journal's is not.
    pub(super) async fn resume(&self, status: SlotStatus) -> Result<Option<SigningAuthority>, CaError> {
        for slot in SlotKind::X509.slots() {
            let Some(entry) = self.ledger.state().journal(self.server, slot).filter(|entry| entry.status == status)
            else {
                continue;
            };
            match self.qualify(&entry).await {
                Ok(authority) => return Ok(Some(authority)),
                Err(reason @ (AuthorityError::KeyMissing { .. } | AuthorityError::Unpublished { .. })) => {
                    tracing::warn!(%slot, %reason, "X509 CA can't go on with this slot");
                    lose(&entry, self.keys, &reason.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Makes a key and a certificate and publishes it. It signs nothing yet. Where a step fails, what is there already is kept in
    /// `rotation` and used by the next attempt: a store that is away for long must not fill a token with keys.
    pub(super) async fn prepare(&self, rotation: &mut Rotation) -> Result<SigningAuthority, CaError> {
        let slot = self.next_slot();
        let unpublished = match rotation.unpublished.take().filter(|unpublished| unpublished.slot == slot) {
            Some(unpublished) => rotation.unpublished.insert(unpublished),
            None => {
                let generated = self.keys.generate(slot.as_str(), self.config.key_type).await;
                let key = generated.map_err(|source| AuthorityError::KeyStore { slot, source })?;
                rotation.unpublished.insert(Unpublished { slot, key, entry: None })
            }
        };
        let entry = match unpublished.entry.clone().filter(|entry| self.is_fresh(entry)) {
            Some(entry) => entry,
            None => unpublished.entry.insert(self.certify(slot, &unpublished.key).await?).clone(),
        };
        let before = self.ledger.state().journal(self.server, slot).map(|replaced| replaced.key_id.clone());
        let key_id = entry.key_id.clone();
        let trust_domain = self.config.trust_domain.clone();
        self.ledger
            .write("publish a CA certificate", move |store| async move {
                store.prepare_authority(trust_domain, entry, Vec::new()).await
            })
            .await
            .map_err(|source: StoreError| CaError::Store { step: "publish the CA certificate", source })?;
        rotation.unpublished = None;
        rotation.replaced.extend(before.filter(|before| *before != key_id));
        let published = self.ledger.state().journal(self.server, slot).filter(|entry| entry.key_id == key_id);
        let entry = published.ok_or(AuthorityError::Unpublished { slot })?;
        let authority = self.qualify(&entry).await?;
        authority.probe(self.keys).await?;
        tracing::info!(%slot, local_authority_id = authority.authority_id(), "X509 CA prepared.");
        Ok(authority)
    }

    /// The slot that no active authority stands in.
    fn next_slot(&self) -> SlotName {
        let is_active = |slot: &SlotName| {
            self.ledger.state().journal(self.server, *slot).is_some_and(|entry| entry.status == SlotStatus::Active)
        };
        SlotKind::X509.slots().into_iter().find(is_active).map_or(SlotName::X509CaA, SlotName::other)
    }

    /// Whether most of its life is still before it.
    fn is_fresh(&self, entry: &JournalEntry) -> bool {
        let lifetime = entry.not_after.saturating_sub(entry.not_before);
        self.clock.now().as_secs() < entry.not_before.saturating_add(lifetime / 6)
    }

    async fn certify(&self, slot: SlotName, record: &KeyRecord) -> Result<JournalEntry, CaError> {
        let in_slot = |source| AuthorityError::KeyStore { slot, source };
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
            server: self.server,
            slot,
            spki_sha256: crate::authority::spki_sha256(&record.public_key),
            key_id: record.id.clone(),
            authority: JournalAuthority::X509(JournalCa {
                certificate: tbs.assemble(&signature).map_err(CaError::Template)?,
                intermediates: Vec::new(),
                upstream_authority_id: None,
            }),
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

    /// Makes a prepared authority the one that signs, once the audit log says that it will.
    pub(super) async fn activate(&self, authority: &SigningAuthority) -> Result<(), CaError> {
        let (server, slot) = (self.server, authority.slot());
        let subject = self.described(authority);
        let _announced: Announced = self.audit.announce(ACTOR, ACTIVATE, &subject).await?;
        self.ledger
            .write("activate a CA slot", move |store| async move { store.activate_authority(server, slot).await })
            .await
            .map_err(|source: StoreError| CaError::Store { step: "activate the CA slot", source })?;
        tracing::info!(%slot, local_authority_id = authority.authority_id(), "X509 CA activated");
        audit::change(ACTOR, ACTIVATE, &subject, "ok");
        Ok(())
    }

    /// Names the key and the device that keeps it.
    fn described(&self, authority: &SigningAuthority) -> String {
        let StoreIdentity { kind, name, details, non_extractable } = self.keys.identity();
        let details: Vec<_> = details.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!(
            "slot {} authority {} key {} in {kind} {name} [{}] non-extractable {non_extractable}",
            authority.slot(),
            authority.authority_id(),
            authority.key_id(),
            details.join(", ")
        )
    }
}
