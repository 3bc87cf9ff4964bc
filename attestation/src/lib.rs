#![doc = include_str!("../README.md")]
//!
//! This crate holds the exchange. Not here: event logs, `TPM2_Certify` of an SVID key, evidence on demand.

mod attester;
mod device;
mod message;
mod refused;
mod verifier;
mod wire;

pub use attester::{
    Attester, AttesterAction, AttesterContext, AttesterError, AttesterEvent, TpmReply, TpmRequest, perform,
};
pub use device::{
    AkBlob, CertifyBytes, EkMaterial, PcrSelection, QuoteBytes, SvidKeyBlob, TpmDevice, TpmDeviceError, TpmSvidKeys,
};
pub use message::{Challenge, Payload, Response, Task};
pub use plastron_attestation_appraise::{Claims, KnownTpm, Purpose, Standing};
pub use plastron_attestation_tcg::EkTemplate;
pub use refused::{ExchangeError, Refused};
pub use verifier::{CHALLENGE_LIFETIME_SECS, Entropy, Verifier, VerifierAction, VerifierEvent, VerifierPolicy};
pub use wire::{MAX_MESSAGE_LEN, WireError};
