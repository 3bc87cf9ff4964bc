//! The thread that owns the TPM, the AK's file and those of the logs: all block, and a TPM serves one caller at a time.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use plastron_attestation::{
    CertifyRequest, EkTemplate, SvidKeyBlob, TpmDeviceError, TpmReply, TpmRequest, TpmSvidKeys, perform,
    perform_certify,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::ak_store::{AkStore, AkStoreError, KeptKeys};
use crate::log_files::{LogFileError, LogFiles};

/// Requests that wait: an agent has one conversation at a time, and its predecessor's last request.
const QUEUE_LEN: usize = 4;

/// How long a call may take together with those before it. The slowest TPMs make an RSA key in a minute.
const DEADLINE: Duration = Duration::from_secs(180);

/// How long a caller that blocks waits for a place in the queue, between two looks.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// A way to the thread. The thread ends when the last one is dropped.
#[derive(Clone)]
pub(crate) struct TpmThread {
    jobs: mpsc::Sender<Job>,
    deadline: Duration,
}

enum Job {
    Tpm(TpmRequest, oneshot::Sender<Result<TpmReply, TpmDeviceError>>),
    Certify(CertifyRequest, oneshot::Sender<Result<TpmReply, TpmDeviceError>>),
    CreateSvidKey(oneshot::Sender<Result<SvidKeyBlob, TpmDeviceError>>),
    /// Answered to a caller that blocks.
    Sign(SvidKeyBlob, [u8; 32], SyncSender<Result<Vec<u8>, TpmDeviceError>>),
    Load(oneshot::Sender<Result<KeptKeys, AkStoreError>>),
    Save(KeptKeys, oneshot::Sender<Result<(), AkStoreError>>),
    SetAside(oneshot::Sender<Result<(), AkStoreError>>),
    EventLog(oneshot::Sender<Result<Option<Arc<[u8]>>, LogFileError>>),
    ImaList(oneshot::Sender<Result<Option<Arc<[u8]>>, LogFileError>>),
}

/// Opens the TPM, at the start and again after its driver panicked.
pub type OpenTpm = Box<dyn FnMut() -> Result<Box<dyn TpmSvidKeys>, TpmDeviceError> + Send>;

/// The TPM's thread does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The TPM does not open.
    #[error("can't open the TPM")]
    Open(#[source] TpmDeviceError),
    /// The system gives no thread.
    #[error("can't start the thread that owns the TPM")]
    Thread(#[source] io::Error),
}

/// The call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Gone {
    /// It was broken off.
    #[error(
        "the call to the TPM broke off, because its driver panicked or its thread has ended; the next call opens the TPM again"
    )]
    Ended,
    /// It may still be under way: a call into the driver can't be cancelled.
    #[error(
        "the TPM gave no answer in {seconds} s; if that goes on, look at the kernel's log and start the agent anew"
    )]
    Silent {
        /// The deadline.
        seconds: u64,
    },
}

impl TpmThread {
    pub(crate) fn start(
        mut open: OpenTpm,
        template: EkTemplate,
        store: AkStore,
        logs: LogFiles,
    ) -> Result<Self, StartError> {
        let device = Some(open().map_err(StartError::Open)?);
        let owner = Owner { open, device, template, store, logs };
        let (jobs, queue) = mpsc::channel(QUEUE_LEN);
        let thread = std::thread::Builder::new().name("tpm".to_owned());
        thread.spawn(move || serve(owner, queue)).map_err(StartError::Thread)?;
        Ok(Self { jobs, deadline: DEADLINE })
    }

    pub(crate) async fn perform(&self, request: TpmRequest) -> Result<Result<TpmReply, TpmDeviceError>, Gone> {
        self.ask(|reply| Job::Tpm(request, reply)).await
    }

    pub(crate) async fn certify(&self, request: CertifyRequest) -> Result<Result<TpmReply, TpmDeviceError>, Gone> {
        self.ask(|reply| Job::Certify(request, reply)).await
    }

    pub(crate) async fn create_svid_key(&self) -> Result<Result<SvidKeyBlob, TpmDeviceError>, Gone> {
        self.ask(Job::CreateSvidKey).await
    }

    /// Blocks until the TPM has signed.
    pub(crate) fn sign(&self, key: SvidKeyBlob, digest: [u8; 32]) -> Result<Result<Vec<u8>, TpmDeviceError>, Gone> {
        let (reply, answer) = sync_channel(1);
        let mut job = Job::Sign(key, digest, reply);
        let until = Instant::now() + self.deadline;
        while Instant::now() < until {
            match self.jobs.try_send(job) {
                Ok(()) => {
                    return answer.recv_timeout(self.deadline).map_err(|error| match error {
                        RecvTimeoutError::Timeout => self.silent(),
                        RecvTimeoutError::Disconnected => Gone::Ended,
                    });
                }
                Err(TrySendError::Closed(_)) => return Err(Gone::Ended),
                // The caller may be an async task, which has no other way to wait for a place in the queue.
                Err(TrySendError::Full(refused)) => job = refused,
            }
            std::thread::sleep(QUEUE_PAUSE);
        }
        Err(self.silent())
    }

    pub(crate) async fn load(&self) -> Result<Result<KeptKeys, AkStoreError>, Gone> {
        self.ask(Job::Load).await
    }

    pub(crate) async fn save(&self, keys: KeptKeys) -> Result<Result<(), AkStoreError>, Gone> {
        self.ask(|reply| Job::Save(keys, reply)).await
    }

    pub(crate) async fn set_aside(&self) -> Result<Result<(), AkStoreError>, Gone> {
        self.ask(Job::SetAside).await
    }

    pub(crate) async fn event_log(&self) -> Result<Result<Option<Arc<[u8]>>, LogFileError>, Gone> {
        self.ask(Job::EventLog).await
    }

    pub(crate) async fn ima_list(&self) -> Result<Result<Option<Arc<[u8]>>, LogFileError>, Gone> {
        self.ask(Job::ImaList).await
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        let call = async {
            self.jobs.send(job(reply)).await.map_err(|_| Gone::Ended)?;
            answer.await.map_err(|_| Gone::Ended)
        };
        tokio::time::timeout(self.deadline, call).await.map_err(|_| self.silent())?
    }

    fn silent(&self) -> Gone {
        Gone::Silent { seconds: self.deadline.as_secs() }
    }
}

/// What the thread has.
struct Owner {
    open: OpenTpm,
    /// Absent after a panic, until the next request.
    device: Option<Box<dyn TpmSvidKeys>>,
    template: EkTemplate,
    store: AkStore,
    logs: LogFiles,
}

/// A TPM that replies with rubbish can make its driver panic. That ends the call and not the thread, without which the agent would
/// never attest again; the device is in no known state and is opened anew.
fn serve(mut owner: Owner, mut queue: mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        if catch_unwind(AssertUnwindSafe(|| owner.work(job))).is_err() {
            tracing::error!("the TPM's driver panicked; the TPM is opened again for the next request");
            let broken = owner.device.take();
            // Closing may talk to the TPM too.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
        }
    }
}

impl Owner {
    /// An answer that nobody waits for any more is dropped: the conversation was given up.
    fn work(&mut self, job: Job) {
        match job {
            Job::Tpm(request, reply) => drop(reply.send(self.perform(request))),
            Job::Certify(request, reply) => drop(reply.send(self.certify(request))),
            Job::CreateSvidKey(reply) => drop(reply.send(self.create_svid_key())),
            Job::Sign(key, digest, reply) => drop(reply.send(self.sign(&key, &digest))),
            Job::Load(reply) => drop(reply.send(load(&self.store, self.template))),
            Job::Save(keys, reply) => drop(reply.send(self.store.save(self.template, &keys))),
            Job::SetAside(reply) => drop(reply.send(set_aside(&self.store))),
            Job::EventLog(reply) => drop(reply.send(self.logs.event_log.read())),
            Job::ImaList(reply) => drop(reply.send(self.logs.ima_list.read())),
        }
    }

    fn device(&mut self) -> Result<&mut dyn TpmSvidKeys, TpmDeviceError> {
        let device = match &mut self.device {
            Some(device) => device,
            absent => absent.insert((self.open)()?),
        };
        Ok(&mut **device)
    }

    fn perform(&mut self, request: TpmRequest) -> Result<TpmReply, TpmDeviceError> {
        let template = self.template;
        perform(self.device()?, template, request)
    }

    fn certify(&mut self, request: CertifyRequest) -> Result<TpmReply, TpmDeviceError> {
        let template = self.template;
        perform_certify(self.device()?, template, request)
    }

    fn create_svid_key(&mut self) -> Result<SvidKeyBlob, TpmDeviceError> {
        let template = self.template;
        self.device()?.create_svid_key(template)
    }

    fn sign(&mut self, key: &SvidKeyBlob, digest: &[u8; 32]) -> Result<Vec<u8>, TpmDeviceError> {
        let template = self.template;
        let signed = self.device()?.sign_with_svid_key(template, key, digest);
        if matches!(signed, Err(TpmDeviceError::SvidKeyNotLoadable { .. }))
            && let Err(error) = set_aside(&self.store)
        {
            tracing::error!(%error, "The keys that the TPM does not take any more can't be put aside");
        }
        signed
    }
}

/// A file that is damaged is put aside, and the node enrols with a new AK.
fn load(store: &AkStore, template: EkTemplate) -> Result<KeptKeys, AkStoreError> {
    match store.load(template) {
        Err(AkStoreError::Malformed { path, reason }) => {
            tracing::warn!(path = %path.display(), reason, "the kept AK is damaged; a new one will be enrolled");
            set_aside(store)?;
            Ok(KeptKeys::default())
        }
        other => other,
    }
}

fn set_aside(store: &AkStore) -> Result<(), AkStoreError> {
    let aside = store.set_aside()?;
    tracing::warn!(path = %aside.display(), "put the AK aside");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use plastron_attestation::{EkTemplate, SvidKeyBlob, TpmDeviceError, TpmSvidKeys};

    use super::{Gone, TpmThread};
    use crate::{AkStore, LogFiles};

    /// A TPM that never answers keeps its thread, and nobody who waits for it: neither whose call it is nor who comes after.
    ///
    /// Threat 17
    #[tokio::test]
    async fn a_tpm_that_does_not_answer_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let (release, never) = channel::<()>();
        let mut opened = 0;
        let open = move || -> Result<Box<dyn TpmSvidKeys>, TpmDeviceError> {
            opened += 1;
            if opened > 1 {
                let _ = never.recv();
            }
            Err(TpmDeviceError::Lockout)
        };
        let store = AkStore::in_data_dir(directory.path());
        let logs = LogFiles::at(directory.path().join("log"), directory.path().join("list"));
        let mut open: super::OpenTpm = Box::new(open);
        assert!(open().is_err());
        let (jobs, queue) = tokio::sync::mpsc::channel(1);
        let owner = super::Owner { open, device: None, template: EkTemplate::L1Rsa2048, store, logs };
        std::thread::spawn(move || super::serve(owner, queue));
        let thread = TpmThread { jobs, deadline: Duration::from_millis(100) };
        for _ in 0..3 {
            assert!(matches!(thread.create_svid_key().await, Err(Gone::Silent { .. })));
        }
        let blocking = thread.clone();
        let key = SvidKeyBlob { private: Vec::new(), public: Vec::new() };
        let signed = tokio::task::spawn_blocking(move || blocking.sign(key, [7; 32])).await.unwrap();
        assert!(matches!(signed, Err(Gone::Silent { .. })));
        drop(release);
        assert!(matches!(thread.create_svid_key().await, Ok(Err(TpmDeviceError::Lockout))));
    }
}
