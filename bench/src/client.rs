//! An agent and an administrator, as far as the server's API knows them.

use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use plastron_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, CreateJoinTokenRequest, attest_agent_request, attest_agent_response,
};
use plastron_proto::spire::api::server::entry::v1::BatchCreateEntryRequest;
use plastron_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use plastron_proto::spire::api::types::{AttestationData, Entry, Selector, Spiffeid, X509svid};
use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::X509Svid;
use plastron_transport::{BundleSlot, ClientTls, IdentitySlot, TlsIdentity};
use rcgen::{CertificateParams, KeyPair, SanType};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::error::BenchError;
use crate::server::{Server, TRUST_DOMAIN, trust_domain};

/// A P-256 key with a request for its certificate.
pub(crate) struct KeyWithCsr {
    pub(crate) key: KeyPair,
    pub(crate) csr: Vec<u8>,
}

impl KeyWithCsr {
    /// Asks for this ID, or for none.
    pub(crate) fn new(id: Option<&SpiffeId>) -> Result<Self, BenchError> {
        let key = KeyPair::generate().map_err(BenchError::wrong)?;
        let mut params = CertificateParams::default();
        if let Some(id) = id {
            params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().map_err(BenchError::wrong)?)];
        }
        let csr = params.serialize_request(&key).map_err(BenchError::wrong)?.der().to_vec();
        Ok(Self { key, csr })
    }
}

/// An attested node.
pub(crate) struct Agent {
    pub(crate) svid: X509Svid,
    key: KeyPair,
}

/// Makes a join token.
pub(crate) async fn join_token(admin: Channel) -> Result<String, BenchError> {
    let request = CreateJoinTokenRequest { ttl: 600, ..Default::default() };
    let answer = AgentClient::new(admin).create_join_token(request).await;
    Ok(answer.map_err(BenchError::call("CreateJoinToken"))?.into_inner().value)
}

/// How nodes without certificate reach the server.
pub(crate) async fn anonymous(server: &Server) -> Result<ClientTls, BenchError> {
    Ok(ClientTls::new(server_id()?, BundleSlot::new([server.bundle().await?]), None))
}

fn server_id() -> Result<SpiffeId, BenchError> {
    trust_domain()?.with_path("/spire/server").map_err(BenchError::wrong)
}

/// Attests over a new connection; `respond` answers challenges.
pub(crate) async fn attest(
    server: &Server,
    tls: &ClientTls,
    attestor: &str,
    payload: Vec<u8>,
    key: KeyWithCsr,
    mut respond: impl FnMut(&[u8]) -> Result<Vec<u8>, BenchError>,
) -> Result<Agent, BenchError> {
    let (messages, receiver) = mpsc::channel(1);
    let send = async |step| {
        let message = AttestAgentRequest { step: Some(step) };
        messages.send(message).await.map_err(|_| BenchError::wrong("the server ended the attestation"))
    };
    let data = AttestationData { r#type: attestor.to_owned(), payload };
    let params = AgentX509svidParams { csr: key.csr };
    send(attest_agent_request::Step::Params(attest_agent_request::Params { data: Some(data), params: Some(params) }))
        .await?;
    let channel = tls.connect(&server.address()).await?;
    let stream = AgentClient::new(channel).attest_agent(ReceiverStream::new(receiver)).await;
    let mut answers = stream.map_err(BenchError::call("AttestAgent"))?.into_inner();
    loop {
        let answer = answers.message().await.map_err(BenchError::call("AttestAgent"))?;
        match answer.and_then(|answer| answer.step) {
            Some(attest_agent_response::Step::Challenge(challenge)) => {
                send(attest_agent_request::Step::ChallengeResponse(respond(&challenge)?)).await?;
            }
            Some(attest_agent_response::Step::Result(result)) => {
                let svid = parse(result.svid)?;
                return Ok(Agent { svid, key: key.key });
            }
            None => return Err(BenchError::wrong("the attestation ended without a result")),
        }
    }
}

/// Attests with a join token.
pub(crate) async fn attest_with_token(server: &Server, tls: &ClientTls, token: String) -> Result<Agent, BenchError> {
    let no_challenge = |_: &[u8]| Err(BenchError::wrong("a join token has no challenge"));
    attest(server, tls, "join_token", token.into_bytes(), KeyWithCsr::new(None)?, no_challenge).await
}

pub(crate) fn parse(svid: Option<X509svid>) -> Result<X509Svid, BenchError> {
    let svid = svid.ok_or_else(|| BenchError::wrong("an answer has no SVID"))?;
    X509Svid::parse(svid.cert_chain).map_err(BenchError::wrong)
}

impl Agent {
    /// A connection with the agent's certificate.
    pub(crate) async fn connect(&self, server: &Server) -> Result<Channel, BenchError> {
        let identity = TlsIdentity::new(&self.svid, &self.key.serialize_der()).map_err(BenchError::wrong)?;
        let bundles = BundleSlot::new([server.bundle().await?]);
        let tls = ClientTls::new(server_id()?, bundles, Some(IdentitySlot::new(identity)));
        Ok(tls.connect(&server.address()).await?)
    }

    /// Entries below this agent, `/workload/0` and on: their identifiers with their SPIFFE IDs.
    pub(crate) async fn entries(&self, admin: Channel, count: usize) -> Result<Vec<(String, SpiffeId)>, BenchError> {
        let id = |path: &str| Spiffeid { trust_domain: TRUST_DOMAIN.to_owned(), path: path.to_owned() };
        let entries = (0..count)
            .map(|index| Entry {
                spiffe_id: Some(id(&format!("/workload/{index}"))),
                parent_id: Some(id(self.svid.claimed_id().path())),
                selectors: vec![Selector { r#type: "unix".to_owned(), value: format!("uid:{index}") }],
                ..Default::default()
            })
            .collect();
        let request = BatchCreateEntryRequest { entries, output_mask: None };
        let answer = EntryClient::new(admin).batch_create_entry(request).await;
        let results = answer.map_err(BenchError::call("BatchCreateEntry"))?.into_inner().results;
        let mut created = Vec::with_capacity(count);
        for (index, result) in results.into_iter().enumerate() {
            let entry = result.entry.ok_or_else(|| BenchError::wrong(format!("{:?}", result.status)))?;
            let spiffe_id = trust_domain()?.with_path(&format!("/workload/{index}")).map_err(BenchError::wrong)?;
            created.push((entry.id, spiffe_id));
        }
        if created.len() == count { Ok(created) } else { Err(BenchError::wrong("not all entries were created")) }
    }
}
