//! What every service is given.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

use plastron_server_core::Services;
use plastron_server_core::authorization::{Method, Permit, Rpc};
use plastron_spiffe::TrustDomain;
use plastron_telemetry::{Call, Status as Counted};
use plastron_transport::{Place, Places, method_key};
use tonic::{Request, Status};

use crate::limits::{
    ATTESTATIONS_PER_SECOND, MAX_ATTESTATIONS, MAX_ATTESTATIONS_OF_SOURCE, POST_STATUS_PER_SECOND,
    SIGNATURES_PER_SECOND,
};
use crate::ratelimit::{self, PerAddress};
use crate::status::Failure;
use crate::watch::Watches;

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

/// What the turns at each RPC are counted as: SPIRE's `rateLimit`.
static TURNS: LazyLock<HashMap<Method, Call>> = LazyLock::new(|| {
    let call = |method: &Method| Some((*method, Call::named(format!("rateLimit.{}", method_key(method.path())?))));
    Method::ALL.iter().filter_map(call).collect()
});

/// The services of the server behind its wire.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) services: Arc<Services>,
    pub(crate) attestation: Option<Arc<PerAddress>>,
    pub(crate) signing: Option<Arc<PerAddress>>,
    pub(crate) post_status: Arc<PerAddress>,
    pub(crate) attestations: Attestations,
    pub(crate) watches: Watches,
}

impl Context {
    pub(crate) fn new(services: Arc<Services>, limits: RateLimits) -> Self {
        let limit = |on: bool, rate: u32| on.then(|| Arc::new(PerAddress::per_second(rate)));
        Self {
            services,
            attestation: limit(limits.attestation, ATTESTATIONS_PER_SECOND),
            signing: limit(limits.signing, SIGNATURES_PER_SECOND),
            post_status: Arc::new(PerAddress::per_second(POST_STATUS_PER_SECOND)),
            attestations: Attestations::new(limits),
            watches: Watches::new(),
        }
    }

    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        self.services.ca.trust_domain()
    }

    /// The permit of the RPC that was called. Every handler begins with it, or takes it after its turn: a permit says what was so when it
    /// was made.
    pub(crate) async fn permit<R: Rpc, T>(&self, request: &Request<T>) -> Result<Permit<R>, Status> {
        Ok(crate::caller::permit::<R, T>(&self.services, request).await?)
    }

    /// Waits for the caller's turn at an RPC, where its address has a limit. A call for nothing costs one.
    pub(crate) async fn turn<R: Rpc, T>(
        &self,
        limit: Option<&PerAddress>,
        request: &Request<T>,
        count: usize,
    ) -> Result<(), Failure> {
        let Some(limit) = limit else { return Ok(()) };
        let call = TURNS.get(&R::METHOD).map(Call::start);
        let turn = limit.acquire(crate::caller::address(request), count.max(1)).await;
        if let Some(call) = call {
            call.done(if turn.is_ok() { Counted::Ok } else { Counted::ResourceExhausted });
        }
        Ok(turn?)
    }
}

/// The places for attestations under way.
#[derive(Clone, Debug)]
pub(crate) struct Attestations {
    places: Arc<Places<IpAddr>>,
    of_source: usize,
}

impl Attestations {
    fn new(limits: RateLimits) -> Self {
        let of_source = if limits.attestation { MAX_ATTESTATIONS_OF_SOURCE } else { MAX_ATTESTATIONS };
        Self { places: Places::new(MAX_ATTESTATIONS, of_source), of_source }
    }

    /// A place for one more, until it is dropped.
    pub(crate) fn begin(&self, peer: Option<IpAddr>) -> Result<Place<IpAddr>, Failure> {
        // All that come in by the Unix socket are one source.
        let source = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), ratelimit::source);
        let (what, all, of_source) = ("attestations", MAX_ATTESTATIONS, self.of_source);
        self.places.take(source).ok_or(Failure::Busy { what, all, of_source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threat 29
    #[test]
    fn one_source_does_not_take_all_places_for_attestations() {
        let attestations = Attestations::new(RateLimits::default());
        let from = |text: &str| Some(text.parse().unwrap());
        let mut held: Vec<_> = (0..MAX_ATTESTATIONS_OF_SOURCE)
            .map(|n| attestations.begin(from(&format!("2001:db8::{n}"))).unwrap())
            .collect();
        assert!(matches!(attestations.begin(from("2001:db8::ffff")), Err(Failure::Busy { .. })));
        attestations.begin(from("192.0.2.1")).unwrap();
        attestations.begin(None).unwrap();
        held.pop();
        attestations.begin(from("2001:db8::ffff")).unwrap();
    }
}
