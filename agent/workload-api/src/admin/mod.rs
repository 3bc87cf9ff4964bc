//! The admin socket: Delegated Identity, Debug and Logger (SPIRE: `pkg/agent/api`).
//!
//! Who may open the socket may read the debug information and set the log level: that is for its file's mode to say. Identities of
//! workloads go only to delegates ([`Delegates`]), whose own process is attested as a workload's is. No security header is asked for,
//! no health and no reflection are served: SPIRE's socket has none.

mod debug;
mod delegate;
mod delegated;
mod feed;
mod logger;
mod serve;

pub use self::delegate::Delegates;
pub use self::logger::LogControl;
pub use self::serve::AdminServer;
#[cfg(test)]
pub(crate) use self::serve::counted;
