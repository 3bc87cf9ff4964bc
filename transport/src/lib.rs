#![doc = include_str!("../README.md")]

mod authority;
mod counted;
mod greeting;
mod https;
mod limits;
mod places;
mod rate;
mod tls;
mod tls_profile;
mod too_long;
mod unix;

pub use authority::AuthorityPatch;
pub use counted::{CountCalls, CountedBody, CountedCalls, method_key};
pub use greeting::PREFACE_TIMEOUT;
pub use https::{
    CertificateSlot, ClientRefused, FETCH_TIMEOUT, HttpGetError, HttpsClientTls, HttpsClients, HttpsConnectError,
    HttpsServerTls, HttpsStream, MAX_HTTPS_CONNECTIONS, MAX_HTTPS_CONNECTIONS_OF_ADDRESS, MAX_REDIRECTS, Requester,
    ServedCertificate, ServedCertificateError, TlsConfigError, TlsNow, WebRoots, WebRootsError, fetch_https,
    fetch_unix, serve_https,
};
pub use limits::{
    MAX_CONCURRENT_STREAMS, MAX_CONNECTION_AGE, MAX_CONNECTION_AGE_GRACE, MAX_HEADER_LIST_SIZE, MAX_TLS_STREAMS,
    tls_server, unix_server,
};
pub use places::{Place, Places, holder};
pub use rate::{MAX_RATED, Rate};
pub use tls::{
    AddressError, BundleSlot, ClientTls, ConnectError, FIRST_BYTE_TIMEOUT, HANDSHAKE_TIMEOUT, IdentityError,
    IdentitySlot, MAX_ANONYMOUS_CONNECTIONS, MAX_ANONYMOUS_CONNECTIONS_OF_ADDRESS, MAX_HANDSHAKES,
    MAX_HANDSHAKES_OF_ADDRESS, MAX_TLS_CONNECTIONS, MAX_TLS_CONNECTIONS_OF_ADDRESS, NotANetwork, PeerRefused,
    ProxyRefused, ServerTls, TlsConnection, TlsIdentity, TlsPeer, TrustedProxies, connect_error, read_proxy_header,
    tls_incoming,
};
pub use too_long::{TooLong, TooLongBody, TooLongLayer};
pub use unix::{
    BindError, MAX_CONNECTIONS_OF_USER, MAX_UNIX_CONNECTIONS, PeerCredentials, PeerError, SocketModes, UnixConnection,
    UnixSocket, process_of, unix_channel,
};
