//! The server's half: chain, challenge, response.

use std::net::IpAddr;
use std::sync::Arc;

use plastron_attestation_appraise::{Check, Checklist, Verdict};
use plastron_plugins::node::{
    Admission, AdmissionContext, DocumentProof, NodeAttestor, NodeConversation, NodeStep, Refusal, RefusalCode,
    TrustBundle,
};
use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::{Purpose, X509Svid, verify_chain};
use rustls_pki_types::UnixTime;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{KeyUsage, SubjectAltName};

use crate::NAME;
use crate::chain::{CaBundle, ChainLimits, ClaimedChain, TrustedChain};
use crate::message::{Payload, Response};
use crate::possession::{self, NONCE_LEN};
use crate::selectors::Description;
use crate::template::{Fields, PathTemplate};

/// Whose certificates nodes show.
#[derive(Clone)]
pub enum Mode {
    /// Those of an outside PKI (`external_pki`).
    ExternalPki {
        /// The CAs that are trusted.
        roots: CaBundle,
    },
    /// X.509-SVIDs of this trust domain (`spiffe`), exchanged for an agent's.
    Spiffe {
        /// Where the trust domain's own bundle is.
        bundle: Arc<dyn TrustBundle>,
        /// What the path of the SPIFFE ID begins with; it ends with `/`.
        prefix: String,
    },
}

/// What the configuration decides.
#[derive(Clone)]
pub struct X509PopPolicy {
    /// Whose certificates nodes show.
    pub mode: Mode,
    /// The path of the agent's ID below `/spire/agent`.
    pub agent_path: PathTemplate,
    /// Limits before anything is verified.
    pub limits: ChainLimits,
    /// The node's address must be an IP address of its certificate (`verify_client_ip`).
    pub client_address: ClientAddress,
}

/// Whether the address that a node comes from counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// It is not compared with anything.
    NotCompared,
    /// It is an IP address among the certificate's subject alternative names.
    InCertificate,
}

/// Admits nodes by certificates that they have the keys of.
pub struct X509PopNodeAttestor {
    policy: Arc<X509PopPolicy>,
}

impl X509PopNodeAttestor {
    /// With this policy.
    pub fn new(policy: X509PopPolicy) -> Self {
        Self { policy: Arc::new(policy) }
    }
}

impl NodeAttestor for X509PopNodeAttestor {
    fn name(&self) -> &str {
        NAME
    }

    fn begin(&self, context: AdmissionContext) -> Box<dyn NodeConversation> {
        Box::new(Conversation {
            policy: Arc::clone(&self.policy),
            context,
            checks: Checklist::new(),
            stage: Stage::Payload,
        })
    }
}

struct Conversation {
    policy: Arc<X509PopPolicy>,
    context: AdmissionContext,
    checks: Checklist,
    stage: Stage,
}

enum Stage {
    Payload,
    Response(Box<Challenged>),
    Over,
}

/// A chain whose key was sent a nonce.
struct Challenged {
    chain: TrustedChain,
    /// Mode `spiffe`: the SPIFFE ID that is exchanged.
    exchanged: Option<SpiffeId>,
    nonce: [u8; NONCE_LEN],
}

#[async_trait::async_trait]
impl NodeConversation for Conversation {
    async fn step(&mut self, message: &[u8], now: UnixTime) -> Result<NodeStep, Refusal> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Payload => self.challenge(message, now),
            Stage::Response(challenged) => self.admit(*challenged, message),
            Stage::Over => Err(self.refuse(Check::Sequence, RefusalCode::Malformed, "the conversation is over")),
        }
    }
}

impl Conversation {
    /// Checks, in order: the payload parses; the chain is within the limits; it leads to a CA that is trusted, in mode `spiffe` as an
    /// X.509-SVID of this trust domain below the prefix; the leaf is for digital signatures; the node's address, where it counts.
    fn challenge(&mut self, message: &[u8], now: UnixTime) -> Result<NodeStep, Refusal> {
        let payload: Payload = serde_json::from_slice(message)
            .map_err(|error| self.refuse(Check::Malformed, RefusalCode::Malformed, error))?;
        let certificates = payload.certificates.into_iter().map(|certificate| certificate.0).collect();
        let claimed = ClaimedChain::parse(certificates, self.policy.limits)
            .map_err(|error| self.refuse(Check::CertificateLimits, RefusalCode::Malformed, error))?;
        self.checks.pass(Check::CertificateLimits, format!("{} certificates", claimed.certificates().len()));
        let (chain, exchanged) = self.verify(claimed, now)?;
        self.check_key_usage(&chain)?;
        self.check_address(&chain)?;
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|error| Refusal {
            verdict: Verdict::Error,
            ..self.refuse(Check::ProofOfPossession, RefusalCode::Unavailable, format!("no random numbers: {error}"))
        })?;
        let challenge = serde_json::to_vec(&chain.key.kind.challenge(nonce)).map_err(|error| Refusal {
            verdict: Verdict::Error,
            ..self.refuse(Check::ProofOfPossession, RefusalCode::Unavailable, error)
        })?;
        self.stage = Stage::Response(Box::new(Challenged { chain, exchanged, nonce }));
        Ok(NodeStep::Challenge(challenge))
    }

    fn verify(&mut self, claimed: ClaimedChain, now: UnixTime) -> Result<(TrustedChain, Option<SpiffeId>), Refusal> {
        let policy = Arc::clone(&self.policy);
        match &policy.mode {
            Mode::ExternalPki { roots } => {
                let chain = claimed
                    .verify(roots, now)
                    .map_err(|error| self.refuse(Check::CertificatePath, RefusalCode::Denied, error))?;
                self.checks.pass(Check::CertificatePath, format!("{} certificates above the leaf", chain.above.len()));
                Ok((chain, None))
            }
            Mode::Spiffe { bundle, prefix } => {
                let denied = |this: &mut Self, error: &dyn std::fmt::Display| {
                    this.refuse(Check::CertificatePath, RefusalCode::Denied, error)
                };
                let chain = claimed.certificates().iter().map(|certificate| certificate.as_ref().to_vec()).collect();
                let svid = X509Svid::parse(chain).map_err(|error| denied(self, &error))?;
                let Some(bundle) = bundle.trust_bundle() else {
                    return Err(denied(self, &"this server has no trust bundle yet"));
                };
                let verified =
                    verify_chain(svid, bundle.as_ref(), Purpose::Any, now).map_err(|error| denied(self, &error))?;
                let id = verified.id().clone();
                if !id.path().starts_with(prefix.as_str()) {
                    let reason = format!("{id} does not begin with the prefix {prefix:?} (svid_prefix)");
                    return Err(self.refuse(Check::AgentPath, RefusalCode::Denied, reason));
                }
                let chain = claimed.verified_as_svid(&verified).map_err(|error| denied(self, &error))?;
                self.checks.pass(Check::CertificatePath, format!("an X.509-SVID of {id}"));
                Ok((chain, Some(id)))
            }
        }
    }

    /// RFC 5280, section 4.2.1.3: the key signs other things than certificates and lists. SPIRE demands that it says so.
    fn check_key_usage(&mut self, chain: &TrustedChain) -> Result<(), Refusal> {
        match chain.leaf.tbs_certificate().get_extension::<KeyUsage>() {
            Ok(Some((_critical, usage))) if usage.digital_signature() => {
                self.checks.pass(Check::CertificateKeyUsage, "digitalSignature");
                Ok(())
            }
            _other => {
                let reason = "certificate not intended for digital signature use";
                Err(self.refuse(Check::CertificateKeyUsage, RefusalCode::Denied, reason))
            }
        }
    }

    fn check_address(&mut self, chain: &TrustedChain) -> Result<(), Refusal> {
        if self.policy.client_address == ClientAddress::NotCompared {
            return Ok(());
        }
        let Some(peer) = self.context.peer else {
            let reason = "the node's address is not known (verify_client_ip)";
            return Err(self.refuse(Check::ClientAddress, RefusalCode::Denied, reason));
        };
        let peer = peer.to_canonical();
        if addresses(chain).contains(&peer) {
            self.checks.pass(Check::ClientAddress, peer.to_string());
            return Ok(());
        }
        let reason = format!("client IP {peer} does not match any certificate IP SAN");
        Err(self.refuse(Check::ClientAddress, RefusalCode::Denied, reason))
    }

    /// Checks, in order: the response parses; the leaf's key signed both nonces; the template makes a path.
    fn admit(&mut self, challenged: Challenged, message: &[u8]) -> Result<NodeStep, Refusal> {
        let Challenged { chain, exchanged, nonce } = challenged;
        let response: Response = serde_json::from_slice(message)
            .map_err(|error| self.refuse(Check::Malformed, RefusalCode::Malformed, error))?;
        let _possession = possession::verify(&chain.key, &nonce, &response)
            .map_err(|error| self.refuse(Check::ProofOfPossession, RefusalCode::Denied, error))?;
        self.checks.pass(Check::ProofOfPossession, format!("{:?}", chain.key.kind));
        let trust_domain = self.context.trust_domain.clone();
        let description = Description::of(&chain, &trust_domain);
        let trimmed = match (&self.policy.mode, &exchanged) {
            (Mode::Spiffe { prefix, .. }, Some(id)) => id.path().strip_prefix(prefix.as_str()).unwrap_or_default(),
            _external => "",
        };
        let path = self.policy.agent_path.render(&Fields {
            trust_domain: trust_domain.as_str(),
            plugin_name: NAME,
            fingerprint: &description.fingerprint,
            serial_number_hex: &description.serial_number_hex,
            common_name: &description.common_name,
            svid_path_trimmed: trimmed,
            uri_san_selectors: &description.uri_san_selectors,
        });
        let proof = path.map_err(|error| error.to_string()).and_then(|path| {
            let selectors = description.selectors();
            DocumentProof::new(NAME, &trust_domain, &path, selectors, self.checks.clone())
                .map_err(|error| error.to_string())
        });
        let proof = proof.map_err(|reason| self.refuse(Check::AgentPath, RefusalCode::Denied, reason))?;
        Ok(NodeStep::Admit(Admission::Document(proof)))
    }

    fn refuse(&mut self, check: Check, code: RefusalCode, detail: impl std::fmt::Display) -> Refusal {
        let detail = detail.to_string().escape_debug().to_string();
        self.checks.fail(check, detail.clone());
        let records = std::mem::take(&mut self.checks).into_records();
        Refusal { check, detail, verdict: Verdict::Untrusted, code, records, node: None }
    }
}

/// The IP addresses of a certificate.
fn addresses(chain: &TrustedChain) -> Vec<IpAddr> {
    let Ok(Some((_critical, SubjectAltName(names)))) = chain.leaf.tbs_certificate().get_extension::<SubjectAltName>()
    else {
        return Vec::new();
    };
    let address = |name: &GeneralName| {
        let GeneralName::IpAddress(octets) = name else { return None };
        let octets = octets.as_bytes();
        let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
        v4.or_else(|_other| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok().map(|address| address.to_canonical())
    };
    names.iter().filter_map(address).collect()
}
