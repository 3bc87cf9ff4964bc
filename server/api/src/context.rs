//! What every service is given.

use std::sync::Arc;

use plastron_server_core::Services;
use plastron_server_core::authorization::{Permit, Rpc};
use plastron_spiffe::TrustDomain;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Status};

use crate::limits::{ATTESTATIONS_PER_SECOND, MAX_ATTESTATIONS, POST_STATUS_PER_SECOND, SIGNATURES_PER_SECOND};
use crate::ratelimit::PerAddress;
use crate::status::Failure;

/// SPIRE's `ratelimit` block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Node attestation.
    pub attestation: bool,
    /// Whatever costs a signature.
    pub signing: bool,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { attestation: true, signing: true }
    }
}

/// The services of the server behind its wire.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) services: Arc<Services>,
    pub(crate) attestation: Option<Arc<PerAddress>>,
    pub(crate) signing: Option<Arc<PerAddress>>,
    pub(crate) post_status: Arc<PerAddress>,
    attestations: Arc<Semaphore>,
}

impl Context {
    pub(crate) fn new(services: Arc<Services>, limits: RateLimits) -> Self {
        let limit = |on: bool, rate: u32| on.then(|| Arc::new(PerAddress::per_second(rate)));
        Self {
            services,
            attestation: limit(limits.attestation, ATTESTATIONS_PER_SECOND),
            signing: limit(limits.signing, SIGNATURES_PER_SECOND),
            post_status: Arc::new(PerAddress::per_second(POST_STATUS_PER_SECOND)),
            attestations: Arc::new(Semaphore::new(MAX_ATTESTATIONS)),
        }
    }

    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        self.services.ca.trust_domain()
    }

    /// The permit of the RPC that was called. Every handler begins with it.
    pub(crate) async fn permit<R: Rpc, T>(&self, request: &Request<T>) -> Result<Permit<R>, Status> {
        Ok(crate::caller::permit::<R, T>(&self.services, request).await?)
    }

    /// For RPCs that are in the table and not in this server: whoever may not call them learns nothing more.
    pub(crate) async fn unimplemented<R: Rpc, T, U>(&self, request: &Request<T>) -> Result<U, Status> {
        let _permit = self.permit::<R, T>(request).await?;
        Err(Failure::Unimplemented { what: R::METHOD.path() }.into())
    }

    /// Waits for the caller's turn, where its address has a limit.
    pub(crate) async fn turn<T>(
        &self,
        limit: Option<&PerAddress>,
        request: &Request<T>,
        count: usize,
    ) -> Result<(), Failure> {
        match limit {
            Some(limit) => Ok(limit.acquire(crate::caller::address(request), count).await?),
            None => Ok(()),
        }
    }

    /// A place for one more attestation.
    pub(crate) fn attestation_slot(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let slot = Arc::clone(&self.attestations).try_acquire_owned();
        slot.map_err(|_none_left| Failure::Busy { what: "attestations", limit: MAX_ATTESTATIONS })
    }
}
