//! How programs reach each other: TLS that authenticates SPIFFE IDs, and Unix sockets that know the process at the other end.
//!
//! - TLS (`ServerTls`, `ClientTls`): both sides verify an X.509-SVID against the bundle of the trust domain that it names
//!   (X509-SVID.md, section 5); names in DNS play no part. Parameters stand in one file, `tls_profile`.
//! - Unix sockets (`UnixSocket`): bound safely, independent of the umask; each connection carries `PeerCredentials` that are safe
//!   against the reuse of a PID; any `:authority` is accepted, because C-core, Java and old Go clients send the socket's path.
//!
//! Every loop that accepts is bounded in connections, handshakes and time. What this crate deliberately does not do: it decides
//! nothing. A peer without certificate connects, and the authorisation table says what it may call; an expired or foreign certificate
//! does not connect. Revocation is by short lifetime and the server's list of nodes, not by CRL.

mod authority;
mod limits;
mod tls;
mod tls_profile;
mod unix;

pub use authority::AuthorityPatch;
pub use limits::{
    MAX_CONCURRENT_STREAMS, MAX_CONNECTION_AGE, MAX_CONNECTION_AGE_GRACE, MAX_HEADER_LIST_SIZE, tls_server, unix_server,
};
pub use tls::{
    AddressError, BundleSlot, ClientTls, ConnectError, HANDSHAKE_TIMEOUT, IdentityError, IdentitySlot, MAX_HANDSHAKES,
    MAX_TLS_CONNECTIONS, PeerRefused, ServerTls, TlsConnection, TlsIdentity, TlsPeer, connect_error, tls_incoming,
};
pub use unix::{
    BindError, MAX_CONNECTIONS_OF_USER, MAX_UNIX_CONNECTIONS, PeerCredentials, PeerError, SocketModes, UnixConnection,
    UnixSocket, unix_channel,
};
