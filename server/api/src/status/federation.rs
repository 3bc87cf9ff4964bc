//! What is told of foreign trust domains, with SPIRE's codes and words.

use plastron_server_core::federation::RefreshError;
use plastron_server_core::federation::bundles::SetBundleError;
use plastron_server_core::federation::relationships::SetRelationshipError;
use plastron_server_core::limits::MAX_FEDERATED_PER_CALL;
use plastron_server_core::store::{FederatedBundleError, RelationshipError};
use plastron_spiffe::{SpiffeIdError, TrustDomain};
use tonic::Code;

use super::Told;
use crate::convert::relationship::RelationshipFault;

/// What can go wrong with a foreign trust domain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FederationFailure {
    #[error("{what} is not valid")]
    TrustDomain { what: &'static str, source: SpiffeIdError },
    #[error("failed to parse trust domain")]
    UnreadTrustDomain(#[source] SpiffeIdError),
    #[error("missing trust domain")]
    NoTrustDomain,
    #[error("{got} {what} in one call, of at most {MAX_FEDERATED_PER_CALL}")]
    TooMany { what: &'static str, got: usize },
    #[error("failed to parse deletion mode: unhandled delete mode \"{got}\"")]
    DeleteMode { got: i32 },
    #[error(transparent)]
    Bundle(SetBundleError),
    /// Where the step tells more than the fault.
    #[error("{step}")]
    BundleStep { step: &'static str, source: SetBundleError },
    #[error("failed to convert federation relationship")]
    Convert(#[from] RelationshipFault),
    #[error("failed to convert federation relationship")]
    ConvertBundle(#[source] SetRelationshipError),
    #[error(transparent)]
    Relationship(SetRelationshipError),
    #[error("{step}")]
    RelationshipStep { step: &'static str, source: SetRelationshipError },
    #[error(transparent)]
    Refresh(#[from] RefreshError),
}

/// The trust domain that a message of the Bundle service names.
pub(crate) fn trust_domain_argument(name: &str) -> Result<TrustDomain, FederationFailure> {
    let what = "trust domain argument";
    TrustDomain::parse(name).map_err(|source| FederationFailure::TrustDomain { what, source })
}

/// The trust domain that a message of the TrustDomain service names.
pub(crate) fn trust_domain(name: &str) -> Result<TrustDomain, FederationFailure> {
    TrustDomain::parse(name).map_err(FederationFailure::UnreadTrustDomain)
}

/// Before anything is converted.
pub(crate) fn check_count(what: &'static str, got: usize) -> Result<(), FederationFailure> {
    if got > MAX_FEDERATED_PER_CALL { Err(FederationFailure::TooMany { what, got }) } else { Ok(()) }
}

/// What became of a bundle in this step.
pub(crate) fn bundle_step(step: &'static str) -> impl Fn(SetBundleError) -> FederationFailure {
    move |source| match source {
        SetBundleError::Store(FederatedBundleError::InUse { .. } | FederatedBundleError::Store(_)) => {
            FederationFailure::BundleStep { step, source }
        }
        source => FederationFailure::Bundle(source),
    }
}

/// What became of a relationship in this step.
pub(crate) fn relationship_step(step: &'static str) -> impl Fn(SetRelationshipError) -> FederationFailure {
    move |source| match source {
        SetRelationshipError::Store(RelationshipError::Store(_) | RelationshipError::Exists) => {
            FederationFailure::RelationshipStep { step, source }
        }
        SetRelationshipError::Fault(_) | SetRelationshipError::OtherBundle { .. } => {
            FederationFailure::ConvertBundle(source)
        }
        source => FederationFailure::Relationship(source),
    }
}

pub(super) fn verdict(failure: &FederationFailure) -> (Code, Told) {
    match failure {
        FederationFailure::TrustDomain { .. }
        | FederationFailure::UnreadTrustDomain(_)
        | FederationFailure::NoTrustDomain
        | FederationFailure::TooMany { .. }
        | FederationFailure::DeleteMode { .. }
        | FederationFailure::Convert(_)
        | FederationFailure::ConvertBundle(_) => (Code::InvalidArgument, Told::Chain),
        FederationFailure::Bundle(error) | FederationFailure::BundleStep { source: error, .. } => bundle(error),
        FederationFailure::Relationship(error) | FederationFailure::RelationshipStep { source: error, .. } => {
            relationship(error)
        }
        FederationFailure::Refresh(RefreshError::NoClient) => (Code::Unimplemented, Told::Chain),
        FederationFailure::Refresh(RefreshError::NotFound { .. }) => (Code::NotFound, Told::Chain),
        // What a foreign endpoint said is no secret of this server, and who asked has to know it.
        FederationFailure::Refresh(RefreshError::Fetch(_)) => (Code::Internal, Told::Chain),
    }
}

fn bundle(error: &SetBundleError) -> (Code, Told) {
    match error {
        SetBundleError::Own { .. } | SetBundleError::OwnDeleted | SetBundleError::Fault(_) => {
            (Code::InvalidArgument, Told::Chain)
        }
        SetBundleError::Store(FederatedBundleError::Exists) => (Code::AlreadyExists, Told::Chain),
        SetBundleError::Store(FederatedBundleError::NotFound) => (Code::NotFound, Told::Chain),
        SetBundleError::Store(FederatedBundleError::InUse { .. } | FederatedBundleError::Rollback { .. }) => {
            (Code::FailedPrecondition, Told::Chain)
        }
        SetBundleError::Store(FederatedBundleError::Store(_)) => (Code::Internal, Told::Step),
    }
}

fn relationship(error: &SetRelationshipError) -> (Code, Told) {
    match error {
        SetRelationshipError::Own | SetRelationshipError::OtherBundle { .. } | SetRelationshipError::Fault(_) => {
            (Code::InvalidArgument, Told::Chain)
        }
        SetRelationshipError::Store(RelationshipError::Exists) => (Code::AlreadyExists, Told::Chain),
        SetRelationshipError::Store(RelationshipError::NotFound) => (Code::NotFound, Told::Chain),
        SetRelationshipError::Store(RelationshipError::Store(_)) => (Code::Internal, Told::Step),
    }
}
