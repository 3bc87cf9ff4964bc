//! Who calls, as the listener that took the connection knows it, and the permit that the table gives.

use std::net::IpAddr;
use std::sync::Arc;

use http::Extensions;
use plastron_server_core::Services;
use plastron_server_core::authorization::{Caller, LocalPeer, Permit, Rpc};
use plastron_transport::{PeerCredentials, TlsPeer};
use tonic::Request;

use crate::status::Failure;

/// The caller of a request. One that came in by neither of our listeners is treated as a stranger.
pub(crate) fn caller(extensions: &Extensions) -> Caller {
    if let Some(TlsPeer { address, svid }) = extensions.get() {
        let (svid, address) = (svid.clone(), Some(*address));
        return match svid {
            Some(svid) => Caller::Svid { svid, address },
            None => Caller::Anonymous { address },
        };
    }
    match extensions.get::<PeerCredentials>() {
        Some(PeerCredentials { uid, gid, process }) => {
            let pid = process.as_ref().ok().map(|process| process.pid);
            Caller::Local(LocalPeer { pid, uid: *uid, gid: *gid })
        }
        None => Caller::Anonymous { address: None },
    }
}

/// Where the caller sits; `None` on a Unix socket.
pub(crate) fn address<T>(request: &Request<T>) -> Option<IpAddr> {
    request.extensions().get().map(|peer: &TlsPeer| peer.address.ip())
}

/// The permit for `R`, or why not. A refusal is logged by the audit layer, and an agent's by the authorisation itself.
pub(crate) async fn permit<R: Rpc, T>(services: &Arc<Services>, request: &Request<T>) -> Result<Permit<R>, Failure> {
    Ok(services.authorizer.authorize::<R>(&caller(request.extensions())).await?)
}
