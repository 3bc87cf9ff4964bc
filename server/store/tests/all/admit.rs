//! The transaction that admits a TPM node: who may take which record over.

use plastron_server_core::store::{AdmitError, CutOff, NodeError, NodeStore as _, Standing, Store as _, TokenHash};

use plastron_attestation_appraise::{AnnouncedLog, EnrolledTpm, SentLog};

use crate::fixture::{NOW, Place, attested, id, svid, tpm};

const NODE: &str = "/spire/agent/tpm/a";

#[tokio::test]
async fn a_new_svid_is_pending_until_its_first_use() {
    let place = Place::new();
    let store = place.open().await;
    let (one, two) = (tpm(1, 1, 1), tpm(1, 1, 2));
    store.admit(attested(NODE, 1, &one, None)).await.unwrap();
    store.set_agent_version(id(NODE), "1.2.3".to_owned()).await.unwrap();
    let again = store.admit(attested(NODE, 2, &two, Some(&one))).await.unwrap().value;
    let Standing::Active { current, pending } = &again.standing else { unreachable!("an active node") };
    assert_eq!((&current.serial, &pending.as_ref().unwrap().serial), (&svid(1, 0).serial, &svid(2, 0).serial));
    assert_eq!(again.agent_version, "1.2.3");
    // What another process would read is the same.
    assert_eq!(place.open().await.load().await.unwrap().nodes, [again.as_ref().clone()]);
    // Once the current one has expired there is nothing to keep.
    let mut late = attested(NODE, 3, &tpm(1, 1, 3), Some(&two));
    late.now = NOW + 3601;
    let late = store.admit(late).await.unwrap().value;
    assert_eq!(late.current_svid().unwrap().serial, svid(3, 0).serial);
}

/// Threat 9: another EK never takes over a node's ID, whatever it was judged against.
#[tokio::test]
async fn another_ek_is_refused() {
    let store = Place::new();
    let store = store.open().await;
    let own = tpm(1, 1, 1);
    store.admit(attested(NODE, 1, &own, None)).await.unwrap();
    for judged_against in [None, Some(&own)] {
        let taken = store.admit(attested(NODE, 2, &tpm(2, 2, 1), judged_against)).await.err().unwrap();
        assert!(matches!(taken, AdmitError::OtherEk { .. }), "{taken}");
    }
    assert_eq!(store.load().await.unwrap().nodes.first().unwrap().tpm.as_ref(), Some(&own));
}

/// Threat 13: of two conversations at the same time, both judged against the same record, one is admitted.
#[tokio::test]
async fn evidence_judged_against_an_older_record_is_refused() {
    let store = Place::new();
    let store = store.open().await;
    let (one, two, three) = (tpm(1, 1, 1), tpm(1, 1, 2), tpm(1, 1, 3));
    store.admit(attested(NODE, 1, &one, None)).await.unwrap();
    store.admit(attested(NODE, 2, &two, Some(&one))).await.unwrap();
    for judged_against in [None, Some(&one)] {
        let late = store.admit(attested(NODE, 3, &three, judged_against)).await.err().unwrap();
        assert!(matches!(late, AdmitError::JudgedAgainstOther { .. }), "{late}");
    }
    store.evict(id(NODE)).await.unwrap();
    let evicted = store.admit(attested(NODE, 3, &three, Some(&two))).await.err().unwrap();
    assert!(matches!(evicted, AdmitError::JudgedAgainstOther { .. }), "evicted while it attested: {evicted}");
    store.admit(attested(NODE, 3, &three, None)).await.unwrap();
}

/// Threat 27: a ban that is committed while the node attests.
#[tokio::test]
async fn a_banned_node_is_refused_until_it_is_evicted() {
    let store = Place::new();
    let store = store.open().await;
    let one = tpm(1, 1, 1);
    store.admit(attested(NODE, 1, &one, None)).await.unwrap();
    store.ban(id(NODE)).await.unwrap();
    let refused = store.admit(attested(NODE, 2, &tpm(1, 1, 2), Some(&one))).await.err().unwrap();
    assert_eq!(refused, AdmitError::Banned);
    assert_eq!(refused.to_string(), "agent is banned");
    let promoted = store.promote(id(NODE), svid(1, 0).serial).await.err().unwrap();
    assert_eq!(promoted, NodeError::Banned { id: id(NODE) });
    let kept = store.cut_off(id(NODE), CutOff::UntilAdmitted, "bad".to_owned()).await.unwrap();
    assert!(kept.value.is_banned() && kept.changes.is_empty(), "a ban stays");
    store.evict(id(NODE)).await.unwrap();
    store.admit(attested(NODE, 2, &tpm(1, 1, 2), None)).await.unwrap();
}

#[tokio::test]
async fn a_node_that_was_cut_off_heals_and_one_in_quarantine_does_not() {
    let store = Place::new();
    let store = store.open().await;
    let (one, two) = (tpm(1, 1, 1), tpm(1, 1, 2));
    store.admit(attested(NODE, 1, &one, None)).await.unwrap();
    let cut = store.cut_off(id(NODE), CutOff::UntilAdmitted, "golden_pcr".to_owned()).await.unwrap().value;
    assert!(cut.current_svid().is_none());
    let healed = store.admit(attested(NODE, 2, &two, Some(&one))).await.unwrap().value;
    assert_eq!(healed.current_svid().unwrap().serial, svid(2, 0).serial, "the SVID from before stays bad");
    store.cut_off(id(NODE), CutOff::UntilEvicted, "went back".to_owned()).await.unwrap();
    store.cut_off(id(NODE), CutOff::UntilAdmitted, "golden_pcr".to_owned()).await.unwrap();
    let refused = store.admit(attested(NODE, 3, &tpm(1, 1, 3), Some(&two))).await.err().unwrap();
    assert_eq!(refused, AdmitError::Quarantined { reason: "went back".to_owned() });
}

#[tokio::test]
async fn an_ak_belongs_to_one_node() {
    let store = Place::new();
    let store = store.open().await;
    store.admit(attested(NODE, 1, &tpm(1, 7, 1), None)).await.unwrap();
    let refused = store.admit(attested("/spire/agent/tpm/b", 2, &tpm(2, 7, 1), None)).await.err().unwrap();
    assert_eq!(refused, AdmitError::AkOfOtherNode { id: id("/spire/agent/tpm/b"), owner: id(NODE) });
}

#[tokio::test]
async fn another_attestor_does_not_take_a_node_over() {
    let store = Place::new();
    let store = store.open().await;
    store.admit(attested(NODE, 1, &tpm(1, 1, 1), None)).await.unwrap();
    let mut other = attested(NODE, 2, &tpm(1, 1, 1), None);
    (other.attestation_type, other.tpm) = ("x509pop".to_owned(), None);
    let refused = store.admit(other).await.err().unwrap();
    assert!(matches!(refused, AdmitError::OtherAttestor { .. }), "{refused}");
}

/// An operator makes a token of the same name again after its node was evicted.
#[tokio::test]
async fn an_alias_entry_that_is_there_already_stays() {
    use plastron_server_core::store::{JoinTokenRecord, TokenStore as _};
    let store = Place::new();
    let store = store.open().await;
    let record = JoinTokenRecord { hash: TokenHash::of("t"), expires_at: NOW + 60, alias: Some(id("/alias")) };
    let mut joining = attested("/spire/agent/join_token/t", 1, &tpm(1, 1, 1), None);
    (joining.tpm, joining.token, joining.can_reattest) = (None, Some(record.hash), false);
    for _time in 0..2 {
        store.create_join_token(record.clone()).await.unwrap();
        store.admit(joining.clone()).await.unwrap();
        store.evict(joining.id.clone()).await.unwrap();
    }
    assert_eq!(store.load().await.unwrap().entries.len(), 1);
}

/// A refused admission leaves the token: nothing was committed.
#[tokio::test]
async fn a_refusal_spends_nothing() {
    use plastron_server_core::store::{JoinTokenRecord, TokenStore as _};
    let store = Place::new();
    let store = store.open().await;
    let hash = TokenHash::of("t");
    store.create_join_token(JoinTokenRecord { hash, expires_at: NOW + 1, alias: Some(id("/x")) }).await.unwrap();
    store.admit(attested(NODE, 1, &tpm(1, 1, 1), None)).await.unwrap();
    store.ban(id(NODE)).await.unwrap();
    let mut record = attested(NODE, 2, &tpm(1, 1, 2), None);
    record.token = Some(hash);
    assert_eq!(store.admit(record.clone()).await.err().unwrap(), AdmitError::Banned);
    assert!(store.has_join_token(hash, NOW).await.unwrap());
    assert!(!store.has_join_token(hash, NOW + 1).await.unwrap(), "expired");
    record.now = NOW + 1;
    assert_eq!(store.admit(record).await.err().unwrap(), AdmitError::TokenUnknown);
    assert_eq!(store.prune_join_tokens(NOW).await.unwrap().value, 0);
    assert_eq!(store.prune_join_tokens(NOW + 1).await.unwrap().value, 1);
}

/// A log is kept once, as long as a node's record names it, and no longer.
#[tokio::test]
async fn an_event_log_is_kept_while_a_record_names_it() {
    let place = Place::new();
    let store = place.open().await;
    let log = |text: &[u8]| SentLog::matching(&AnnouncedLog::of(text).unwrap(), text.to_vec()).unwrap();
    let (old, new) = (log(b"first boot"), log(b"second boot"));
    let booted = |enrolled: &std::sync::Arc<EnrolledTpm>, log: &SentLog| {
        std::sync::Arc::new(EnrolledTpm { event_log_sha256: Some(*log.sha256()), ..(**enrolled).clone() })
    };
    let with_log = |path, serial, record: &std::sync::Arc<EnrolledTpm>, before, log: &SentLog| {
        let mut admission = attested(path, serial, record, before);
        admission.tpm.as_mut().unwrap().event_log = Some(log.clone());
        admission
    };
    // Two machines of one model booted the same.
    let (a, b) = (booted(&tpm(1, 1, 1), &old), booted(&tpm(2, 2, 1), &old));
    store.admit(with_log(NODE, 1, &a, None, &old)).await.unwrap();
    store.admit(with_log("/spire/agent/tpm/b", 2, &b, None, &old)).await.unwrap();
    let kept = async |log: &SentLog| {
        let len = u32::try_from(log.bytes().len()).unwrap();
        assert_eq!(store.event_log(*log.sha256(), len - 1).await.unwrap(), None, "of another length");
        store.event_log(*log.sha256(), len).await.unwrap()
    };
    assert_eq!(kept(&old).await.unwrap(), b"first boot");
    assert_eq!(kept(&new).await, None);
    // Also when read by another process.
    assert_eq!(place.open().await.event_log(*old.sha256(), 10).await.unwrap().unwrap(), b"first boot");
    // What the disk damaged is written anew by whoever sends it again.
    place.tamper("UPDATE event_logs SET log = x'00'").await;
    let again = booted(&tpm(2, 2, 2), &old);
    store.admit(with_log("/spire/agent/tpm/b", 4, &again, Some(&b), &old)).await.unwrap();
    assert_eq!(kept(&old).await.unwrap(), b"first boot");
    let renewed = booted(&tpm(1, 1, 2), &new);
    store.admit(with_log(NODE, 3, &renewed, Some(&a), &new)).await.unwrap();
    assert_eq!((kept(&old).await.is_some(), kept(&new).await.is_some()), (true, true));
    store.evict(id("/spire/agent/tpm/b")).await.unwrap();
    assert_eq!((kept(&old).await.is_some(), kept(&new).await.is_some()), (false, true));
    store.set_agent_version(id(NODE), "1.2.3".to_owned()).await.unwrap();
    store.cut_off(id(NODE), CutOff::UntilAdmitted, "a bad quote".to_owned()).await.unwrap();
    store.ban(id(NODE)).await.unwrap();
    assert!(kept(&new).await.is_some());
    store.evict(id(NODE)).await.unwrap();
    assert!(kept(&new).await.is_none());
}
