//! One fetch of a foreign bundle (SPIFFE_Federation.md, sections 5.2.1.4 and 5.2.2.4). What an answer may be is decided in `transport`.

use plastron_spiffe::{Bundle, BundleEndpointUrl, BundleError, TrustDomain};
use plastron_transport::{HttpGetError, HttpsClientTls, Requester, fetch_https};

const REQUESTER: Requester =
    Requester { user_agent: concat!("plastron-server/", env!("CARGO_PKG_VERSION")), accept: "application/json" };

/// Fetches the bundle of `trust_domain`. The document does not say whose it is, so the relationship must.
pub async fn fetch(
    trust_domain: &TrustDomain,
    url: &BundleEndpointUrl,
    tls: &HttpsClientTls,
) -> Result<Bundle, FetchError> {
    let body = fetch_https(url, tls, REQUESTER).await?;
    Bundle::from_spiffe_json(trust_domain.clone(), &body).map_err(FetchError::Bundle)
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No document.
    #[error(transparent)]
    Get(#[from] HttpGetError),
    /// Not a bundle.
    #[error("failed to decode bundle")]
    Bundle(#[source] BundleError),
}
