//! Health over HTTP: `/live` and `/ready` answer 200 or 500, with every named check in JSON.
//!
//! A check runs when it is asked for, at most once a second however often that is, and counts as failed after five seconds.
//! The page tells anyone who can connect what is wrong, so it listens on the loopback unless it is told otherwise.

mod checks;
mod listener;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use checks::{CheckOutcome, Checks, ChecksBuilder};
use listener::Bounded;

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
        axum::serve(Bounded::new(self.listener), routes).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}

async fn live(State(checks): State<Checks>) -> impl IntoResponse {
    answer(checks.live().await)
}

async fn ready(State(checks): State<Checks>) -> impl IntoResponse {
    answer(checks.ready().await)
}

#[derive(Serialize)]
struct Shown {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn answer(outcomes: Vec<(&'static str, CheckOutcome)>) -> (StatusCode, Json<BTreeMap<&'static str, Shown>>) {
    let mut status = StatusCode::OK;
    let mut shown = BTreeMap::new();
    for (name, outcome) in outcomes {
        let shown_outcome = match outcome {
            CheckOutcome::Passed => Shown { status: "ok", error: None },
            CheckOutcome::Failed(reason) => {
                status = StatusCode::INTERNAL_SERVER_ERROR;
                Shown { status: "failed", error: Some(reason) }
            }
        };
        shown.insert(name, shown_outcome);
    }
    (status, Json(shown))
}

#[cfg(test)]
mod tests;
