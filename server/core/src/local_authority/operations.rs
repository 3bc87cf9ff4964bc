//! One operation for each RPC. The order of the checks is SPIRE's, since it decides which refusal a caller sees.

use std::sync::Arc;

use plastron_spiffe::{Bundle, X509Authority};

use super::{
    AuthorityState, AuthoritySummary, InvalidAuthority, InvalidUpstream, LocalAuthorities, LocalAuthorityError,
};
use crate::audit;
use crate::authorization::{Permit, rpc};
use crate::ca::{CaError, CertificateAuthority};
use crate::ledger::{Ledger, Write};
use crate::store::{
    AuthorityChangeError, AuthoritySet, JournalEntry, SlotKind, SlotStatus, StoreError, subject_key_id,
};
use crate::watch::{Dependent, Watchers};

/// The active authority and what the other slot has.
type Slots = (Arc<JournalEntry>, Option<Arc<JournalEntry>>);
type Refused = LocalAuthorityError;

impl LocalAuthorities {
    pub(crate) fn new(ca: Arc<CertificateAuthority>, ledger: Arc<Ledger>, watchers: Arc<Watchers>) -> Self {
        Self { ca, ledger, watchers }
    }

    /// GetJWTAuthorityState.
    pub fn jwt_state(&self, _permit: Permit<rpc::GetJwtAuthorityState>) -> Result<AuthorityState, Refused> {
        self.state(SlotKind::Jwt)
    }

    /// GetX509AuthorityState.
    pub fn x509_state(&self, _permit: Permit<rpc::GetX509AuthorityState>) -> Result<AuthorityState, Refused> {
        self.state(SlotKind::X509)
    }

    /// PrepareJWTAuthority: a new next one, also where there is one already.
    pub async fn prepare_jwt(&self, permit: Permit<rpc::PrepareJwtAuthority>) -> Result<AuthoritySummary, Refused> {
        self.prepare(SlotKind::Jwt, permit.identity(), "jwt authority prepare").await
    }

    /// PrepareX509Authority: a new next one, also where there is one already.
    pub async fn prepare_x509(&self, permit: Permit<rpc::PrepareX509Authority>) -> Result<AuthoritySummary, Refused> {
        self.prepare(SlotKind::X509, permit.identity(), "x509 authority prepare").await
    }

    /// ActivateJWTAuthority: the prepared one signs, once everyone has it.
    pub async fn activate_jwt(
        &self,
        permit: Permit<rpc::ActivateJwtAuthority>,
        authority_id: &str,
    ) -> Result<AuthoritySummary, Refused> {
        self.activate(SlotKind::Jwt, permit.identity(), authority_id).await
    }

    /// ActivateX509Authority: the prepared one signs, once everyone has it.
    pub async fn activate_x509(
        &self,
        permit: Permit<rpc::ActivateX509Authority>,
        authority_id: &str,
    ) -> Result<AuthoritySummary, Refused> {
        self.activate(SlotKind::X509, permit.identity(), authority_id).await
    }

    /// TaintJWTAuthority: tokens by the old key are not to be used any more, nor those by a key that is in the bundle and in no server's
    /// slot, such as a downstream server's. SPIRE's answer has the identifier alone.
    pub async fn taint_jwt(
        &self,
        permit: Permit<rpc::TaintJwtAuthority>,
        authority_id: &str,
    ) -> Result<AuthoritySummary, Refused> {
        let slots = self.slots(SlotKind::Jwt)?;
        if !self.is_published_only(authority_id) {
            taintable(authority_id, &slots)?;
        }
        self.taint(permit.identity(), Step::TAINT_JWT, authority_id, jwt(authority_id)).await?;
        tracing::info!(local_authority_id = authority_id, "JWT authority tainted successfully");
        Ok(only_id(authority_id))
    }

    /// TaintX509Authority: agents replace what the old CA signed, and so does this server.
    pub async fn taint_x509(
        &self,
        permit: Permit<rpc::TaintX509Authority>,
        authority_id: &str,
    ) -> Result<AuthoritySummary, Refused> {
        let slots = self.slots(SlotKind::X509)?;
        if has_upstream(&slots) {
            return Err(Refused::UpstreamAuthority { action: "tainted" });
        }
        let old = taintable(authority_id, &slots)?;
        self.taint(permit.identity(), Step::TAINT_X509, authority_id, self.x509(authority_id)).await?;
        tracing::info!(local_authority_id = authority_id, "X.509 authority tainted successfully");
        Ok(AuthoritySummary::of(&old))
    }

    /// TaintX509UpstreamAuthority: that root, by its subject key identifier; this server's old CA hangs from it.
    pub async fn taint_x509_upstream(
        &self,
        permit: Permit<rpc::TaintX509UpstreamAuthority>,
        subject_key_id: &str,
    ) -> Result<String, Refused> {
        let slots = self.slots(SlotKind::X509)?;
        let id = upstream_id(subject_key_id, &slots, Refused::TaintUpstreamId)?;
        self.taint(permit.identity(), Step::TAINT_UPSTREAM, &id, self.x509(&id)).await?;
        tracing::info!(subject_key_id = id, "X.509 upstream authority tainted successfully");
        Ok(id)
    }

    /// RevokeJWTAuthority: a tainted key leaves the bundle, this server's or another's. SPIRE's answer has the identifier alone.
    pub async fn revoke_jwt(
        &self,
        permit: Permit<rpc::RevokeJwtAuthority>,
        authority_id: &str,
    ) -> Result<AuthoritySummary, Refused> {
        let (active, other) = self.slots(SlotKind::Jwt)?;
        let refuse = |reason| Err(Refused::InvalidAuthorityId(reason));
        if authority_id.is_empty() {
            return refuse(InvalidAuthority::Missing);
        }
        if let Some(other) = other.filter(|other| is(other, authority_id)) {
            if other.status == SlotStatus::Prepared {
                return refuse(InvalidAuthority::Prepared);
            }
        } else if is(&active, authority_id) {
            return refuse(InvalidAuthority::Current);
        } else {
            let bundle = self.ledger.state().bundle();
            let is_known = bundle.is_some_and(|it| it.jwt_authorities.iter().any(|key| key.key_id == authority_id));
            if !is_known {
                return refuse(InvalidAuthority::Unknown);
            }
        }
        self.revoke(permit.identity(), Step::REVOKE_JWT, authority_id, jwt(authority_id)).await?;
        tracing::info!(local_authority_id = authority_id, "JWT authority revoked successfully");
        Ok(only_id(authority_id))
    }

    /// RevokeX509Authority: the old CA, tainted before, leaves the bundle, and its key is destroyed where the key store can do that.
    pub async fn revoke_x509(
        &self,
        permit: Permit<rpc::RevokeX509Authority>,
        authority_id: &str,
    ) -> Result<AuthoritySummary, Refused> {
        let slots = self.slots(SlotKind::X509)?;
        if has_upstream(&slots) {
            return Err(Refused::UpstreamAuthority { action: "revoked" });
        }
        let (active, other) = slots;
        let refuse = |reason| Err(Refused::InvalidAuthorityId(reason));
        match other {
            _ if authority_id.is_empty() => return refuse(InvalidAuthority::Missing),
            _ if is(&active, authority_id) => return refuse(InvalidAuthority::Current),
            Some(other) if is(&other, authority_id) && other.status == SlotStatus::Old => {}
            _ => return refuse(InvalidAuthority::NotOld),
        }
        self.revoke(permit.identity(), Step::REVOKE_X509, authority_id, self.x509(authority_id)).await?;
        tracing::info!(local_authority_id = authority_id, "X.509 authority revoked successfully");
        Ok(only_id(authority_id))
    }

    /// RevokeX509UpstreamAuthority: that root, tainted before, leaves the bundle.
    pub async fn revoke_x509_upstream(
        &self,
        permit: Permit<rpc::RevokeX509UpstreamAuthority>,
        subject_key_id: &str,
    ) -> Result<String, Refused> {
        let slots = self.slots(SlotKind::X509)?;
        let id = upstream_id(subject_key_id, &slots, Refused::RevokeUpstreamId)?;
        self.revoke(permit.identity(), Step::REVOKE_UPSTREAM, &id, self.x509(&id)).await?;
        tracing::info!(subject_key_id = id, "X.509 upstream authority successfully revoked");
        Ok(id)
    }

    fn slots(&self, kind: SlotKind) -> Result<Slots, Refused> {
        self.ca.slots(kind).ok_or(Refused::JwtDisabled)
    }

    fn state(&self, kind: SlotKind) -> Result<AuthorityState, Refused> {
        let (active, other) = self.slots(kind)?;
        let in_status = |status| other.as_deref().filter(|it| it.status == status).map(AuthoritySummary::of);
        Ok(AuthorityState {
            active: AuthoritySummary::of(&active),
            prepared: in_status(SlotStatus::Prepared),
            old: in_status(SlotStatus::Old),
        })
    }

    async fn prepare(&self, kind: SlotKind, actor: &str, action: &'static str) -> Result<AuthoritySummary, Refused> {
        self.slots(kind)?;
        let (ca, actor) = (Arc::clone(&self.ca), actor.to_owned());
        let prepared = to_the_end("prepare an authority", async move {
            let prepared = ca.prepare_next(kind).await;
            let id = prepared.as_ref().ok().and_then(|entry| entry.authority_id()).unwrap_or_default();
            audit::change(&actor, action, &format!("authority {id}"), &audit::outcome(&prepared));
            prepared
        });
        let prepared = prepared.await.unwrap_or_else(|source| Err(CaError::Store { step: action, source }));
        prepared.map(|entry| AuthoritySummary::of(&entry)).map_err(|source| Refused::Prepare { kind, source })
    }

    async fn activate(&self, kind: SlotKind, actor: &str, authority_id: &str) -> Result<AuthoritySummary, Refused> {
        let (_active, other) = self.slots(kind)?;
        if authority_id.is_empty() {
            return Err(Refused::NoAuthorityId);
        }
        let other = other.filter(|other| is(other, authority_id)).ok_or(Refused::UnexpectedAuthorityId)?;
        if other.status != SlotStatus::Prepared {
            return Err(Refused::NotPrepared { status: other.status });
        }
        let action = match kind {
            SlotKind::X509 => "x509 authority activate by request",
            SlotKind::Jwt => "jwt authority activate by request",
        };
        let (ca, actor, authority_id) = (Arc::clone(&self.ca), actor.to_owned(), authority_id.to_owned());
        let activated = to_the_end("activate an authority", async move {
            let activated = ca.activate_next(kind, &authority_id).await;
            audit::change(&actor, action, &format!("authority {authority_id}"), &audit::outcome(&activated));
            activated
        });
        let activated = activated.await.unwrap_or_else(|source| Err(CaError::Store { step: action, source }));
        activated.map(|entry| AuthoritySummary::of(&entry)).map_err(|source| Refused::Activate { kind, source })
    }

    async fn taint(&self, actor: &str, step: Step, id: &str, set: AuthoritySet) -> Result<(), Refused> {
        let (ledger, actor, id) = (Arc::clone(&self.ledger), actor.to_owned(), id.to_owned());
        let tainted = to_the_end(step.write.purpose(), async move {
            let tainted = ledger.write(step.write, move |store| async move { store.taint_authorities(set).await });
            finish(&actor, step, &format!("authority {id}"), tainted.await)
        });
        tainted.await.unwrap_or_else(|source| Err(interrupted(step, source)))
    }

    async fn revoke(&self, actor: &str, step: Step, id: &str, set: AuthoritySet) -> Result<(), Refused> {
        let (ca, ledger) = (Arc::clone(&self.ca), Arc::clone(&self.ledger));
        let (actor, id) = (actor.to_owned(), id.to_owned());
        let dependent = self.dependent(&set).await;
        let revoked = to_the_end(step.write.purpose(), async move {
            let revoked = ledger.write(step.write, move |store| async move { store.revoke_authorities(set).await });
            let named = format!("authority {id}");
            let subject = dependent.as_ref().map_or_else(|| named.clone(), |found| format!("{named}, {found}"));
            finish(&actor, step, &subject, revoked.await)?;
            if let Some(Dependent { of, agents }) = dependent.filter(|found| !found.agents.is_empty()) {
                tracing::warn!(
                    authority = id,
                    agents = agents.len(),
                    of,
                    "Revoked before connected agents had replaced their own SVIDs; those that can't attest again need a new join token"
                );
            }
            ca.retire().await;
            Ok(())
        });
        revoked.await.unwrap_or_else(|source| Err(interrupted(step, source)))
    }

    /// Which agents a revocation cuts off; `None` where the authorities sign no SVIDs of agents.
    async fn dependent(&self, set: &AuthoritySet) -> Option<Dependent> {
        let bundle = self.ledger.state().bundle().filter(|_bundle| !set.x509.is_empty())?;
        let is_revoked = |authority: &&X509Authority| set.x509.contains(&authority.certificate);
        let x509_authorities = bundle.x509_authorities.iter().filter(is_revoked).cloned().collect();
        let authorities = Bundle { x509_authorities, ..Bundle::empty(bundle.trust_domain.clone()) };
        Some(self.watchers.dependent(authorities).await)
    }

    /// Whether the bundle has this JWT key, and no server of the store signs, signed or will sign with it.
    fn is_published_only(&self, key_id: &str) -> bool {
        let state = self.ledger.state();
        let is_known = state.bundle().is_some_and(|it| it.jwt_authorities.iter().any(|key| key.key_id == key_id));
        is_known && !state.journals().iter().any(|entry| is(entry, key_id))
    }

    /// The authorities of the bundle with this subject key identifier: a key can have several certificates.
    fn x509(&self, id: &str) -> AuthoritySet {
        let bundle = self.ledger.state().bundle();
        let certificates = bundle.iter().flat_map(|bundle| &bundle.x509_authorities).map(|it| &it.certificate);
        let with_id = certificates.filter(|certificate| subject_key_id(certificate).as_deref() == Some(id));
        AuthoritySet { x509: with_id.cloned().collect(), jwt: Vec::new() }
    }
}

/// What is done to the bundle, for errors and for the audit log.
#[derive(Clone, Copy)]
struct Step {
    write: Write,
    action: &'static str,
}

impl Step {
    const TAINT_JWT: Self = Self { write: Write::TaintJwtAuthority, action: "jwt authority taint" };
    const TAINT_X509: Self = Self { write: Write::TaintX509Authority, action: "x509 authority taint" };
    const TAINT_UPSTREAM: Self = Self { write: Write::TaintUpstreamAuthority, action: "x509 upstream authority taint" };
    const REVOKE_JWT: Self = Self { write: Write::RevokeJwtAuthority, action: "jwt authority revoke" };
    const REVOKE_X509: Self = Self { write: Write::RevokeX509Authority, action: "x509 authority revoke" };
    const REVOKE_UPSTREAM: Self =
        Self { write: Write::RevokeUpstreamAuthority, action: "x509 upstream authority revoke" };
}

/// Takes a step to its end although its caller goes away: a connection that closes must not leave a key that nobody knows, an authority that
/// the journal has as active and that does not sign, or a change that the audit log does not have.
async fn to_the_end<T: Send + 'static>(
    purpose: &'static str,
    step: impl Future<Output = T> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(step).await.map_err(|error| StoreError::Interrupted { purpose, reason: error.to_string() })
}

fn interrupted(step: Step, source: StoreError) -> Refused {
    Refused::Change { step: step.write.purpose(), source: source.into() }
}

fn finish(actor: &str, step: Step, subject: &str, result: Result<(), AuthorityChangeError>) -> Result<(), Refused> {
    audit::change(actor, step.action, subject, &audit::outcome(&result));
    result.map_err(|source| Refused::Change { step: step.write.purpose(), source })
}

/// The old authority, if it is this one.
fn taintable(authority_id: &str, (active, other): &Slots) -> Result<Arc<JournalEntry>, Refused> {
    if authority_id.is_empty() {
        return Err(Refused::NoAuthorityId);
    }
    if is(active, authority_id) {
        return Err(Refused::TaintCurrent);
    }
    let other = other.as_ref().filter(|other| is(other, authority_id)).ok_or(Refused::UnexpectedAuthorityId)?;
    if other.status != SlotStatus::Old {
        return Err(Refused::TaintNotOld { status: other.status });
    }
    Ok(Arc::clone(other))
}

fn has_upstream((active, _): &Slots) -> bool {
    active.ca().is_some_and(|ca| ca.upstream_authority_id.is_some())
}

/// The upstream root that the old authority hangs from, and the active one does not.
fn upstream_id(
    subject_key_id: &str,
    slots: &Slots,
    invalid: fn(InvalidUpstream) -> Refused,
) -> Result<String, Refused> {
    if !has_upstream(slots) {
        return Err(Refused::NoUpstreamAuthority);
    }
    let (active, other) = slots;
    let id = subject_key_id.to_ascii_lowercase();
    let hangs = |entry: &JournalEntry| entry.ca().and_then(|ca| ca.upstream_authority_id.as_deref()) == Some(&id);
    if id.is_empty() {
        return Err(invalid(InvalidUpstream::Missing));
    }
    if hangs(active) {
        return Err(invalid(InvalidUpstream::Current));
    }
    let other = other.as_deref().filter(|other| hangs(other)).ok_or_else(|| invalid(InvalidUpstream::NotOld))?;
    if other.status == SlotStatus::Prepared {
        return Err(invalid(InvalidUpstream::Prepared));
    }
    Ok(id)
}

fn is(entry: &JournalEntry, authority_id: &str) -> bool {
    entry.authority_id().as_deref() == Some(authority_id)
}

fn jwt(key_id: &str) -> AuthoritySet {
    AuthoritySet { x509: Vec::new(), jwt: vec![key_id.to_owned()] }
}

fn only_id(authority_id: &str) -> AuthoritySummary {
    AuthoritySummary {
        authority_id: authority_id.to_owned(),
        expires_at: 0,
        upstream_authority_subject_key_id: String::new(),
    }
}
