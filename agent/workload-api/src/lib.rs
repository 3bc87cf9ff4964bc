//! The SPIFFE Workload API (SPIFFE_Workload_Endpoint.md, SPIFFE_Workload_API.md) on a Unix socket.
//!
//! A caller is known by the process at the other end of its connection, never by anything it says. Each call attests that process
//! anew; a stream ends when the process does. What a workload may have is decided in `agent/core`; this crate shapes it into messages,
//! and errors into the codes and words that SPIFFE's clients act on.
//!
//! Served: X.509- and JWT-SVIDs with their bundles, the validation of tokens, Envoy's SDS, `grpc.health.v1.Health`, server reflection; on another socket
//! what administers the agent ([`admin`]). Deliberately not: WIT-SVIDs (Unimplemented, section 7).

pub mod admin;
mod caller;
mod claims;
mod counted;
mod header;
mod health;
mod hints;
mod jwt;
pub mod limits;
mod message;
mod push;
mod ratelimit;
mod reflection;
mod refusal;
mod sds;
mod serve;
mod service;

pub use plastron_proto::types::LogLevel;

pub use crate::claims::ForeignClaims;
pub use crate::ratelimit::{Limited, RateLimits};
pub use crate::sds::{PeerValidation, SdsSettings};
pub use crate::serve::{Offers, ServeError, WorkloadApiServer};
pub use crate::service::{Access, BundleAccess, WorkloadApi};
