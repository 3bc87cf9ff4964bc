//! The node-attestation exchange, both halves, and the `TpmDevice` seam.
//!
//! One round inside SPIRE's AttestAgent stream: payload, challenge, response (`message`, encoded by `wire`). `Attester` and
//! `Verifier` are state machines that take events and answer with what is to be done, so that a test drives both ends in memory.
//! What evidence proves is judged in `attestation/appraise`. Not here: event logs, `TPM2_Certify` of an SVID key, evidence on demand.

mod attester;
mod device;
mod message;
mod refused;
mod verifier;
mod wire;

pub use attester::{
    Attester, AttesterAction, AttesterContext, AttesterError, AttesterEvent, TpmReply, TpmRequest, perform,
};
pub use device::{AkBlob, EkMaterial, PcrSelection, QuoteBytes, TpmDevice, TpmDeviceError};
pub use message::{Challenge, Payload, Response, Task};
pub use plastron_attestation_appraise::{Claims, KnownTpm, Purpose, Standing};
pub use plastron_attestation_tcg::EkTemplate;
pub use refused::{ExchangeError, Refused};
pub use verifier::{CHALLENGE_LIFETIME_SECS, Entropy, Verifier, VerifierAction, VerifierEvent, VerifierPolicy};
pub use wire::{MAX_MESSAGE_LEN, WireError};
