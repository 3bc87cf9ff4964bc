//! One batch of workload SVIDs: fresh keys, CSRs, the server's answers checked.

use std::sync::Arc;

use crate::Identity;
use crate::agent::Parts;
use crate::cache::Cache;
use crate::csr::{CsrBuildError, sign_csr};
use crate::issued::check_workload_svid;
use crate::key::{KeyError, KeyPair, PrivateKey, SvidKeyType};
use crate::report::Chain;
use crate::schedule::{keeps_target, renewal_point};
use crate::upstream::{AuthorizedEntry, Caller, SvidOutcome, SvidRequest, UpstreamError};

/// Has SVIDs signed for these entries and puts them into the cache. What is refused, or not acceptable, is logged and asked for later.
pub(crate) async fn sign(
    parts: &Parts,
    caller: &Caller,
    batch: &[Arc<AuthorizedEntry>],
    cache: &mut Cache,
) -> Result<(), SignError> {
    let key_type = parts.settings.workload_key_type;
    let (entries, work) = (batch.to_vec(), batch.to_vec());
    let made = tokio::task::spawn_blocking(move || make_requests(&work, key_type)).await;
    let (requests, keys) = made.map_err(|_| SignError::Interrupted)??;
    let outcomes = parts.upstream.new_x509_svids(caller, &requests).await?;
    if outcomes.len() != requests.len() {
        return Err(SignError::Upstream(UpstreamError::MalformedReply {
            rpc: "BatchNewX509SVID",
            reason: format!("{} results for {} requests", outcomes.len(), requests.len()),
        }));
    }
    let now = parts.clock.now();
    for ((entry, key), outcome) in entries.iter().zip(keys).zip(outcomes) {
        let chain = match outcome {
            SvidOutcome::Issued(chain) => chain,
            SvidOutcome::Refused { code, message } => {
                tracing::warn!(entry = %entry.id, spiffe_id = %entry.spiffe_id, code, message, "The server issues no X509-SVID");
                cache.refused(&entry.id, now.as_secs());
                continue;
            }
        };
        match check_workload_svid(chain, &entry.spiffe_id, &key.public_key, now) {
            Ok(svid) => {
                tracing::debug!(
                    entry = %entry.id, spiffe_id = %entry.spiffe_id, expires_at = svid.not_after(), "X509-SVID updated"
                );
                let target = parts.settings.availability_target;
                if target.is_some_and(|target| !keeps_target(svid.not_before(), svid.not_after(), target)) {
                    tracing::warn!(
                        entry = %entry.id, spiffe_id = %entry.spiffe_id,
                        "X509 SVID lifetime isn't long enough to guarantee the availability_target, falling back to the default rotation strategy"
                    );
                }
                let renew_at = renewal_point(now.as_secs(), svid.not_after(), target);
                cache.issued(Identity::new(entry, Arc::new(svid), key.private_key), renew_at);
            }
            Err(error) => {
                tracing::error!(entry = %entry.id, error = %Chain(&error), "The server issued an unacceptable X509-SVID");
                cache.refused(&entry.id, now.as_secs());
            }
        }
    }
    Ok(())
}

struct FreshKey {
    private_key: Arc<PrivateKey>,
    public_key: Vec<u8>,
}

fn make_requests(
    entries: &[Arc<AuthorizedEntry>],
    key_type: SvidKeyType,
) -> Result<(Vec<SvidRequest>, Vec<FreshKey>), SignError> {
    let mut requests = Vec::with_capacity(entries.len());
    let mut keys = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = KeyPair::generate(key_type)?;
        let csr = sign_csr(&key, Some(&entry.spiffe_id))?;
        requests.push(SvidRequest { entry_id: Arc::clone(&entry.id), csr });
        keys.push(FreshKey { private_key: Arc::clone(key.private_key()), public_key: key.public_key().to_vec() });
    }
    Ok((requests, keys))
}

/// A batch that brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("can't make a workload's key")]
    Key(#[from] KeyError),
    #[error("can't make a workload's CSR")]
    Csr(#[from] CsrBuildError),
    #[error("making keys was interrupted")]
    Interrupted,
    #[error("the server did not sign")]
    Upstream(#[from] UpstreamError),
}
