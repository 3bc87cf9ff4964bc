//! One node attestation, or one renewal, from a fresh key to an SVID in use (SPIRE: `pkg/agent/attestor/node`, `pkg/agent/svid`).

use std::sync::Arc;
use std::time::Duration;

use plastron_plugins::node::AgentContext;
use plastron_spiffe::Bundle;

use crate::agent::Parts;
use crate::bootstrap::{BootstrapError, BootstrapReason};
use crate::csr::{CsrBuildError, sign_csr};
use crate::issued::{IssuedError, check_agent_svid, check_bundle};
use crate::key::{KeyError, KeyPair, SvidKeyType};
use crate::meters;
use crate::persist::PersistError;
use crate::report::Chain;
use crate::upstream::{AgentDenial, Caller, NodeAttestation, UpstreamError};
use crate::{AgentSvid, SvidKey};

/// How long a whole attestation may take. A slow discrete TPM needs up to a minute to make an RSA endorsement key, and each RPC has
/// its own, shorter limit.
const ATTESTATION_TIMEOUT: Duration = Duration::from_secs(180);

/// Attests with a fresh key. The present SVID and its key stay as they are until this returns.
async fn attest(parts: &Parts, trust: &Arc<Bundle>, current: Option<&AgentSvid>) -> Result<Caller, AttestError> {
    let calls = meters::new_svid(parts.attestor.name());
    let call = calls.start();
    call.ended(exchange(parts, trust, current).await)
}

async fn exchange(parts: &Parts, trust: &Arc<Bundle>, current: Option<&AgentSvid>) -> Result<Caller, AttestError> {
    let Parts { settings, upstream, attestor, held_keys: _, data, clock, distrust } = parts;
    let request = NewKey::stage(parts, current).await?;
    let context = AgentContext {
        trust_domain: settings.trust_domain.clone(),
        svid_public_key: Arc::from(request.public_key.as_slice()),
    };
    let mut conversation = attestor.begin(context);
    let attestation = NodeAttestation { kind: attestor.name(), conversation: conversation.as_mut() };
    let result = tokio::time::timeout(ATTESTATION_TIMEOUT, upstream.attest(trust, attestation, &request.csr))
        .await
        .map_err(|_| AttestError::TimedOut)??;

    check_bundle(&result.bundle, &settings.trust_domain)?;
    let svid =
        check_agent_svid(result.chain, &settings.trust_domain, None, &request.public_key, &result.bundle, clock.now())?;
    let svid = AgentSvid { svid, key: request.key, reattestable: result.reattestable };
    data.save(Some(&svid), &result.bundle)?;
    distrust.attested();
    if let Err(error) = conversation.admitted().await {
        tracing::error!(error = %Chain(&error), "Node attestor can't keep what it learnt; the next attestation starts afresh");
    }
    tracing::info!(
        spiffe_id = %svid.id(), reattestable = svid.reattestable, node_attestor_type = attestor.name(),
        "Node attestation was successful"
    );
    if let Some(before) = current.filter(|before| before.id() != svid.id()) {
        tracing::warn!(before = %before.id(), now = %svid.id(), "The server gave this agent another SPIFFE ID");
    }
    Ok(Caller { svid: Arc::new(svid), bundle: Arc::new(result.bundle) })
}

/// Renews the SVID of an agent that can't attest again, with a fresh key, on the strength of the present one.
pub(crate) async fn renew(parts: &Parts, current: &Caller) -> Result<Caller, AttestError> {
    let Parts { settings, upstream, attestor: _, held_keys: _, data, clock, distrust } = parts;
    let request = NewKey::stage(parts, Some(&current.svid)).await?;
    let chain = upstream.renew(current, &request.csr).await;
    distrust.note(chain.as_ref().err());
    let svid = check_agent_svid(
        chain?,
        &settings.trust_domain,
        Some(current.svid.id()),
        &request.public_key,
        &current.bundle,
        clock.now(),
    )?;
    let svid = AgentSvid { svid, key: request.key, reattestable: current.svid.reattestable };
    data.save(Some(&svid), &current.bundle)?;
    Ok(Caller { svid: Arc::new(svid), bundle: Arc::clone(&current.bundle) })
}

/// Attests to the server that the held bundle leads to, and tells the clock of distrust what came of it.
pub(crate) async fn attest_again(parts: &Parts, current: &Caller) -> Result<Caller, AttestError> {
    let outcome = attest(parts, &trust(parts, Some(&current.bundle)).await?, Some(&current.svid)).await;
    note(parts, &outcome);
    outcome
}

/// The same before there is an SVID.
pub(crate) async fn attest_first(parts: &Parts, last: Option<&Arc<Bundle>>) -> Result<Caller, AttestError> {
    let outcome = attest(parts, &trust(parts, last).await?, None).await;
    if last.is_some() {
        note(parts, &outcome);
    }
    outcome
}

/// Attests to whom the source says, whatever the held bundle says. What is held stays until that succeeds.
pub(crate) async fn rebootstrap(parts: &Parts, current: Option<&AgentSvid>) -> Result<Caller, AttestError> {
    tracing::warn!("Trust Bundle and Server don't agree, rebootstrapping");
    let trust = configured(parts, BootstrapReason::Rebootstrap).await?;
    attest(parts, &trust, current).await
}

fn note(parts: &Parts, outcome: &Result<Caller, AttestError>) {
    if let Err(AttestError::Upstream(error)) = outcome {
        parts.distrust.note(Some(error));
    }
}

/// Which authorities to believe when attesting: those that the server gave last, unless all of them have expired; then the configured
/// ones. Where those have expired too, or can't be had, the node was away for longer than anything that it knows: it keeps to the last
/// ones, and takes the server whose CA one of them named as its successor.
async fn trust(parts: &Parts, last: Option<&Arc<Bundle>>) -> Result<Arc<Bundle>, AttestError> {
    let now = parts.clock.now().as_secs();
    let Some(last) = last else { return configured(parts, BootstrapReason::Bootstrap).await };
    if has_live_authority(last, now) {
        return Ok(Arc::clone(last));
    }
    match configured(parts, BootstrapReason::Bootstrap).await {
        Ok(configured) if has_live_authority(&configured, now) => return Ok(configured),
        Ok(_) => {}
        Err(error) => tracing::warn!(error = %Chain(&error), "The configured bundle can't be had"),
    }
    tracing::warn!(
        authorities = last.x509_authorities.len(),
        "All X.509 authorities that this agent knows have expired: it takes a server whose CA one of them named as its successor, or \
         that the configured bundle knows by then"
    );
    Ok(Arc::clone(last))
}

/// What the source says now.
async fn configured(parts: &Parts, reason: BootstrapReason) -> Result<Arc<Bundle>, AttestError> {
    let attempt = parts.distrust.asks(reason, parts.clock.now());
    tracing::info!(attempt = attempt.number, mode = reason.name(), "Getting the bundle to begin with");
    let bundle = parts.settings.bootstrap.bundle(attempt).await?;
    check_bundle(&bundle, &parts.settings.trust_domain)?;
    Ok(Arc::new(bundle))
}

fn has_live_authority(bundle: &Bundle, now: u64) -> bool {
    use der::Decode as _;
    bundle.x509_authorities.iter().any(|authority| {
        x509_cert::Certificate::from_der(&authority.certificate).is_ok_and(|certificate| {
            certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs() > now
        })
    })
}

/// A key of ours on its way to an SVID: a fresh one, or the one that hardware holds.
struct NewKey {
    key: SvidKey,
    public_key: Vec<u8>,
    csr: Vec<u8>,
}

impl NewKey {
    async fn stage(parts: &Parts, current: Option<&AgentSvid>) -> Result<Self, AttestError> {
        if let Some(held_keys) = &parts.held_keys {
            let key = held_keys.svid_key().await.map_err(UpstreamError::from)?;
            let signs = Arc::clone(&key);
            let csr = tokio::task::spawn_blocking(move || sign_csr(&signs, None)).await;
            let csr = csr.map_err(|_| AttestError::Interrupted)??;
            return Ok(Self { public_key: key.public_key().to_vec(), key: SvidKey::Held(key), csr });
        }
        let call = meters::GENERATE_KEY.start();
        let key = call.ended(Self::generate(parts, current))?;
        let csr = sign_csr(&key, None)?;
        let public_key = key.public_key().to_vec();
        Ok(Self { key: SvidKey::Own(Arc::clone(key.private_key())), public_key, csr })
    }

    fn generate(parts: &Parts, current: Option<&AgentSvid>) -> Result<KeyPair, AttestError> {
        let key = KeyPair::generate(SvidKeyType::EcP256)?;
        parts.data.stage_key(&key, current.map(|current| current.svid.public_key()))?;
        Ok(key)
    }
}

/// Why an attestation or renewal brought no SVID.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// There is nobody to believe.
    #[error("can't attest the server")]
    Bootstrap(#[from] BootstrapError),
    /// The server, or the way to it, failed.
    #[error("failed to attest")]
    Upstream(#[from] UpstreamError),
    /// Too slow as a whole.
    #[error("node attestation took longer than {} s", ATTESTATION_TIMEOUT.as_secs())]
    TimedOut,
    /// What the server issued is not acceptable.
    #[error("what the server issued is not acceptable")]
    Issued(#[from] IssuedError),
    /// No key could be made.
    #[error("can't make the agent's key")]
    Key(#[from] KeyError),
    /// The thread that waits for the hardware ended.
    #[error("making the CSR was interrupted")]
    Interrupted,
    /// No CSR could be made.
    #[error("can't make the agent's CSR")]
    Csr(#[from] CsrBuildError),
    /// The new state can't be kept.
    #[error("can't keep the agent's new SVID")]
    Persist(#[from] PersistError),
}

impl AttestError {
    /// Whether the server said no, as opposed to not being able to say yes.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Upstream(UpstreamError::PermissionDenied { .. } | UpstreamError::AgentDenied { .. }))
    }

    /// Whether a first attestation need not be tried again: refused, or (a spent join token) of no use to the server.
    pub(crate) fn is_final(&self) -> bool {
        self.is_refusal() || matches!(self, Self::Upstream(UpstreamError::InvalidArgument { .. }))
    }

    /// The server's reason, where it gave one.
    pub(crate) fn denial(&self) -> Option<AgentDenial> {
        match self {
            Self::Upstream(UpstreamError::AgentDenied { reason, .. }) => Some(*reason),
            _ => None,
        }
    }
}
