//! The thread that owns the TPM and the AK's file: both block, and a TPM serves one caller at a time.

use std::io;

use plastron_attestation::{AkBlob, EkTemplate, TpmDevice, TpmDeviceError, TpmReply, TpmRequest, perform};
use tokio::sync::{mpsc, oneshot};

use crate::ak_store::{AkStore, AkStoreError};

/// Requests that wait: an agent has one conversation at a time, and its predecessor's last request.
const QUEUE_LEN: usize = 4;

/// A way to the thread. The thread ends when the last one is dropped.
#[derive(Clone)]
pub(crate) struct TpmThread {
    jobs: mpsc::Sender<Job>,
}

enum Job {
    Tpm(TpmRequest, oneshot::Sender<Result<TpmReply, TpmDeviceError>>),
    Load(oneshot::Sender<Result<Option<AkBlob>, AkStoreError>>),
    Save(AkBlob, oneshot::Sender<Result<(), AkStoreError>>),
    SetAside(oneshot::Sender<Result<(), AkStoreError>>),
}

/// The thread has ended: it panicked, or could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("the thread that owns the TPM has ended")]
pub(crate) struct Gone;

impl TpmThread {
    pub(crate) fn start(device: Box<dyn TpmDevice>, template: EkTemplate, store: AkStore) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE_LEN);
        std::thread::Builder::new().name("tpm".to_owned()).spawn(move || serve(device, template, &store, queue))?;
        Ok(Self { jobs })
    }

    pub(crate) async fn perform(&self, request: TpmRequest) -> Result<Result<TpmReply, TpmDeviceError>, Gone> {
        self.ask(|reply| Job::Tpm(request, reply)).await
    }

    pub(crate) async fn load(&self) -> Result<Result<Option<AkBlob>, AkStoreError>, Gone> {
        self.ask(Job::Load).await
    }

    pub(crate) async fn save(&self, blob: AkBlob) -> Result<Result<(), AkStoreError>, Gone> {
        self.ask(|reply| Job::Save(blob, reply)).await
    }

    pub(crate) async fn set_aside(&self) -> Result<Result<(), AkStoreError>, Gone> {
        self.ask(Job::SetAside).await
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}

/// An answer that nobody waits for any more is dropped: the conversation was given up.
fn serve(mut device: Box<dyn TpmDevice>, template: EkTemplate, store: &AkStore, mut queue: mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        match job {
            Job::Tpm(request, reply) => drop(reply.send(perform(&mut *device, template, request))),
            Job::Load(reply) => drop(reply.send(load(store, template))),
            Job::Save(blob, reply) => drop(reply.send(store.save(template, &blob))),
            Job::SetAside(reply) => drop(reply.send(set_aside(store))),
        }
    }
}

/// A file that is damaged is put aside, and the node enrols with a new AK.
fn load(store: &AkStore, template: EkTemplate) -> Result<Option<AkBlob>, AkStoreError> {
    match store.load(template) {
        Err(AkStoreError::Malformed { path, reason }) => {
            tracing::warn!(path = %path.display(), reason, "the kept AK is damaged; a new one will be enrolled");
            set_aside(store)?;
            Ok(None)
        }
        other => other,
    }
}

fn set_aside(store: &AkStore) -> Result<(), AkStoreError> {
    let aside = store.set_aside()?;
    tracing::warn!(path = %aside.display(), "put the AK aside");
    Ok(())
}
