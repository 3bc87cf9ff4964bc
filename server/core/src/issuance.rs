//! X.509-SVIDs for workloads, by their agents (BatchNewX509SVID); JWT-SVIDs are in [`jwt`].
//!
//! For each item, in this order: the entry is one that the agent may serve; the CSR's signature is by its own key; then the CA
//! signs the ID and DNS names of the entry. Whatever else the CSR asks for is not looked at. Reads no database.
//!
//! One write of the audit log has a line for each item, signed or refused; if it fails, nothing of the batch leaves.
//!
//! The agent is asked for again before the signature, after it and once the lines are written: who is banned, cut off or evicted while its batch waits
//! for the key store gets nothing of it. The SVIDs of a node whose TPM was judged end with the node's own SVID, which is as long
//! as the verdict holds; other nodes have no verdict, and their entries' lifetimes count as they do in SPIRE.

mod jwt;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use plastron_spiffe::x509::{CsrError, verify_csr};
use plastron_spiffe::{RegistrationEntry, SpiffeId};
use tokio::task::JoinSet;

use crate::audit::{AuditLog, AuditSinkError, Issue, Recorded, Unrecorded};
use crate::authorization::{Agent, AgentDenial, Permit, rpc};
use crate::ca::{CertificateAuthority, IssuedSvid, Leaf, SignError};
use crate::clock::{Clock, unix_seconds};
use crate::ledger::Ledger;
use crate::limits::{CONCURRENT_SIGNATURES, MAX_SVIDS_PER_CALL};
use crate::state::State;
use crate::store::Standing;

pub use jwt::JwtRefusal;

/// Below this a batch is not worth a second core.
const SPREAD_FROM: usize = 8;

/// An SVID that an agent asks for.
#[derive(Clone, Debug)]
pub struct SvidRequest {
    /// The entry.
    pub entry_id: String,
    /// PKCS#10, DER: only its public key is used.
    pub csr: Vec<u8>,
}

/// Issues workload SVIDs.
pub struct Issuance {
    ca: Arc<CertificateAuthority>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditLog>,
    default_ttl: Duration,
    default_jwt_ttl: Duration,
    cores: usize,
}

impl Issuance {
    /// `default_ttl`, `default_jwt_ttl`: lifetimes where the entry has none (`default_x509_svid_ttl`, `default_jwt_svid_ttl`).
    pub fn new(
        ca: Arc<CertificateAuthority>,
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditLog>,
        default_ttl: Duration,
        default_jwt_ttl: Duration,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { ca, ledger, clock, audit, default_ttl, default_jwt_ttl, cores }
    }

    /// Issues SVIDs; results are in the order of the requests. The batch is signed on all cores.
    pub async fn batch_new_x509_svid(
        &self,
        permit: Permit<rpc::BatchNewX509Svid>,
        requests: Vec<SvidRequest>,
    ) -> Result<Vec<Result<Recorded<IssuedSvid>, SvidRefusal>>, BatchRefusal> {
        if requests.len() > MAX_SVIDS_PER_CALL {
            return Err(BatchRefusal::TooLarge { got: requests.len() });
        }
        let now = unix_seconds(self.clock.now());
        let entries = {
            let ids = requests.iter().map(|request| request.entry_id.as_str());
            let found = self.ledger.state().find_authorized_entries(permit.caller().id(), ids, now);
            requests.iter().map(|request| found.get(request.entry_id.as_str()).cloned()).collect::<Vec<_>>()
        };
        let ids: Vec<_> = requests.iter().map(|request| request.entry_id.clone()).collect();
        let jobs = requests.into_iter().zip(entries).map(|(request, entry)| Job { request, entry }).collect();
        let batch = Batch {
            ca: Arc::clone(&self.ca),
            state: Arc::clone(self.ledger.state()),
            agent: permit.caller().clone(),
            default_ttl: self.default_ttl,
        };
        let batch = Arc::new(batch);
        let signed = self.sign_all(Arc::clone(&batch), jobs).await;
        let issue = Issue { actor: permit.identity(), purpose: "workload", withhold_id: false };
        let recorded = self.audit.record_all(issue, ids.into_iter().zip(signed).collect()).await?;
        // Once more: the log may have let the batch wait.
        let standing = || batch.verdict_deadline().map(|_deadline| ());
        Ok(recorded.into_iter().map(|result| result.and_then(|svid| standing().map(|()| svid))).collect())
    }

    async fn sign_all(&self, batch: Arc<Batch>, jobs: Vec<Job>) -> Vec<Result<Unrecorded<IssuedSvid>, SvidRefusal>> {
        let total = jobs.len();
        if total < SPREAD_FROM || self.cores < 2 {
            return batch.sign_in_order(jobs, CONCURRENT_SIGNATURES).await;
        }
        let share = total.div_ceil(self.cores);
        let concurrent = CONCURRENT_SIGNATURES.div_ceil(self.cores);
        let mut shares = JoinSet::new();
        let mut jobs = jobs.into_iter();
        for index in 0..self.cores {
            let part: Vec<_> = jobs.by_ref().take(share).collect();
            let batch = Arc::clone(&batch);
            shares.spawn(async move { (index, batch.sign_in_order(part, concurrent).await) });
        }
        let mut done: Vec<_> = shares.join_all().await;
        done.sort_unstable_by_key(|(index, _results)| *index);
        done.into_iter().flat_map(|(_index, results)| results).collect()
    }
}

/// A request, with the entry where the agent may serve it.
struct Job {
    request: SvidRequest,
    entry: Option<Arc<RegistrationEntry>>,
}

/// One agent's call.
struct Batch {
    ca: Arc<CertificateAuthority>,
    state: Arc<State>,
    agent: Agent,
    default_ttl: Duration,
}

impl Batch {
    async fn sign_in_order(
        &self,
        jobs: Vec<Job>,
        concurrent: usize,
    ) -> Vec<Result<Unrecorded<IssuedSvid>, SvidRefusal>> {
        stream::iter(jobs)
            .map(|job| async move {
                // A software key never waits, and a batch must not keep a thread from everyone else.
                tokio::task::consume_budget().await;
                self.sign_one(job).await
            })
            .buffered(concurrent.max(1))
            .collect()
            .await
    }

    async fn sign_one(
        &self,
        Job { request: SvidRequest { entry_id, csr }, entry }: Job,
    ) -> Result<Unrecorded<IssuedSvid>, SvidRefusal> {
        let entry = entry.ok_or(SvidRefusal::EntryNotFound { id: entry_id })?;
        let csr = verify_csr(&csr)?;
        let ttl = match entry.x509_svid_ttl {
            0 => self.default_ttl,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        let svid = self
            .ca
            .sign(Leaf {
                spiffe_id: &entry.spiffe_id,
                public_key: &csr.public_key,
                subject: None,
                dns_names: &entry.dns_names,
                ttl,
                not_after: self.verdict_deadline()?,
            })
            .await?;
        self.verdict_deadline()?;
        tracing::debug!(spiffe_id = %entry.spiffe_id, entry_id = %entry.id, "Signed X509-SVID");
        Ok(svid)
    }

    fn verdict_deadline(&self) -> Result<Option<u64>, SvidRefusal> {
        verdict_deadline(&self.state, &self.agent)
            .map_err(|reason| SvidRefusal::Agent { id: self.agent.id().clone(), reason })
    }
}

/// Checks that the agent still is what its permit said, and tells how long a node with a TPM may be trusted.
fn verdict_deadline(state: &State, agent: &Agent) -> Result<Option<u64>, AgentDenial> {
    let node = state.node(agent.id()).ok_or(AgentDenial::NotAttested)?;
    let current = match &node.standing {
        Standing::Active { current, .. } => current,
        Standing::Banned { .. } => return Err(AgentDenial::Banned),
        Standing::CutOff { .. } | Standing::Quarantined { .. } => return Err(AgentDenial::MustReattest),
    };
    if current.serial != *agent.serial() {
        return Err(AgentDenial::NotActive);
    }
    Ok(node.tpm.as_ref().map(|_judged| current.not_after))
}

/// Why one item of a batch has no SVID.
#[derive(Debug, thiserror::Error)]
pub enum SvidRefusal {
    /// No such entry, or the agent may not serve it: NotFound.
    #[error("entry not found or not authorized")]
    EntryNotFound {
        /// The identifier asked for.
        id: String,
    },
    /// The agent lost its standing while the batch waited: PermissionDenied.
    #[error("agent {id} {reason}")]
    Agent {
        /// The agent.
        id: SpiffeId,
        /// Why it gets nothing.
        reason: AgentDenial,
    },
    /// The CSR is refused: InvalidArgument.
    #[error("the CSR is refused")]
    Csr(#[from] CsrError),
    /// The CA did not sign: Internal, or Unavailable and ResourceExhausted by what the key store said.
    #[error("failed to sign X509-SVID")]
    Sign(#[from] SignError),
}

/// Why a whole call has no SVIDs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    /// More SVIDs than one call may ask for: InvalidArgument.
    #[error("{got} SVIDs in one call, of at most {MAX_SVIDS_PER_CALL}")]
    TooLarge {
        /// How many there were.
        got: usize,
    },
    /// They were signed, and their audit lines could not be written: Unavailable.
    #[error("no SVID is issued unrecorded")]
    Audit(#[from] AuditSinkError),
}
