//! The node-attestation exchange, both halves, and the `TpmDevice` seam.

mod device;

pub use device::{AkBlob, EkMaterial, EkTemplate, PcrSelection, QuoteBytes, TpmDevice, TpmDeviceError};
