//! The limits of the service; those of connections and header lists are `transport`'s. Any local process may connect, so each of them
//! is what one hostile user can take.

use std::time::Duration;

/// HTTP/2 streams at once on one connection. A client has one per kind of material; Envoy opens one per secret.
pub const MAX_STREAMS_PER_CONNECTION: u32 = 100;

/// Largest request. All requests but ValidateJWTSVID are nearly empty, and a token has to fit an HTTP header anyway.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// How long a caller waits for its first message while the agent has nothing to give yet. Then it is told to try again, which frees
/// the connection; clients' own deadlines are shorter or absent.
pub const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often an open stream looks whether its process still runs. Normally the connection ends with the process; only one that left
/// its connection to another process is found this way.
pub const LIVENESS_INTERVAL: Duration = Duration::from_secs(5);

/// How long a stopping server waits for its streams to deliver their last word.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
