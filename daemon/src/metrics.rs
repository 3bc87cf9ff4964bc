//! Metrics for Prometheus to fetch, named and labelled as SPIRE's exporter does.
//!
//! [`Exporter::install`] comes before anything that counts; what is counted is `telemetry`'s and its users' business. Any path answers,
//! as SPIRE's listener does, in Prometheus' text format 0.0.4. Whoever can connect can read, so it listens on the loopback unless it is
//! told otherwise. Not here: TLS, statsd, DogStatsd, M3 and SPIRE's in-memory sink, which the configuration refuses by name.

mod recorder;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use plastron_telemetry::Gauge;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bounded::Bounded;
use crate::config::RawTelemetry;
use recorder::Named;

/// SPIRE's summaries have these (go-metrics).
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// How often samples are drained into summaries: until then each takes eight bytes.
const UPKEEP: Duration = Duration::from_secs(5);
/// SPIRE's.
const DEFAULT_HOST: &str = "localhost";
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whose metrics they are.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// What names begin with where the configuration says nothing: `spire_server` or `spire_agent`.
    pub prefix: &'static str,
    /// The name of the trust domain.
    pub trust_domain: &'a str,
    /// The version of the program.
    pub version: &'static str,
}

/// Why metrics can't be served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address can't be bound.
    #[error("can't listen for Prometheus on {host}:{port}")]
    Bind {
        /// The configured host.
        host: String,
        /// The configured port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The recorder refuses its own settings.
    #[error("the recorder of metrics can't be made")]
    Recorder(#[from] BuildError),
    /// The process has a recorder already.
    #[error("the process has a recorder of metrics already")]
    Installed,
}

/// A bound listener and what it will show.
pub struct Exporter {
    listener: TcpListener,
    shown: Shown,
}

#[derive(Clone)]
struct Shown {
    handle: PrometheusHandle,
    uptime: Arc<Gauge>,
    started: Instant,
}

impl Exporter {
    /// Records for this process from now on, if the configuration has a `Prometheus` block; counts nothing without one.
    pub async fn install(raw: &RawTelemetry, program: Program<'_>) -> Result<Option<Self>, MetricsError> {
        let Some(prometheus) = &raw.prometheus else { return Ok(None) };
        let host = prometheus.value.host.as_ref().map_or(DEFAULT_HOST, |host| host.value.as_str());
        let port = prometheus.value.port.as_ref().map_or(0, |port| port.value);
        let bound = TcpListener::bind((host, port)).await;
        let listener = bound.map_err(|source| MetricsError::Bind { host: host.to_owned(), port, source })?;
        if host != DEFAULT_HOST {
            tracing::warn!(
                host,
                port,
                "Metrics are served to whoever can connect: keep this port to those who may read them"
            );
        }
        let recorder = PrometheusBuilder::new().set_quantiles(&QUANTILES)?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(Named::new(recorder, raw, program)).map_err(|_refused| MetricsError::Installed)?;
        let about = Gauge::new("started").label("version", program.version);
        about.label("trust_domain_id", program.trust_domain).set(1.0);
        tracing::info!(host, port, "Starting prometheus exporter");
        let shown = Shown { handle, uptime: Arc::new(Gauge::new("uptime_in_ms")), started: Instant::now() };
        Ok(Some(Self { listener, shown }))
    }

    /// Serves until `stop` is cancelled.
    pub async fn serve(self, stop: CancellationToken) -> io::Result<()> {
        let Self { listener, shown } = self;
        let upkeep = shown.handle.clone();
        let routes = Router::new().fallback(show).with_state(shown);
        let served = axum::serve(Bounded::new(listener), routes).with_graceful_shutdown(stop.clone().cancelled_owned());
        let kept_up = async {
            loop {
                tokio::time::sleep(UPKEEP).await;
                upkeep.run_upkeep();
            }
        };
        tokio::select! {
            outcome = served => outcome,
            () = kept_up => Ok(()),
        }
    }
}

async fn show(State(shown): State<Shown>) -> impl IntoResponse {
    shown.uptime.set((shown.started.elapsed().as_secs_f64() * 1e3).floor());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], shown.handle.render())
}
