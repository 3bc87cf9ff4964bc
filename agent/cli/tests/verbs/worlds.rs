//! What the agent of a test has to say.

use plastron_proto::spire::agent::debug::v1 as debug;
use plastron_proto::types::{LogLevel, Logger, Spiffeid};
use plastron_proto::workload as wire;
use tonic::Status;
use tonic_health::pb::HealthCheckResponse;

use crate::fake::World;
use crate::svids::{authority, jwt_svid, svid};

/// 2026-01-02 15:04:05 UTC.
const THEN: i64 = 1_767_366_245;

/// An agent that has something of everything.
pub(crate) fn full() -> World {
    let (web, db) = ("spiffe://example.org/web", "spiffe://example.org/db");
    let ca = authority("example.org");
    let svids = wire::X509svidResponse {
        svids: vec![svid(&ca, web, "internal"), svid(&ca, db, "")],
        crl: Vec::new(),
        federated_bundles: [("spiffe://other.test".to_owned(), authority("other.test").der().to_vec())].into(),
    };
    let tokens =
        wire::JwtsvidResponse { svids: vec![jwt_svid(web, &["a", "b"], "internal"), jwt_svid(db, &["a", "b"], "")] };
    let jwks = b"{\n    \"keys\": []\n}".to_vec();
    let bundles = wire::JwtBundlesResponse { bundles: [("spiffe://example.org".to_owned(), jwks)].into() };
    let text = |text: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.to_owned())) };
    let claims = prost_types::Struct { fields: [("iss".to_owned(), text("i")), ("sub".to_owned(), text(web))].into() };
    let valid = wire::ValidateJwtsvidResponse { spiffe_id: web.to_owned(), claims: Some(claims) };
    World::default()
        .with("/FetchX509SVID", &svids)
        .with("/FetchJWTSVID", &tokens)
        .with("/FetchJWTBundles", &bundles)
        .with("/ValidateJWTSVID", &valid)
        .with("Logger/GetLogger", &logger(LogLevel::Warn))
        .with("Logger/SetLogLevel", &logger(LogLevel::Debug))
        .with("Logger/ResetLogLevel", &logger(LogLevel::Info))
        .with("Debug/GetInfo", &info())
        .with("Health/Check", &HealthCheckResponse { status: 1 })
}

/// An agent that has nothing, and knows it.
pub(crate) fn sick() -> World {
    World::default()
        .refusing("/ValidateJWTSVID", Status::invalid_argument(r#"expected audience in ["other"] (audience=["db"])"#))
        .with("Debug/GetInfo", &debug::GetInfoResponse { uptime: 59, ..Default::default() })
        .with("Health/Check", &HealthCheckResponse { status: 2 })
}

/// An agent that refuses every call.
pub(crate) fn refusing() -> World {
    World::default().refusing("", Status::permission_denied("no identity issued"))
}

fn logger(current: LogLevel) -> Logger {
    Logger { current_level: current.into(), launch_level: LogLevel::Info.into() }
}

fn info() -> debug::GetInfoResponse {
    let id = Spiffeid { trust_domain: "example.org".into(), path: "/spire/agent/x509pop/ab".into() };
    let cert = |id, subject: &str| debug::get_info_response::Cert { id, expires_at: THEN, subject: subject.into() };
    debug::GetInfoResponse {
        svid_chain: vec![cert(Some(id), "O=SPIRE,C=US"), cert(None, "O=SPIFFE,C=US")],
        uptime: 3_725,
        svids_count: 4,
        last_sync_success: THEN,
        cached_x509_svids_count: 4,
        cached_jwt_svids_count: 5,
        cached_svidstore_x509_svids_count: 6,
    }
}
