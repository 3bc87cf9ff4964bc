//! What is counted, shown to Prometheus and sent to statsd and DogStatsd, named and labelled as SPIRE does.
//!
//! [`Exporter::install`] comes before anything that counts; what is counted is `telemetry`'s and its users' business. Whoever can connect
//! can read, so the listener for Prometheus is on the loopback unless it is told otherwise, and TLS can keep it to some clients. Not
//! here: M3, which the configuration refuses by name, and SPIRE's in-memory sink.

mod prometheus;
mod recorder;
mod sender;
mod settings;
mod statsd;
mod tls;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use plastron_telemetry::Gauge;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use prometheus::Prometheus;
use recorder::{Named, Sink};
use sender::{Sender, queue};
pub use settings::TelemetrySettings;
use statsd::Lines;
pub use tls::{MetricsTlsError, Own, OwnNow};

/// SPIRE's summaries have these (go-metrics).
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// How often samples are drained into summaries: until then each takes eight bytes.
const UPKEEP: Duration = Duration::from_secs(5);
/// How often receivers are told for how long the program has run (SPIRE).
const UPTIME: Duration = Duration::from_secs(10);
/// How long the head of a request over TLS may take (SPIRE: 10 s).
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of one, in bytes.
const MAX_HEAD_LEN: usize = 16 * 1024;

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
    /// TLS can't be had.
    #[error("can't listen for Prometheus over TLS")]
    Tls(#[from] MetricsTlsError),
    /// The recorder refuses its own settings.
    #[error("the recorder of metrics can't be made")]
    Recorder(#[from] BuildError),
    /// The process has a recorder already.
    #[error("the process has a recorder of metrics already")]
    Installed,
}

/// Everyone who is told, once it runs.
pub struct Exporter {
    prometheus: Option<(Prometheus, PrometheusHandle)>,
    senders: Vec<Sender>,
    uptime: Arc<Uptime>,
}

/// For how long the program has run.
struct Uptime {
    gauge: Gauge,
    started: Instant,
}

impl Uptime {
    fn show(&self) {
        self.gauge.set((self.started.elapsed().as_secs_f64() * 1e3).floor());
    }
}

impl Exporter {
    /// Records for this process from now on, if anyone is to be told; counts nothing otherwise.
    pub async fn install(settings: &TelemetrySettings, program: Program<'_>) -> Result<Option<Self>, MetricsError> {
        let uptime = Arc::new(Uptime { gauge: Gauge::new("uptime_in_ms"), started: Instant::now() });
        let (mut sinks, mut senders, mut prometheus) = (Vec::new(), Vec::new(), None);
        if let Some(settings) = &settings.prometheus {
            let recorder = PrometheusBuilder::new().set_quantiles(&QUANTILES)?.build_recorder();
            let handle = recorder.handle();
            let listener = Prometheus::bind(settings, handle.clone(), Arc::clone(&uptime)).await?;
            prometheus = Some((listener, handle));
            sinks.push(Sink::Prometheus(recorder));
        }
        for receiver in &settings.pushed {
            let (queue, lines) = queue();
            sinks.push(Sink::Lines(Lines::new(receiver.form, queue)));
            senders.push(Sender::new(receiver.to.clone(), lines));
        }
        if sinks.is_empty() {
            return Ok(None);
        }
        let named = Named::new(sinks, &settings.naming, program);
        metrics::set_global_recorder(named).map_err(|_refused| MetricsError::Installed)?;
        let about = Gauge::new("started").label("version", program.version);
        about.label("trust_domain_id", program.trust_domain).set(1.0);
        Ok(Some(Self { prometheus, senders, uptime }))
    }

    /// Serves and sends until `stop` is cancelled. `own` is what TLS shows and believes where it is told to.
    pub async fn serve(self, own: OwnNow, stop: CancellationToken) -> io::Result<()> {
        let Self { prometheus, senders, uptime } = self;
        let tasks = TaskTracker::new();
        for sender in senders {
            tasks.spawn(sender.run(stop.clone()));
        }
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                uptime.show();
                tokio::time::sleep(UPTIME).await;
            }
        }));
        let served = match prometheus {
            Some((listener, handle)) => {
                let kept_up = async {
                    loop {
                        tokio::time::sleep(UPKEEP).await;
                        handle.run_upkeep();
                    }
                };
                tokio::select! {
                    served = listener.serve(own, stop) => served,
                    () = kept_up => Ok(()),
                }
            }
            None => Ok(()),
        };
        tasks.close();
        tasks.wait().await;
        served
    }
}
