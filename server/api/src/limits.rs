//! Every limit of the wire, each with its reason. Limits of what a request may ask for stand in `plastron_server_core::limits`.

use std::time::Duration;

/// Longest message to the Agent service, which anyone may send. A TPM's evidence with its longest certificate chain (eight
/// intermediates and a container of 8 KiB certificates) is below 96 KiB, and below 128 KiB in base64. Event logs come in parts of at most 160 KiB.
pub(crate) const MAX_AGENT_REQUEST_LEN: usize = 256 * 1024;
/// Longest request for the bundle, which anyone may send: a mask.
pub(crate) const MAX_GET_BUNDLE_REQUEST_LEN: usize = 4 * 1024;
/// Longest other message to the Bundle and the TrustDomain service, from administrators, and agents that name a trust domain: gRPC's own
/// default, which SPIRE keeps to. A thousand CA certificates of 4 KiB.
pub(crate) const MAX_BUNDLE_REQUEST_LEN: usize = 4 * 1024 * 1024;
/// Longest message to the Entry service, from agents and administrators only: gRPC's own default, which SPIRE keeps to. A thousand
/// entries of 4 KiB.
pub(crate) const MAX_ENTRY_REQUEST_LEN: usize = 4 * 1024 * 1024;
/// Longest message to the SVID service, from agents and administrators only: 500 CSRs of 8 KiB.
pub(crate) const MAX_SVID_REQUEST_LEN: usize = 4 * 1024 * 1024;
/// Longest message to Debug, Health, Logger, LocalAuthority and reflection: a service's name or an authority's identifier at most.
pub(crate) const MAX_SELF_REQUEST_LEN: usize = 1024;
/// A decision on a TPM: a SPIFFE ID of at most 2,048 bytes and a reason of at most 1,024.
pub(crate) const MAX_TPM_REQUEST_LEN: usize = 4096;
/// Identifiers of keys to be destroyed: 64 of 16 bytes as hexadecimal digits.
pub(crate) const MAX_HSM_REQUEST_LEN: usize = 4096;
/// How long a call's one message may take to arrive: 4 MiB at some 140 KiB a second.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call may take until its answer begins: a minute in the queue of its address, and a slow HSM. A peer that never ends its
/// request gives its stream back after that.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest page that is sent, so that with its last entry it stays below what a Go client takes (4 MiB).
pub(crate) const MAX_PAGE_LEN: usize = 3 * 1024 * 1024;
/// Entries on a page of SyncAuthorizedEntries, as in SPIRE.
pub(crate) const SYNC_PAGE: usize = 500;
/// Requests on one SyncAuthorizedEntries stream: a million entries in pages of one hundred.
pub(crate) const MAX_SYNC_ROUNDS: usize = 10_000;
/// How long a sync stream waits for its next request; an agent asks at once or closes.
pub(crate) const SYNC_IDLE: Duration = Duration::from_secs(60);
/// Rounds of one attestation. The TPM exchange takes two, 25 more for the longest event log, and 26 for the longest IMA list.
pub(crate) const MAX_ATTESTATION_ROUNDS: usize = 56;
/// How long an attestation waits for the node's next message: a slow TPM needs some seconds for a quote.
pub(crate) const ATTESTATION_IDLE: Duration = Duration::from_secs(60);
/// How long a node that calls AttestAgent, or an agent that opens a push stream, may take for its first message: it has it ready when it calls.
pub(crate) const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest name of an attestation type; ours have up to 10 letters.
pub(crate) const MAX_ATTESTATION_TYPE_LEN: usize = 64;
/// Attestations under way at the same time from one source, where attestation is limited at all: at one a second, with a TPM that takes
/// some seconds.
pub(crate) const MAX_ATTESTATIONS_OF_SOURCE: usize = 8;
/// Attestations under way at the same time. Each holds at most one message of [`MAX_AGENT_REQUEST_LEN`]: 64 MiB in all.
pub(crate) const MAX_ATTESTATIONS: usize = 256;
/// AttestAgent calls a second from one address (SPIRE's number).
pub(crate) const ATTESTATIONS_PER_SECOND: u32 = 1;
/// SVIDs a second for one address (SPIRE's number).
pub(crate) const SIGNATURES_PER_SECOND: u32 = 500;
/// PostStatus calls a second from one address (SPIRE's number).
pub(crate) const POST_STATUS_PER_SECOND: u32 = 10;
/// Longest message that an agent sends on a push stream: one number.
pub(crate) const MAX_WATCH_REQUEST_LEN: usize = 64;
/// Push streams at a time, and of one source: one for each TLS connection that there may be.
pub(crate) const MAX_WATCHES: usize = plastron_transport::MAX_TLS_CONNECTIONS;
/// See [`MAX_WATCHES`].
pub(crate) const MAX_WATCHES_OF_SOURCE: usize = plastron_transport::MAX_TLS_CONNECTIONS_OF_ADDRESS;
/// A push stream ends in order after this. It is shorter than what a TLS connection grants its calls at the end of its age, so that a
/// stream which began at the last moment is not torn off; the agent opens the next one at once, on a new connection where there must be one.
pub(crate) const WATCH_AGE: Duration = Duration::from_secs(45);
/// By how much the ages of two agents' streams may differ.
pub(crate) const WATCH_AGE_SPREAD: Duration = Duration::from_secs(10);
/// Watches of the server's health at a time: an orchestrator on this machine has one or two, and each of them may cost the CA key a signature
/// in [`HEALTH_WATCH_PERIOD`].
pub(crate) const MAX_HEALTH_WATCHES: usize = 16;
/// How often a watch of the server's health looks. A good answer is good for as long.
pub(crate) const HEALTH_WATCH_PERIOD: Duration = Duration::from_secs(5);
/// Characters of a status message. What a caller wrote is in it, and clients take 8 KiB of headers.
pub(crate) const MAX_MESSAGE_LEN: usize = 1024;
