//! Unix sockets: bound safely, with the credentials of each peer, accepting any `:authority`.

mod bind;
mod channel;
mod incoming;
mod peer;
mod way;

pub use bind::{BindError, SocketModes, UnixSocket};
pub use channel::unix_channel;
pub use incoming::{MAX_CONNECTIONS_OF_USER, MAX_UNIX_CONNECTIONS, UnixConnection};
pub use peer::{PeerCredentials, PeerError, process_of};
