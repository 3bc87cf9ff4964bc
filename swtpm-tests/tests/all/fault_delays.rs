//! A token that is slow, as network HSMs are, and a token that hangs: throughput is the token's, the queue is bounded, and those who can be
//! served are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use plastron_hsm::{KeyDevice, KeyRecord, KeyStore, KeyStoreError, KeyType, SignatureScheme};
use plastron_hsm_conformance::{digest, verify};
use plastron_hsm_pkcs11::Pkcs11Store;
use plastron_swtpm_tests::{FaultProxy, in_own_process};
use tokio::task::JoinSet;

use crate::fault_proxy::{block_on, store};

const SCHEME: SignatureScheme = SignatureScheme::EcdsaSha256;
const MESSAGE: &[u8] = b"what a relying party verifies";
/// As many as a network HSM would be given.
const SESSIONS: usize = 8;
/// How long each rate is held.
const WINDOW: Duration = Duration::from_millis(1500);

struct Signer {
    store: Pkcs11Store,
    key: KeyRecord,
}

impl Signer {
    async fn new(store: Pkcs11Store) -> Arc<Self> {
        let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
        Arc::new(Self { store, key })
    }

    async fn sign(&self) -> Result<(), KeyStoreError> {
        let signature = self.store.sign(&self.key.id, SCHEME, &digest(SCHEME, MESSAGE)).await?;
        verify(&self.key, SCHEME, MESSAGE, &signature).unwrap();
        Ok(())
    }
}

/// How many sessions hang, of how many.
fn hanging(signer: &Signer) -> (usize, usize) {
    let condition = signer.store.condition();
    (condition.hanging, condition.sessions)
}

/// Signatures a second where two wait for each session all the time.
async fn saturated(signer: &Arc<Signer>) -> f64 {
    let (stop, signed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..2 * SESSIONS {
        let (signer, stop, signed) = (Arc::clone(signer), Arc::clone(&stop), Arc::clone(&signed));
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                signer.sign().await.unwrap();
                signed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(WINDOW).await;
    stop.store(true, Ordering::Relaxed);
    let rate = signed.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    callers.join_all().await;
    rate
}

/// What became of calls that came at this rate, whether or not the store kept up: signatures a second while they came, how many calls were
/// refused for lack of room, and the longest wait of one that was served.
async fn offered(signer: &Arc<Signer>, per_second: f64) -> (f64, usize, Duration) {
    let mut calls = JoinSet::new();
    let (began, mut sent) = (Instant::now(), 0_usize);
    let signed = Arc::new(AtomicUsize::new(0));
    while began.elapsed() < WINDOW {
        let due = began.elapsed().as_secs_f64() * per_second;
        while (sent as f64) < due {
            let (signer, signed) = (Arc::clone(signer), Arc::clone(&signed));
            calls.spawn(async move {
                let began = Instant::now();
                let outcome = signer.sign().await;
                signed.fetch_add(usize::from(outcome.is_ok()), Ordering::Relaxed);
                (outcome, began.elapsed())
            });
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = signed.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    let (mut refused, mut longest) = (0, Duration::ZERO);
    for (outcome, took) in calls.join_all().await {
        match outcome {
            Ok(()) => longest = longest.max(took),
            Err(KeyStoreError::Overloaded { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    (rate, refused, longest)
}

/// Threat 53
#[test]
fn a_slow_token_gives_what_it_can_at_twice_the_rate_too() {
    in_own_process(|token| {
        let proxy = FaultProxy::of(&token);
        block_on(async {
            let signer = Signer::new(store(&token, "a", SESSIONS, Duration::from_secs(30))).await;
            for delay in [5, 20, 73] {
                proxy.set(&[&format!("C_SignInit delay={delay}")]).unwrap();
                let possible = SESSIONS as f64 * 1000.0 / f64::from(delay);
                let full = saturated(&signer).await;
                let (twice, refused, longest) = offered(&signer, 2.0 * full).await;
                println!(
                    "{delay} ms a signature, {SESSIONS} sessions: {full:.0}/s of {possible:.0}/s; at twice the rate {twice:.0}/s, \
                     {refused} refused, {longest:?} the longest wait"
                );
                assert!(full > 0.6 * possible, "{full} of {possible}");
                assert!(twice > 0.8 * full, "it collapses: {twice} after {full}");
                // What is in the queue when a call comes is what it waits for.
                let queue = Duration::from_secs_f64(256.0 / full);
                assert!(longest < queue + Duration::from_secs(2), "{longest:?}");
            }
        });
    })
    .unwrap();
}

/// More calls at once than the queue has places: the rest is told so at once, and what was taken is served.
///
/// Threat 53
#[test]
fn a_queue_for_a_slow_token_is_bounded() {
    in_own_process(|token| {
        let proxy = FaultProxy::of(&token);
        block_on(async {
            let signer = Signer::new(store(&token, "a", SESSIONS, Duration::from_secs(30))).await;
            proxy.set(&["C_SignInit delay=20"]).unwrap();
            let mut calls = JoinSet::new();
            for _ in 0..2000 {
                let signer = Arc::clone(&signer);
                calls.spawn(async move {
                    let began = Instant::now();
                    (signer.sign().await, began.elapsed())
                });
            }
            let (mut served, mut refused) = (0, 0);
            for (outcome, took) in calls.join_all().await {
                match outcome {
                    Ok(()) => served += 1,
                    Err(KeyStoreError::Overloaded { .. }) => {
                        refused += 1;
                        assert!(took < Duration::from_secs(2), "{took:?} to be refused");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            println!("of 2000 calls at once {served} were served and {refused} refused");
            assert!((200..600).contains(&served), "{served}");
        });
    })
    .unwrap();
}

/// One call never returns: who asked is told after the deadline, the other session serves the others, and the store says how it stands.
/// When both hang nobody is served; when they go on, everybody is.
///
/// Threat 53
#[test]
fn a_session_that_hangs_leaves_the_others() {
    in_own_process(|token| {
        let proxy = FaultProxy::of(&token);
        block_on(async {
            let deadline = Duration::from_secs(1);
            let signer = Signer::new(store(&token, "a", 2, deadline)).await;
            signer.sign().await.unwrap();
            proxy.set(&["C_SignInit hang times=1"]).unwrap();
            let began = Instant::now();
            let hung = signer.sign().await;
            assert!(matches!(hung, Err(KeyStoreError::DeadlineExceeded { .. })), "{hung:?}");
            assert!(began.elapsed() < deadline + Duration::from_secs(2), "{:?}", began.elapsed());
            let mut others = JoinSet::new();
            for _ in 0..100 {
                let signer = Arc::clone(&signer);
                others.spawn(async move { signer.sign().await });
            }
            assert!(others.join_all().await.iter().all(Result::is_ok), "one session is enough");
            assert_eq!(hanging(&signer), (1, 2));

            proxy.set(&["C_SignInit hang"]).unwrap();
            // The first goes on hanging, and the second begins to.
            let hung = signer.sign().await;
            assert!(matches!(hung, Err(KeyStoreError::DeadlineExceeded { .. })), "{hung:?}");
            assert_eq!(proxy.calls("C_SignInit").unwrap().hanging, 2);
            assert_eq!(hanging(&signer), (2, 2));
            let began = Instant::now();
            let nobody = signer.sign().await;
            assert!(nobody.is_err() && began.elapsed() < deadline + Duration::from_secs(2), "{nobody:?}");

            proxy.clear().unwrap();
            let began = Instant::now();
            while let Err(error) = signer.sign().await {
                assert!(began.elapsed() < Duration::from_secs(20), "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            println!("after all sessions hung it signs again in {:?}", began.elapsed());
            // One session is enough to sign; the other comes back by itself.
            while hanging(&signer) != (0, 2) {
                assert!(began.elapsed() < Duration::from_secs(20), "{:?}", hanging(&signer));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    })
    .unwrap();
}
