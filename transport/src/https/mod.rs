//! HTTPS for bundle endpoints (SPIFFE_Federation.md, section 5.2: both profiles, both sides) up to the handshake, with the one request that
//! a client makes, and for what a program shows of itself.

mod certificate;
mod client;
mod clients;
mod get;
mod server;
mod web;

pub use certificate::{CertificateSlot, ServedCertificate, ServedCertificateError};
pub use client::{HttpsClientTls, HttpsConnectError, HttpsStream};
pub use clients::{ClientRefused, HttpsClients};
pub use get::{FETCH_TIMEOUT, HttpGetError, MAX_REDIRECTS, Requester, fetch_https, fetch_unix};
pub use server::{
    HttpsServerTls, MAX_HTTPS_CONNECTIONS, MAX_HTTPS_CONNECTIONS_OF_ADDRESS, TlsConfigError, TlsNow, serve_https,
};
pub use web::{WebRoots, WebRootsError};
