//! Real components for tests: TPMs (swtpm), PKCS#11 tokens (SoftHSM) and Plastron's own programs, each as a process that the
//! test owns and that ends with it.
//!
//! Every test owns what it uses: its TPM has its state in a directory of its own and listens on loopback ports of its own, its
//! token lies in a directory of its own and is found by label. A tool that is not installed is a [`HarnessError::MissingTool`] that names the package;
//! nothing is ever skipped. What this crate deliberately does not do: it links no TPM or PKCS#11 library, it parses no TPM
//! structure, and it asserts nothing; it only starts, stops and disturbs.

mod error;
mod fault_proxy;
mod foreign;
mod manufacturer;
mod process;
mod program;
mod resource_manager;
mod softhsm;
mod spire;
mod swtpm;
mod testbed;
mod tool;
mod wall_clock;

pub use error::HarnessError;
pub use fault_proxy::{Calls, FaultProxy};
pub use foreign::{
    cpp_client, envoy, go_workload, grpcurl, java_workload, node_workload, python_peer, python_workload,
    statsd_exporter,
};
pub use manufacturer::Manufacturer;
pub use process::Process;
pub use program::{program, scratch_dir};
pub use resource_manager::behind_resource_manager;
pub use softhsm::{SoftHsm, in_own_process};
pub use spire::{Spire, SpireAgent, SpireServer, SpireServerOptions};
pub use swtpm::{EkKind, Swtpm};
pub use testbed::{Attestor, ServerOptions, TRUST_DOMAIN, TestAgent, TestServer, Upstream};
pub use tool::{run, tool};
pub use wall_clock::WallClock;
