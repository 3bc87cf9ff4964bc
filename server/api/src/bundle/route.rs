//! How long a message to the Bundle service may be: GetBundle is open to anyone and asks with a mask, the others bring bundles and are
//! for those whom the gate let through.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::{Request, Response};
use plastron_proto::spire::api::server::bundle::v1::bundle_server::BundleServer;
use plastron_server_core::authorization::Method;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::BundleService;
use crate::limits::{MAX_BUNDLE_REQUEST_LEN, MAX_GET_BUNDLE_REQUEST_LEN};

/// The Bundle service with a limit for GetBundle and another one for the rest.
#[derive(Clone)]
pub(crate) struct ByMethod {
    get: BundleServer<BundleService>,
    others: BundleServer<BundleService>,
}

pub(crate) fn server(service: BundleService) -> ByMethod {
    ByMethod {
        get: BundleServer::new(service.clone()).max_decoding_message_size(MAX_GET_BUNDLE_REQUEST_LEN),
        others: BundleServer::new(service).max_decoding_message_size(MAX_BUNDLE_REQUEST_LEN),
    }
}

impl NamedService for ByMethod {
    const NAME: &'static str = BundleServer::<BundleService>::NAME;
}

impl Service<Request<Body>> for ByMethod {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <BundleServer<BundleService> as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = if request.uri().path() == Method::GetBundle.path() { &mut self.get } else { &mut self.others };
        server.call(request)
    }
}
