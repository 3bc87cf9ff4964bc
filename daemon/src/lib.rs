//! What every program does at start and stop: read a configuration file, write a log, tell its health, take signals, drain.
//!
//! The programs assemble; this crate knows none of their keys, opens nothing while a configuration is parsed, and keeps no
//! global state besides the three that the process itself has: the log subscriber, the recorder of metrics and rustls' default provider.

mod bounded;

pub mod config;
pub mod go_flags;
pub mod health;
pub mod logging;
pub mod metrics;
pub mod plugins;
pub mod process;
pub mod shutdown;
