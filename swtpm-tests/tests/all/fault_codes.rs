//! Every answer that PKCS#11 names, given once at every step of a signature: what follows is what the error table says, and the next
//! signature is made.
//!
//! The table is the one that operators read (`docs/plugins/keymanager-pkcs11-errors.md`); the code that it is rendered from is not asked.

use std::time::{Duration, Instant};

use plastron_hsm::{KeyInventory, KeyRecord, KeyStore, KeyStoreError, KeyType, SignatureScheme};
use plastron_hsm_conformance::{digest, verify};
use plastron_hsm_pkcs11::Pkcs11Store;
use plastron_swtpm_tests::{FaultProxy, SoftHsm, in_own_process};

use crate::fault_proxy::{block_on, store};

const SCHEME: SignatureScheme = SignatureScheme::EcdsaSha256;
const MESSAGE: &[u8] = b"what a relying party verifies";
/// A store that does not sign by then after a fault that passed is not healed. The circuit breaker is part of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the table says is done about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    OnceMore,
    ComeBack,
    Permanent,
}

/// What it says about the PIN, where the answer is C_Login's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pin {
    LoggedIn,
    MayBeSentAgain,
    PerhapsCounted,
    Refused,
}

pub(crate) struct Row {
    pub(crate) code: u64,
    pub(crate) name: String,
    pub(crate) done: Done,
    pub(crate) pin: Pin,
}

pub(crate) fn table() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/plugins/keymanager-pkcs11-errors.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<_> = text.lines().filter_map(row).collect();
    assert!(rows.len() > 90, "the table has {} rows", rows.len());
    rows
}

fn row(line: &str) -> Option<Row> {
    let mut cells = line.strip_prefix("| 0x")?.split(" | ");
    let number = cells.next()?.split(' ').next()?;
    let code = u64::from_str_radix(number, 16).unwrap();
    let name = cells.next()?.to_owned();
    let done = match cells.next()? {
        text if text.ends_with(", once more") => Done::OnceMore,
        "the caller is told to come back" => Done::ComeBack,
        text if text.starts_with("permanent: ") => Done::Permanent,
        other => panic!("{other}"),
    };
    let pin = match line.strip_suffix(" |")?.rsplit(" | ").next()? {
        "as good as logged in" => Pin::LoggedIn,
        "may be sent again" => Pin::MayBeSentAgain,
        "perhaps counted: not sent again" => Pin::PerhapsCounted,
        "refused: not sent again" => Pin::Refused,
        other => panic!("{other}"),
    };
    Some(Row { code, name, done, pin })
}

/// A store with a key, behind the proxy.
struct Bench {
    proxy: FaultProxy,
    store: Pkcs11Store,
    key: KeyRecord,
}

impl Bench {
    async fn new(token: &SoftHsm) -> Self {
        let store = Self::open(token);
        let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
        Self { proxy: FaultProxy::of(token), store, key }
    }

    fn open(token: &SoftHsm) -> Pkcs11Store {
        FaultProxy::of(token).clear().unwrap();
        store(token, "a", 1, Duration::from_secs(30))
    }

    /// As after the next start of the program.
    fn again(self, token: &SoftHsm) -> Self {
        drop(self.store);
        Self { store: Self::open(token), ..self }
    }

    /// For the next answer: another store where this one was told that its PIN is no good, because it never sends it again.
    fn after(self, token: &SoftHsm, pin: Pin) -> Self {
        if pin == Pin::Refused { self.again(token) } else { self }
    }

    /// A signature; one that came back verifies, whatever went on.
    async fn sign(&self) -> Result<(), KeyStoreError> {
        let signature = self.store.sign(&self.key.id, SCHEME, &digest(SCHEME, MESSAGE)).await?;
        verify(&self.key, SCHEME, MESSAGE, &signature).unwrap();
        Ok(())
    }

    /// Signs until it works; how long that took.
    async fn sign_again(&self, what: &str) -> Duration {
        let began = Instant::now();
        while let Err(error) = self.sign().await {
            assert!(began.elapsed() < PATIENCE, "{what}: it does not sign again: {error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }

    fn met(&self, function: &str) -> u64 {
        self.proxy.calls(function).unwrap().met
    }
}

/// What a caller saw, in the words of the table.
fn seen(outcome: &Result<(), KeyStoreError>) -> Done {
    match outcome {
        Ok(()) => Done::OnceMore,
        Err(KeyStoreError::Overloaded { .. }) => Done::ComeBack,
        Err(_) => Done::Permanent,
    }
}

fn print(step: &str, times: &mut [(Duration, String)]) {
    times.sort();
    let (median, last) = (times[times.len() / 2].0, times.last().unwrap());
    println!(
        "{step}: {} answers, signs again after {median:?} (median), {:?} at most ({})",
        times.len(),
        last.0,
        last.1
    );
}

/// Threat 53
#[test]
fn every_answer_to_a_signature_is_dealt_with_as_the_table_says() {
    in_own_process(|token| {
        block_on(async {
            let mut bench = Bench::new(&token).await;
            // A device that refuses at once; a library that gives up half way; an answer that gets lost.
            for step in ["C_SignInit return", "C_Sign return", "C_Sign lose"] {
                let mut times = Vec::new();
                for Row { code, name, done, pin } in table() {
                    let what = format!("{step} {name}");
                    bench.sign_again(&what).await;
                    let before = bench.met(step.split(' ').next().unwrap());
                    bench.proxy.set(&[&format!("{step}={code:#x} times=1")]).unwrap();
                    let began = Instant::now();
                    let outcome = bench.sign().await;
                    assert_eq!(bench.met(step.split(' ').next().unwrap()), before + 1, "{what}");
                    assert_eq!(seen(&outcome), done, "{what}: {outcome:?}");
                    bench.sign_again(&what).await;
                    times.push((began.elapsed(), name));
                    assert_eq!(bench.store.list().await.unwrap().len(), 1, "{what}: a key was made or lost");
                    bench = bench.after(&token, pin);
                }
                print(step, &mut times);
            }
        });
    })
    .unwrap();
}

/// A new session after one that died meets the next fault: the call may fail, and then the store heals.
///
/// Threat 53
#[test]
fn every_answer_on_the_way_to_a_new_session_passes() {
    in_own_process(|token| {
        block_on(async {
            let mut bench = Bench::new(&token).await;
            let functions = [
                "C_OpenSession",
                "C_GetSessionInfo",
                "C_FindObjectsInit",
                "C_FindObjects",
                "C_FindObjectsFinal",
                "C_GetAttributeValue",
            ];
            for function in functions {
                let mut times = Vec::new();
                for Row { code, name, pin, .. } in table() {
                    let what = format!("{function} {name}");
                    bench.sign_again(&what).await;
                    let died = "C_SignInit return=0xb3 times=1";
                    bench.proxy.set(&[died, &format!("{function} return={code:#x} times=1")]).unwrap();
                    let began = Instant::now();
                    let _ = bench.sign().await;
                    bench.sign_again(&what).await;
                    times.push((began.elapsed(), name));
                    bench = bench.after(&token, pin);
                }
                print(function, &mut times);
            }
        });
    })
    .unwrap();
}

/// The PIN is sent again only where the table says that the token can't have looked at it.
///
/// Threat 53
#[test]
fn every_answer_to_a_login_counts_as_a_try_unless_it_certainly_is_none() {
    in_own_process(|token| {
        block_on(async {
            let mut bench = Bench::new(&token).await;
            let mut times = Vec::new();
            for Row { code, name, pin, .. } in table() {
                // Whoever was refused stays refused until the next start, so each answer has a store of its own.
                bench = bench.again(&token);
                bench.sign().await.unwrap();
                let before = bench.proxy.calls("C_Login").unwrap().came;
                // The device has an error, the module is set up anew, and with it the login.
                bench
                    .proxy
                    .set(&["C_SignInit return=0x30 times=1", &format!("C_Login lose={code:#x} times=1")])
                    .unwrap();
                let began = Instant::now();
                let outcome = bench.sign().await;
                let logins = || bench.proxy.calls("C_Login").unwrap().came - before;
                if matches!(pin, Pin::PerhapsCounted | Pin::Refused) {
                    assert!(matches!(outcome, Err(KeyStoreError::Open { .. })), "{name}: {outcome:?}");
                    for _ in 0..3 {
                        let outcome = bench.sign().await;
                        assert!(matches!(outcome, Err(KeyStoreError::Open { .. })), "{name}: {outcome:?}");
                    }
                    assert_eq!(logins(), 1, "{name}: the PIN was sent again");
                    continue;
                }
                bench.sign_again(&name).await;
                times.push((began.elapsed(), name.clone()));
                let expected = if pin == Pin::LoggedIn { 1..=1 } else { 1..=2 };
                assert!(expected.contains(&logins()), "{name}: {} logins", logins());
            }
            print("C_Login", &mut times);
        });
    })
    .unwrap();
}
