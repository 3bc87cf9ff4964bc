//! The node-attestation exchange, both halves, and the `TpmDevice` seam.

mod device;

pub use device::{AkBlob, EkMaterial, PcrSelection, QuoteBytes, TpmDevice, TpmDeviceError};
pub use plastron_attestation_tcg::EkTemplate;
