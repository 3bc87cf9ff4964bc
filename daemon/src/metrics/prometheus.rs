//! What Prometheus fetches, over HTTP or HTTPS: on any path, in its text format 0.0.4, as SPIRE's listener answers.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use plastron_transport::{HttpsStream, serve_https};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::settings::PrometheusSettings;
use super::tls::{OwnNow, Tls};
use super::{HEAD_TIMEOUT, MAX_HEAD_LEN, MetricsError, Uptime};
use crate::bounded::{Bounded, one_answer};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A bound listener and what it will show.
pub(super) struct Prometheus {
    listener: TcpListener,
    tls: Option<Tls>,
    shown: Shown,
}

#[derive(Clone)]
struct Shown {
    handle: PrometheusHandle,
    uptime: Arc<Uptime>,
}

impl Prometheus {
    /// Reads the files of TLS and binds.
    pub(super) async fn bind(
        settings: &PrometheusSettings,
        handle: PrometheusHandle,
        uptime: Arc<Uptime>,
    ) -> Result<Self, MetricsError> {
        let PrometheusSettings { host, port, tls } = settings;
        let tls = tls.as_ref().map(Tls::open).transpose()?;
        let bound = TcpListener::bind((host.as_str(), *port)).await;
        let listener = bound.map_err(|source| MetricsError::Bind { host: host.clone(), port: *port, source })?;
        if !settings.is_local() {
            tracing::warn!(
                host,
                port,
                "Metrics are served to whoever can connect: keep this port to those who may read them"
            );
        }
        tracing::info!(host, port, tls = tls.is_some(), "Starting prometheus exporter");
        Ok(Self { listener, tls, shown: Shown { handle, uptime } })
    }

    /// Serves until `stop` is cancelled.
    pub(super) async fn serve(self, own: OwnNow, stop: CancellationToken) -> io::Result<()> {
        let Self { listener, tls, shown } = self;
        let routes = one_answer(Router::new().fallback(show).with_state(shown));
        let Some(tls) = tls else {
            return axum::serve(Bounded::new(listener), routes).with_graceful_shutdown(stop.cancelled_owned()).await;
        };
        serve_https("metrics", listener, tls.now(own), stop, move |stream| connection(stream, routes.clone())).await;
        Ok(())
    }
}

async fn connection(stream: Box<dyn HttpsStream>, routes: Router) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_LEN);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await {
        tracing::debug!(%error, "Connection to metrics failed");
    }
}

async fn show(State(shown): State<Shown>) -> impl IntoResponse {
    shown.uptime.show();
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], shown.handle.render())
}
