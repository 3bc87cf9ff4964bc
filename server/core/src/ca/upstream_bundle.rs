//! An upstream that is a server of the trust domain: its bundle is part of ours, and our JWT keys are published in it.
//!
//! What is followed: a root that is tainted there is first replaced as what this server's CA hangs from, and then tainted here, so
//! that whoever replaces an SVID gets one of another root; a tainted authority that is gone there is revoked here; what is new there is
//! published here. What was there and is gone before its time was revoked there, although nobody saw it tainted: it is tainted and revoked
//! here. Of this server's own JWT keys, one that is not there although it was published in the life of another process counts as revoked
//! too, and is replaced: docs/adr/0015-published-upstream.md says why. What it does not do: what only this server has is not taken away, and
//! nothing tainted here becomes good again. What a person revokes here and the upstream still has comes back with the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plastron_plugins::upstream::UpstreamError;
use plastron_spiffe::x509::CertificateFacts;
use plastron_spiffe::{Bundle, JwtAuthority, X509Authority};
use tokio::sync::watch;

use super::context::CaContext;
use super::upstream::{ACTOR, PATIENCE};
use super::{CaError, CertificateAuthority, UpstreamFault};
use crate::audit::{self, Announced};
use crate::clock::unix_seconds;
use crate::ledger::Write;
use crate::limits::MAX_AUTHORITIES;
use crate::store::{
    AuthorityChangeError, AuthoritySet, Committed, JournalAuthority, JournalEntry, SlotKind, SlotStatus, StoreError,
    subject_key_id,
};

/// How long, in seconds, a bundle may lack a key that the upstream said it has: one of its servers may be behind another.
const SHOWN_WITHIN: u64 = 60;

/// What is known of the upstream's bundle.
#[derive(Default)]
pub(super) struct Above(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// JWT keys that the upstream answered with when one was published, and that were not seen in its bundle yet.
    unconfirmed: BTreeMap<NamedKey, Answered>,
    /// The JWT keys of the bundle that was followed last.
    keys: BTreeSet<NamedKey>,
    /// Its roots, DER.
    roots: BTreeSet<Vec<u8>>,
}

/// A JWT key by `kid` and public key: another one may come under the name of one that was revoked.
type NamedKey = (String, Vec<u8>);

/// When a key was answered with.
struct Answered {
    /// Unix seconds.
    at: u64,
    /// The bundle that was at hand then.
    bundle: Option<Arc<Bundle>>,
}

impl Answered {
    /// Whether this bundle may be older than the answer.
    fn may_be_newer_than(&self, bundle: &Arc<Bundle>, now: u64) -> bool {
        now < self.at.saturating_add(SHOWN_WITHIN) || self.bundle.as_ref().is_some_and(|it| Arc::ptr_eq(it, bundle))
    }
}

impl Above {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upstream has these keys.
    fn answered(&self, theirs: &[JwtAuthority], bundle: Option<&Arc<Bundle>>, now: u64) {
        let mut known = self.known();
        let Known { unconfirmed, keys, roots: _ } = &mut *known;
        for key in theirs.iter().map(named_key).filter(|key| !keys.contains(key)) {
            unconfirmed.entry(key).or_insert_with(|| Answered { at: now, bundle: bundle.cloned() });
        }
    }

    /// All of this bundle is followed.
    fn follow(&self, theirs: &Arc<Bundle>, now: u64) {
        let mut known = self.known();
        known.keys = theirs.jwt_authorities.iter().map(named_key).collect();
        known.roots = theirs.x509_authorities.iter().map(|root| root.certificate.clone()).collect();
        let Known { unconfirmed, keys, roots: _ } = &mut *known;
        unconfirmed.retain(|key, answered| !keys.contains(key) && answered.may_be_newer_than(theirs, now));
    }
}

impl CaContext {
    /// Publishes a JWT key upstream, where the upstream takes any, and takes over what is published there. Checks, in order: an answer in
    /// time; that it has the key, not tainted; each key of it; that the bundle does not grow too large.
    pub(super) async fn publish_upstream(&self, key: &JwtAuthority) -> Result<(), CaError> {
        let Some(server) = self.keys.upstream_server() else { return Ok(()) };
        let fault = |source| CaError::UpstreamAnswer { plugin: self.upstream_name(), source };
        let answer = tokio::time::timeout(PATIENCE, server.publish_jwt_key(key.clone()));
        let published: Result<_, UpstreamError> = answer.await.map_err(|_elapsed| fault(UpstreamFault::TooSlow))?;
        let subject = format!("{:?} until {}", key.key_id, key.expires_at);
        audit::change(ACTOR, "jwt authority publish upstream", &subject, &audit::outcome(&published));
        let theirs = published?;
        let is_it = |it: &JwtAuthority| it.key_id == key.key_id && it.public_key == key.public_key && !it.tainted;
        if !theirs.iter().any(is_it) {
            return Err(fault(UpstreamFault::NotPublished { key_id: key.key_id.clone() }));
        }
        let at_hand = server.bundle().borrow().clone();
        let answered = |keys: &[JwtAuthority]| self.above.answered(keys, at_hand.as_ref(), self.clock.now().as_secs());
        answered(std::slice::from_ref(key));
        let others: Vec<_> = theirs.into_iter().filter(|it| it.key_id != key.key_id).collect();
        self.take_over(Vec::new(), others.clone()).await?;
        answered(&others);
        Ok(())
    }

    fn upstream_name(&self) -> String {
        self.keys.upstream().map_or_else(String::new, |upstream| upstream.name().to_owned())
    }

    /// Publishes what the upstream has and this server does not.
    async fn take_over(&self, x509: Vec<X509Authority>, jwt: Vec<JwtAuthority>) -> Result<(), CaError> {
        let fault = |source| CaError::UpstreamAnswer { plugin: self.upstream_name(), source };
        let ours = self.bundle();
        let is_new_root =
            |it: &X509Authority| ours.x509_authorities.iter().all(|known| known.certificate != it.certificate);
        let x509: Vec<_> = x509.into_iter().filter(is_new_root).collect();
        let is_new_key = |it: &JwtAuthority| ours.jwt_authorities.iter().all(|known| known.key_id != it.key_id);
        let read = |JwtAuthority { key_id, public_key, expires_at, tainted }| {
            let read = JwtAuthority::parse(key_id, public_key, expires_at);
            read.map(|read| JwtAuthority { tainted, ..read }).map_err(UpstreamFault::JwtKey)
        };
        let jwt = jwt.into_iter().filter(is_new_key).map(read).collect::<Result<Vec<_>, _>>().map_err(fault)?;
        if x509.is_empty() && jwt.is_empty() {
            return Ok(());
        }
        let got = ours.x509_authorities.len() + ours.jwt_authorities.len() + x509.len() + jwt.len();
        if got > MAX_AUTHORITIES {
            return Err(fault(UpstreamFault::TooManyAuthorities { got }));
        }
        let roots = x509.iter().filter_map(|it| subject_key_id(&it.certificate));
        let names: Vec<_> = roots.chain(jwt.iter().map(|it| it.key_id.clone())).collect();
        let subject = format!("upstream {} authorities {}", self.upstream_name(), names.join(" "));
        const ACTION: &str = "upstream authorities publish";
        let _announced: Announced = self.audit.announce(ACTOR, ACTION, &subject).await?;
        let trust_domain = self.config.trust_domain.clone();
        let published: Result<(), StoreError> = self
            .ledger
            .write(Write::PublishUpstreamRoots, move |store| async move {
                let Committed { value: _bundle, changes } = store.append_authorities(trust_domain, x509, jwt).await?;
                Ok(Committed { value: (), changes })
            })
            .await;
        audit::change(ACTOR, ACTION, &subject, &audit::outcome(&published));
        published.map_err(|source| CaError::Store { step: "publish the upstream's authorities", source })
    }

    fn bundle(&self) -> Arc<Bundle> {
        let own = || Arc::new(Bundle::empty(self.config.trust_domain.clone()));
        self.ledger.state().bundle().unwrap_or_else(own)
    }

    async fn taint(&self, action: &'static str, authorities: AuthoritySet) -> Result<(), CaError> {
        let write = if authorities.x509.is_empty() { Write::TaintJwtAuthority } else { Write::TaintUpstreamAuthority };
        let subject = named(&authorities);
        let tainted = self.ledger.write(write, move |store| async move { store.taint_authorities(authorities).await });
        self.changed(action, &subject, tainted.await)
    }

    async fn revoke(&self, action: &'static str, authorities: AuthoritySet) -> Result<(), CaError> {
        let write =
            if authorities.x509.is_empty() { Write::RevokeJwtAuthority } else { Write::RevokeUpstreamAuthority };
        let subject = named(&authorities);
        let revoked = self.ledger.write(write, move |store| async move { store.revoke_authorities(authorities).await });
        self.changed(action, &subject, revoked.await)
    }

    fn changed(
        &self,
        action: &'static str,
        subject: &str,
        result: Result<(), AuthorityChangeError>,
    ) -> Result<(), CaError> {
        audit::change(ACTOR, action, subject, &audit::outcome(&result));
        match result {
            Ok(()) => {
                tracing::info!(authorities = subject, "The upstream says so: {action}");
                Ok(())
            }
            Err(AuthorityChangeError::Store(source)) => Err(CaError::Store { step: action, source }),
            // Another server on this store, or a person, was there first.
            Err(
                AuthorityChangeError::NotFound
                | AuthorityChangeError::AlreadyTainted
                | AuthorityChangeError::NotTainted,
            ) => Ok(()),
        }
    }
}

impl CertificateAuthority {
    /// The upstream's bundle, where the upstream is a server.
    pub(crate) fn upstream_bundle(&self) -> Option<watch::Receiver<Option<Arc<Bundle>>>> {
        self.context.keys.upstream_server().map(|server| server.bundle())
    }

    /// Publishes a downstream server's JWT key upstream, where there is an upstream that takes any.
    pub(crate) async fn publish_upstream(&self, key: &JwtAuthority) -> Result<(), CaError> {
        self.context.publish_upstream(key).await
    }

    pub(super) async fn follow_bundle(&self) -> Result<(), CaError> {
        let theirs = self.upstream_bundle().and_then(|bundle| bundle.borrow().clone());
        let Some(theirs) = theirs.filter(|theirs| !theirs.x509_authorities.is_empty()) else { return Ok(()) };
        self.follow_jwt_taints(&theirs).await?;
        // Where the upstream gives no other CA, the rest is followed all the same, and this once more.
        let replaced = self.follow_root_taints(&theirs).await;
        self.follow_revocations(&theirs).await?;
        let (roots, keys) = {
            let known = self.context.above.known();
            let roots =
                theirs.x509_authorities.iter().filter(|it| it.tainted && !known.roots.contains(&it.certificate));
            let keys = theirs.jwt_authorities.iter().filter(|it| !known.keys.contains(&named_key(it)));
            (roots.cloned().collect(), keys.cloned().collect())
        };
        self.context.take_over(roots, keys).await?;
        replaced?;
        self.context.above.follow(&theirs, self.context.clock.now().as_secs());
        Ok(())
    }

    async fn follow_root_taints(&self, theirs: &Bundle) -> Result<(), CaError> {
        let (known, tainted) = (root_ids(theirs, |_any| true), root_ids(theirs, |it| it.tainted));
        let is_over =
            |it: &X509Authority| root_id(it).is_some_and(|id| tainted.contains(&id) || self.left(it, &id, &known));
        let ours = self.context.bundle();
        let over: Vec<_> = ours.x509_authorities.iter().filter(|it| !it.tainted && is_over(it)).collect();
        if over.is_empty() {
            return Ok(());
        }
        let over_ids: BTreeSet<_> = over.iter().filter_map(|it| root_id(it)).collect();
        let hangs_from_it = |entry: &JournalEntry| {
            let root = entry.ca().and_then(|ca| ca.upstream_authority_id.as_ref());
            root.is_some_and(|root| over_ids.contains(root))
        };
        if self.x509.replace_unfit(&self.context, &hangs_from_it).await? {
            // SPIRE's words: scripts wait for them.
            tracing::info!("Current root CA is signed by a tainted upstream authority, preparing rotation");
        }
        let x509 = over.iter().map(|it| it.certificate.clone()).collect();
        self.context.taint("x509 upstream authority taint", AuthoritySet { x509, jwt: Vec::new() }).await
    }

    /// Whether the upstream had this root at the last look, and has none with its key now although it is valid still.
    fn left(&self, root: &X509Authority, id: &String, known: &BTreeSet<String>) -> bool {
        let ends = CertificateFacts::read(&root.certificate).map_or(0, |facts| facts.not_after);
        !known.contains(id)
            && self.context.above.known().roots.contains(&root.certificate)
            && ends >= self.context.clock.now().as_secs()
    }

    /// One whose name another key has there is over too: tokens that name it are verified with that one.
    async fn follow_jwt_taints(&self, theirs: &Arc<Bundle>) -> Result<(), CaError> {
        let ours = self.context.bundle();
        let there = |key: &JwtAuthority| theirs.jwt_authorities.iter().find(|it| it.key_id == key.key_id);
        let is_over = |key: &JwtAuthority| {
            let is_not_it = |found: &JwtAuthority| found.tainted || found.public_key != key.public_key;
            there(key).map_or_else(|| self.was_published(key, theirs), is_not_it)
        };
        let over = ours.jwt_authorities.iter().filter(|key| !key.tainted && is_over(key));
        let jwt: Vec<_> = over.map(|key| key.key_id.clone()).collect();
        if jwt.is_empty() {
            return Ok(());
        }
        self.context.taint("jwt authority taint", AuthoritySet { x509: Vec::new(), jwt }).await
    }

    /// Whether the upstream must have had a key that this bundle of it does not have: it had it at the last look, it said so long enough ago,
    /// or this server signs with it or is to.
    fn was_published(&self, key: &JwtAuthority, theirs: &Arc<Bundle>) -> bool {
        let now = self.context.clock.now();
        if key.expires_at != 0 && key.expires_at < unix_seconds(now) {
            return false;
        }
        let (known, named) = (self.context.above.known(), named_key(key));
        if let Some(answered) = known.unconfirmed.get(&named) {
            return !answered.may_be_newer_than(theirs, now.as_secs());
        }
        let is_it = |entry: &JournalEntry| {
            matches!(&entry.authority, JournalAuthority::Jwt(own) if own.key_id == key.key_id)
                && matches!(entry.status, SlotStatus::Active | SlotStatus::Prepared)
        };
        let slots = SlotKind::Jwt.slots().into_iter();
        let is_own = || slots.filter_map(|slot| self.context.slot(slot)).any(|entry| is_it(&entry));
        known.keys.contains(&named) || (self.jwt.is_some() && is_own())
    }

    async fn follow_revocations(&self, theirs: &Bundle) -> Result<(), CaError> {
        let ours = self.context.bundle();
        let roots = root_ids(theirs, |_any| true);
        let is_gone = |it: &&X509Authority| it.tainted && root_id(it).is_some_and(|id| !roots.contains(&id));
        let x509: Vec<_> = ours.x509_authorities.iter().filter(is_gone).map(|it| it.certificate.clone()).collect();
        if !x509.is_empty() {
            let set = AuthoritySet { x509: x509.clone(), jwt: Vec::new() };
            self.context.revoke("x509 upstream authority revoke", set).await?;
            for subject_key_id in x509.iter().filter_map(|certificate| subject_key_id(certificate)) {
                tracing::info!(subject_key_id, "X.509 authority revoked");
            }
            self.upstream_roots.forget(&x509);
        }
        let keys: BTreeSet<_> = theirs.jwt_authorities.iter().map(named_key).collect();
        let is_gone = |key: &&JwtAuthority| key.tainted && !keys.contains(&named_key(key));
        let jwt: Vec<_> = ours.jwt_authorities.iter().filter(is_gone).map(|key| key.key_id.clone()).collect();
        if jwt.is_empty() {
            return Ok(());
        }
        self.context.revoke("jwt authority revoke", AuthoritySet { x509: Vec::new(), jwt }).await
    }
}

fn named_key(JwtAuthority { key_id, public_key, .. }: &JwtAuthority) -> NamedKey {
    (key_id.clone(), public_key.clone())
}

fn root_id(authority: &X509Authority) -> Option<String> {
    subject_key_id(&authority.certificate)
}

fn root_ids(bundle: &Bundle, which: impl Fn(&X509Authority) -> bool) -> BTreeSet<String> {
    bundle.x509_authorities.iter().filter(|it| which(it)).filter_map(root_id).collect()
}

/// Names them for the audit log.
fn named(AuthoritySet { x509, jwt }: &AuthoritySet) -> String {
    let roots = x509.iter().filter_map(|certificate| subject_key_id(certificate));
    roots.chain(jwt.iter().cloned()).map(|id| format!("authority {id}")).collect::<Vec<_>>().join(" ")
}
