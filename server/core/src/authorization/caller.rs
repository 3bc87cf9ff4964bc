//! Who calls, as the transport found out.

use std::net::SocketAddr;
use std::sync::Arc;

use plastron_spiffe::x509::VerifiedSvid;

/// The caller of an RPC. Whoever makes one answers for it: the listener knows which socket a connection came in on.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A process that may open the admin Unix socket.
    Local(LocalPeer),
    /// A TLS connection without client certificate.
    Anonymous {
        /// Where it comes from.
        address: Option<SocketAddr>,
    },
    /// A TLS connection whose client certificate was verified.
    Svid {
        /// The proof.
        svid: Arc<VerifiedSvid>,
        /// Where it comes from.
        address: Option<SocketAddr>,
    },
}

/// The process at the other end of the admin socket, for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPeer {
    /// PID.
    pub pid: Option<i32>,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl Caller {
    /// In words, for the audit log.
    pub fn describe(&self) -> String {
        let from =
            |address: &Option<SocketAddr>| address.map_or_else(String::new, |address| format!(" from {address}"));
        match self {
            Self::Local(LocalPeer { pid: Some(pid), uid, gid }) => format!("local uid={uid} gid={gid} pid={pid}"),
            Self::Local(LocalPeer { pid: None, uid, gid }) => format!("local uid={uid} gid={gid}"),
            Self::Anonymous { address } => format!("anonymous{}", from(address)),
            Self::Svid { svid, address } => format!("{}{}", svid.id(), from(address)),
        }
    }
}
