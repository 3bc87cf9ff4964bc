//! What a store makes of faults that need more than one answer to show: pairs made or destroyed half, keys that change places, devices
//! that stay dead, sessions that hang. The fault proxy injects them before a real SoftHSM; every single answer at every step is in
//! `swtpm-tests`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plastron_hsm::{Circuit, KeyDevice, KeyInventory, KeyRecord, KeyStore, KeyStoreError, KeyType, SignatureScheme};
use plastron_hsm_conformance::{digest, verify};
use plastron_hsm_pkcs11::{PinSource, Pkcs11Config, Pkcs11Store, TokenSelector};
use plastron_swtpm_tests::{FaultProxy, SoftHsm, in_own_process};

const SCHEME: SignatureScheme = SignatureScheme::EcdsaSha256;
const AT_ONCE: Duration = Duration::from_millis(500);

fn open(token: &SoftHsm, deadline: Duration) -> Pkcs11Store {
    Pkcs11Store::open(&Pkcs11Config {
        module: FaultProxy::module().unwrap(),
        token: TokenSelector::Label(token.label().to_owned()),
        pin: PinSource::File(token.pin_file()),
        instance: "a".to_owned(),
        sessions: NonZeroUsize::new(2),
        deadline,
    })
    .unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

fn with_store(body: impl AsyncFnOnce(&SoftHsm, &FaultProxy, &Pkcs11Store), token: SoftHsm, deadline: Duration) {
    let proxy = FaultProxy::of(&token);
    proxy.clear().unwrap();
    let store = open(&token, deadline);
    block_on(body(&token, &proxy, &store));
}

const PATIENT: Duration = Duration::from_secs(30);

/// A signature that came back verifies.
async fn sign(store: &Pkcs11Store, key: &KeyRecord) -> Result<(), KeyStoreError> {
    let signature = store.sign(&key.id, SCHEME, &digest(SCHEME, b"message")).await?;
    verify(key, SCHEME, b"message", &signature).unwrap();
    Ok(())
}

/// What independent software sees.
fn objects(token: &SoftHsm) -> usize {
    let listed = token.pkcs11_tool(&["--list-objects"]).unwrap();
    String::from_utf8(listed.stdout).unwrap().matches("label:").count()
}

/// Threat 53: a pair that the token made before it failed is found again and not made twice: nobody would know of the first one.
#[test]
fn a_pair_whose_answer_got_lost_is_not_made_twice() {
    in_own_process(|token| {
        with_store(
            async |token, proxy, store| {
                for code in ["0x30", "0xb3", "0x101"] {
                    proxy.set(&[&format!("C_GenerateKeyPair lose={code} times=1")]).unwrap();
                    let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
                    sign(store, &key).await.unwrap();
                    assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&key), "{code}");
                    assert_eq!(objects(token), 2, "{code}");
                    store.destroy(&key.id).await.unwrap();
                }
            },
            token,
            PATIENT,
        );
    })
    .unwrap();
}

/// A pair that the token destroyed before it failed is gone, and nothing of it is left.
#[test]
fn a_pair_whose_destruction_got_lost_is_gone() {
    in_own_process(|token| {
        with_store(
            async |token, proxy, store| {
                for rule in ["C_DestroyObject lose=0xb3 times=1", "C_DestroyObject lose=0x30 skip=1 times=1"] {
                    let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
                    proxy.set(&[rule]).unwrap();
                    store.destroy(&key.id).await.unwrap();
                    assert_eq!(objects(token), 0, "{rule}");
                    assert!(matches!(store.destroy(&key.id).await, Err(KeyStoreError::NoSuchKey { .. })), "{rule}");
                }
            },
            token,
            PATIENT,
        );
    })
    .unwrap();
}

/// Threat 50: what a kill in the midst of making or destroying a pair leaves is listed, signs nothing, and can be destroyed.
#[test]
fn half_a_pair_is_listed_and_destroyed() {
    in_own_process(|token| {
        with_store(
            async |token, _proxy, store| {
                let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
                let made_at = store.made_at(&key.id).await.unwrap().unwrap();
                let id = key.id.to_string();
                token.pkcs11_tool(&["--delete-object", "--type", "privkey", "--id", &id]).unwrap();
                // As after the next start.
                let again = open(token, PATIENT);
                assert_eq!(again.list().await.unwrap(), std::slice::from_ref(&key));
                assert_eq!(again.made_at(&key.id).await.unwrap(), Some(made_at));
                assert_eq!(again.find(&key.id).await.unwrap(), None);
                assert!(matches!(sign(&again, &key).await, Err(KeyStoreError::NoSuchKey { .. })));
                again.destroy(&key.id).await.unwrap();
                assert_eq!(objects(token), 0);
            },
            token,
            PATIENT,
        );
    })
    .unwrap();
}

/// A new session finds that the module is gone too: one step further, in the same call.
#[test]
fn a_recovery_that_finds_more_broken_goes_one_step_further() {
    in_own_process(|token| {
        with_store(
            async |_token, proxy, store| {
                let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
                sign(store, &key).await.unwrap();
                for next in ["C_OpenSession return=0x190 times=1", "C_FindObjectsInit return=0x101 times=1"] {
                    proxy.set(&["C_SignInit return=0xb3 times=1", next]).unwrap();
                    for _ in 0..4 {
                        sign(store, &key).await.unwrap();
                    }
                }
                assert_eq!(store.condition().circuit, Circuit::Closed);
            },
            token,
            PATIENT,
        );
    })
    .unwrap();
}

/// Threat 53: after a reset the token shows another public key under the CKA_ID, or signs with another private key: nothing is signed.
#[test]
fn a_key_that_took_anothers_place_during_a_reset_signs_nothing() {
    in_own_process(|token| {
        with_store(
            async |_token, proxy, store| {
                let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
                let other = store.generate("x509-CA-B", KeyType::EcP256).await.unwrap();
                let swapped = format!("other={}:{}", key.id, other.id);
                proxy.set(&["C_SignInit return=0x30 times=1", &format!("C_GetAttributeValue {swapped}")]).unwrap();
                let error = sign(store, &key).await.unwrap_err();
                assert!(matches!(&error, KeyStoreError::KeyChanged { id, .. } if *id == key.id), "{error}");
                proxy.set(&["C_SignInit return=0x30 times=1", &format!("C_SignInit {swapped}")]).unwrap();
                let error = sign(store, &key).await.unwrap_err();
                assert!(matches!(&error, KeyStoreError::UnsafeKey { id, .. } if *id == key.id), "{error}");
                proxy.clear().unwrap();
                sign(store, &key).await.unwrap();
            },
            token,
            PATIENT,
        );
    })
    .unwrap();
}

/// Threat 53: another key answers under a live handle, without an error, in the midst of many calls: no signature of it is given away, and the
/// right one is used again as soon as it answers.
#[test]
fn a_key_that_took_anothers_place_under_its_handle_gives_nothing_away() {
    in_own_process(|token| {
        with_store(
            async |_token, proxy, store| {
                let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
                let other = store.generate("JWT-Signer-A", KeyType::EcP256).await.unwrap();
                sign(store, &key).await.unwrap();
                for skip in [0, 40] {
                    proxy.set(&[&format!("C_SignInit other={}:{} skip={skip}", key.id, other.id)]).unwrap();
                    // `sign` itself verifies whatever comes back.
                    let calls = (0..200).map(|number| sign(store, if number % 3 == 0 { &other } else { &key }));
                    let outcomes = futures_util::future::join_all(calls).await;
                    let refused =
                        |outcome: &Result<(), KeyStoreError>| matches!(outcome, Err(KeyStoreError::UnsafeKey { .. }));
                    let refusals = outcomes.iter().filter(|outcome| refused(outcome)).count();
                    assert!((80..=134).contains(&refusals), "{refusals}, after {skip}");
                    assert!(outcomes.iter().step_by(3).all(Result::is_ok), "the other key is what it was");
                    proxy.clear().unwrap();
                    sign(store, &key).await.unwrap();
                }
            },
            token,
            PATIENT,
        );
    })
    .unwrap();
}

/// Threat 53: a device that stays dead is left alone, calls fail at once with the time to come back, and it is found alive again.
#[test]
fn a_dead_device_is_left_alone_until_a_probe_finds_it_alive() {
    in_own_process(|token| {
        with_store(
            async |_token, proxy, store| {
                let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
                proxy.set(&["C_SignInit return=0x30"]).unwrap();
                assert!(matches!(sign(store, &key).await, Err(KeyStoreError::Unavailable { .. })));
                let asked = proxy.calls("C_SignInit").unwrap().came;
                let began = Instant::now();
                for _ in 0..100 {
                    let error = sign(store, &key).await.unwrap_err();
                    let KeyStoreError::CircuitOpen { reason, retry_after, .. } = &error else { panic!("{error}") };
                    assert!(reason.contains("CKR_DEVICE_ERROR") && *retry_after <= Duration::from_secs(1), "{error}");
                }
                assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
                assert_eq!(proxy.calls("C_SignInit").unwrap().came, asked, "it was asked");
                assert!(matches!(store.condition().circuit, Circuit::Open { .. }));
                // One probe each time, and longer pauses.
                tokio::time::sleep(Duration::from_millis(1100)).await;
                assert!(matches!(sign(store, &key).await, Err(KeyStoreError::Unavailable { .. })));
                let Circuit::Open { retry_after, .. } = store.condition().circuit else { panic!("it is asked") };
                assert!(retry_after > Duration::from_secs(1), "{retry_after:?}");
                proxy.clear().unwrap();
                tokio::time::sleep(retry_after).await;
                sign(store, &key).await.unwrap();
                assert_eq!(store.condition().circuit, Circuit::Closed);
            },
            token,
            PATIENT,
        );
    })
    .unwrap();
}

/// Threat 53: when every session hangs, nobody waits for them any more, the condition says so, and they are used again when they return.
#[test]
fn when_all_sessions_hang_calls_fail_at_once() {
    in_own_process(|token| {
        with_store(
            async |_token, proxy, store| {
                let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
                for _ in 0..4 {
                    sign(store, &key).await.unwrap();
                }
                proxy.set(&["C_SignInit hang"]).unwrap();
                let (one, two) = tokio::join!(sign(store, &key), sign(store, &key));
                for outcome in [one, two] {
                    assert!(matches!(outcome, Err(KeyStoreError::DeadlineExceeded { .. })), "{outcome:?}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                assert!(store.condition().all_hang(), "{:?}", store.condition());
                let began = Instant::now();
                let error = sign(store, &key).await.unwrap_err();
                let said = "all 2 sessions hang";
                assert!(
                    matches!(&error, KeyStoreError::CircuitOpen { reason, .. } if reason.contains(said)),
                    "{error}"
                );
                assert!(began.elapsed() < AT_ONCE);
                proxy.clear().unwrap();
                let began = Instant::now();
                while sign(store, &key).await.is_err() {
                    assert!(began.elapsed() < Duration::from_secs(10), "it does not sign again");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                assert_eq!(store.condition().hanging, 0);
            },
            token,
            Duration::from_secs(2),
        );
    })
    .unwrap();
}

/// Threat 53: a PIN that the token calls locked while the server runs is a matter for a person, and no later login sends it.
#[test]
fn a_pin_that_is_locked_meanwhile_is_never_sent_again() {
    in_own_process(|token| {
        with_store(
            async |_token, proxy, store| {
                let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
                let store = Arc::new(store);
                proxy.set(&["C_SignInit return=0xa4 times=1"]).unwrap();
                let error = sign(&store, &key).await.unwrap_err();
                let KeyStoreError::Open { reason, remedy, .. } = &error else { panic!("{error}") };
                assert!(reason.contains("CKR_PIN_LOCKED") && remedy.contains("security officer"), "{error}");
                let logins = proxy.calls("C_Login").unwrap().came;
                proxy.set(&["C_SignInit return=0x30 times=1"]).unwrap();
                for _ in 0..3 {
                    let error = sign(&store, &key).await.unwrap_err();
                    let KeyStoreError::Open { reason, .. } = &error else { panic!("{error}") };
                    assert!(reason.contains("not sent again") && reason.contains("CKR_PIN_LOCKED"), "{error}");
                }
                assert_eq!(proxy.calls("C_Login").unwrap().came, logins);
            },
            token,
            PATIENT,
        );
    })
    .unwrap();
}
