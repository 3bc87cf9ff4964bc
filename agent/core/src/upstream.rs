//! The seam to the server: what the agent asks of it, in SPIRE's terms (Agent, Entry, SVID and Bundle services), without a wire format.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use plastron_plugins::node::{AgentAttestError, AgentConversation};
use plastron_spiffe::{Bundle, Selector, SpiffeId, TrustDomain};

use crate::AgentSvid;

/// Most SVIDs asked for in one call (SPIRE's own limit).
pub const MAX_SVIDS_PER_CALL: usize = 500;

/// The server, as the agent sees it. Every call ends within a bounded time.
#[async_trait::async_trait]
pub trait Upstream: Send + Sync {
    /// Attests over a connection without a client certificate to a server that `trust` verifies as `spiffe://td/spire/server`, then
    /// fetches the bundle over the same connection. `csr` is DER.
    async fn attest(
        &self,
        trust: &Arc<Bundle>,
        conversation: NodeAttestation<'_>,
        csr: &[u8],
    ) -> Result<AttestResult, UpstreamError>;

    /// A new SVID for the agent, on the strength of its present one. `csr` is DER.
    async fn renew(&self, caller: &Caller, csr: &[u8]) -> Result<Vec<Vec<u8>>, UpstreamError>;

    /// Tells the server which version of the agent runs.
    async fn post_status(&self, caller: &Caller, version: &str) -> Result<(), UpstreamError>;

    /// The trust domain's own bundle.
    async fn bundle(&self, caller: &Caller) -> Result<Bundle, UpstreamError>;

    /// A foreign trust domain's bundle; `None` where the server has none.
    async fn federated_bundle(
        &self,
        caller: &Caller,
        trust_domain: &TrustDomain,
    ) -> Result<Option<Bundle>, UpstreamError>;

    /// The entries that the agent may serve, of which `known` are held already.
    async fn sync_entries(&self, caller: &Caller, known: &KnownEntries) -> Result<EntrySync, UpstreamError>;

    /// SVIDs for at most [`MAX_SVIDS_PER_CALL`] entries: one outcome per request, in order.
    async fn new_x509_svids(
        &self,
        caller: &Caller,
        requests: &[SvidRequest],
    ) -> Result<Vec<SvidOutcome>, UpstreamError>;

    /// A JWT-SVID of one entry for this audience. One attempt: whether another follows is decided here, in `jwt`.
    async fn new_jwt_svid(
        &self,
        caller: &Caller,
        entry_id: &str,
        audience: &[String],
    ) -> Result<JwtSvidReply, UpstreamError>;
    /// Opens the stream on which the server says what changes. `has` is the sequence number of the bundle that workloads have.
    /// [`UpstreamError::Unimplemented`] where the server has none.
    async fn watch(&self, caller: &Caller, has: u64) -> Result<Box<dyn PushStream>, UpstreamError>;
}

/// An open push stream of the server. The first message has the whole present state.
#[async_trait::async_trait]
pub trait PushStream: Send {
    /// What changed; `None` where the server ended the stream in order. Waits for as long as it takes, and is cancel-safe.
    async fn next(&mut self) -> Result<Option<Pushed>, UpstreamError>;

    /// Tells the server that workloads have the bundle of this sequence number.
    async fn acknowledge(&mut self, sequence: u64) -> Result<(), UpstreamError>;
}

/// What a push stream says; what is not there is as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// The trust domain's bundle.
    pub bundle: Option<Bundle>,
    /// A name for the set of entries that the agent may serve: with another name, it is another set.
    pub entries: Option<u64>,
    /// The foreign bundles whose names are others than before; in a stream's first message all of them that the agent's entries need. Never
    /// there from a server that does not push them.
    pub foreign: Option<ForeignNames>,
}

/// Names for the bundles that the server has of foreign trust domains: with another name, it is another bundle. `None` where it has none.
pub type ForeignNames = BTreeMap<TrustDomain, Option<u64>>;

/// The agent as the caller of an authenticated RPC: its SVID, and what verifies the server.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The SVID and key of the TLS client.
    pub svid: Arc<AgentSvid>,
    /// What the server's SVID is verified against.
    pub bundle: Arc<Bundle>,
}

/// The agent's half of a node attestation, ready to be driven.
pub struct NodeAttestation<'a> {
    /// The attestation type on the wire.
    pub kind: &'a str,
    /// The conversation.
    pub conversation: &'a mut dyn AgentConversation,
}

/// A successful attestation.
#[derive(Debug)]
pub struct AttestResult {
    /// The agent's SVID, leaf first, DER, without the root. Not checked yet.
    pub chain: Vec<Vec<u8>>,
    /// Whether the agent renews by attesting again.
    pub reattestable: bool,
    /// The trust domain's bundle as the server gave it after the attestation.
    pub bundle: Bundle,
}

/// An entry that the server lets this agent serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizedEntry {
    /// Entry id.
    pub id: Arc<str>,
    /// The ID to be issued.
    pub spiffe_id: SpiffeId,
    /// At least one, sorted, without duplicates.
    pub selectors: Vec<Selector>,
    /// Foreign trust domains whose bundles go to the workload.
    pub federates_with: Vec<TrustDomain>,
    /// Tells identities of one workload apart.
    pub hint: String,
    /// Counts the entry's changes.
    pub revision: i64,
    /// Unix seconds.
    pub created_at: i64,
    /// Its SVIDs administer the server.
    pub admin: bool,
    /// Its SVIDs are a downstream server's.
    pub downstream: bool,
    /// The SVID goes to an SVID store, never to a workload.
    pub store_svid: bool,
    /// No SVID before a workload asks.
    pub disable_x509_svid_prefetch: bool,
    /// JWT-SVIDs carry a `jti`, so each is for one caller and none is kept.
    pub jwt_svid_include_jti: bool,
}

impl AuthorizedEntry {
    /// Whether someone who acts for the workload may have its SVIDs. What administers the server, or is a server, acts for itself.
    pub fn is_delegable(&self) -> bool {
        !self.admin && !self.downstream
    }
}

/// Revision and creation time of each entry that the agent holds, by entry id.
pub type KnownEntries = BTreeMap<Arc<str>, EntryRevision>;

/// What tells one state of an entry from another: an id that was deleted and made again has another creation time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRevision {
    /// Counts the entry's changes.
    pub revision: i64,
    /// Unix seconds.
    pub created_at: i64,
}

/// The outcome of an entry synchronisation.
#[derive(Debug, Default)]
pub struct EntrySync {
    /// Ids of all entries that the agent may serve now; a known entry that is not among them is withdrawn.
    pub authorized: BTreeSet<Arc<str>>,
    /// Full entries that are new or changed (or all of them, if the server sent all).
    pub entries: Vec<AuthorizedEntry>,
}

/// A request for one workload SVID.
pub struct SvidRequest {
    /// For this entry.
    pub entry_id: Arc<str>,
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
}

/// The outcome of one [`SvidRequest`].
#[derive(Debug)]
pub enum SvidOutcome {
    /// Leaf first, DER, without the root. Not checked yet.
    Issued(Vec<Vec<u8>>),
    /// The server issues none for this entry.
    Refused {
        /// The gRPC code's name.
        code: String,
        /// The server's words.
        message: String,
    },
}

/// What the server says of a JWT-SVID that it issued. Not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSvidReply {
    /// Compact serialisation.
    pub token: String,
    /// Whose it is.
    pub spiffe_id: SpiffeId,
    /// Unix seconds.
    pub issued_at: u64,
    /// Unix seconds.
    pub expires_at: u64,
}

/// Why the server cut this agent off (`spire.api.types.PermissionDeniedDetails`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentDenial {
    /// AGENT_EXPIRED: its SVID has expired.
    Expired,
    /// AGENT_NOT_ATTESTED: the server does not know it, or no longer.
    NotAttested,
    /// AGENT_NOT_ACTIVE: its SVID is not the one that the server issued last.
    NotActive,
    /// AGENT_BANNED: an operator shut it out.
    Banned,
    /// AGENT_MUST_REATTEST: its last verdict no longer stands.
    MustReattest,
}

impl fmt::Display for AgentDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "AGENT_EXPIRED",
            Self::NotAttested => "AGENT_NOT_ATTESTED",
            Self::NotActive => "AGENT_NOT_ACTIVE",
            Self::Banned => "AGENT_BANNED",
            Self::MustReattest => "AGENT_MUST_REATTEST",
        })
    }
}

/// A call that did not succeed, by what the agent does about it.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The server cut this agent off and says why.
    #[error("the server denies this agent ({reason}): {message:?}")]
    AgentDenied {
        /// Which reason.
        reason: AgentDenial,
        /// The server's words.
        message: String,
    },
    /// PermissionDenied without an AGENT_ reason.
    #[error("the server denies permission: {message:?}")]
    PermissionDenied {
        /// The server's words.
        message: String,
    },
    /// InvalidArgument: the same request will be refused again.
    #[error("the server can't use what {rpc} sent: {message:?}")]
    InvalidArgument {
        /// The RPC.
        rpc: &'static str,
        /// The server's words.
        message: String,
    },
    /// No connection, or the server says Unavailable.
    #[error("the server at {server} can't be reached: {reason}")]
    Unavailable {
        /// Its address.
        server: String,
        /// What failed.
        reason: String,
    },
    /// Whoever answered is not the server of our trust domain, as far as the bundle tells.
    #[error(
        "the server at {server} is not trusted: {reason}; check server_address. If the server lost its CA and made another, that is a \
         new trust root, which an agent takes by itself only where rebootstrap_mode says so: put its bundle at trust_bundle_path, remove \
         agent-data.json from data_dir and start the agent again"
    )]
    UntrustedServer {
        /// Its address.
        server: String,
        /// Which check failed.
        reason: String,
        /// Its certificate is in order, and of an authority that the bundle does not know.
        unknown_authority: bool,
    },
    /// Our own SVID and key can't be shown to the server.
    #[error("the agent's own SVID can't be used for TLS: {reason}")]
    OwnIdentity {
        /// Why.
        reason: String,
    },
    /// No answer in time.
    #[error("no answer to {rpc} within {seconds} s")]
    DeadlineExceeded {
        /// The RPC.
        rpc: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// The server has too much to do, or the message is too large for it.
    #[error("the server refuses {rpc} for want of resources: {message:?}")]
    ResourceExhausted {
        /// The RPC.
        rpc: &'static str,
        /// The server's words.
        message: String,
    },
    /// The server does not have this RPC.
    #[error("the server has no {rpc}: {message:?}")]
    Unimplemented {
        /// The RPC.
        rpc: &'static str,
        /// The server's words.
        message: String,
    },
    /// Any other status.
    #[error("{rpc} failed with {code}: {message:?}")]
    Status {
        /// The RPC.
        rpc: &'static str,
        /// The gRPC code's name.
        code: String,
        /// The server's words.
        message: String,
    },
    /// A reply that breaks the contract.
    #[error("malformed reply to {rpc}: {reason}")]
    MalformedReply {
        /// The RPC.
        rpc: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Our own half of the node attestation can't go on.
    #[error("node attestation can't go on")]
    Attestor(#[from] AgentAttestError),
}

/// What a failed call tells about who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distrusted {
    /// Nothing.
    Unknown,
    /// Someone with an SVID of an authority that the bundle does not know.
    UnknownAuthority,
    /// The server.
    No,
}

impl UpstreamError {
    /// Whether the server was one that the bundle leads to.
    pub(crate) fn distrusted(&self) -> Distrusted {
        match self {
            Self::UntrustedServer { unknown_authority: true, .. } => Distrusted::UnknownAuthority,
            Self::UntrustedServer { unknown_authority: false, .. }
            | Self::Unavailable { .. }
            | Self::OwnIdentity { .. }
            | Self::DeadlineExceeded { .. }
            | Self::Attestor(_) => Distrusted::Unknown,
            Self::AgentDenied { .. }
            | Self::PermissionDenied { .. }
            | Self::InvalidArgument { .. }
            | Self::ResourceExhausted { .. }
            | Self::Unimplemented { .. }
            | Self::Status { .. }
            | Self::MalformedReply { .. } => Distrusted::No,
        }
    }
}
