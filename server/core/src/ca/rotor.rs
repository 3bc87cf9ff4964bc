//! The two slots of one kind: which authority signs, which is next, and when they change places.
//!
//! Each step is one call of the key store or one transaction, and what is in memory only repeats what the journal says. So whoever is
//! interrupted between two steps finds at the next start: a key that no slot has (`hsm gc` lists it), a prepared authority (it goes on with
//! that), or the new one active.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use plastron_hsm::{KeyId, StoreIdentity};
use plastron_spiffe::Bundle;
use tokio::sync::Mutex;

use super::CaError;
use super::context::CaContext;
use super::maker::{Prepared, Unpublished};
use crate::audit::{self, Announced};
use crate::authority::lifetime::is_fit_to_follow;
use crate::authority::{
    AcknowledgedAuthority, AuthorityError, MatchedKey, PublishedAuthority, SigningAuthority, SigningUse,
};
use crate::ledger::Write;
use crate::meters;
use crate::store::{JournalEntry, SlotKind, SlotName, SlotStatus, StoreError};

/// Who the audit log says did it.
const ACTOR: &str = "server";

/// Turns one kind's authorities.
pub(super) struct Rotor<U: SigningUse> {
    active: ArcSwap<SigningAuthority<U>>,
    /// The active authority, and the bundle that it was last found in: whoever signs compares two pointers.
    found: ArcSwapOption<(Arc<SigningAuthority<U>>, Arc<Bundle>)>,
    /// Locked for the length of a step.
    turn: Mutex<Turn>,
}

/// What a step leaves for the next one.
#[derive(Default)]
struct Turn {
    /// The next authority.
    prepared: Option<Prepared>,
    /// The key of the next authority while its publication fails.
    unpublished: Option<Unpublished>,
    /// Keys whose slot has another by now, to be destroyed.
    replaced: Vec<KeyId>,
    /// The key of a revoked authority, which is destroyed already.
    gone: Option<KeyId>,
}

impl Turn {
    /// Makes the next authority, in this slot.
    async fn prepare(&mut self, context: &CaContext, slot: SlotName) -> Result<(), CaError> {
        // Whatever is in the slot is overwritten.
        self.prepared = None;
        let call = meters::prepare(slot.kind()).start();
        self.prepared = Some(call.ended(context.prepare(slot, &mut self.unpublished, &mut self.replaced).await)?);
        Ok(())
    }

    /// Makes the next authority the one that signs: it is acknowledged, then journalled, and only then handed out.
    async fn activate<U: SigningUse>(&mut self, context: &CaContext) -> Result<SigningAuthority<U>, CaError> {
        let Some(Prepared { entry, key, publicity }) = &self.prepared else { return Err(CaError::NothingPrepared) };
        let acknowledged = AcknowledgedAuthority::wait(entry, *publicity, context.listeners()).await?;
        let agents = acknowledged.agents().to_string();
        let authority = SigningAuthority::<U>::new(acknowledged, key.clone())?;
        let (server, slot) = (context.server, authority.slot());
        let subject = format!("{}, {agents}", described(context, &authority));
        // Nothing is signed by an authority that the audit log does not know.
        let _announced: Announced = context.audit.announce(ACTOR, activate_action(U::KIND), &subject).await?;
        let activated = context
            .ledger
            .write(Write::ActivateSlot, move |store| async move { store.activate_authority(server, slot).await })
            .await;
        activated.map_err(|source: StoreError| CaError::Store { step: "activate the slot", source })?;
        self.prepared = None;
        let local_authority_id = authority.authority_id();
        match U::KIND {
            SlotKind::X509 => {
                tracing::info!(%slot, %local_authority_id, "X509 CA activated");
                // Scripts around SPIRE wait for this one.
                tracing::debug!(trust_domain_id = %context.config.trust_domain.id(), "Successfully rotated X.509 CA");
            }
            SlotKind::Jwt => tracing::info!(%slot, %local_authority_id, "JWT key activated"),
        }
        meters::activate(U::KIND).increment();
        show_end(context, &authority);
        audit::change(ACTOR, activate_action(U::KIND), &subject, "ok");
        Ok(authority)
    }
}

impl<U: SigningUse> Rotor<U> {
    /// Finds the authority that the journal names, or makes the first one. One that has expired, is not valid yet, is not in the bundle or
    /// has lost its key is replaced, and it is said so; one whose key is another than the journalled one is not.
    pub(super) async fn open(context: &CaContext) -> Result<Self, CaError> {
        let now = context.clock.now();
        let mut turn = Turn::default();
        let resumed = Self::resume(context).await?;
        turn.prepared =
            context.resume(U::KIND, SlotStatus::Prepared).await?.filter(|next| is_fit_to_follow(&next.entry, now));
        let active = match resumed {
            Some(authority) if authority.is_valid(now) => authority,
            unusable => {
                if let Some(unusable) = &unusable {
                    give_up(unusable, "it has expired, or is not valid yet");
                }
                if turn.prepared.is_none() {
                    turn.prepare(context, first_slot(context, U::KIND)).await?;
                }
                turn.activate(context).await?
            }
        };
        active.probe(context.key_store()).await?;
        show_end(context, &active);
        Ok(Self { active: ArcSwap::from_pointee(active), found: ArcSwapOption::empty(), turn: Mutex::new(turn) })
    }

    /// What the journal has as active, if its key is still there and it is published.
    async fn resume(context: &CaContext) -> Result<Option<SigningAuthority<U>>, CaError> {
        let Some(Prepared { entry, key, .. }) = context.resume(U::KIND, SlotStatus::Active).await? else {
            return Ok(None);
        };
        let bundle = context.ledger.state().bundle().ok_or(AuthorityError::Unpublished { slot: entry.slot })?;
        let acknowledged = AcknowledgedAuthority::resume(PublishedAuthority::find(&entry, &bundle)?)?;
        Ok(Some(SigningAuthority::new(acknowledged, key)?))
    }

    /// Has the authority sign that the journal has as active since: its activation was committed although it was reported as failed. True
    /// where there was one. Everything that the activation needs came before it.
    async fn follow_journal(&self, context: &CaContext, turn: &mut Turn) -> Result<bool, CaError> {
        let slot = self.active.load().slot();
        let is_active = |slot: SlotName| context.slot(slot).is_some_and(|entry| entry.status == SlotStatus::Active);
        if is_active(slot) || !is_active(slot.other()) {
            return Ok(false);
        }
        let Some(authority) = Self::resume(context).await? else { return Ok(false) };
        let (slot, local_authority_id) = (authority.slot(), authority.authority_id());
        tracing::warn!(%slot, local_authority_id, "The activation was committed although it was reported as failed");
        audit::change(ACTOR, activate_action(U::KIND), &described(context, &authority), "ok");
        turn.prepared = None;
        show_end(context, &authority);
        self.active.store(Arc::new(authority));
        Ok(true)
    }

    /// The authority that the journal has as active, whether it may sign or not.
    pub(super) fn active(&self) -> Arc<SigningAuthority<U>> {
        self.active.load_full()
    }

    /// The authority that signs now: it is in the bundle as this moment has it, and not tainted.
    pub(super) fn published(&self, context: &CaContext) -> Result<Arc<SigningAuthority<U>>, AuthorityError> {
        let active = self.active.load_full();
        self.still_published(context, &active)?;
        Ok(active)
    }

    /// Whether what was signed by this authority may be handed out.
    pub(super) fn still_published(
        &self,
        context: &CaContext,
        authority: &Arc<SigningAuthority<U>>,
    ) -> Result<(), AuthorityError> {
        let unpublished = || AuthorityError::Unpublished { slot: authority.slot() };
        let bundle = context.ledger.state().bundle().ok_or_else(unpublished)?;
        let found = self.found.load();
        if let Some((last, last_bundle)) = found.as_deref()
            && Arc::ptr_eq(last, authority)
            && Arc::ptr_eq(last_bundle, &bundle)
        {
            return Ok(());
        }
        PublishedAuthority::find(authority.entry(), &bundle)?;
        self.found.store(Some(Arc::new((Arc::clone(authority), bundle))));
        Ok(())
    }

    /// Prepares the next authority at half life, and lets it sign when the present one is near its end, or at once where that one may not
    /// sign any more. True where it now signs.
    pub(super) async fn rotate_if_due(&self, context: &CaContext) -> Result<bool, CaError> {
        let mut turn = self.turn.lock().await;
        let followed = self.follow_journal(context, &mut turn).await?;
        let (active, now) = (self.active.load_full(), context.clock.now());
        let reason = match self.still_published(context, &active) {
            Err(error) => Some(error.to_string()),
            Ok(()) if !active.is_valid(now) => Some("it has expired, or is not valid yet".to_owned()),
            Ok(()) => match MatchedKey::find(active.entry(), context.key_store()).await {
                Err(error @ AuthorityError::KeyMissing { .. }) => Some(error.to_string()),
                // A key store that is away comes back with the key, and one that shows another key is not asked for a new one.
                Ok(_) | Err(_) => None,
            },
        };
        if let Some(reason) = &reason {
            let bundle = context.ledger.state().bundle();
            if bundle.is_some_and(|bundle| PublishedAuthority::hangs_from_tainted_root(active.entry(), &bundle)) {
                tracing::info!("Current root CA is signed by a tainted upstream authority, preparing rotation");
            }
            give_up(&active, reason);
        }
        let bundle = context.ledger.state().bundle();
        turn.prepared = turn.prepared.take().filter(|next| {
            let published =
                bundle.as_deref().is_some_and(|bundle| PublishedAuthority::find(&next.entry, bundle).is_ok());
            published && is_fit_to_follow(&next.entry, now)
        });
        if (reason.is_some() || active.is_past_half(now)) && turn.prepared.is_none() {
            // It may have been published although an error was reported.
            let other = active.slot().other();
            let resumed = context.resume(U::KIND, SlotStatus::Prepared).await?;
            turn.prepared = resumed.filter(|next| next.entry.slot == other && is_fit_to_follow(&next.entry, now));
            if turn.prepared.is_none() {
                turn.prepare(context, other).await?;
            }
        }
        if (reason.is_none() && !active.is_near_end(now)) || turn.prepared.is_none() {
            return Ok(followed);
        }
        self.active.store(Arc::new(turn.activate(context).await?));
        Ok(true)
    }

    /// Replaces the active authority now, where it is `unfit`, and then the one that was to follow it if that is unfit too. True where
    /// another one signs.
    pub(super) async fn replace_unfit(
        &self,
        context: &CaContext,
        unfit: &(dyn Fn(&JournalEntry) -> bool + Sync),
    ) -> Result<bool, CaError> {
        let mut turn = self.turn.lock().await;
        self.follow_journal(context, &mut turn).await?;
        let (active, now) = (self.active.load_full(), context.clock.now());
        if !unfit(active.entry()) {
            return Ok(false);
        }
        turn.prepared = turn.prepared.take().filter(|next| !unfit(&next.entry) && is_fit_to_follow(&next.entry, now));
        if turn.prepared.is_none() {
            turn.prepare(context, active.slot().other()).await?;
        }
        self.active.store(Arc::new(turn.activate(context).await?));
        Ok(true)
    }

    /// Makes a new next authority, also where there is one already.
    pub(super) async fn prepare(&self, context: &CaContext) -> Result<Arc<JournalEntry>, CaError> {
        let mut turn = self.turn.lock().await;
        self.follow_journal(context, &mut turn).await?;
        turn.prepare(context, self.active.load().slot().other()).await?;
        turn.prepared.as_ref().map(|next| Arc::clone(&next.entry)).ok_or(CaError::NothingPrepared)
    }

    /// Lets the next authority sign now, if it is this one.
    pub(super) async fn activate(
        &self,
        context: &CaContext,
        authority_id: &str,
    ) -> Result<Arc<SigningAuthority<U>>, CaError> {
        let mut turn = self.turn.lock().await;
        self.follow_journal(context, &mut turn).await?;
        let other = self.active.load().slot().other();
        if turn.prepared.is_none() {
            turn.prepared =
                context.resume(U::KIND, SlotStatus::Prepared).await?.filter(|next| next.entry.slot == other);
        }
        let is_it = |next: &Prepared| next.entry.authority_id().as_deref() == Some(authority_id);
        if !turn.prepared.as_ref().is_some_and(is_it) {
            return Err(CaError::NothingPrepared);
        }
        let authority = Arc::new(turn.activate(context).await?);
        self.active.store(Arc::clone(&authority));
        Ok(authority)
    }

    /// Keys that a step has made and no slot has yet.
    pub(super) async fn unpublished(&self) -> Option<KeyId> {
        self.turn.lock().await.unpublished.as_ref().map(|unpublished| unpublished.key_id().clone())
    }

    /// Has the keys destroyed that nothing signs with any more: those that left their slots, and that of an old authority which was revoked.
    pub(super) async fn destroy_old_keys(&self, context: &CaContext) {
        let mut turn = self.turn.lock().await;
        let active = self.active.load_full();
        let mut useless = std::mem::take(&mut turn.replaced);
        let revoked = revoked(context, active.slot().other()).filter(|key| turn.gone.as_ref() != Some(key));
        useless.extend(revoked.clone().filter(|key| !useless.contains(key)));
        for key in useless.into_iter().filter(|key| key != active.key_id()) {
            if !context.destroy_key(&key).await {
                turn.replaced.push(key);
            } else if revoked.as_ref() == Some(&key) {
                turn.gone = Some(key);
            }
        }
    }
}

/// The key of an old authority that the bundle does not have any more.
fn revoked(context: &CaContext, slot: SlotName) -> Option<KeyId> {
    let entry = context.slot(slot).filter(|entry| entry.status == SlotStatus::Old)?;
    let bundle = context.ledger.state().bundle()?;
    (!PublishedAuthority::is_listed(&entry, &bundle)).then(|| entry.key_id.clone())
}

/// The slot for an authority where none can sign: the one that no active authority stands in.
fn first_slot(context: &CaContext, kind: SlotKind) -> SlotName {
    let is_active = |slot: &SlotName| context.slot(*slot).is_some_and(|entry| entry.status == SlotStatus::Active);
    let [first, _] = kind.slots();
    kind.slots().into_iter().find(is_active).map_or(first, SlotName::other)
}

/// Shows when the CA that signs from now on ends, whether it was made or found.
fn show_end<U: SigningUse>(context: &CaContext, authority: &SigningAuthority<U>) {
    if U::KIND == SlotKind::X509 {
        let (trust_domain, now) = (context.config.trust_domain.as_str(), context.clock.now().as_secs());
        meters::signing_until(trust_domain, now, authority.not_after());
    }
}

/// Says that an authority is replaced before its time.
fn give_up<U: SigningUse>(authority: &SigningAuthority<U>, reason: &str) {
    let (slot, id) = (authority.slot(), authority.authority_id());
    tracing::warn!(%slot, local_authority_id = %id, reason, "The active authority may not sign any more, preparing rotation");
    audit::change(ACTOR, "authority give up", &format!("slot {slot} authority {id}"), reason);
}

/// Names the key and the device that keeps it.
fn described<U: SigningUse>(context: &CaContext, authority: &SigningAuthority<U>) -> String {
    let StoreIdentity { kind, name, details, non_extractable } = context.key_store().identity();
    let details: Vec<_> = details.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!(
        "slot {} authority {} key {} in {kind} {name} [{}] non-extractable {non_extractable}",
        authority.slot(),
        authority.authority_id(),
        authority.key_id(),
        details.join(", ")
    )
}

/// What the audit log calls the moment from which on an authority signs.
fn activate_action(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::X509 => "x509 authority activate",
        SlotKind::Jwt => "jwt authority activate",
    }
}
