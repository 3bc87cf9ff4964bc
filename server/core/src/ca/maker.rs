//! Takes an authority through its first steps: key, certificate or identifier, publication. It signs nothing yet.

use std::sync::Arc;

use plastron_hsm::{KeyId, KeyRecord, KeyType};
use plastron_spiffe::X509Authority;
use plastron_spiffe::x509::CaTemplate;

use super::context::CaContext;
use super::identity::lose;
use super::{CaError, CaSubject, random, random_serial, seconds};
use crate::authority::{AuthorityError, MatchedKey, Publicity, PublishedAuthority};
use crate::ledger::Write;
use crate::limits::backdate;
use crate::store::{
    Committed, JournalAuthority, JournalCa, JournalEntry, JournalJwtKey, Publication, SlotKind, SlotName, SlotStatus,
    StoreError,
};

/// Length of a `kid`, as SPIRE's: 32 letters and digits are 190 bits.
const KID_LEN: usize = 32;

/// A key for a slot, with its journal entry once it has one, before the store has it.
pub(super) struct Unpublished {
    slot: SlotName,
    key: KeyRecord,
    entry: Option<Described>,
}

/// What the journal is to say about a key, and what else has to be published with it.
#[derive(Clone)]
struct Described {
    entry: JournalEntry,
    /// The upstream root that it leads to.
    root: Option<X509Authority>,
}

impl Unpublished {
    pub(super) fn key_id(&self) -> &KeyId {
        &self.key.id
    }
}

/// An authority that is published and whose key made a test signature.
pub(super) struct Prepared {
    pub(super) entry: Arc<JournalEntry>,
    pub(super) key: MatchedKey,
    pub(super) publicity: Publicity,
}

impl CaContext {
    /// What the journal has in this status, if its key is still there and it is published. A slot that lost either is passed over; one
    /// whose key is another than the journal's is not.
    pub(super) async fn resume(&self, kind: SlotKind, status: SlotStatus) -> Result<Option<Prepared>, CaError> {
        for slot in kind.slots() {
            let Some(entry) = self.slot(slot).filter(|entry| entry.status == status) else { continue };
            match self.qualify(&entry).await {
                Ok(prepared) => return Ok(Some(prepared)),
                Err(reason @ (AuthorityError::KeyMissing { .. } | AuthorityError::Unpublished { .. })) => {
                    tracing::warn!(%slot, %reason, "The CA can't go on with this slot");
                    lose(&entry, self.key_store(), &reason.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Makes a key and what goes with it and publishes that. Where a step fails, what is there already is kept in `unpublished` and
    /// used by the next attempt: a store that is away for long must not fill a token with keys. What the slot had goes to `replaced`.
    pub(super) async fn prepare(
        &self,
        slot: SlotName,
        unpublished: &mut Option<Unpublished>,
        replaced: &mut Vec<KeyId>,
    ) -> Result<Prepared, CaError> {
        let kept = match unpublished.take().filter(|unpublished| unpublished.slot == slot) {
            Some(kept) => unpublished.insert(kept),
            None => {
                let generated = self.key_store().generate(slot.as_str(), self.key_type(slot.kind())).await;
                let key = generated.map_err(|source| AuthorityError::KeyStore { slot, source })?;
                unpublished.insert(Unpublished { slot, key, entry: None })
            }
        };
        let described = match kept.entry.clone().filter(|described| self.is_fresh(&described.entry)) {
            Some(described) => described,
            None => kept.entry.insert(self.describe(slot, &kept.key).await?).clone(),
        };
        if let Publication::Jwt(key) = described.entry.own_publication() {
            self.publish_upstream(&key).await?;
        }
        let before = self.slot(slot).map(|replaced| replaced.key_id.clone());
        let key_id = described.entry.key_id.clone();
        let publicity = self.publish(described).await?;
        *unpublished = None;
        replaced.extend(before.filter(|before| *before != key_id));
        let published = self.slot(slot).filter(|entry| entry.key_id == key_id);
        let entry = published.ok_or(AuthorityError::Unpublished { slot })?;
        let prepared = Prepared { publicity, ..self.qualify(&entry).await? };
        prepared.key.probe(self.key_store()).await?;
        let local_authority_id = entry.authority_id().unwrap_or_default();
        match slot.kind() {
            SlotKind::X509 => tracing::info!(%slot, local_authority_id, "X509 CA prepared."),
            SlotKind::Jwt => tracing::info!(%slot, local_authority_id, "JWT key prepared"),
        }
        Ok(prepared)
    }

    async fn publish(&self, Described { entry, root }: Described) -> Result<Publicity, CaError> {
        let (trust_domain, roots) = (self.config.trust_domain.clone(), root.into_iter().collect());
        let published = self.ledger.write(Write::PublishAuthority, move |store| async move {
            let Committed { value: bundle, changes } = store.prepare_authority(trust_domain, entry, roots).await?;
            let revision = changes.last().map(|change| change.sequence);
            Ok(Committed { value: (revision, bundle.sequence_number), changes })
        });
        let (revision, sequence) =
            published.await.map_err(|source: StoreError| CaError::Store { step: "publish the authority", source })?;
        // Where nothing changed, it was published before, and the state has it.
        Ok(Publicity { revision: revision.unwrap_or_else(|| self.ledger.state().revision()), sequence })
    }

    /// Whether most of its life is still before it.
    fn is_fresh(&self, entry: &JournalEntry) -> bool {
        let lifetime = entry.not_after.saturating_sub(entry.not_before);
        let now = self.clock.now().as_secs();
        entry.not_before <= now && now < entry.not_before.saturating_add(lifetime / 6)
    }

    fn key_type(&self, kind: SlotKind) -> KeyType {
        match kind {
            SlotKind::X509 => self.config.key_type,
            SlotKind::Jwt => self.config.jwt_key_type,
        }
    }

    /// What the journal is to say about a new key.
    async fn describe(&self, slot: SlotName, record: &KeyRecord) -> Result<Described, CaError> {
        let now = self.clock.now().as_secs();
        let mut not_before = now.saturating_sub(backdate(self.config.ttl.as_secs()));
        let mut not_after = now.saturating_add(self.config.ttl.as_secs());
        let mut root = None;
        let authority = match (slot.kind(), self.keys.upstream()) {
            (SlotKind::X509, Some(upstream)) => {
                let certified = self.certify_upstream(upstream, slot, record).await?;
                (not_before, not_after) = (certified.not_before, certified.not_after);
                root = Some(certified.root);
                JournalAuthority::X509(certified.ca)
            }
            (SlotKind::X509, None) => JournalAuthority::X509(self.certify(slot, record, not_before, not_after).await?),
            (SlotKind::Jwt, _) => JournalAuthority::Jwt(JournalJwtKey {
                key_id: random_kid().map_err(|reason| CaError::Random { reason })?,
                public_key: record.public_key.clone(),
            }),
        };
        let entry = JournalEntry {
            server: self.server,
            slot,
            spki_sha256: crate::authority::spki_sha256(&record.public_key),
            key_id: record.id.clone(),
            authority,
            not_before,
            not_after,
            status: SlotStatus::Prepared,
        };
        Ok(Described { entry, root })
    }

    /// Has the key sign its own certificate.
    async fn certify(
        &self,
        slot: SlotName,
        record: &KeyRecord,
        not_before: u64,
        not_after: u64,
    ) -> Result<JournalCa, CaError> {
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
        let signed = self.key_store().sign(&record.id, scheme, &tbs.digest()).await;
        let signature = signed.map_err(|source| AuthorityError::KeyStore { slot, source })?;
        let certificate = tbs.assemble(&signature).map_err(CaError::Template)?;
        Ok(JournalCa { certificate, intermediates: Vec::new(), upstream_authority_id: None })
    }

    /// Published, and the key is there and the right one.
    async fn qualify(&self, entry: &Arc<JournalEntry>) -> Result<Prepared, AuthorityError> {
        let unpublished = AuthorityError::Unpublished { slot: entry.slot };
        // The state may move on meanwhile: the revision that is read first has no more than the bundle that is read after it.
        let revision = self.ledger.state().revision();
        let bundle = self.ledger.state().bundle().ok_or(unpublished)?;
        let sequence = bundle.sequence_number;
        let published = PublishedAuthority::find(entry, &bundle)?;
        let key = MatchedKey::find(entry, self.key_store()).await?;
        let publicity = Publicity { revision, sequence };
        Ok(Prepared { entry: Arc::clone(published.entry()), key, publicity })
    }
}

/// Letters and digits, each as likely as any other.
fn random_kid() -> Result<String, String> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut kid = String::with_capacity(KID_LEN);
    while kid.len() < KID_LEN {
        for octet in random()? {
            // 248 is four times 62: what is above would make some letters likelier.
            if octet < 248
                && kid.len() < KID_LEN
                && let Some(letter) = ALPHABET.get(usize::from(octet) % ALPHABET.len())
            {
                kid.push(char::from(*letter));
            }
        }
    }
    Ok(kid)
}
