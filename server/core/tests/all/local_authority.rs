//! What an administrator does with authorities, and every refusal.

use std::sync::Arc;

use plastron_hsm::KeyInventory as _;
use plastron_hsm_soft::SoftStore;
use plastron_server_core::authorization::rpc;
use plastron_server_core::local_authority::{InvalidAuthority, LocalAuthorityError as Refused};
use plastron_server_core::store::{AuthorityChangeError, SlotName, SlotStatus};

use crate::faults::{FaultyStore, SlowKeys, Step};
use crate::fixture::{Disk, Server, csr, local};

macro_rules! call {
    ($server:expr, $operation:ident, $rpc:ident $(, $argument:expr)?) => {
        $server.services.local_authorities.$operation($server.permit::<rpc::$rpc>(&local()).await $(, $argument)?).await
    };
}

macro_rules! state {
    ($server:expr, $operation:ident, $rpc:ident) => {
        $server.services.local_authorities.$operation($server.permit::<rpc::$rpc>(&local()).await).unwrap()
    };
}

async fn destructible() -> (Server, Arc<SoftStore>) {
    let keys = Arc::new(SoftStore::in_memory("test"));
    let disk = Disk { keys: Arc::clone(&keys) as _, inventory: Some(Arc::clone(&keys) as _), ..Disk::new() };
    (disk.start().await.unwrap(), keys)
}

#[tokio::test]
async fn an_x509_authority_goes_from_prepared_to_revoked() {
    let (server, keys) = destructible().await;
    let first = state!(server, x509_state, GetX509AuthorityState);
    assert_eq!((first.prepared, first.old), (None, None));
    let first = first.active.authority_id;
    let svid = server.attest(&server.token(None).await, &csr(&[])).await.unwrap().svid;

    for refused in [
        call!(server, activate_x509, ActivateX509Authority, "").unwrap_err(),
        call!(server, taint_x509, TaintX509Authority, "").unwrap_err(),
    ] {
        assert!(matches!(refused, Refused::NoAuthorityId), "{refused}");
    }
    let refused = call!(server, activate_x509, ActivateX509Authority, "unknown").unwrap_err();
    assert!(matches!(refused, Refused::UnexpectedAuthorityId), "{refused}");
    let refused = call!(server, taint_x509, TaintX509Authority, &first).unwrap_err();
    assert_eq!(refused.to_string(), "unable to taint current local authority");
    let refused = call!(server, revoke_x509, RevokeX509Authority, &first).unwrap_err();
    assert!(matches!(refused, Refused::InvalidAuthorityId(InvalidAuthority::Current)), "{refused}");
    let refused = call!(server, revoke_x509, RevokeX509Authority, "unknown").unwrap_err();
    assert_eq!(refused.to_string(), "invalid authority ID: only Old local authority can be revoked");
    let refused = call!(server, taint_x509_upstream, TaintX509UpstreamAuthority, "aa").unwrap_err();
    assert_eq!(refused.to_string(), "upstream authority is not configured");

    let overwritten = call!(server, prepare_x509, PrepareX509Authority).unwrap().authority_id;
    let second = call!(server, prepare_x509, PrepareX509Authority).unwrap();
    assert_ne!(overwritten, second.authority_id, "a new one each time");
    let second = second.authority_id;
    let prepared = state!(server, x509_state, GetX509AuthorityState);
    assert_eq!(prepared.prepared.unwrap().authority_id, second);
    assert_eq!(prepared.active.authority_id, first, "it signs nothing yet");
    let refused = call!(server, taint_x509, TaintX509Authority, &second).unwrap_err();
    assert!(matches!(refused, Refused::TaintNotOld { status: SlotStatus::Prepared }), "{refused}");

    let activated = call!(server, activate_x509, ActivateX509Authority, &second).unwrap();
    assert_eq!(activated.authority_id, second);
    let turned = state!(server, x509_state, GetX509AuthorityState);
    assert_eq!((turned.active.authority_id.as_str(), turned.old.unwrap().authority_id.as_str()), (&*second, &*first));
    server.verified(&svid);
    let refused = call!(server, activate_x509, ActivateX509Authority, &first).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "only Prepared authorities can be activated: unsupported local authority status: OLD"
    );
    let refused = call!(server, revoke_x509, RevokeX509Authority, &first).unwrap_err();
    assert!(matches!(refused, Refused::Change { source: AuthorityChangeError::NotTainted, .. }), "{refused}");

    let own = Arc::clone(&server.services.server_svid.subscribe().borrow());
    assert_eq!(*own.anchor_id, *first);
    assert_eq!(call!(server, taint_x509, TaintX509Authority, &first).unwrap().authority_id, first);
    let refused = call!(server, taint_x509, TaintX509Authority, &first).unwrap_err();
    assert!(matches!(refused, Refused::Change { source: AuthorityChangeError::AlreadyTainted, .. }), "{refused}");
    server.services.rotate().await;
    let own = Arc::clone(&server.services.server_svid.subscribe().borrow());
    assert_eq!(*own.anchor_id, *second, "the server's own SVID is signed anew at once");

    let old_key = server.slot(SlotName::X509CaA).unwrap().key_id.clone();
    assert!(keys.list().await.unwrap().iter().any(|key| key.id == old_key));
    assert_eq!(call!(server, revoke_x509, RevokeX509Authority, &first).unwrap().authority_id, first);
    assert!(!server.services.ca.is_trusted(&first));
    assert!(keys.list().await.unwrap().iter().all(|key| key.id != old_key), "the key is destroyed");
    server.services.ca.probe().await.unwrap();
}

#[tokio::test]
async fn a_jwt_authority_goes_from_prepared_to_revoked() {
    let (server, keys) = destructible().await;
    let first = state!(server, jwt_state, GetJwtAuthorityState).active.authority_id;
    let refused = call!(server, revoke_jwt, RevokeJwtAuthority, "unknown").unwrap_err();
    assert_eq!(refused.to_string(), "invalid authority ID: no JWT authority found with provided authority ID");
    let refused = call!(server, revoke_jwt, RevokeJwtAuthority, &first).unwrap_err();
    assert!(matches!(refused, Refused::InvalidAuthorityId(InvalidAuthority::Current)), "{refused}");
    let second = call!(server, prepare_jwt, PrepareJwtAuthority).unwrap().authority_id;
    let refused = call!(server, revoke_jwt, RevokeJwtAuthority, &second).unwrap_err();
    assert!(matches!(refused, Refused::InvalidAuthorityId(InvalidAuthority::Prepared)), "{refused}");
    assert_eq!(*server.jwt("db", 300).await.unwrap().key_id, *first);
    call!(server, activate_jwt, ActivateJwtAuthority, &second).unwrap();
    assert_eq!(*server.jwt("db", 300).await.unwrap().key_id, *second);
    call!(server, taint_jwt, TaintJwtAuthority, &first).unwrap();
    assert!(server.services.bundles.current().jwt_authorities.iter().any(|key| key.key_id == first && key.tainted));
    let old_key = server.slot(SlotName::JwtSignerA).unwrap().key_id.clone();
    call!(server, revoke_jwt, RevokeJwtAuthority, &first).unwrap();
    assert!(server.services.bundles.current().jwt_authorities.iter().all(|key| key.key_id != first));
    assert!(keys.list().await.unwrap().iter().all(|key| key.id != old_key), "the key is destroyed");
    server.jwt("db", 300).await.unwrap();
}

#[tokio::test]
async fn jwt_authorities_are_not_there_where_jwt_svids_are_switched_off() {
    let mut disk = Disk::new();
    disk.config.ca.disable_jwt_svids = true;
    let server = disk.start().await.unwrap();
    let state = server.services.local_authorities.jwt_state(server.permit(&local()).await).unwrap_err();
    for refused in [
        state,
        call!(server, prepare_jwt, PrepareJwtAuthority).unwrap_err(),
        call!(server, activate_jwt, ActivateJwtAuthority, "").unwrap_err(),
        call!(server, taint_jwt, TaintJwtAuthority, "").unwrap_err(),
        call!(server, revoke_jwt, RevokeJwtAuthority, "").unwrap_err(),
    ] {
        assert_eq!(refused.to_string(), "JWT functionality is disabled");
    }
}

/// Threat 50
#[tokio::test]
async fn an_activation_that_was_reported_as_failed_counts_once_the_journal_shows_it() {
    let disk = Disk::new();
    let store = FaultyStore::over(disk.store().await, Step::ActivateUnheard, 0);
    let server = disk.start_on(Arc::clone(&store) as _).await.unwrap();
    let first = state!(server, x509_state, GetX509AuthorityState).active.authority_id;
    let second = call!(server, prepare_x509, PrepareX509Authority).unwrap().authority_id;
    let kid = call!(server, prepare_jwt, PrepareJwtAuthority).unwrap().authority_id;
    store.arm(2);
    call!(server, activate_x509, ActivateX509Authority, &second).unwrap_err();
    call!(server, activate_jwt, ActivateJwtAuthority, &kid).unwrap_err();
    server.services.ledger.catch_up().await.unwrap();
    server.services.rotate().await;

    let turned = state!(server, x509_state, GetX509AuthorityState);
    assert_eq!((turned.active.authority_id, turned.old.unwrap().authority_id), (second.clone(), first.clone()));
    assert_eq!(*server.services.ca.authority().authority_id(), *second, "what the journal says is what signs");
    assert_eq!(*server.jwt("spiffe://example.org/other", 60).await.unwrap().key_id, *kid);
    call!(server, taint_x509, TaintX509Authority, &first).unwrap();
}

#[tokio::test]
async fn an_administrator_who_goes_away_in_the_middle_leaves_no_step_half_done() {
    let disk = Disk::new();
    let keys = SlowKeys::over(Arc::clone(&disk.keys));
    let disk = Disk { keys: Arc::clone(&keys) as _, ..disk };
    let server = disk.start().await.unwrap();
    let gate = keys.hold();
    let permit = server.permit::<rpc::PrepareX509Authority>(&local()).await;
    let prepare = server.services.local_authorities.prepare_x509(permit);
    tokio::select! {
        done = prepare => unreachable!("{done:?}"),
        () = keys.somebody_waits() => {}
    }
    drop(gate);
    let prepared = async {
        loop {
            if state!(server, x509_state, GetX509AuthorityState).prepared.is_some() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), prepared).await.unwrap();
}
