//! The transaction that admits a node.

use std::sync::Arc;

use plastron_server_core::store::{
    AdmissionRecord, AdmitError, Committed, Event, Node, NodeSvid, Standing, StoreError, TokenHash, TpmAdmission,
};
use plastron_spiffe::{RegistrationEntry, Selector, SpiffeId};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::entries;
use crate::error::Purpose;
use crate::pending;
use crate::write::Write;

const PURPOSE: Purpose = Purpose("admit a node");

pub(super) async fn admit(store: &SqliteStore, record: AdmissionRecord) -> Result<Committed<Arc<Node>>, AdmitError> {
    let mut write = Write::begin(store, PURPOSE).await?;
    if let Some(token) = record.token {
        let alias = spend(&mut write, token, record.now).await?;
        if let Some(alias) = alias {
            let entry = alias_entry(&record, alias).map_err(|error| StoreError::Corrupt {
                store: store.name.clone(),
                reason: error,
                remedy: "make a new join token".to_owned(),
            })?;
            // A node that was evicted leaves its alias entry, and an operator may make the same token again.
            let identity = entries::identity_hash(&entry);
            if store.entry_with_identity(write.connection(), &identity).await?.is_none() {
                entries::insert(&mut write, std::slice::from_ref(&entry)).await?;
                write.note(Event::Entry(entry));
            }
        }
    }
    let known = store.node_with_id(write.connection(), &record.id).await?;
    check(known.as_ref(), &record)?;
    if let Some(TpmAdmission { enrolled, .. }) = &record.tpm
        && let Some(name) = enrolled.ak_name()
        && let Some(owner) = owner_of_ak(store, write.connection(), name.as_bytes()).await?
        && owner != record.id
    {
        return Err(AdmitError::AkOfOtherNode { id: record.id, owner });
    }
    if let (Some(asks_for), Some(tpm)) = (record.needs_approval, &record.tpm) {
        pending::use_up(&mut write, &record.id, asks_for, &tpm.enrolled.pool).await?;
    } else if known.is_none() && record.tpm.is_some() {
        pending::settle(&mut write, &record.id).await?;
    }
    let log_before = known.as_ref().and_then(|node| node.tpm.as_ref()?.event_log_sha256);
    if let Some(log) = record.tpm.as_ref().and_then(|tpm| tpm.event_log.as_ref()) {
        store.keep_event_log(write.connection(), log.sha256(), log.bytes()).await?;
    }
    let node = Arc::new(admitted(known, record));
    store.replace_node(write.connection(), &node).await?;
    if let Some(log) = log_before {
        store.drop_event_log(write.connection(), log).await?;
    }
    write.note(Event::Node(Arc::clone(&node)));
    Ok(Committed { value: node, changes: write.commit(PURPOSE).await? })
}

/// Spends the token: the number of rows that the DELETE took decides. Gives its alias.
async fn spend(write: &mut Write<'_>, token: TokenHash, now: i64) -> Result<Option<SpiffeId>, AdmitError> {
    let store = write.store;
    let fail = |error: sqlx::Error| store.failed(Purpose("spend a join token"), &error);
    store.count_read();
    let alias: Option<Option<String>> = sqlx::query_scalar("SELECT alias FROM join_tokens WHERE hash = ?")
        .bind(token.as_bytes().as_slice())
        .fetch_optional(write.connection())
        .await
        .map_err(fail)?;
    let done = sqlx::query("DELETE FROM join_tokens WHERE hash = ? AND expires_at > ?")
        .bind(token.as_bytes().as_slice())
        .bind(now)
        .execute(write.connection())
        .await
        .map_err(fail)?;
    if done.rows_affected() != 1 {
        return Err(AdmitError::TokenUnknown);
    }
    write.note(Event::JoinTokenDeleted);
    let alias = alias.flatten().map(|alias| SpiffeId::parse(&alias)).transpose();
    Ok(alias.map_err(|error| store.corrupt("join_tokens", "alias", &error.to_string()))?)
}

/// The entry by which the node has its alias (as SPIRE writes it when the token is made).
fn alias_entry(record: &AdmissionRecord, alias: SpiffeId) -> Result<Arc<RegistrationEntry>, String> {
    let selector = Selector::new("spiffe_id", record.id.as_str()).map_err(|error| error.to_string())?;
    Ok(Arc::new(RegistrationEntry {
        id: uuid::Uuid::new_v4().to_string(),
        spiffe_id: alias,
        parent_id: record.id.clone(),
        selectors: vec![selector],
        x509_svid_ttl: 0,
        jwt_svid_ttl: 0,
        federates_with: Vec::new(),
        admin: false,
        downstream: false,
        expires_at: 0,
        dns_names: Vec::new(),
        revision_number: 0,
        store_svid: false,
        hint: String::new(),
        created_at: record.now,
        disable_x509_svid_prefetch: false,
        jwt_svid_include_jti: false,
    }))
}

/// Checks, in order: neither banned nor quarantined; the same attestor; the same EK; the record that the evidence was judged
/// against is the stored one.
fn check(known: Option<&Node>, record: &AdmissionRecord) -> Result<(), AdmitError> {
    let judged_against = record.tpm.as_ref().and_then(|tpm| tpm.judged_against.as_deref());
    let id = || record.id.clone();
    let Some(known) = known else {
        return if judged_against.is_some() { Err(AdmitError::JudgedAgainstOther { id: id() }) } else { Ok(()) };
    };
    match &known.standing {
        Standing::Banned { .. } => return Err(AdmitError::Banned),
        Standing::Quarantined { reason, .. } => return Err(AdmitError::Quarantined { reason: reason.clone() }),
        Standing::Active { .. } | Standing::CutOff { .. } => {}
    }
    if known.attestation_type != record.attestation_type {
        return Err(AdmitError::OtherAttestor {
            id: id(),
            enrolled: known.attestation_type.clone(),
            presented: record.attestation_type.clone(),
        });
    }
    if let (Some(stored), Some(TpmAdmission { enrolled, .. })) = (&known.tpm, &record.tpm)
        && stored.ek_public != enrolled.ek_public
    {
        return Err(AdmitError::OtherEk {
            id: id(),
            enrolled: hex::encode(&stored.ek_public),
            presented: hex::encode(&enrolled.ek_public),
        });
    }
    if known.tpm.as_deref() != judged_against {
        return Err(AdmitError::JudgedAgainstOther { id: id() });
    }
    Ok(())
}

/// The node as it is from now on. One that is active with an SVID that is still valid keeps that as the current one.
fn admitted(known: Option<Node>, record: AdmissionRecord) -> Node {
    let AdmissionRecord { id, attestation_type, svid, can_reattest, selectors, tpm, needs_approval: _, token: _, now } =
        record;
    let is_valid = |current: &NodeSvid| i64::try_from(current.not_after).is_ok_and(|not_after| not_after >= now);
    let (standing, agent_version) = match known {
        Some(Node { standing: Standing::Active { current, .. }, agent_version, .. }) if is_valid(&current) => {
            (Standing::Active { current, pending: Some(svid) }, agent_version)
        }
        known => (
            Standing::Active { current: svid, pending: None },
            known.map(|known| known.agent_version).unwrap_or_default(),
        ),
    };
    let tpm = tpm.map(|TpmAdmission { enrolled, .. }| enrolled);
    Node { id, attestation_type, standing, can_reattest, selectors, agent_version, tpm }
}

async fn owner_of_ak(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    ak_name: &[u8],
) -> Result<Option<SpiffeId>, StoreError> {
    store.count_read();
    let owner: Option<String> = sqlx::query_scalar("SELECT id FROM nodes WHERE ak_name = ?")
        .bind(ak_name)
        .fetch_optional(connection)
        .await
        .map_err(|error| store.failed(Purpose("look for the owner of an AK"), &error))?;
    let owner = owner.map(|owner| SpiffeId::parse(&owner)).transpose();
    owner.map_err(|error| store.corrupt("nodes", "ak_name", &error.to_string()))
}
