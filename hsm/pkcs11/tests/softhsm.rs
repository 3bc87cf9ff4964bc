//! The PKCS#11 store on a real SoftHSM: it passes the suite, asserts what it must, and names what is wrong.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::future::Future;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use plastron_hsm::{KeyDevice, KeyId, KeyInventory, KeyStore, KeyStoreError, KeyType, Operation, SignatureScheme};
use plastron_hsm_conformance::{Fixture, digest, verify};
use plastron_hsm_pkcs11::{PinSource, Pkcs11Config, Pkcs11Store, TokenSelector};
use plastron_swtpm_tests::{SoftHsm, in_own_process};

const ALL: &[KeyType] = &[KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048, KeyType::Rsa4096];

fn config(token: &SoftHsm, instance: &str) -> Pkcs11Config {
    Pkcs11Config {
        module: SoftHsm::module().unwrap(),
        token: TokenSelector::Label(token.label().to_owned()),
        pin: PinSource::File(token.pin_file()),
        instance: instance.to_owned(),
        sessions: NonZeroUsize::new(2),
        deadline: Duration::from_secs(60),
    }
}

fn open(token: &SoftHsm, instance: &str) -> Pkcs11Store {
    Pkcs11Store::open(&config(token, instance)).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

fn open_error(config: &Pkcs11Config) -> (String, String) {
    match Pkcs11Store::open(config) {
        Err(KeyStoreError::Open { reason, remedy, .. }) => (reason, remedy),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}

struct Token(SoftHsm);

#[async_trait::async_trait]
impl Fixture for Token {
    fn key_types(&self) -> &[KeyType] {
        ALL
    }

    fn refused_key_types(&self) -> &[KeyType] {
        &[]
    }

    async fn open(&self, instance: &str) -> Arc<dyn KeyInventory> {
        Arc::new(open(&self.0, instance))
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[test]
fn softhsm_conforms() {
    in_own_process(|token| block_on(plastron_hsm_conformance::run(&Token(token)))).unwrap();
}

#[test]
fn the_identity_names_module_and_token() {
    in_own_process(|token| {
        let store = open(&token, "a");
        let identity = store.identity();
        assert_eq!((identity.kind, identity.name.as_str(), identity.non_extractable), ("pkcs11", token.label(), true));
        let detail = |name| identity.details.iter().find(|(key, _)| *key == name).unwrap().1.clone();
        assert_eq!(detail("module"), SoftHsm::module().unwrap().display().to_string());
        assert_eq!(detail("manufacturer"), "SoftHSM project");
        assert_eq!(detail("serial").len(), 16);
        assert!(detail("model").contains("SoftHSM") && !detail("firmware").is_empty());

        let by_serial = TokenSelector::Serial(detail("serial"));
        Pkcs11Store::open(&Pkcs11Config { token: by_serial, ..config(&token, "a") }).unwrap();
    })
    .unwrap();
}

/// Independent software sees the key pair in the token, not extractable, and the bare label prefix of the instance.
#[test]
fn pkcs11_tool_sees_a_key_that_never_leaves() {
    in_own_process(|token| {
        block_on(open(&token, "server-1").generate("x509-CA-A", KeyType::EcP256)).unwrap();
        let listed = token.pkcs11_tool(&["--list-objects", "--type", "privkey"]).unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(text.contains("plastron/server-1/x509-CA-A"), "{text}");
        let access = text.lines().find(|line| line.contains("Access:")).unwrap();
        for property in ["sensitive", "always sensitive", "never extractable", "local"] {
            assert!(access.contains(property), "{access}");
        }
        let usage = text.lines().find(|line| line.contains("Usage:")).unwrap();
        assert_eq!(usage.split_once(':').unwrap().1.trim(), "sign");
    })
    .unwrap();
}

#[test]
fn an_extractable_key_is_refused() {
    in_own_process(|token| {
        let planted = ["--keypairgen", "--key-type", "EC:prime256v1", "--usage-sign", "--label", "planted", "--id"];
        token.pkcs11_tool(&[&planted[..], &["a1b2", "--extractable"]].concat()).unwrap();
        let error = block_on(open(&token, "a").find(&KeyId::new([0xa1, 0xb2]))).unwrap_err();
        assert!(matches!(&error, KeyStoreError::UnsafeKey { reason, .. } if reason.contains("EXTRACTABLE")), "{error}");
        let error = block_on(open(&token, "a").sign(&KeyId::new([0xa1, 0xb2]), SignatureScheme::EcdsaSha256, &[1; 32]));
        assert!(matches!(error, Err(KeyStoreError::UnsafeKey { .. })));
    })
    .unwrap();
}

/// Each attribute that has to hold, alone, wrong in a key that is right otherwise.
#[test]
fn each_unsafe_attribute_is_refused() {
    in_own_process(|token| {
        let pkcs11 = Pkcs11::new(SoftHsm::module().unwrap()).unwrap();
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
        let session = pkcs11.open_rw_session(slot).unwrap();
        session.login(UserType::User, Some(&AuthPin::from(token.pin()))).unwrap();
        let p256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07".to_vec();
        let plant = |id: u8, wrong: &[Attribute]| {
            let named = [Attribute::Token(true), Attribute::Id(vec![id]), Attribute::Label(b"planted".to_vec())];
            let mut private = vec![
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
                Attribute::Decrypt(false),
                Attribute::Unwrap(false),
                Attribute::Derive(false),
                Attribute::SignRecover(false),
            ];
            private.retain(|right| wrong.iter().all(|wrong| wrong.attribute_type() != right.attribute_type()));
            let public = [&named[..], &[Attribute::EcParams(p256.clone())]].concat();
            let private = [&named[..], &private, wrong].concat();
            session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap().1
        };
        plant(1, &[]);
        let cases = [
            (2, Attribute::Private(false), "CKA_PRIVATE"),
            (3, Attribute::Sensitive(false), "CKA_SENSITIVE"),
            (4, Attribute::Extractable(true), "CKA_EXTRACTABLE"),
            (5, Attribute::Sign(false), "CKA_SIGN"),
            (6, Attribute::Decrypt(true), "CKA_DECRYPT"),
            (7, Attribute::Unwrap(true), "CKA_UNWRAP"),
            (8, Attribute::Derive(true), "CKA_DERIVE"),
            (9, Attribute::SignRecover(true), "CKA_SIGN_RECOVER"),
        ];
        for (id, wrong, _) in &cases {
            plant(*id, std::slice::from_ref(wrong));
        }
        // It was readable once, and the token remembers.
        let was_plain = plant(10, &[Attribute::Sensitive(false)]);
        session.update_attributes(was_plain, &[Attribute::Sensitive(true)]).unwrap();
        let was_extractable = plant(11, &[Attribute::Extractable(true)]);
        session.update_attributes(was_extractable, &[Attribute::Extractable(false)]).unwrap();

        let store = open(&token, "a");
        assert!(block_on(store.find(&KeyId::new([1]))).unwrap().is_some());
        let expected = cases.iter().map(|(id, _, name)| (*id, *name));
        for (id, name) in expected.chain([(10, "CKA_ALWAYS_SENSITIVE"), (11, "CKA_NEVER_EXTRACTABLE")]) {
            let error = block_on(store.find(&KeyId::new([id]))).unwrap_err();
            let KeyStoreError::UnsafeKey { reason, .. } = &error else { panic!("{error}") };
            assert!(reason.starts_with(&format!("{name} is ")), "{name}: {reason}");
        }
    })
    .unwrap();
}

/// A key that was made elsewhere and imported was outside once: CKA_LOCAL is false, whatever else it says.
#[test]
fn an_imported_key_is_refused() {
    in_own_process(|token| {
        let file = token.directory().join("outside.pem");
        let made = std::process::Command::new("openssl")
            .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(made.status.success());
        let path = file.display().to_string();
        token
            .pkcs11_tool(&["--write-object", &path, "--type", "privkey", "--usage-sign", "--id", "c3d4", "--sensitive"])
            .unwrap();
        let error = block_on(open(&token, "a").find(&KeyId::new([0xc3, 0xd4]))).unwrap_err();
        assert!(matches!(&error, KeyStoreError::UnsafeKey { .. }), "{error}");
    })
    .unwrap();
}

/// Who can write to the token may put another public key under our CKA_ID; its signature check finds out.
#[test]
fn a_foreign_public_key_is_refused() {
    in_own_process(|token| {
        let store = open(&token, "a");
        let (key, other) = block_on(async {
            let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
            (key, store.generate("x509-CA-B", KeyType::EcP256).await.unwrap())
        });
        let public = token.directory().join("other.der");
        fs::write(&public, &other.public_key).unwrap();
        let id = key.id.to_string();
        token.pkcs11_tool(&["--delete-object", "--type", "pubkey", "--id", &id]).unwrap();
        let path = public.display().to_string();
        token.pkcs11_tool(&["--write-object", &path, "--type", "pubkey", "--id", &id]).unwrap();
        // A store that never saw the right key (a server after a restart).
        drop(store);
        let error = block_on(open(&token, "a").find(&key.id)).unwrap_err();
        assert!(matches!(&error, KeyStoreError::UnsafeKey { reason, .. } if reason.contains("verify")), "{error}");
    })
    .unwrap();
}

/// Threat 53: a wrong PIN is sent once: not by a second try of ours, and not by any call that follows.
#[test]
fn a_wrong_pin_is_tried_once() {
    in_own_process(|token| {
        let wrong = token.directory().join("wrong");
        fs::write(&wrong, "not-the-pin-4711\n").unwrap();
        fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
        let (reason, remedy) = open_error(&Pkcs11Config { pin: PinSource::File(wrong), ..config(&token, "a") });
        assert!(reason.contains("refused the user PIN"), "{reason}");
        assert!(remedy.contains("lock"), "{remedy}");
        assert!(!format!("{reason}{remedy}").contains("4711"), "the PIN is in the error");
    })
    .unwrap();
}

/// The PIN is changed while the server runs, and then the login is lost: the old PIN is sent once, and never again.
#[test]
fn a_pin_that_changed_is_sent_once() {
    in_own_process(|token| {
        block_on(async {
            let store = open(&token, "a");
            let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
            token.pkcs11_tool(&["--change-pin", "--new-pin", "another-pin"]).unwrap();
            let (here, away) = (token.token_dir(), moved(&token.token_dir()));
            let mut reasons = Vec::new();
            fs::rename(&here, &away).unwrap();
            fs::create_dir(&here).unwrap();
            store.find(&key.id).await.unwrap_err();
            fs::remove_dir(&here).unwrap();
            fs::rename(&away, &here).unwrap();
            while reasons.len() < 3 {
                match store.find(&key.id).await {
                    Err(KeyStoreError::Open { reason, .. }) => reasons.push(reason),
                    Err(KeyStoreError::Unavailable { .. } | KeyStoreError::CircuitOpen { .. }) => {
                        tokio::time::sleep(Duration::from_millis(100)).await
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(reasons[0].contains("it is not tried again"), "{reasons:?}");
            assert!(reasons[1..].iter().all(|reason| reason.contains("the PIN is not sent again")), "{reasons:?}");
        });
    })
    .unwrap();
}

#[test]
fn a_pin_of_an_impossible_length_is_not_sent() {
    in_own_process(|token| {
        for (pin, expected) in [("abc", "3 bytes"), ("", "empty"), ("\n", "empty")] {
            let file = token.directory().join("odd");
            fs::write(&file, pin).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            let (reason, _) = open_error(&Pkcs11Config { pin: PinSource::File(file), ..config(&token, "a") });
            assert!(reason.contains(expected), "{reason}");
        }
    })
    .unwrap();
}

#[test]
fn every_wrong_input_is_named_with_a_remedy() {
    in_own_process(|token| {
        let base = || config(&token, "a");
        let readable = token.directory().join("readable");
        fs::write(&readable, token.pin()).unwrap();
        fs::set_permissions(&readable, fs::Permissions::from_mode(0o644)).unwrap();
        let pin = |source| Pkcs11Config { pin: source, ..base() };
        let cases = [
            (Pkcs11Config { module: "/usr/lib/no-such.so".into(), ..base() }, "/usr/lib/no-such.so"),
            (Pkcs11Config { module: "libsofthsm2.so".into(), ..base() }, "absolute"),
            (Pkcs11Config { module: "/bin/true".into(), ..base() }, "/bin/true"),
            (Pkcs11Config { token: TokenSelector::Label("no-such".to_owned()), ..base() }, "label \"no-such\""),
            (Pkcs11Config { token: TokenSelector::Serial("0".to_owned()), ..base() }, "serial \"0\""),
            (Pkcs11Config { token: TokenSelector::Slot(7), ..base() }, "slot 7"),
            (Pkcs11Config { instance: "a/b".to_owned(), ..base() }, "a/b"),
            (Pkcs11Config { instance: String::new(), ..base() }, "instance"),
            (pin(PinSource::File("/no/such/pin".into())), "/no/such/pin"),
            (pin(PinSource::File(readable)), "0644"),
            (pin(PinSource::Environment("PLASTRON_NO_SUCH_VARIABLE".to_owned())), "PLASTRON_NO_SUCH_VARIABLE"),
            (pin(PinSource::Credential("hsm-pin".to_owned())), "hsm-pin"),
        ];
        for (config, expected) in cases {
            let (reason, remedy) = open_error(&config);
            assert!(reason.contains(expected), "{expected}: {reason}");
            assert!(!remedy.is_empty() && !reason.contains(token.pin()));
        }
        let (reason, _) = open_error(&Pkcs11Config { token: TokenSelector::Label("no-such".to_owned()), ..base() });
        assert!(reason.contains(token.label()), "it does not say which tokens there are: {reason}");
    })
    .unwrap();
}

/// Two tokens with one label: which was meant is not ours to guess.
#[test]
fn an_ambiguous_label_is_refused() {
    in_own_process(|token| {
        token.init_token(token.label(), token.pin()).unwrap();
        let (reason, _) = open_error(&config(&token, "a"));
        assert!(reason.contains("2 tokens"), "{reason}");
    })
    .unwrap();
}

/// Threat 53: the token's files go and come back while the server runs: calls fail meanwhile, then work again with the same key.
#[test]
fn a_token_that_went_away_comes_back() {
    in_own_process(|token| {
        block_on(async {
            let store = open(&token, "a");
            let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
            let digest = digest(SignatureScheme::EcdsaSha256, b"message");
            let sign = async || store.sign(&key.id, SignatureScheme::EcdsaSha256, &digest).await;
            sign().await.unwrap();
            let (here, away) = (token.token_dir(), moved(&token.token_dir()));
            fs::rename(&here, &away).unwrap();
            fs::create_dir(&here).unwrap();
            let error = sign().await.unwrap_err();
            assert!(matches!(error, KeyStoreError::Unavailable { .. } | KeyStoreError::NoSuchKey { .. }), "{error}");
            fs::remove_dir(&here).unwrap();
            fs::rename(&away, &here).unwrap();
            let signature = loop {
                match sign().await {
                    Ok(signature) => break signature,
                    Err(KeyStoreError::Unavailable { .. } | KeyStoreError::CircuitOpen { .. }) => {
                        tokio::time::sleep(Duration::from_millis(100)).await
                    }
                    Err(other) => panic!("{other}"),
                }
            };
            verify(&key, SignatureScheme::EcdsaSha256, b"message", &signature).unwrap();
            assert_eq!(store.find(&key.id).await.unwrap(), Some(key));
        });
    })
    .unwrap();
}

fn moved(path: &Path) -> PathBuf {
    path.with_extension("away")
}

/// A key that somebody destroyed behind our back is reported as missing, and the rest of the store works on.
#[test]
fn a_key_destroyed_by_another_program_is_missing() {
    in_own_process(|token| {
        block_on(async {
            let store = open(&token, "a");
            let goes = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
            let stays = store.generate("x509-CA-B", KeyType::EcP256).await.unwrap();
            let id = goes.id.to_string();
            token.pkcs11_tool(&["--delete-object", "--type", "privkey", "--id", &id]).unwrap();
            assert_eq!(store.find(&goes.id).await.unwrap(), None);
            assert_eq!(store.find(&stays.id).await.unwrap(), Some(stays));
        });
    })
    .unwrap();
}

#[test]
fn overload_is_refused_and_counted() {
    in_own_process(|token| {
        block_on(async {
            let store = Arc::new(open(&token, "a"));
            let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..4000 {
                let (store, id) = (Arc::clone(&store), key.id.clone());
                calls.spawn(async move { store.sign(&id, SignatureScheme::EcdsaSha256, &[1; 32]).await });
            }
            let outcomes = calls.join_all().await;
            let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(KeyStoreError::Overloaded { .. })));
            let signed = outcomes.iter().filter(|outcome| outcome.is_ok());
            let (refused, signed) = (refused.count(), signed.count());
            assert_eq!(refused + signed, 4000);
            assert!(signed >= 256, "{signed}");
            let sign = store.latencies().into_iter().find(|each| each.operation == Operation::Sign).unwrap();
            assert_eq!(sign.calls, u64::try_from(signed).unwrap());
            let condition = store.condition();
            assert_eq!((condition.hanging, condition.sessions, condition.queued), (0, 2, 0));
        });
    })
    .unwrap();
}

#[test]
fn a_deadline_ends_the_wait() {
    in_own_process(|token| {
        block_on(async {
            let short = Pkcs11Config { deadline: Duration::from_nanos(1), ..config(&token, "a") };
            let store = Pkcs11Store::open(&short).unwrap();
            let error = store.generate("x509-CA-A", KeyType::Rsa2048).await.unwrap_err();
            assert!(matches!(error, KeyStoreError::DeadlineExceeded { .. }), "{error}");
        });
    })
    .unwrap();
}

/// Threat 53: a key that the token makes after its caller gave up is destroyed: nobody knows it, and it would stay for good.
#[test]
fn a_key_that_is_made_after_the_deadline_is_destroyed() {
    in_own_process(|token| {
        block_on(async {
            // Much less than the token takes for such a key, and enough for the call to begin.
            let short = Pkcs11Config { deadline: Duration::from_millis(20), ..config(&token, "a") };
            let store = Pkcs11Store::open(&short).unwrap();
            let calls =
                |operation| store.latencies().into_iter().find(|each| each.operation == operation).unwrap().calls;
            let mut kept = 0;
            while calls(Operation::Generate) == kept {
                match store.generate("x509-CA-A", KeyType::Rsa4096).await {
                    Ok(_) => kept += 1,
                    Err(KeyStoreError::DeadlineExceeded { .. }) => {
                        // Counted once it is made; a call that never began is not, and is made again.
                        for _ in 0..1000 {
                            if calls(Operation::Generate) > kept {
                                break;
                            }
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            let patient = open(&token, "a");
            for _ in 0..500 {
                if calls(Operation::Destroy) > 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(u64::try_from(patient.list().await.unwrap().len()).unwrap(), kept);
        });
    })
    .unwrap();
}
