//! What a running agent says about itself to whoever administers it (SPIRE: `pkg/agent/api/debug`).

use std::sync::{Arc, OnceLock};

use der::Decode as _;
use plastron_spiffe::x509::{CertificateFacts, Purpose, X509Svid, verify_chain};
use plastron_spiffe::{Bundle, SpiffeId};
use rustls_pki_types::UnixTime;
use x509_cert::Certificate;

use crate::jwt::JwtSvids;
use crate::standing::Standing;
use crate::upstream::Caller;
use crate::{Clock, WorkloadIdentities};

/// Tells about an agent, also while it starts. Cheap to clone.
#[derive(Clone)]
pub struct AgentInfo {
    identities: WorkloadIdentities,
    jwt_svids: JwtSvids,
    standing: Arc<OnceLock<Arc<Standing>>>,
    clock: Arc<dyn Clock>,
}

/// An agent at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentState {
    /// The agent's own SVID, then what signed it, up to the authority in the bundle where it leads to one. Empty before the agent has
    /// attested.
    pub svid_chain: Vec<ShownCertificate>,
    /// When the last synchronisation with the server succeeded, Unix seconds; 0 for never.
    pub last_sync: u64,
    /// X.509-SVIDs of workloads that are held.
    pub x509_svids: usize,
    /// JWT-SVIDs of workloads that are held.
    pub jwt_svids: usize,
}

/// What is shown of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// The SPIFFE ID, where it has exactly one URI SAN and that is one.
    pub id: Option<SpiffeId>,
    /// Unix seconds.
    pub not_after: u64,
    /// RFC 4514, with attribute names in upper case as Go writes them.
    pub subject: String,
}

impl AgentInfo {
    pub(crate) fn new(identities: WorkloadIdentities, jwt_svids: JwtSvids, clock: Arc<dyn Clock>) -> Self {
        Self { identities, jwt_svids, standing: Arc::default(), clock }
    }

    /// The agent has attested.
    pub(crate) fn attested(&self, standing: &Arc<Standing>) {
        // An agent runs once.
        let _first = self.standing.set(Arc::clone(standing));
    }

    /// Reads it.
    pub fn read(&self) -> AgentState {
        let held = self
            .identities
            .latest()
            .map_or(0, |snapshot| snapshot.entries.values().filter(|held| held.identity.is_some()).count());
        let (svid_chain, last_sync) = match self.standing.get() {
            Some(standing) => (chain(&standing.caller(), self.clock.now()), standing.last_sync()),
            None => (Vec::new(), 0),
        };
        AgentState { svid_chain, last_sync, x509_svids: held, jwt_svids: self.jwt_svids.held() }
    }
}

fn chain(caller: &Caller, now: UnixTime) -> Vec<ShownCertificate> {
    let Caller { svid, bundle } = caller;
    let authority = authority_of(&svid.svid, bundle, now);
    svid.svid.chain().iter().map(Vec::as_slice).chain(authority).filter_map(show).collect()
}

/// The certificate in the bundle that the chain leads to.
fn authority_of<'a>(svid: &X509Svid, bundle: &'a Bundle, now: UnixTime) -> Option<&'a [u8]> {
    let leads_to = |authority: &&plastron_spiffe::X509Authority| {
        let only =
            Bundle { x509_authorities: vec![(*authority).clone()], ..Bundle::empty(bundle.trust_domain.clone()) };
        verify_chain(svid.clone(), &only, Purpose::Any, now).is_ok()
    };
    bundle.x509_authorities.iter().find(leads_to).map(|authority| authority.certificate.as_slice())
}

fn show(der: &[u8]) -> Option<ShownCertificate> {
    let CertificateFacts { public_key: _, uris, not_after } = CertificateFacts::read(der).ok()?;
    let certificate = Certificate::from_der(der).ok()?;
    let id = match uris.as_slice() {
        [uri] => SpiffeId::parse(uri).ok(),
        _ => None,
    };
    Some(ShownCertificate { id, not_after, subject: subject(&certificate) })
}

/// The last attribute first, as RFC 4514 has it.
fn subject(certificate: &Certificate) -> String {
    let name = certificate.tbs_certificate().subject();
    let relative = |rdn: &x509_cert::name::RelativeDistinguishedName| {
        let pairs = rdn.iter().map(|pair| match pair.to_string().split_once('=') {
            Some((attribute, value)) => format!("{}={value}", attribute.to_ascii_uppercase()),
            None => String::new(),
        });
        pairs.collect::<Vec<_>>().join("+")
    };
    let parts: Vec<String> = name.iter_rdn().map(relative).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}
