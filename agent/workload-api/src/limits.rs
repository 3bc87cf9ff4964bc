//! The limits of the service; those of connections and header lists are `transport`'s. Any local process may connect, so each of them
//! is what one hostile user can take.
//!
//! One connection holds at most 64 header lists of 4 KiB, 64 KiB that no handler has read yet, and 16 requests of 8 KiB: less than
//! half a mebibyte. `transport` gives one user 1024 connections, because a thousand workloads of one user on a node are real (jobs of
//! one service account), and each of them holds a connection; so a hostile user takes less than half a gibibyte, and it takes all of
//! its processes' file descriptors to do so.

use std::time::Duration;

/// HTTP/2 streams at once on one connection. A client has one per kind of material, and some calls for tokens beside them.
pub const MAX_STREAMS_PER_CONNECTION: u32 = 64;

/// Requests of one connection that are read or answered at once; an open stream counts until its first message. More wait for their
/// turn, unread.
pub const MAX_REQUESTS_AT_ONCE: usize = 16;

/// Largest header list. gRPC's own headers and the security header have some hundred bytes.
pub const MAX_HEADER_LIST_BYTES: u32 = 4 * 1024;

/// What a client may send on one stream, and on one connection, before somebody has read it. HTTP/2 can't have less for a connection.
pub const STREAM_WINDOW_BYTES: u32 = 16 * 1024;
/// See [`STREAM_WINDOW_BYTES`].
pub const CONNECTION_WINDOW_BYTES: u32 = 65_535;

/// Largest request. All requests but ValidateJWTSVID are nearly empty, and a token has to fit an HTTP header anyway, of which common
/// servers take 8 KiB. The limit is one for the whole service.
pub const MAX_REQUEST_BYTES: usize = 8 * 1024;

/// Largest request of a delegate: the selectors of a container have some kilobytes.
pub const MAX_DELEGATE_REQUEST_BYTES: usize = 64 * 1024;

/// HTTP/2 streams at once on one connection of the admin socket: a delegate has one for each workload that it acts for, over one
/// connection.
pub const MAX_DELEGATE_STREAMS: u32 = 4096;

/// Requests of one connection of the admin socket that are read or answered at once: one whose workload has no SVID yet waits for
/// [`FIRST_MESSAGE_TIMEOUT`], and the delegate's other workloads do not wait for it. Their requests take 16 MiB.
pub const MAX_DELEGATE_REQUESTS_AT_ONCE: usize = 256;

/// Largest request to the health service: the name of a service.
pub const MAX_HEALTH_REQUEST_BYTES: usize = 1024;

/// Largest request to the Secret Discovery Service: a proxy tells in it what it is, with all its extensions and its operator's metadata.
pub const MAX_SDS_REQUEST_BYTES: usize = 256 * 1024;

/// Most names in a request for secrets. A name of one byte takes twenty times that in memory, and is kept until the stream ends.
pub const MAX_SECRET_NAMES: usize = 1024;

/// Calls of the Secret Discovery Service at once, in all and of one user, open streams included: a proxy has one for each secret, and
/// what it says of itself is kept until the stream ends. A user's requests can so take 128 MiB.
pub const SDS_CALLS: usize = 4096;
/// See [`SDS_CALLS`].
pub const SDS_CALLS_OF_USER: usize = 512;

/// How long a caller waits for its first message while the agent has nothing to give yet. Then it is told to try again, which frees
/// the connection; clients' own deadlines are shorter or absent.
pub const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest reason that a caller is told, or that is logged, of what it sent. A status travels in a header list, where a byte may take three;
/// clients take 8 to 16 KiB of it.
pub const MAX_REASON_BYTES: usize = 1024;

/// How often a call for tokens matches the workload's entries: an entry that changes while its token is under way is looked up anew, so
/// that its workload is not told that it has no identity. Entries that change each time are left to the workload's next call.
pub const MATCHES_PER_CALL: usize = 3;

/// How often an open stream looks whether its process still runs. Normally the connection ends with the process; only one that left
/// its connection to another process is found this way.
pub const LIVENESS_INTERVAL: Duration = Duration::from_secs(5);

/// How long a stopping server waits for its streams to deliver their last word.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
