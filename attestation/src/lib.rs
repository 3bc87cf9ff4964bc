#![doc = include_str!("../README.md")]
//!
//! This crate holds the exchange. Not here: evidence on demand, and whether the files of an IMA list are good.

mod attester;
mod attester_error;
mod device;
mod log_transfer;
mod message;
mod refused;
mod verdict;
mod verifier;
mod wire;

pub use attester::{
    Attester, AttesterAction, AttesterContext, AttesterEvent, CertifyRequest, TpmReply, TpmRequest, perform,
    perform_certify,
};
pub use attester_error::AttesterError;
pub use device::{
    AkBlob, CertifyBytes, EkMaterial, PcrSelection, QuoteBytes, SvidKeyBlob, TpmDevice, TpmDeviceError, TpmSvidKeys,
};
pub use log_transfer::{LogChunk, LogKind, LogRequest};
pub use message::{Challenge, Payload, Response, Task};
pub use plastron_attestation_appraise::{AnnouncedLog, Claims, KnownTpm, Purpose, Standing};
pub use plastron_attestation_tcg::EkTemplate;
pub use refused::{ExchangeError, Refused};
pub use verifier::{
    CHALLENGE_LIFETIME_SECS, Entropy, LOG_TRANSFER_SECS, Verifier, VerifierAction, VerifierEvent, VerifierPolicy,
};
pub use wire::{MAX_MESSAGE_LEN, WireError};
