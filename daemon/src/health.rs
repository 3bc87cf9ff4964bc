//! Health over HTTP: `/live` and `/ready` answer 200, or 500 where a check failed, with every named check in JSON.
//!
//! `/ready` answers 503 where nothing failed and a program serves what it has because it can't do its work now: whoever sends work
//! should send it elsewhere, and nobody should restart the program for it. Both are failures to a probe.
//!
//! A check runs when it is asked for, at most once a second however often that is, and counts as failed after five seconds.
//! The page tells anyone who can connect what is wrong, so it listens on the loopback unless it is told otherwise.

mod checks;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bounded::{Bounded, one_answer};
pub use checks::{CheckOutcome, Checks, ChecksBuilder, FromCache};

/// SPIRE's `health_checks` block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RawHealthChecks {
    /// Whether there is a listener at all.
    pub listener_enabled: bool,
    /// The address.
    pub bind_address: String,
    /// The port.
    pub bind_port: u16,
    /// The path that tells whether the process should be restarted.
    pub live_path: String,
    /// The path that tells whether the process can serve.
    pub ready_path: String,
}

impl Default for RawHealthChecks {
    fn default() -> Self {
        Self {
            listener_enabled: false,
            bind_address: "localhost".to_owned(),
            bind_port: 80,
            live_path: "/live".to_owned(),
            ready_path: "/ready".to_owned(),
        }
    }
}

/// Why health can't be served.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The address can't be bound.
    #[error("can't listen for health checks on {address}:{port}")]
    Bind {
        /// The configured address.
        address: String,
        /// The configured port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// A path must begin with a slash and be no pattern.
    #[error("health check path {path:?} must begin with '/' and hold letters, digits, '-', '_', '.' and '/' only")]
    Path {
        /// The path.
        path: String,
    },
    /// Both paths are the same.
    #[error("live_path and ready_path are both {path:?}")]
    SamePath {
        /// The path.
        path: String,
    },
}

/// A bound listener for health checks, not yet served.
pub struct HealthServer {
    listener: TcpListener,
    live_path: String,
    ready_path: String,
}

impl RawHealthChecks {
    /// Checks the paths; for `validate` too.
    pub fn validate(&self) -> Result<(), HealthError> {
        for path in [&self.live_path, &self.ready_path] {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
            if !path.starts_with('/') || !path.bytes().all(plain) {
                return Err(HealthError::Path { path: path.clone() });
            }
        }
        if self.live_path == self.ready_path {
            return Err(HealthError::SamePath { path: self.live_path.clone() });
        }
        Ok(())
    }

    /// Binds the listener; `None` if it is not enabled.
    pub async fn bind(&self) -> Result<Option<HealthServer>, HealthError> {
        self.validate()?;
        if !self.listener_enabled {
            return Ok(None);
        }
        let (address, port) = (self.bind_address.clone(), self.bind_port);
        let listener = TcpListener::bind((address.as_str(), port)).await.map_err(|source| HealthError::Bind {
            address,
            port,
            source,
        })?;
        Ok(Some(HealthServer { listener, live_path: self.live_path.clone(), ready_path: self.ready_path.clone() }))
    }
}

impl HealthServer {
    /// The address that was bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is cancelled.
    pub async fn serve(self, checks: Checks, stop: CancellationToken) -> io::Result<()> {
        let routes =
            Router::new().route(&self.live_path, get(live)).route(&self.ready_path, get(ready)).with_state(checks);
        axum::serve(Bounded::new(self.listener), one_answer(routes))
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

async fn live(State(checks): State<Checks>) -> impl IntoResponse {
    answer(checks.live().await, Vec::new())
}

async fn ready(State(checks): State<Checks>) -> impl IntoResponse {
    answer(checks.ready().await, checks.details())
}

#[derive(Default, Serialize)]
struct Shown {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Outcome(Shown),
    Detail(serde_json::Value),
}

fn answer(
    outcomes: Vec<(&'static str, CheckOutcome)>,
    details: Vec<(&'static str, serde_json::Value)>,
) -> (StatusCode, Json<BTreeMap<&'static str, Line>>) {
    let mut status = StatusCode::OK;
    let mut lines = BTreeMap::new();
    for (name, outcome) in outcomes {
        let shown = match outcome {
            CheckOutcome::Passed => Shown { status: "ok", ..Shown::default() },
            CheckOutcome::FromCache(FromCache { since, reason, remedy }) => {
                if status == StatusCode::OK {
                    status = StatusCode::SERVICE_UNAVAILABLE;
                }
                let (since, remedy) = (Some(rfc3339(since)), Some(remedy));
                Shown { status: "serving from cache", error: Some(reason), since, remedy }
            }
            CheckOutcome::Failed(reason) => {
                status = StatusCode::INTERNAL_SERVER_ERROR;
                Shown { status: "failed", error: Some(reason), ..Shown::default() }
            }
        };
        lines.insert(name, Line::Outcome(shown));
    }
    lines.extend(details.into_iter().map(|(name, detail)| (name, Line::Detail(detail))));
    (status, Json(lines))
}

/// Unix seconds for people; as a number where no calendar has them.
fn rfc3339(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let text = at.and_then(|at| at.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z")).ok());
    text.unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests;
