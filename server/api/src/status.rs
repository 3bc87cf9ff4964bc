//! The one place where a failure becomes a gRPC status: the peer learns a code and what is wrong with its own request; the log learns the rest.

pub(crate) mod federation;
mod signing;
mod words;

use std::error::Error;
use std::time::Duration;

use plastron_hsm::KeyStoreError;
use plastron_plugins::node::RefusalCode;
use plastron_proto::types::{self, PermissionDeniedDetails};
use plastron_server_core::admission::{AdmissionError, RenewalError};
use plastron_server_core::authorization::{AgentDenial, Denied};
use plastron_server_core::bundles::BundleError;
use plastron_server_core::issuance::{BatchRefusal, JwtRefusal, SvidRefusal};
use plastron_server_core::local_authority::LocalAuthorityError;
use plastron_server_core::minting::MintError;
use plastron_server_core::nesting::NestingError;
use plastron_server_core::orphans::{DestroyRefusal, OrphanError};
use plastron_server_core::page::PageTokenError;
use plastron_server_core::pending::DecideError;
use plastron_server_core::registration::{EntryError, RegistrationError};
use plastron_server_core::store::{AdmitError, NodeError, PendingError, StoreError, TokenError};
use plastron_server_core::tokens::JoinTokenError;
use plastron_server_core::watch::Ended;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::convert::ConvertError;
use crate::ratelimit::RateLimited;
use federation::FederationFailure;
use signing::{destroy, jwt, local_authority, mint, nesting, orphans, sign};
pub(crate) use words::decoded;
use words::{csr, shortened};

/// Whatever can go wrong with a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What is wrong with the request, after what was to be done with it.
    #[error("{step}")]
    Request { step: &'static str, source: ConvertError },
    #[error("{0}")]
    Protocol(&'static str),
    #[error("failed to attest")]
    Admission(#[from] AdmissionError),
    #[error("failed to renew agent SVID")]
    Renewal(#[from] RenewalError),
    #[error("{step}")]
    Node { step: &'static str, source: NodeError },
    #[error(transparent)]
    Token(#[from] JoinTokenError),
    #[error("failed to list the TPMs that wait")]
    PendingList(StoreError),
    #[error("failed to decide on a TPM")]
    Decide(#[from] DecideError),
    #[error("failed to look for keys that no journal refers to")]
    Orphans(#[source] OrphanError),
    #[error("failed to destroy the key")]
    Destroy(#[source] DestroyRefusal),
    #[error(transparent)]
    Page(#[from] PageTokenError),
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    #[error("{step}")]
    Entry { step: &'static str, source: EntryError },
    #[error(transparent)]
    EntryAsIs(EntryError),
    #[error("failed to update entry")]
    NoEntryToUpdate,
    #[error(transparent)]
    Svid(#[from] SvidRefusal),
    #[error(transparent)]
    Jwt(JwtRefusal),
    #[error("JWT functionality is disabled")]
    JwtDisabled,
    #[error(transparent)]
    Mint(MintError),
    #[error(transparent)]
    Batch(#[from] BatchRefusal),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("rejecting request due to rate limiting")]
    RateLimited(#[from] RateLimited),
    #[error("{what} took longer than {seconds} s")]
    Idle { what: &'static str, seconds: u64 },
    #[error("no place for one more of the {what}: {all} at a time and {of_source} of one source, retry later")]
    Busy { what: &'static str, all: usize, of_source: usize },
    #[error("{what} is not implemented by this server")]
    Unimplemented { what: &'static str },
    #[error(transparent)]
    LocalAuthority(LocalAuthorityError),
    #[error("WIT-SVID functionality is not yet implemented")]
    NoWit,
    #[error(transparent)]
    Nesting(NestingError),
    #[error(transparent)]
    Federation(#[from] FederationFailure),
    #[error("federation relationship does not exist")]
    NoRelationship,
    #[error("WIT functionality is disabled")]
    WitDisabled,
    #[error("the push stream ends")]
    Ended(#[from] Ended),
}

/// How much the peer is told.
enum Told {
    /// Every step and its reason: what the peer sent is at fault.
    Chain,
    /// The first line: the reason lies in this server and stands in its log.
    Step,
}

impl Failure {
    pub(crate) fn code(&self) -> Code {
        self.verdict().0
    }

    fn verdict(&self) -> (Code, Told) {
        match self {
            Self::Denied(Denied::Method { .. } | Denied::Agent { .. }) => (Code::PermissionDenied, Told::Chain),
            // Not this server's secret, and an operator on the admin socket has no log to look it up in.
            Self::Denied(Denied::Unrecorded(_)) | Self::Batch(BatchRefusal::Audit(_)) => {
                (Code::Unavailable, Told::Chain)
            }
            Self::Denied(Denied::Undecided { .. }) => (Code::Unavailable, Told::Step),
            Self::Request { .. } | Self::Protocol(_) => (Code::InvalidArgument, Told::Chain),
            Self::Admission(error) => admission(error),
            Self::Renewal(error) => renewal(error),
            Self::Node { source, .. } => node(source),
            Self::Token(error) => token(error),
            Self::PendingList(_) => (Code::Internal, Told::Step),
            Self::Decide(DecideError::Reason { .. }) => (Code::InvalidArgument, Told::Chain),
            Self::Decide(DecideError::Pending(PendingError::NotFound { .. })) => (Code::NotFound, Told::Chain),
            Self::Decide(DecideError::Pending(PendingError::Store(_))) => (Code::Internal, Told::Step),
            Self::Orphans(error) => orphans(error),
            Self::Destroy(refusal) => destroy(refusal),
            Self::Page(_) | Self::Batch(BatchRefusal::TooLarge { .. }) => (Code::InvalidArgument, Told::Chain),
            Self::Registration(RegistrationError::TooMany { .. }) => (Code::InvalidArgument, Told::Chain),
            Self::Registration(RegistrationError::Store(_)) => (Code::Internal, Told::Step),
            Self::Entry { source, .. } | Self::EntryAsIs(source) => (entry(source), Told::Chain),
            Self::Svid(SvidRefusal::EntryNotFound { .. }) => (Code::NotFound, Told::Step),
            Self::Svid(SvidRefusal::Agent { .. }) => (Code::PermissionDenied, Told::Step),
            Self::Svid(SvidRefusal::Csr(_)) => (Code::InvalidArgument, Told::Chain),
            Self::Svid(SvidRefusal::Sign(error)) => (sign(error), Told::Step),
            Self::Jwt(error) => jwt(error),
            Self::JwtDisabled => (Code::Unimplemented, Told::Chain),
            Self::Mint(error) => mint(error),
            Self::Bundle(BundleError::Store(_)) => (Code::Internal, Told::Step),
            Self::Bundle(BundleError::KeyIdTaken { .. }) => (Code::AlreadyExists, Told::Chain),
            Self::Bundle(
                BundleError::Nothing
                | BundleError::TooMany { .. }
                | BundleError::X509Authority { .. }
                | BundleError::JwtAuthority { .. },
            ) => (Code::InvalidArgument, Told::Chain),
            Self::RateLimited(_) | Self::Busy { .. } => (Code::ResourceExhausted, Told::Chain),
            Self::Idle { .. } => (Code::DeadlineExceeded, Told::Chain),
            Self::Unimplemented { .. } => (Code::Unimplemented, Told::Chain),
            Self::LocalAuthority(error) => local_authority(error),
            Self::Nesting(error) => nesting(error),
            Self::Federation(failure) => federation::verdict(failure),
            Self::NoRelationship => (Code::NotFound, Told::Chain),
            Self::NoWit | Self::WitDisabled => (Code::Unimplemented, Told::Chain),
            Self::NoEntryToUpdate => (Code::NotFound, Told::Chain),
            Self::Ended(Ended::Replaced) => (Code::Aborted, Told::Chain),
            Self::Ended(Ended::Stopping) => (Code::Unavailable, Told::Chain),
        }
    }

    fn message(&self) -> String {
        let message = match (csr(self), self.verdict().1) {
            (Some(of_csr), _) => of_csr,
            (None, Told::Step) => self.to_string(),
            (None, Told::Chain) => explain(self),
        };
        shortened(message)
    }

    /// What became of an entry; its own error says all there is to say.
    pub(crate) fn from_entry(source: EntryError) -> Self {
        Self::EntryAsIs(source)
    }

    pub(crate) fn create(source: EntryError) -> Self {
        Self::entry("failed to create entry", source)
    }

    pub(crate) fn update(source: EntryError) -> Self {
        match source {
            EntryError::NotFound { .. } => Self::NoEntryToUpdate,
            source => Self::entry("failed to update entry", source),
        }
    }

    fn entry(step: &'static str, source: EntryError) -> Self {
        match source {
            EntryError::Invalid(_) => Self::Entry { step, source },
            source => Self::EntryAsIs(source),
        }
    }

    /// A failure of the server is for its own log, whoever else is told.
    pub(crate) fn log_if_ours(&self) {
        if matches!(self.code(), Code::Internal | Code::Unavailable) || key_store_error(self).is_some() {
            tracing::error!(code = ?self.code(), reason = explain(self), "Request failed");
        }
    }

    /// The status of one item of a batch.
    pub(crate) fn item(&self) -> types::Status {
        types::Status { code: self.code().into(), message: self.message() }
    }
}

/// The status of an item that was done.
pub(crate) fn ok() -> types::Status {
    types::Status { code: Code::Ok.into(), message: "OK".to_owned() }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let code = failure.code();
        failure.log_if_ours();
        let message = failure.message();
        match (agent_denial(&failure), retry_after(&failure)) {
            (Some(reason), _) => with_reason(code, message, reason),
            (None, Some(delay)) => Self::with_error_details(code, message, ErrorDetails::with_retry_info(Some(delay))),
            (None, None) => Self::new(code, message),
        }
    }
}

/// What a refused node learns. Of bad evidence it learns no more than that: which check failed stands in the audit log.
fn admission(error: &AdmissionError) -> (Code, Told) {
    match error {
        AdmissionError::UnknownAttestor { .. } => (Code::FailedPrecondition, Told::Chain),
        AdmissionError::Csr(_) | AdmissionError::NodeId => (Code::InvalidArgument, Told::Chain),
        AdmissionError::Refused(refusal) => match refusal.code {
            RefusalCode::Malformed => (Code::InvalidArgument, Told::Step),
            RefusalCode::Denied | RefusalCode::Banned => (Code::PermissionDenied, Told::Step),
            RefusalCode::NotYet => (Code::FailedPrecondition, Told::Step),
            RefusalCode::Unavailable => (Code::Unavailable, Told::Step),
        },
        AdmissionError::OtherAttestation { .. } => (Code::Internal, Told::Step),
        AdmissionError::OtherKey => (Code::PermissionDenied, Told::Step),
        AdmissionError::Admit(error) => match error {
            AdmitError::TokenUnknown => (Code::InvalidArgument, Told::Chain),
            AdmitError::Banned => (Code::PermissionDenied, Told::Chain),
            // An operator looks first, and the agent goes on asking: PermissionDenied would end it.
            AdmitError::Pending { .. } => (Code::FailedPrecondition, Told::Chain),
            AdmitError::Rejected { .. } | AdmitError::TooManyPending { .. } | AdmitError::Quarantined { .. } => {
                (Code::FailedPrecondition, Told::Step)
            }
            AdmitError::OtherEk { .. } | AdmitError::AkOfOtherNode { .. } | AdmitError::OtherAttestor { .. } => {
                (Code::PermissionDenied, Told::Step)
            }
            AdmitError::JudgedAgainstOther { .. } | AdmitError::Store(_) => (Code::Unavailable, Told::Step),
        },
        AdmissionError::Sign(error) => (sign(error), Told::Step),
        AdmissionError::Audit(_) => (Code::Unavailable, Told::Chain),
    }
}

fn renewal(error: &RenewalError) -> (Code, Told) {
    match error {
        RenewalError::Denied { .. } => (Code::PermissionDenied, Told::Chain),
        RenewalError::Csr(_) => (Code::InvalidArgument, Told::Chain),
        RenewalError::Sign(error) => (sign(error), Told::Step),
        RenewalError::Audit(_) => (Code::Unavailable, Told::Chain),
        RenewalError::Node(NodeError::Store(_)) => (Code::Unavailable, Told::Step),
        RenewalError::Node(_) => (Code::PermissionDenied, Told::Chain),
    }
}

fn entry(error: &EntryError) -> Code {
    match error {
        EntryError::Invalid(_) => Code::InvalidArgument,
        EntryError::Exists(_) | EntryError::IdTaken { .. } => Code::AlreadyExists,
        EntryError::NotFound { .. } => Code::NotFound,
        EntryError::Moved { .. } => Code::Aborted,
    }
}

fn node(error: &NodeError) -> (Code, Told) {
    match error {
        NodeError::NotFound { .. } => (Code::NotFound, Told::Step),
        NodeError::Banned { .. } | NodeError::SerialMoved { .. } => (Code::FailedPrecondition, Told::Chain),
        NodeError::Store(_) => (Code::Internal, Told::Step),
    }
}

fn token(error: &JoinTokenError) -> (Code, Told) {
    match error {
        JoinTokenError::Ttl | JoinTokenError::Form { .. } | JoinTokenError::Path | JoinTokenError::AgentId { .. } => {
            (Code::InvalidArgument, Told::Chain)
        }
        JoinTokenError::Token(TokenError::Exists) => (Code::AlreadyExists, Told::Chain),
        JoinTokenError::Token(TokenError::Store(_)) => (Code::Internal, Told::Step),
    }
}

/// The reason that an agent acts on: attest again, or stop.
fn agent_denial(failure: &Failure) -> Option<AgentDenial> {
    match failure {
        Failure::Denied(Denied::Agent { reason, .. }) => Some(*reason),
        Failure::Jwt(JwtRefusal::Agent { reason, .. }) => Some(*reason),
        Failure::Renewal(RenewalError::Denied { reason, .. }) => Some(*reason),
        Failure::Renewal(RenewalError::Node(NodeError::Banned { .. })) => Some(AgentDenial::Banned),
        Failure::Renewal(RenewalError::Node(NodeError::NotFound { .. })) => Some(AgentDenial::NotAttested),
        Failure::Renewal(RenewalError::Node(NodeError::SerialMoved { .. })) => Some(AgentDenial::NotActive),
        _ => None,
    }
}

/// How long a key store asks to be left alone for.
fn retry_after(failure: &Failure) -> Option<Duration> {
    key_store_error(failure)?.retry_after()
}

/// What a key store said, wherever in the chain it stands.
fn key_store_error(failure: &Failure) -> Option<&KeyStoreError> {
    let mut next: Option<&(dyn Error + 'static)> = Some(failure);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<KeyStoreError>() {
            return Some(error);
        }
        next = error.source();
    }
    None
}

fn with_reason(code: Code, message: String, reason: AgentDenial) -> Status {
    let details = PermissionDeniedDetails { reason: reason.number() };
    // Encoding into memory can't fail; without details an agent still learns that it is refused.
    let any = prost_types::Any::from_msg(&details).ok();
    let rich =
        tonic_types::pb::Status { code: code.into(), message: message.clone(), details: any.into_iter().collect() };
    Status::with_details(code, message, rich.encode_to_vec().into())
}

/// The whole chain of an error on one line.
pub(crate) fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both say the same to an agent, whichever of the exchange and the transaction finds the quarantine: it may ask again, because an
    /// operator can lift it.
    #[test]
    fn a_node_in_quarantine_is_told_failed_precondition() {
        let quarantined = AdmitError::Quarantined { reason: "resetCount went from 4 to 3".to_owned() };
        let status = Status::from(Failure::Admission(AdmissionError::Admit(quarantined)));
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "failed to attest"));
        let banned = Status::from(Failure::Admission(AdmissionError::Admit(AdmitError::Banned)));
        assert_eq!(banned.code(), Code::PermissionDenied);
    }

    /// An overloaded key store, and one that is left alone, say when it is worth to come back; both are failures that agents wait out.
    #[test]
    fn who_finds_the_key_store_busy_is_told_when_to_come_back() {
        let (store, reason) = ("token".to_owned(), "256 operations wait already".to_owned());
        let retry_after = Duration::from_millis(1500);
        let busy = KeyStoreError::Overloaded { store: store.clone(), reason: reason.clone(), retry_after };
        let dead = KeyStoreError::CircuitOpen { store: store.clone(), reason, retry_after };
        let late = KeyStoreError::DeadlineExceeded { store, seconds: 30 };
        let of = |error| {
            Status::from(Failure::Svid(SvidRefusal::Sign(plastron_server_core::ca::SignError::KeyStore(error))))
        };
        let told = |status: &Status| status.get_details_retry_info().and_then(|info| info.retry_delay);
        let cases = [
            (busy, Code::ResourceExhausted, Some(retry_after)),
            (dead, Code::Unavailable, Some(retry_after)),
            (late, Code::DeadlineExceeded, None),
        ];
        for (error, code, delay) in cases {
            let status = of(error);
            assert_eq!((status.code(), told(&status)), (code, delay));
            assert!(!status.message().contains("token"), "what the token is called is not the peer's business");
        }
    }
}
