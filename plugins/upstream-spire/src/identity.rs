//! This server as a workload: follows the Workload API (SPIFFE_Workload_API.md, section 5.2.1) and has a connection to the server above for
//! the SVID of now. Of several SVIDs the first is taken, as the standard says for a workload that wants one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use der::{Decode, Encode, Header, SliceReader};
use plastron_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use plastron_proto::workload::{X509svidRequest, X509svidResponse};
use plastron_spiffe::x509::{MAX_CHAIN_LEN, SvidError, X509Svid};
use plastron_spiffe::{Bundle, BundleError, SpiffeId, TrustDomain, X509Authority};
use plastron_transport::{BundleSlot, ClientTls, ConnectError, IdentityError, IdentitySlot, TlsIdentity, unix_channel};
use tokio::sync::watch;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};
use zeroize::Zeroizing;

use crate::{NAME, explain};

/// Pauses between attempts; an agent that starts anew is back within seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Most certificates of a bundle.
const MAX_ROOTS: usize = 1024;

/// An SVID, as the connection that it makes.
pub(crate) struct Connected {
    pub(crate) id: SpiffeId,
    /// Connects when it is first used.
    pub(crate) channel: Channel,
}

/// What the Workload API gave last.
#[derive(Default)]
pub(crate) struct Identity {
    connected: Option<Arc<Connected>>,
    reason: String,
}

impl Identity {
    pub(crate) fn none_yet() -> Self {
        Self { connected: None, reason: "no answer yet".to_owned() }
    }

    pub(crate) fn connected(&self) -> Option<Arc<Connected>> {
        self.connected.clone()
    }

    /// Why there was nothing, where there was nothing.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

/// Where identities come from and what they connect to.
pub(crate) struct Source {
    pub(crate) socket: PathBuf,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) server: SpiffeId,
    pub(crate) address: String,
}

impl Source {
    /// Follows the Workload API until nobody wants it any more. What it gave stays in use while it is away.
    pub(crate) async fn follow(self, identities: watch::Sender<Identity>) {
        let (mut pause, mut told) = (FIRST_PAUSE, String::new());
        while !identities.is_closed() {
            let mut had_one = false;
            let reason = match self.listen(&identities, &mut had_one).await {
                Ok(()) => "the stream ended".to_owned(),
                Err(error) => explain(&error),
            };
            if had_one {
                pause = FIRST_PAUSE;
            }
            if told != reason {
                let socket = self.socket.display();
                tracing::warn!(plugin = NAME, %socket, reason, "The Workload API gives this server no SVID now");
                told.clone_from(&reason);
            }
            identities.send_modify(|identity| identity.reason = reason);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn listen(&self, identities: &watch::Sender<Identity>, had_one: &mut bool) -> Result<(), IdentityFault> {
        let header = |mut request: Request<()>| {
            request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
            Ok::<_, Status>(request)
        };
        let mut client = SpiffeWorkloadApiClient::with_interceptor(unix_channel(self.socket.clone()), header);
        let mut updates = client.fetch_x509svid(X509svidRequest {}).await?.into_inner();
        while let Some(update) = updates.message().await? {
            let connected = Arc::new(self.connect(update)?);
            tracing::debug!(plugin = NAME, spiffe_id = %connected.id, "This server has an SVID of the agent");
            identities.send_replace(Identity { connected: Some(connected), reason: String::new() });
            *had_one = true;
        }
        Ok(())
    }

    /// Checks, in order: there is an SVID; its certificates and its bundle; it is one of this trust domain; the key is that of the SVID.
    fn connect(&self, update: X509svidResponse) -> Result<Connected, IdentityFault> {
        let first = update.svids.into_iter().next().ok_or(IdentityFault::NoSvid)?;
        let key = Zeroizing::new(first.x509_svid_key);
        let chain = certificates("chain", &first.x509_svid, MAX_CHAIN_LEN)?;
        let roots = certificates("bundle", &first.bundle, MAX_ROOTS)?;
        let svid = X509Svid::parse(chain)?;
        let id = svid.claimed_id().clone();
        if *id.trust_domain() != self.trust_domain {
            return Err(IdentityFault::OtherTrustDomain { id, wanted: self.trust_domain.clone() });
        }
        let identity = TlsIdentity::new(&svid, &key)?;
        let x509_authorities = roots.into_iter().map(X509Authority::parse).collect::<Result<_, _>>()?;
        let bundle = Bundle { x509_authorities, ..Bundle::empty(self.trust_domain.clone()) };
        let tls = ClientTls::new(self.server.clone(), BundleSlot::new([bundle]), Some(IdentitySlot::new(identity)));
        let channel = tls.connect_lazy(&self.address).map_err(IdentityFault::Address)?;
        Ok(Connected { id, channel })
    }
}

/// Splits concatenated DER into certificates.
fn certificates(what: &'static str, der: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, IdentityFault> {
    let (mut found, mut rest) = (Vec::new(), der);
    while !rest.is_empty() {
        let (element, tail) =
            first_element(rest).filter(|_any| found.len() < limit).ok_or(IdentityFault::Certificates { what })?;
        found.push(element.to_vec());
        rest = tail;
    }
    if found.is_empty() { Err(IdentityFault::Certificates { what }) } else { Ok(found) }
}

fn first_element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let header = Header::decode(&mut SliceReader::new(der).ok()?).ok()?;
    let body = usize::try_from(u32::from(header.length())).ok()?;
    let total = usize::try_from(u32::from(header.encoded_len().ok()?)).ok()?.checked_add(body)?;
    (header.tag() == der::Tag::Sequence).then(|| der.split_at_checked(total)).flatten()
}

/// Why an answer of the Workload API is no identity.
#[derive(Debug, thiserror::Error)]
enum IdentityFault {
    #[error("{}", told(.0))]
    Status(Box<Status>),
    #[error("it has no SVID")]
    NoSvid,
    #[error("its {what} is not a list of certificates")]
    Certificates { what: &'static str },
    #[error("its SVID can't be used")]
    Svid(#[from] SvidError),
    #[error(
        "its SVID {id} is not of trust domain {wanted}; the agent has to be one of the server above, in the same trust domain"
    )]
    OtherTrustDomain { id: SpiffeId, wanted: TrustDomain },
    #[error("its SVID can't be presented")]
    Identity(#[from] IdentityError),
    #[error("its bundle can't be used")]
    Bundle(#[from] BundleError),
    #[error("server_address or server_port can't be used")]
    Address(#[source] ConnectError),
}

impl From<Status> for IdentityFault {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

fn told(status: &Status) -> String {
    let source = std::error::Error::source(status).map(|cause| format!(": {}", explain(cause))).unwrap_or_default();
    format!("{:?}: {}{source}", status.code(), status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_list_of_certificates_is_refused() {
        for bad in [&b""[..], b"\x30", b"\x30\x05\x00", b"\x02\x01\x00", b"\x30\x00\x31\x00"] {
            assert!(
                matches!(certificates("chain", bad, 4), Err(IdentityFault::Certificates { what: "chain" })),
                "{bad:?}"
            );
        }
        assert_eq!(certificates("chain", b"\x30\x00\x30\x00", 2).unwrap().len(), 2);
        assert!(certificates("chain", b"\x30\x00\x30\x00\x30\x00", 2).is_err(), "one more than the limit");
    }
}
