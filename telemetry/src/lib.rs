#![doc = include_str!("../README.md")]

mod call;
mod meter;
mod status;

pub use call::{Call, Running};
pub use meter::{Counter, Gauge, Sample};
pub use status::Status;

/// Name and value, such as `attestor` and `join_token`.
pub type Label = (&'static str, String);
