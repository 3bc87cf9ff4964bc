//! Why a call ends, and what its caller is told: the one place where this crate chooses codes and words. Clients act on both
//! (InvalidArgument is final, `no identity issued` withdraws material), so they are SPIRE's.

use std::collections::BTreeSet;
use std::sync::Arc;

use plastron_agent_core::WorkloadAttestationError;
use plastron_agent_core::jwt::{AudienceError, JwtSvidError};
use plastron_agent_core::upstream::UpstreamError;
use plastron_spiffe::jwt::JwtError;
use plastron_spiffe::{BundleError, SelectorError, SpiffeId, SpiffeIdError};
use plastron_transport::PeerError;
use tonic::Status;

use crate::limits::{MAX_REASON_BYTES, MAX_SECRET_NAMES};

/// Why a call is refused or a stream ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the connection does not tell which process is at its other end")]
    NoPeer,
    #[error("the process at the other end of the connection can't be known")]
    Peer(#[source] PeerError),
    #[error("the workload can't be attested")]
    Attestation(#[from] WorkloadAttestationError),
    #[error("process {pid}, to which the stream belongs, is gone")]
    ProcessGone { pid: i32 },
    #[error("no registration entry matches the workload")]
    NoIdentity,
    #[error("the trust domain's bundle holds no X.509 authority")]
    EmptyBundle,
    #[error("nothing to deliver yet: not synchronised with the server, or the SVID is not signed yet")]
    NotReady,
    #[error("the agent is shutting down")]
    ShuttingDown,
    #[error("the audience can't be used")]
    Audience(#[source] AudienceError),
    #[error("the requested ID can't be used")]
    RequestedId(#[source] SpiffeIdError),
    #[error("no JWT-SVID is to be had")]
    Token(#[source] Arc<JwtSvidError>),
    #[error("no audience to validate a token against")]
    NoAudience,
    #[error("no token to validate")]
    NoToken,
    #[error("the token is not valid")]
    InvalidToken(#[source] JwtError),
    #[error("the JWT authorities can't be written as a JWK set")]
    Jwks(#[source] BundleError),
    #[error("none of the {entries} entries of the caller is a delegate's; the first is {first}")]
    NotADelegate { entries: usize, first: SpiffeId },
    #[error("neither selectors nor a PID, or both")]
    NoTarget,
    #[error("the selectors can't be used")]
    TargetSelectors(#[source] SelectorError),
    #[error("the health of one service is asked for")]
    OneServicesHealth,
    #[error("WIT-SVIDs are not served")]
    NoWitSvids,
    #[error("bundles for WIT-SVIDs are not served")]
    NoWitBundles,
    #[error("the workload may not have secrets of the names {}", shortened(format!("{names:?}")))]
    SecretNames { names: BTreeSet<String> },
    #[error(
        "bundles of several trust domains need Envoy's SPIFFE validator, which is disabled or which this Envoy does not have"
    )]
    NeedsSpiffeValidator,
    #[error("{got} names of secrets in one request, more than {MAX_SECRET_NAMES}")]
    TooManySecretNames { got: usize },
    #[error("too many calls for secrets at once")]
    TooManySecretCalls,
    #[error("{method} is called more often than its rate limit allows whoever has these selectors")]
    TooOften { method: &'static str },
    #[error("secrets are not served incrementally")]
    NoSecretDeltas,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoPeer | Refusal::Peer(_) | Refusal::Attestation(_) | Refusal::ProcessGone { .. } => {
                Self::unavailable("workload attestation failed")
            }
            Refusal::NoIdentity => Self::permission_denied("no identity issued"),
            Refusal::EmptyBundle => Self::unavailable("the trust domain has no X.509 authority yet"),
            Refusal::NotReady => Self::unavailable("the agent has no SVID for this workload yet, try again"),
            Refusal::ShuttingDown => Self::unavailable("the agent is shutting down"),
            Refusal::Audience(error) => Self::invalid_argument(error.to_string()),
            Refusal::RequestedId(error) => {
                Self::invalid_argument(shortened(format!("invalid requested SPIFFE ID: {}", Escaped(&error))))
            }
            Refusal::Token(error) => no_token(&error),
            Refusal::NoAudience => Self::invalid_argument("audience must be specified"),
            Refusal::NoToken => Self::invalid_argument("svid must be specified"),
            Refusal::InvalidToken(error) => Self::invalid_argument(shortened(reason(&error))),
            Refusal::Jwks(_) => Self::unavailable("could not serialize response"),
            Refusal::NotADelegate { .. } => Self::permission_denied("caller not configured as an authorized delegate"),
            Refusal::NoTarget => Self::invalid_argument("must provide either selectors or non-zero PID, but not both"),
            Refusal::TargetSelectors(_) => Self::invalid_argument("could not parse provided selectors"),
            Refusal::OneServicesHealth => Self::invalid_argument("per-service health is not supported"),
            Refusal::NoWitSvids => Self::unimplemented("fetching WIT-SVIDs is not implemented"),
            Refusal::NoWitBundles => Self::unimplemented("fetching WIT bundles is not implemented"),
            Refusal::SecretNames { names } => {
                let names = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" ");
                let text = format!("workload is not authorized for the requested identities [{names}]");
                Self::invalid_argument(shortened(text))
            }
            Refusal::NeedsSpiffeValidator => Self::internal("unable to use \"SPIFFE validator\" on Envoy below 1.17"),
            Refusal::TooManySecretNames { .. } => {
                Self::invalid_argument(format!("at most {MAX_SECRET_NAMES} resource names are possible"))
            }
            Refusal::TooManySecretCalls => Self::resource_exhausted("too many calls for secrets at once, try again"),
            Refusal::TooOften { method } => Self::unavailable(format!("rate limit exceeded for {method}")),
            Refusal::NoSecretDeltas => Self::unimplemented("Method is not implemented"),
        }
    }
}

/// SPIRE's words up to the colon. Behind it a coarse reason: the agent's log has the whole of it.
fn no_token(error: &JwtSvidError) -> Status {
    let reason = match error {
        JwtSvidError::CutOff | JwtSvidError::EntryGone => return Refusal::NoIdentity.into(),
        JwtSvidError::ShuttingDown => return Refusal::ShuttingDown.into(),
        JwtSvidError::Busy => "too many are asked for at once, try again",
        JwtSvidError::Issued(_) => "the server issued an unacceptable one",
        JwtSvidError::Upstream(error) => match error {
            UpstreamError::Unavailable { .. } | UpstreamError::DeadlineExceeded { .. } => "the server can't be reached",
            UpstreamError::UntrustedServer { .. } => "the server is not trusted",
            UpstreamError::Unimplemented { message, .. } if message.contains(JWT_DISABLED) => {
                "rpc error: code = Unimplemented desc = JWT functionality is disabled"
            }
            UpstreamError::AgentDenied { .. }
            | UpstreamError::PermissionDenied { .. }
            | UpstreamError::InvalidArgument { .. }
            | UpstreamError::OwnIdentity { .. }
            | UpstreamError::ResourceExhausted { .. }
            | UpstreamError::Unimplemented { .. }
            | UpstreamError::Status { .. }
            | UpstreamError::MalformedReply { .. }
            | UpstreamError::Attestor(_) => "the server issues none",
        },
    };
    Status::unavailable(format!("could not fetch JWT-SVID: {reason}"))
}

/// What SPIRE's server says where JWT-SVIDs are switched off.
const JWT_DISABLED: &str = "JWT functionality is disabled";

/// What whoever wrote a token or a request had us repeat, without its end where it is long.
pub(crate) fn shortened(text: String) -> String {
    const END: char = '…';
    if text.len() <= MAX_REASON_BYTES {
        return text;
    }
    let room = MAX_REASON_BYTES - END.len_utf8();
    let fits = text.char_indices().take_while(|(start, c)| start + c.len_utf8() <= room);
    fits.map(|(_, c)| c).chain([END]).collect()
}

/// Why a token is not valid: the check, and what it found. SPIRE's words where a client may look for them.
fn reason(error: &JwtError) -> String {
    match error {
        JwtError::Expired { .. } => "token has expired".to_owned(),
        JwtError::ExpiryMissing => "token missing exp claim".to_owned(),
        JwtError::SubjectMissing => "token missing subject claim".to_owned(),
        JwtError::KeyIdMissing => "token header missing key id".to_owned(),
        JwtError::Audience { audience, expected } => {
            format!("expected audience in [{expected:?}] (audience={audience:?})")
        }
        JwtError::UnknownTrustDomain { trust_domain } => {
            format!("no keys found for trust domain {:?}", trust_domain.as_str())
        }
        JwtError::UnknownKey { trust_domain, key_id } => {
            format!("public key {key_id:?} not found in trust domain {:?}", trust_domain.as_str())
        }
        other => Escaped(other).to_string(),
    }
}

/// An error with its causes in one line. Whoever sent the token wrote a part of it.
pub(crate) struct Escaped<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text.chars().try_for_each(|c| match c {
            '\'' | '"' => write!(f, "{c}"),
            c => write!(f, "{}", c.escape_debug()),
        })
    }
}
