//! Our reader of HCL1 beside HashiCorp's own, in the version that SPIRE uses: the same trees, places, values and refusals.
//!
//! Where they differ, a rule in `known` says so; a difference without a rule fails.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod decoded;
mod oracle;
mod random;
mod trees;
