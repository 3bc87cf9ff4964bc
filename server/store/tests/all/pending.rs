//! TPMs that wait for a person: quotas, and approvals that are used once.

use std::sync::Arc;

use plastron_attestation_appraise::EnrolledTpm;
use plastron_server_core::limits::{MAX_PENDING_PER_POOL, MAX_PENDING_PER_SOURCE};
use plastron_server_core::store::{
    AdmissionRecord, AdmitError, Decision, DecisionVerdict, NeedsApproval, NodeStore, PendingStore, PendingTpm,
    WaitRecord,
};
use plastron_server_store::SqliteStore;

use crate::fixture::{NOW, Place, attested, id, tpm};

fn attempt(name: u32, source: &str) -> WaitRecord {
    WaitRecord {
        id: id(&format!("/spire/agent/tpm/{name}")),
        asks_for: NeedsApproval::NewNode,
        proved: tpm(1, 2, 3),
        source: source.to_owned(),
        now: NOW,
    }
}

async fn decide(store: &SqliteStore, name: u32, verdict: DecisionVerdict) -> PendingTpm {
    let decision = Decision { verdict, by: "uid 0".to_owned(), at: NOW, reason: "ticket".to_owned() };
    store.decide(id(&format!("/spire/agent/tpm/{name}")), decision).await.unwrap().value
}

fn asking(name: u32) -> AdmissionRecord {
    AdmissionRecord {
        needs_approval: Some(NeedsApproval::NewNode),
        ..attested(&format!("/spire/agent/tpm/{name}"), 1, &tpm(1, 2, 3), None)
    }
}

/// However many TPMs someone owns, the list stays one that a person can work through; who waits already goes on waiting.
#[tokio::test]
async fn neither_a_source_nor_a_pool_fills_the_list() {
    let place = Place::new();
    let store = place.open().await;
    for name in 0..MAX_PENDING_PER_SOURCE {
        store.wait(attempt(name, "192.0.2.1")).await.unwrap();
    }
    let full = store.wait(attempt(9_000, "192.0.2.1")).await.unwrap_err();
    assert!(matches!(full, AdmitError::TooManyPending { what: "source", .. }), "{full}");
    assert_eq!(store.wait(attempt(0, "192.0.2.1")).await.unwrap().value.attempts, 2);
    store.wait(attempt(9_000, "192.0.2.2")).await.unwrap();
    // What is decided does not count.
    decide(&store, 1, DecisionVerdict::Rejected).await;
    store.wait(attempt(9_001, "192.0.2.1")).await.unwrap();
    let mut source = 0;
    for name in MAX_PENDING_PER_SOURCE..MAX_PENDING_PER_POOL - 1 {
        source += 1;
        store.wait(attempt(name, &format!("198.51.100.{}", source % 200))).await.unwrap();
    }
    let full = store.wait(attempt(9_999, "203.0.113.1")).await.unwrap_err();
    assert!(matches!(full, AdmitError::TooManyPending { what: "pool", .. }), "{full}");
}

#[tokio::test]
async fn an_approval_admits_once_and_only_what_was_approved() {
    let place = Place::new();
    let store = place.open().await;
    let is_pending =
        |result: Result<_, AdmitError>| matches!(result.map(|_admitted| ()), Err(AdmitError::Pending { .. }));
    assert!(is_pending(store.admit(asking(1)).await), "nobody knows it");
    store.wait(attempt(1, "")).await.unwrap();
    assert!(is_pending(store.admit(asking(1)).await), "nobody decided");
    decide(&store, 1, DecisionVerdict::Rejected).await;
    assert!(is_pending(store.admit(asking(1)).await), "rejected");
    decide(&store, 1, DecisionVerdict::Approved).await;
    assert!(is_pending(store.admit(asking(2)).await), "another TPM");
    let other_question = AdmissionRecord { needs_approval: Some(NeedsApproval::NewAk), ..asking(1) };
    assert!(is_pending(store.admit(other_question).await));
    store.admit(asking(1)).await.unwrap();
    assert!(store.pending().await.unwrap().is_empty());
    let again = AdmissionRecord { needs_approval: Some(NeedsApproval::NewAk), ..asking(1) };
    assert!(store.admit(again).await.is_err(), "used up");
}

/// Whoever was approved for one thing and asks for another waits again.
#[tokio::test]
async fn a_decision_on_another_question_counts_no_more() {
    let place = Place::new();
    let store = place.open().await;
    store.wait(attempt(1, "")).await.unwrap();
    decide(&store, 1, DecisionVerdict::Approved).await;
    assert!(store.wait(attempt(1, "")).await.unwrap().value.decision.is_some());
    let other = WaitRecord { asks_for: NeedsApproval::NewAk, ..attempt(1, "") };
    let waiting = store.wait(other).await.unwrap().value;
    assert_eq!((waiting.decision, waiting.attempts), (None, 3));
}

/// A TPM that two pools trust chooses its pool by what it shows: that lifts no rejection, and an approval is for the pool that it names.
#[tokio::test]
async fn another_pool_lifts_no_rejection_and_has_its_own_approval() {
    let place = Place::new();
    let store = place.open().await;
    let elsewhere = |name| {
        let proved = EnrolledTpm { pool: "pinned".to_owned(), ..EnrolledTpm::clone(&tpm(1, 2, 3)) };
        WaitRecord { proved: Arc::new(proved), ..attempt(name, "") }
    };
    for (name, verdict, kept) in
        [(1, DecisionVerdict::Rejected, Some(DecisionVerdict::Rejected)), (2, DecisionVerdict::Approved, None)]
    {
        store.wait(attempt(name, "")).await.unwrap();
        decide(&store, name, verdict).await;
        let waiting = store.wait(elsewhere(name)).await.unwrap().value;
        assert_eq!(waiting.decision.map(|decision| decision.verdict), kept);
    }
}

/// A pool that asks nobody lets no TPM in that a person rejected, until it is approved.
#[tokio::test]
async fn a_rejected_tpm_is_admitted_by_no_pool() {
    let place = Place::new();
    let store = place.open().await;
    let unasked = || AdmissionRecord { needs_approval: None, ..asking(1) };
    store.wait(attempt(1, "")).await.unwrap();
    decide(&store, 1, DecisionVerdict::Rejected).await;
    let refused = store.admit(unasked()).await.unwrap_err();
    assert!(matches!(&refused, AdmitError::Rejected { reason, .. } if reason == "ticket"), "{refused}");
    decide(&store, 1, DecisionVerdict::Approved).await;
    store.admit(unasked()).await.unwrap();
    assert!(store.pending().await.unwrap().is_empty(), "no approval is left for a later enrolment");
}

/// Whoever was decided on and asks anew is one more that waits.
#[tokio::test]
async fn asking_anew_is_within_the_quota() {
    let place = Place::new();
    let store = place.open().await;
    store.wait(attempt(9_000, "192.0.2.1")).await.unwrap();
    decide(&store, 9_000, DecisionVerdict::Approved).await;
    for name in 0..MAX_PENDING_PER_SOURCE {
        store.wait(attempt(name, "192.0.2.1")).await.unwrap();
    }
    let anew = WaitRecord { asks_for: NeedsApproval::NewAk, ..attempt(9_000, "192.0.2.1") };
    let full = store.wait(anew).await.unwrap_err();
    assert!(matches!(full, AdmitError::TooManyPending { what: "source", .. }), "{full}");
    // The approval that was not used stands, for what it was given.
    store.wait(attempt(9_000, "192.0.2.1")).await.unwrap().value.decision.unwrap();
}
