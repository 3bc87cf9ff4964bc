//! The fault proxy does what its rules say, and nothing where there are none.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plastron_hsm::{KeyInventory, KeyStore, KeyType, SignatureScheme};
use plastron_hsm_conformance::{Fixture, digest};
use plastron_hsm_pkcs11::{PinSource, Pkcs11Config, Pkcs11Store, TokenSelector};
use plastron_swtpm_tests::{Calls, FaultProxy, SoftHsm, in_own_process};

/// A store of the token behind the proxy.
pub(crate) fn store(token: &SoftHsm, instance: &str, sessions: usize, deadline: Duration) -> Pkcs11Store {
    Pkcs11Store::open(&Pkcs11Config {
        module: FaultProxy::module().unwrap(),
        token: TokenSelector::Label(token.label().to_owned()),
        pin: PinSource::File(token.pin_file()),
        instance: instance.to_owned(),
        sessions: NonZeroUsize::new(sessions),
        deadline,
    })
    .unwrap()
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

struct Token(SoftHsm);

#[async_trait::async_trait]
impl Fixture for Token {
    fn key_types(&self) -> &[KeyType] {
        &[KeyType::EcP256, KeyType::EcP384]
    }

    fn refused_key_types(&self) -> &[KeyType] {
        &[]
    }

    async fn open(&self, instance: &str) -> Arc<dyn KeyInventory> {
        Arc::new(store(&self.0, instance, 2, Duration::from_secs(60)))
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[test]
fn without_rules_a_store_behind_the_proxy_conforms() {
    in_own_process(|token| block_on(plastron_hsm_conformance::run(&Token(token)))).unwrap();
}

#[test]
fn rules_hold_for_the_calls_that_they_name_and_as_often_as_they_say() {
    in_own_process(|token| {
        let proxy = FaultProxy::of(&token);
        block_on(async {
            let store = store(&token, "a", 1, Duration::from_secs(60));
            let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
            let digest = digest(SignatureScheme::EcdsaSha256, b"message");
            let sign = async || store.sign(&key.id, SignatureScheme::EcdsaSha256, &digest).await;
            sign().await.unwrap();

            // An argument that is wrong: nothing that a store would try again.
            let met = |function| proxy.calls(function).unwrap().met;
            proxy.set(&["C_SignInit return=0x7 skip=1 times=2"]).unwrap();
            let outcomes = [sign().await.is_ok(), sign().await.is_ok(), sign().await.is_ok(), sign().await.is_ok()];
            assert_eq!((outcomes, met("C_SignInit")), ([true, false, false, true], 2));
            proxy.set(&["C_SignInit return=0x7"]).unwrap();
            assert!(sign().await.is_err());
            proxy.clear().unwrap();
            sign().await.unwrap();

            proxy.set(&["C_Sign delay=150 times=1", "C_SignInit delay=150"]).unwrap();
            let began = Instant::now();
            sign().await.unwrap();
            assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());

            proxy.set(&["C_Sign hang"]).unwrap();
            let (hung, ()) = tokio::join!(sign(), async {
                while proxy.calls("C_Sign").unwrap().hanging == 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                proxy.clear().unwrap();
            });
            hung.unwrap();
            assert_eq!(proxy.calls("C_Sign").unwrap().hanging, 0);
        });
        // As many as the store made: one for the anchor that keeps the login.
        assert!(matches!(proxy.calls("C_Login").unwrap(), Calls { came: 1, met: 0, hanging: 0 }));
    })
    .unwrap();
}

/// An answer that gets lost: the token made the key.
#[test]
fn a_lost_answer_comes_after_the_deed() {
    in_own_process(|token| {
        let proxy = FaultProxy::of(&token);
        block_on(async {
            let store = store(&token, "a", 1, Duration::from_secs(60));
            proxy.set(&["C_GenerateKeyPair return=0x7"]).unwrap();
            store.generate("x509-CA-A", KeyType::EcP256).await.unwrap_err();
            let objects = || token.pkcs11_tool(&["--list-objects", "--type", "privkey"]).unwrap().stdout;
            assert!(objects().is_empty());
            proxy.set(&["C_GenerateKeyPair lose=0x7"]).unwrap();
            store.generate("x509-CA-A", KeyType::EcP256).await.unwrap_err();
            assert!(!objects().is_empty());
        });
    })
    .unwrap();
}
