//! Our reader of HCL1 beside HashiCorp's own, in the version that SPIRE uses: the same trees, places, values and refusals.
//!
//! Where they differ, a rule in `known` says so; a difference without a rule fails.

mod decoded;
mod oracle;
mod random;
mod trees;
