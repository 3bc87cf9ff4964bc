//! What is told of SVIDs that are not signed, of authorities that are not moved, and of keys that are not destroyed.

use plastron_hsm::KeyStoreError;
use plastron_server_core::ca::SignError;
use plastron_server_core::issuance::JwtRefusal;
use plastron_server_core::local_authority::LocalAuthorityError;
use plastron_server_core::minting::MintError;
use plastron_server_core::nesting::NestingError;
use plastron_server_core::orphans::{DestroyRefusal, OrphanError};
use plastron_server_core::store::{AuthorityChangeError, PublishError};
use plastron_spiffe::jwt::JwtIssueError;
use tonic::Code;

use super::Told;

pub(super) fn jwt(error: &JwtRefusal) -> (Code, Told) {
    match error {
        JwtRefusal::EntryNotFound { .. } => (Code::NotFound, Told::Step),
        JwtRefusal::Audience(_) => (Code::InvalidArgument, Told::Chain),
        JwtRefusal::Agent { .. } => (Code::PermissionDenied, Told::Step),
        JwtRefusal::Sign(error) => (sign(error), Told::Step),
        JwtRefusal::Audit(_) => (Code::Unavailable, Told::Chain),
    }
}

pub(super) fn mint(error: &MintError) -> (Code, Told) {
    match error {
        MintError::MissingCsr
        | MintError::Csr(_)
        | MintError::CsrSignature
        | MintError::NoUri
        | MintError::SeveralUris { .. }
        | MintError::Uri(_)
        | MintError::UriNotAWorkload(_)
        | MintError::OtherName { .. }
        | MintError::DnsName(_)
        | MintError::DnsNameOverlap(_)
        | MintError::Subject(_)
        | MintError::NotAWorkload(_)
        | MintError::Audience(_) => (Code::InvalidArgument, Told::Chain),
        MintError::SignX509(error) | MintError::SignJwt(error) => (sign(error), Told::Step),
        MintError::Audit(_) => (Code::Unavailable, Told::Chain),
    }
}

pub(super) fn nesting(error: &NestingError) -> (Code, Told) {
    match error {
        NestingError::Csr(_)
        | NestingError::CsrSignature
        | NestingError::JwtAuthority(_)
        | NestingError::KeyIdTooLong { .. }
        | NestingError::Ended { .. } => (Code::InvalidArgument, Told::Chain),
        NestingError::NotDownstream => (Code::PermissionDenied, Told::Chain),
        NestingError::KeyIdTaken { .. } => (Code::AlreadyExists, Told::Chain),
        NestingError::TooMany { .. } | NestingError::BelowUsed { .. } => (Code::ResourceExhausted, Told::Chain),
        NestingError::Sign(error) => (sign(error), Told::Step),
        NestingError::Audit(_) => (Code::Unavailable, Told::Chain),
        NestingError::Upstream(_) => (Code::Unavailable, Told::Step),
        NestingError::Publish(PublishError::ShareUsed { .. }) => (Code::ResourceExhausted, Told::Chain),
        NestingError::Publish(PublishError::Store(_)) => (Code::Internal, Told::Step),
    }
}

pub(super) fn local_authority(error: &LocalAuthorityError) -> (Code, Told) {
    match error {
        LocalAuthorityError::JwtDisabled => (Code::Unimplemented, Told::Chain),
        LocalAuthorityError::Initializing => (Code::Unavailable, Told::Chain),
        LocalAuthorityError::NoAuthorityId
        | LocalAuthorityError::UnexpectedAuthorityId
        | LocalAuthorityError::TaintCurrent
        | LocalAuthorityError::TaintNotOld { .. }
        | LocalAuthorityError::InvalidAuthorityId(_)
        | LocalAuthorityError::TaintUpstreamId(_)
        | LocalAuthorityError::RevokeUpstreamId(_) => (Code::InvalidArgument, Told::Chain),
        LocalAuthorityError::UpstreamAuthority { .. } | LocalAuthorityError::NoUpstreamAuthority => {
            (Code::FailedPrecondition, Told::Chain)
        }
        // The request is at fault, and SPIRE answers Internal all the same: scripts match on it.
        LocalAuthorityError::NotPrepared { .. } => (Code::Internal, Told::Chain),
        LocalAuthorityError::Change { source, .. } => match source {
            AuthorityChangeError::NotFound
            | AuthorityChangeError::AlreadyTainted
            | AuthorityChangeError::NotTainted => (Code::Internal, Told::Chain),
            AuthorityChangeError::Store(_) => (Code::Internal, Told::Step),
        },
        LocalAuthorityError::Prepare { .. } | LocalAuthorityError::Activate { .. } => (Code::Internal, Told::Step),
    }
}

pub(super) fn orphans(error: &OrphanError) -> (Code, Told) {
    match error {
        OrphanError::CannotForget | OrphanError::Making => (Code::FailedPrecondition, Told::Chain),
        OrphanError::TooMany { .. } => (Code::InvalidArgument, Told::Chain),
        OrphanError::KeyStore(error) => (key_store(error), Told::Chain),
        OrphanError::Store(_) => (Code::Internal, Told::Step),
    }
}

pub(super) fn destroy(refusal: &DestroyRefusal) -> (Code, Told) {
    match refusal {
        DestroyRefusal::NoSuchKey { .. } => (Code::NotFound, Told::Chain),
        DestroyRefusal::Referenced { .. } | DestroyRefusal::Recent { .. } | DestroyRefusal::InTheMaking { .. } => {
            (Code::FailedPrecondition, Told::Chain)
        }
        DestroyRefusal::Audit(_) => (Code::Unavailable, Told::Step),
        DestroyRefusal::KeyStore(error) => (key_store(error), Told::Chain),
    }
}

pub(super) fn sign(error: &SignError) -> Code {
    match error {
        // A tainted or revoked authority is replaced within seconds.
        SignError::Expired { .. } | SignError::Authority(_) => Code::Unavailable,
        SignError::JwtDisabled => Code::Unimplemented,
        SignError::Jwt(error) => match error {
            JwtIssueError::RootPath { .. } | JwtIssueError::Audience | JwtIssueError::TooLarge { .. } => {
                Code::InvalidArgument
            }
            JwtIssueError::KeyId
            | JwtIssueError::Validity { .. }
            | JwtIssueError::Signature { .. }
            | JwtIssueError::Encoding { .. } => Code::Internal,
        },
        SignError::Template(_) | SignError::Random { .. } => Code::Internal,
        SignError::KeyStore(error) => key_store(error),
    }
}

fn key_store(error: &KeyStoreError) -> Code {
    match error {
        KeyStoreError::Overloaded { .. } => Code::ResourceExhausted,
        KeyStoreError::DeadlineExceeded { .. } => Code::DeadlineExceeded,
        KeyStoreError::Unavailable { .. } | KeyStoreError::CircuitOpen { .. } => Code::Unavailable,
        KeyStoreError::NoSuchKey { .. }
        | KeyStoreError::UnsupportedKeyType { .. }
        | KeyStoreError::WrongScheme { .. }
        | KeyStoreError::WrongDigestLength { .. }
        | KeyStoreError::UnsafeKey { .. }
        | KeyStoreError::KeyChanged { .. }
        | KeyStoreError::Open { .. }
        | KeyStoreError::Refused { .. }
        | KeyStoreError::Malformed { .. } => Code::Internal,
    }
}
