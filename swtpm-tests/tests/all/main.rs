//! Device tests: real TPMs, real tokens, real programs. One executable, one module per scenario.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod ca_in_stores;
mod conformance;
mod crash_points;
mod enrolment;
mod examples;
mod exchange;
mod fault_codes;
mod fault_delays;
mod fault_proxy;
mod fault_server;
mod federation;
mod harness;
mod healing;
mod ima_list;
mod interop_envoy;
mod interop_files;
mod interop_go;
mod interop_grpcurl;
mod interop_node;
mod interop_python;
mod interop_rust;
mod kills;
mod metrics;
mod minting;
mod moved_authority;
mod operator;
mod owned_agent;
mod resident_key;
mod spire_authorities;
mod spire_kit;
mod spire_nodes;
mod tap;
mod thread;
mod tpm_abrmd;
mod tpm_bus;
mod tpm_busy;
mod tpm_device;
mod tpm_owned;
mod tpm_shared;
mod tpm_store;
mod tpm_svid_key;
mod tpm_templates;
mod workloads;
mod x509pop;
