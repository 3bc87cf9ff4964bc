//! TLS connections whose ends are SPIFFE IDs.

mod client;
mod held_key;
mod identity;
mod incoming;
mod proxied;
mod server;
mod verifier;

pub use client::{AddressError, ClientTls, ConnectError, connect_error};
pub use identity::{BundleSlot, IdentityError, IdentitySlot, TlsIdentity};
pub use incoming::{
    FIRST_BYTE_TIMEOUT, HANDSHAKE_TIMEOUT, MAX_ANONYMOUS_CONNECTIONS, MAX_ANONYMOUS_CONNECTIONS_OF_ADDRESS,
    MAX_HANDSHAKES, MAX_HANDSHAKES_OF_ADDRESS, MAX_TLS_CONNECTIONS, MAX_TLS_CONNECTIONS_OF_ADDRESS, TlsConnection,
    TlsPeer, tls_incoming,
};
pub use proxied::{NotANetwork, ProxyRefused, TrustedProxies, read_proxy_header};
pub use server::ServerTls;
pub use verifier::PeerRefused;
pub(crate) use verifier::{Believes, PeerVerifier};
