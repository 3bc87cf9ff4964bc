//! The seams of a server, with every call counted and named, and one of them the last thing that the process does.

use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use plastron_hsm::{KeyId, KeyInventory, KeyRecord, KeyStore, KeyStoreError, KeyType, SignatureScheme, StoreIdentity};
use plastron_server_core::audit::{AuditLine, AuditSink, AuditSinkError, AuditValue};
use rustix::process::{Signal, getpid, kill_process};

/// When the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Before the call with this number.
    Before(u64),
    /// After the call with this number, before anybody has its result.
    After(u64),
    /// By itself.
    Never,
}

/// Counts calls, and ends the process at the chosen one.
pub(crate) struct Steps {
    end: End,
    count: AtomicU64,
    log: Mutex<std::fs::File>,
}

impl Steps {
    /// Names go to `log`, a line each.
    pub(crate) fn new(end: End, log: &Path) -> Arc<Self> {
        let log = Mutex::new(std::fs::File::create(log).unwrap());
        Arc::new(Self { end, count: AtomicU64::new(0), log })
    }

    pub(crate) async fn take<T>(&self, name: &str, call: impl Future<Output = T>) -> T {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        // Written at once: what the page cache has survives the process.
        writeln!(self.log.lock().unwrap(), "{name}").unwrap();
        if self.end == End::Before(number) {
            die().await;
        }
        let result = call.await;
        if self.end == End::After(number) {
            die().await;
        }
        result
    }
}

/// SIGKILL: no destructor runs and nothing is flushed.
async fn die() {
    kill_process(getpid(), Signal::KILL).unwrap();
    std::future::pending::<()>().await;
}

/// A key store whose calls are steps.
pub(crate) struct SteppedKeys {
    pub(crate) inner: Arc<dyn KeyInventory>,
    pub(crate) steps: Arc<Steps>,
}

#[async_trait::async_trait]
impl KeyStore for SteppedKeys {
    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }

    async fn generate(&self, label: &str, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        self.steps.take(&format!("make a key for {label}"), self.inner.generate(label, key_type)).await
    }

    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        self.steps.take("find a key", self.inner.find(id)).await
    }

    async fn sign(&self, id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        self.steps.take("sign", self.inner.sign(id, scheme, digest)).await
    }
}

#[async_trait::async_trait]
impl KeyInventory for SteppedKeys {
    async fn list(&self) -> Result<Vec<KeyRecord>, KeyStoreError> {
        self.steps.take("list the keys", self.inner.list()).await
    }

    async fn made_at(&self, id: &KeyId) -> Result<Option<u64>, KeyStoreError> {
        self.steps.take("ask when a key was made", self.inner.made_at(id)).await
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), KeyStoreError> {
        self.steps.take("destroy a key", self.inner.destroy(id)).await
    }
}

/// Audit lines in a file, and each write of them a step.
pub(crate) struct SteppedAudit {
    pub(crate) file: Mutex<std::fs::File>,
    pub(crate) steps: Arc<Steps>,
}

#[async_trait::async_trait]
impl AuditSink for SteppedAudit {
    async fn write(&self, lines: &[AuditLine]) -> Result<(), AuditSinkError> {
        let write = async {
            for AuditLine { message, fields } in lines {
                let fields = fields.iter().map(|(name, value)| match value {
                    AuditValue::Text(text) => format!("{name}={text}"),
                    AuditValue::Number(number) => format!("{name}={number}"),
                });
                writeln!(self.file.lock().unwrap(), "{message} {}", fields.collect::<Vec<_>>().join(" ")).unwrap();
            }
            Ok(())
        };
        self.steps.take("write audit lines", write).await
    }

    fn state(&self) -> Result<(), AuditSinkError> {
        Ok(())
    }
}
