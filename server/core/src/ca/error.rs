//! Why there is no CA, or no signature of it.

use plastron_hsm::KeyStoreError;
use plastron_plugins::upstream::UpstreamError;
use plastron_spiffe::TrustDomain;
use plastron_spiffe::jwt::JwtIssueError;
use plastron_spiffe::x509::IssueError;

use super::upstream::UpstreamFault;
use crate::audit::AuditSinkError;
use crate::authority::AuthorityError;
use crate::store::StoreError;

/// Why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The store belongs to another trust domain.
    #[error(
        "the store holds the bundle of trust domain {stored}, and the configuration says {configured}; \
         give this server a store of its own or set trust_domain back"
    )]
    OtherTrustDomain {
        /// In the store.
        stored: TrustDomain,
        /// In the configuration.
        configured: TrustDomain,
    },
    /// An authority can't be used.
    #[error("the CA can't sign")]
    Authority(#[from] AuthorityError),
    /// A step could not be recorded, so what follows it is not done.
    #[error("can't {step}")]
    Store {
        /// The step.
        step: &'static str,
        /// What the store said.
        source: StoreError,
    },
    /// The upstream authority does not certify the CA.
    #[error("the CA has no certificate of its upstream authority")]
    Upstream(#[source] UpstreamError),
    /// The upstream authority gave something that can't be used.
    #[error("the answer of upstream authority {plugin} is refused")]
    UpstreamAnswer {
        /// The plugin.
        plugin: String,
        /// What is wrong with it.
        source: UpstreamFault,
    },
    /// No certificate can be made of the configuration.
    #[error("the CA certificate can't be made")]
    Template(#[source] IssueError),
    /// The operating system gives no random numbers.
    #[error("no random numbers: {reason}")]
    Random {
        /// What it said.
        reason: String,
    },
    /// What an authority does from now on could not be recorded, so it does not.
    #[error("no authority is activated unrecorded")]
    Audit(#[from] AuditSinkError),
    /// There is no such next authority.
    #[error("no such authority is prepared")]
    NothingPrepared,
    /// The authority has expired and could not be replaced.
    #[error("the CA certificate expired: not valid after {not_after}, now {now}")]
    Expired {
        /// Unix seconds.
        not_after: u64,
        /// Unix seconds.
        now: u64,
    },
}

/// Why a leaf was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The CA certificate, or the verdict that the SVID would rest on, ends too soon to sign anything.
    #[error(
        "it could not be valid after {not_after}, now {now}: that is where the CA certificate or the node's SVID ends"
    )]
    Expired {
        /// Unix seconds.
        not_after: u64,
        /// Unix seconds.
        now: u64,
    },
    /// Configuration says that there are no JWT-SVIDs.
    #[error("JWT functionality is disabled")]
    JwtDisabled,
    /// The active authority may not sign: it was tainted or revoked, and the next one is not there yet.
    #[error("the active authority may not sign")]
    Authority(#[source] AuthorityError),
    /// No token can be made of these values.
    #[error("the token can't be made")]
    Jwt(#[source] JwtIssueError),
    /// No certificate can be made of these values.
    #[error("the certificate can't be made")]
    Template(#[source] IssueError),
    /// The key store did not sign.
    #[error("the CA key did not sign")]
    KeyStore(#[source] KeyStoreError),
    /// The operating system gives no random numbers.
    #[error("no random numbers: {reason}")]
    Random {
        /// What it said.
        reason: String,
    },
}
