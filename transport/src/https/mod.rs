//! HTTPS up to the handshake, for bundle endpoints (SPIFFE_Federation.md, section 5.2: both profiles, both sides) and for what a program
//! shows of itself. What is said over a connection is the caller's business.

mod certificate;
mod client;
mod clients;
mod server;
mod web;

pub use certificate::{CertificateSlot, ServedCertificate, ServedCertificateError};
pub use client::{HttpsClientTls, HttpsConnectError, HttpsStream};
pub use clients::{ClientRefused, HttpsClients};
pub use server::{
    HttpsServerTls, MAX_HTTPS_CONNECTIONS, MAX_HTTPS_CONNECTIONS_OF_ADDRESS, TlsConfigError, TlsNow, serve_https,
};
pub use web::{WebRoots, WebRootsError};
