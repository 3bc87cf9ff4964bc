//! X.509-SVIDs for workloads, by their agents (BatchNewX509SVID).
//!
//! For each item, in this order: the entry is one that the agent may serve; the CSR's signature is by its own key; then the CA
//! signs the ID and DNS names of the entry. Whatever else the CSR asks for is not looked at. Reads no database.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use plastron_spiffe::RegistrationEntry;
use plastron_spiffe::x509::{CsrError, verify_csr};
use tokio::task::JoinSet;

use crate::authorization::{Permit, rpc};
use crate::ca::{CertificateAuthority, IssuedSvid, Leaf, SignError};
use crate::clock::{Clock, unix_seconds};
use crate::ledger::Ledger;
use crate::limits::{CONCURRENT_SIGNATURES, MAX_SVIDS_PER_CALL};

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
    default_ttl: Duration,
    cores: usize,
}

impl Issuance {
    /// `default_ttl`: lifetime where the entry has none (`default_x509_svid_ttl`).
    pub fn new(
        ca: Arc<CertificateAuthority>,
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        default_ttl: Duration,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { ca, ledger, clock, default_ttl, cores }
    }

    /// Issues SVIDs; results are in the order of the requests. The batch is signed on all cores.
    pub async fn batch_new_x509_svid(
        &self,
        permit: Permit<rpc::BatchNewX509Svid>,
        requests: Vec<SvidRequest>,
    ) -> Result<Vec<Result<IssuedSvid, SvidRefusal>>, BatchTooLarge> {
        if requests.len() > MAX_SVIDS_PER_CALL {
            return Err(BatchTooLarge { got: requests.len() });
        }
        let now = unix_seconds(self.clock.now());
        let entries = {
            let ids = requests.iter().map(|request| request.entry_id.as_str());
            let found = self.ledger.state().find_authorized_entries(permit.caller().id(), ids, now);
            requests.iter().map(|request| found.get(request.entry_id.as_str()).cloned()).collect::<Vec<_>>()
        };
        let jobs = requests.into_iter().zip(entries).map(|(request, entry)| Job { request, entry }).collect();
        Ok(self.sign_all(jobs).await)
    }

    async fn sign_all(&self, jobs: Vec<Job>) -> Vec<Result<IssuedSvid, SvidRefusal>> {
        let total = jobs.len();
        if total < SPREAD_FROM || self.cores < 2 {
            return sign_in_order(Arc::clone(&self.ca), self.default_ttl, jobs, CONCURRENT_SIGNATURES).await;
        }
        let share = total.div_ceil(self.cores);
        let concurrent = CONCURRENT_SIGNATURES.div_ceil(self.cores);
        let mut shares = JoinSet::new();
        let mut jobs = jobs.into_iter();
        for index in 0..self.cores {
            let part: Vec<_> = jobs.by_ref().take(share).collect();
            let (ca, default_ttl) = (Arc::clone(&self.ca), self.default_ttl);
            shares.spawn(async move { (index, sign_in_order(ca, default_ttl, part, concurrent).await) });
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

async fn sign_in_order(
    ca: Arc<CertificateAuthority>,
    default_ttl: Duration,
    jobs: Vec<Job>,
    concurrent: usize,
) -> Vec<Result<IssuedSvid, SvidRefusal>> {
    stream::iter(jobs)
        .map(|job| {
            let ca = &ca;
            async move {
                // A software key never waits, and a batch must not keep a thread from everyone else.
                tokio::task::consume_budget().await;
                sign_one(ca, default_ttl, job).await
            }
        })
        .buffered(concurrent.max(1))
        .collect()
        .await
}

async fn sign_one(
    ca: &CertificateAuthority,
    default_ttl: Duration,
    Job { request: SvidRequest { entry_id, csr }, entry }: Job,
) -> Result<IssuedSvid, SvidRefusal> {
    let entry = entry.ok_or(SvidRefusal::EntryNotFound { id: entry_id })?;
    let csr = verify_csr(&csr)?;
    let ttl = match entry.x509_svid_ttl {
        0 => default_ttl,
        seconds => Duration::from_secs(u64::from(seconds)),
    };
    let leaf = Leaf { spiffe_id: &entry.spiffe_id, public_key: &csr.public_key, dns_names: &entry.dns_names, ttl };
    let svid = ca.sign(leaf).await?;
    tracing::debug!(spiffe_id = %svid.id, entry_id = %entry.id, "Signed X509-SVID");
    Ok(svid)
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
    /// The CSR is refused: InvalidArgument.
    #[error("the CSR is refused")]
    Csr(#[from] CsrError),
    /// The CA did not sign: Internal, or Unavailable and ResourceExhausted by what the key store said.
    #[error("failed to sign X509-SVID")]
    Sign(#[from] SignError),
}

/// More SVIDs than one call may ask for: InvalidArgument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got} SVIDs in one call, of at most {MAX_SVIDS_PER_CALL}")]
pub struct BatchTooLarge {
    /// How many there were.
    pub got: usize,
}
