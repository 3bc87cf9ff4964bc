//! The `KeyStore` on top of the pool.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use plastron_hsm::{
    DeviceCondition, KeyDevice, KeyId, KeyInventory, KeyRecord, KeyStore, KeyStoreError, KeyType, Operation,
    OperationLatency, SignatureScheme, StoreIdentity,
};
use tokio::sync::oneshot;

use crate::breaker::{LONGEST_PAUSE, LeftAlone, Pass};
use crate::classify::describe;
use crate::connection::{COME_BACK, Connection, Fault, Link, Open};
use crate::fresh_key::FreshKey;
use crate::held::{Held, Signed};
use crate::module::{Module, ModuleError};
use crate::pool::{Call, Delivery, Job, Pool};
use crate::token::{self, Login, LoginError};
use crate::{Pkcs11Config, TokenSelector};

/// Who waits for an answer.
type Answer<A> = oneshot::Sender<Result<A, KeyStoreError>>;

/// Keys in one token, for one instance.
pub struct Pkcs11Store {
    identity: StoreIdentity,
    deadline: Duration,
    // The threads end before the login does.
    pool: Pool,
    link: Arc<Link>,
}

impl Pkcs11Store {
    /// Loads the module, finds the token and logs in. Blocks, as long as the token takes.
    pub fn open(config: &Pkcs11Config) -> Result<Self, KeyStoreError> {
        let refused = |reason: String, remedy: &str| KeyStoreError::Open {
            store: store_name(&config.token),
            reason,
            remedy: remedy.to_owned(),
        };
        check_instance(&config.instance).map_err(|reason| refused(reason, "correct the instance identifier"))?;
        let module = load_module(&config.module, &refused)?;
        let pin = config.pin.read(&store_name(&config.token))?;
        let login = Login::new(config.token.clone(), pin);
        let link = Link::new(store_name(&config.token), config.instance.clone(), Arc::clone(&module), login);

        let entered = module.enter();
        let of_login = |error| match error {
            LoginError::NoToken(reason) => {
                refused(reason, "initialise the token, or correct the token's label, serial or slot")
            }
            LoginError::Refused(reason, remedy) => refused(reason, remedy),
            LoginError::Pkcs11(error) => {
                refused(describe(&error), "check that the token is reachable, with pkcs11-tool --list-token-slots")
            }
        };
        let (_, token) = token::find(module.pkcs11(), &config.token).map_err(of_login)?;
        let first = link.login.open_session(module.pkcs11(), entered.generation).map_err(of_login)?;
        // The anchor keeps the login; the pool's threads open their own.
        let _ = first.close();
        let identity = token::identity(module.pkcs11(), &config.module, &token);
        drop(entered);

        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let sessions = config.sessions.map_or(cores, std::num::NonZeroUsize::get).min(token::max_sessions(&token));
        let link = Arc::new(link);
        let connections = (0..sessions).map(|_| Connection::new(Arc::clone(&link))).collect();
        let pool = Pool::start(connections)
            .map_err(|error| refused(format!("can't start threads: {error}"), "raise the unit's TasksMax="))?;
        Ok(Self { identity, deadline: config.deadline, pool, link })
    }

    /// Puts a call into the queue and waits for its answer. A device that is known to be dead is not waited for.
    async fn call<T: Send + 'static>(
        &self,
        operation: Operation,
        call: impl FnMut(&mut Open<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        // Nobody waits any more after the deadline; what must not get lost sees to that itself (`FreshKey`).
        let deliver = |answer: oneshot::Sender<_>, outcome| Delivery::Now(Box::new(move || drop(answer.send(outcome))));
        self.call_and(operation, call, deliver).await
    }

    /// The same, for an answer that takes another way.
    async fn call_and<T: Send + 'static, A: Send + 'static>(
        &self,
        operation: Operation,
        call: impl FnMut(&mut Open<'_>) -> Result<T, Fault> + Send + 'static,
        deliver: impl FnOnce(Answer<A>, Result<T, KeyStoreError>) -> Delivery + Send + 'static,
    ) -> Result<A, KeyStoreError> {
        let store = || self.identity.name.clone();
        let pass = self.admit().map_err(|left| self.link.left_alone(left))?;
        let began = Arc::new(AtomicBool::new(false));
        let (answer, outcome) = oneshot::channel();
        let job = Job { operation, run: self.job(pass, Arc::clone(&began), answer, call, deliver) };
        if let Err(queued) = self.pool.submit(job) {
            self.link.breaker.gave_up(pass, Instant::now());
            let reason = format!("{queued} operations wait already");
            return Err(KeyStoreError::Overloaded { store: store(), reason, retry_after: COME_BACK });
        }
        match tokio::time::timeout(self.deadline, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                let reason = "the thread that called the token ended".to_owned();
                Err(KeyStoreError::Unavailable { store: store(), reason })
            }
            Err(_) => {
                // A call that only waited says nothing about the device.
                if began.load(Ordering::Acquire) {
                    let reason = format!("the token gave no answer within {} s", self.deadline.as_secs());
                    self.link.breaker.failed(pass, Instant::now(), reason, false);
                }
                Err(KeyStoreError::DeadlineExceeded { store: store(), seconds: self.deadline.as_secs() })
            }
        }
    }

    fn admit(&self) -> Result<Pass, LeftAlone> {
        let hanging = self.pool.hanging(self.deadline);
        if hanging >= self.pool.threads() {
            let reason = format!(
                "all {hanging} sessions hang in the token's module; if that does not end, only a restart of the server helps"
            );
            return Err(LeftAlone { reason, retry_after: LONGEST_PAUSE });
        }
        self.link.breaker.admit(Instant::now(), self.deadline)
    }

    /// What a thread does: nothing, where nobody waits any more; else it asks the token, and the breaker learns how that went.
    fn job<T: Send + 'static, A: Send + 'static>(
        &self,
        pass: Pass,
        began: Arc<AtomicBool>,
        answer: Answer<A>,
        call: impl FnMut(&mut Open<'_>) -> Result<T, Fault> + Send + 'static,
        deliver: impl FnOnce(Answer<A>, Result<T, KeyStoreError>) -> Delivery + Send + 'static,
    ) -> Call {
        let link = Arc::clone(&self.link);
        Box::new(move |connection| {
            if answer.is_closed() {
                link.breaker.gave_up(pass, Instant::now());
                return None;
            }
            began.store(true, Ordering::Release);
            let outcome = connection.run(pass, call);
            // After the deadline it came too late to count as working.
            if outcome.is_ok() && !answer.is_closed() {
                link.breaker.worked();
            }
            Some(deliver(answer, outcome))
        })
    }
}

impl KeyDevice for Pkcs11Store {
    fn condition(&self) -> DeviceCondition {
        DeviceCondition {
            sessions: self.pool.threads(),
            hanging: self.pool.hanging(self.deadline),
            queued: self.pool.queued(),
            circuit: self.link.breaker.circuit(Instant::now()),
        }
    }

    fn latencies(&self) -> Vec<OperationLatency> {
        self.pool.latencies().snapshot()
    }
}

#[async_trait::async_trait]
impl KeyStore for Pkcs11Store {
    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    async fn generate(&self, label: &str, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        let label = label.to_owned();
        let afterwards = self.pool.afterwards();
        let mut begun = None;
        let made = self.call(Operation::Generate, move |open| {
            Ok(FreshKey::new(open.generate(&mut begun, &label, key_type)?, afterwards.clone()))
        });
        Ok(made.await?.hand_over())
    }

    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        let wanted = id.clone();
        let found = self.call(Operation::Find, move |open| Ok(open.load(&wanted)?.map(|key| key.record))).await;
        match found {
            // It was there once, and is not there after the module was set up again.
            Err(KeyStoreError::NoSuchKey { .. }) => Ok(None),
            other => other,
        }
    }

    async fn sign(&self, id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let (id, digest) = (id.clone(), digest.to_vec());
        let store = self.identity.name.clone();
        let deliver = |answer: Answer<Vec<u8>>, outcome: Result<Signed, KeyStoreError>| match outcome {
            Ok(signed) => Delivery::Held(Held { signed, store, answer }),
            Err(error) => Delivery::Now(Box::new(move || drop(answer.send(Err(error))))),
        };
        self.call_and(Operation::Sign, move |open| open.sign(&id, scheme, &digest), deliver).await
    }
}

#[async_trait::async_trait]
impl KeyInventory for Pkcs11Store {
    async fn list(&self) -> Result<Vec<KeyRecord>, KeyStoreError> {
        self.call(Operation::Find, |open| open.list()).await
    }

    async fn made_at(&self, id: &KeyId) -> Result<Option<u64>, KeyStoreError> {
        let id = id.clone();
        self.call(Operation::Find, move |open| open.made_at(&id)).await
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), KeyStoreError> {
        let id = id.clone();
        let mut begun = false;
        self.call(Operation::Destroy, move |open| open.destroy(&mut begun, &id)).await
    }
}

fn store_name(token: &TokenSelector) -> String {
    format!("pkcs11 token with {token}")
}

fn check_instance(instance: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=64).contains(&instance.len()) && instance.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("the instance identifier {instance:?} is not 1 to 64 of a-z A-Z 0-9 . _ -"))
}

fn load_module(path: &Path, refused: &dyn Fn(String, &str) -> KeyStoreError) -> Result<Arc<Module>, KeyStoreError> {
    let shown = path.display();
    if !path.is_absolute() {
        let reason = format!("the module {shown} is not an absolute path");
        return Err(refused(reason, "write the full path of the token's PKCS#11 library"));
    }
    Module::load(path).map_err(|error| match error {
        ModuleError::Load(error) => refused(
            format!("the module {shown} can't be loaded: {error}"),
            "install the token's PKCS#11 library, or correct the path of the module",
        ),
        ModuleError::Initialize(error) => refused(
            format!("the module {shown} can't be initialised: {error}"),
            "check the module's own configuration (for SoftHSM: SOFTHSM2_CONF, and that its token directory is accessible)",
        ),
    })
}
