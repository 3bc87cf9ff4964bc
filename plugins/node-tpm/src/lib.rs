//! The `tpm` node attestor: both halves.
//!
//! The server's half judges evidence by its pools (`attestation`, `attestation/appraise`) and looks known TPMs up in memory; the
//! agent's half drives a `TpmDevice` on a thread of its own and keeps the wrapped AK in the agent's data directory. Not here: the
//! TPM itself (`hsm/tpm`), configuration (the programs), and what becomes of an admission (`server/core`).

mod agent;
mod ak_store;
mod claims;
mod log_files;
mod log_memory;
mod refusal;
mod resident_key;
mod server;
mod tpm_thread;

pub use agent::TpmAgentAttestor;
pub use ak_store::{AkStore, AkStoreError, KeptKeys};
pub use log_files::{EVENT_LOG_PATH, IMA_LOG_PATH, LogFile, LogFileError, LogFiles};
pub use plastron_attestation_appraise::{
    AppraiseError, Approval, BootPolicy, DEFAULT_PCRS, DeniedCertificate, DeniedEk, DeniedModel, DenyList,
    DriversBeforeSeparator, EkFingerprint, EkPin, EkTrust, EmptySecureBoot, ExpiredEk, GoldenPcr, ImaPolicy,
    MissingEventLog, Pool, PoolConfig, PoolError, Sha1EventLog, TrustAnchors, certificate_subject,
};
pub use plastron_attestation_tcg::{EkTemplate, HashAlgorithm};
pub use server::TpmNodeAttestor;
pub use tpm_thread::{OpenTpm, StartError};

/// The attestation type on the wire, and the selector type.
const NAME: &str = "tpm";
