//! Appraisal of TPM evidence: one file per check, pure.
//!
//! Proofs are types: `TrustedEk`, `BoundAk`, `VerifiedQuote` and `Appraisal` are each made by one function that makes every check
//! of its stage, and `AttestedNode` is made only by giving up all four, which must be about one TPM; `ResidentKey` joins the quote where the
//! SVID's key is in the TPM too. Bytes, time, nonce,
//! randomness and roots are arguments; nothing is read, waited for or logged. What was checked, and what was not, is written down
//! in a `Checklist`. A boot's event log is judged in `event_log`, an IMA list in `ima`. Not here: the messages (`attestation`), and a policy language.

mod ak;
mod approval;
mod attested;
mod binding;
mod boot_policy;
mod certificate;
mod certificate_signature;
mod check;
mod ek;
mod enrolled;
mod error;
pub mod event_log;
mod fingerprint;
mod ima;
mod judge;
mod known;
mod pool;
mod quote;
mod resident;
mod roca;
mod sent_log;
mod utc;
mod verdict;

pub use ak::credential::{CREDENTIAL_LEN, CredentialEntropy, MadeCredential, PendingActivation};
pub use ak::{AcceptableAk, BoundAk};
pub use approval::{Approval, NeedsApproval};
pub use attested::AttestedNode;
pub use binding::{Binding, NONCE_LEN, Purpose};
pub use boot_policy::{BootPolicy, DriversBeforeSeparator, EmptySecureBoot, ImaPolicy, MissingEventLog, Sha1EventLog};
pub use certificate::{MAX_CERTIFICATE_LEN, certificate_subject};
pub use check::{Check, CheckOutcome, CheckRecord, Checklist};
pub use ek::container::certificate_in_container;
pub use ek::crl::MAX_CRL_LEN;
pub use ek::deny::{DeniedCertificate, DeniedEk, DeniedModel, DenyList};
pub use ek::leaf::claimed_identity;
pub use ek::path::MAX_INTERMEDIATES;
pub use ek::pin::EkPin;
pub use ek::tpm_identity::TpmIdentity;
pub use ek::trust::{EkTrust, TrustAnchors};
pub use ek::{EkEvidence, MAX_EK_INTERMEDIATES, TrustedEk};
pub use enrolled::{Claims, ENROLLED_TPM_VERSION, EnrolledTpm, MAX_CLAIM_LEN, TpmState};
pub use error::AppraiseError;
pub use fingerprint::{EkFingerprint, FingerprintError, subject_public_key_info};
pub use ima::{Extension as ImaExtension, IMA_PCR, ImaFacts, ImaFileFact, ImaViolation, ReplayedImaList};
pub use judge::{Appraisal, Expected, History};
pub use known::{KnownTpm, Standing};
pub use pool::{DEFAULT_PCRS, ExpiredEk, GoldenPcr, Pool, PoolConfig, PoolError};
pub use quote::VerifiedQuote;
pub use resident::{Certification, ClaimedResidentKey, ResidentKey, spki_of_public_area};
pub use sent_log::{AnnouncedLog, MAX_EVENT_LOG_LEN, SentLog};
pub use verdict::Verdict;
