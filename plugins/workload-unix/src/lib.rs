//! The unix workload attestor.
