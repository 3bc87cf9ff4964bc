//! Debug and Logger, and the socket itself.

use std::os::unix::fs::PermissionsExt as _;

use plastron_proto::spire::agent::debug::v1::GetInfoRequest;
use plastron_proto::spire::agent::debug::v1::debug_client::DebugClient;
use plastron_proto::spire::api::agent::logger::v1::logger_client::LoggerClient;
use plastron_proto::spire::api::agent::logger::v1::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use plastron_proto::workload::X509svidRequest;
use plastron_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use tonic::Request;

use super::*;

#[tokio::test]
async fn the_socket_is_for_the_agents_user_and_group_and_serves_no_workload() {
    let world = World::start().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let socket = socket_in(world.dir.path());
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o770, 0o750));
    let mut request = Request::new(X509svidRequest {});
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    let status = SpiffeWorkloadApiClient::new(world.channel().await).fetch_x509svid(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn debug_tells_of_the_agents_own_svid_and_counts_what_it_holds() {
    let world = World::start().await;
    let mut client = DebugClient::new(world.channel().await);
    let mut info = client.get_info(GetInfoRequest {}).await.unwrap().into_inner();
    for _ in 0..500 {
        if info.cached_x509_svids_count == 1 && info.last_sync_success > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        info = client.get_info(GetInfoRequest {}).await.unwrap().into_inner();
    }
    assert_eq!((info.cached_x509_svids_count, info.svids_count, info.cached_jwt_svids_count), (1, 1, 0));
    assert!(info.last_sync_success >= 1_800_000_000, "{}", info.last_sync_success);
    let [leaf, authority] = info.svid_chain.as_slice() else { panic!("{:?}", info.svid_chain) };
    let path = |cert: &plastron_proto::spire::agent::debug::v1::get_info_response::Cert| cert.id.clone().unwrap().path;
    assert_eq!(path(leaf), "/spire/agent/fake/one");
    assert_eq!(path(authority), "");
    assert!(leaf.expires_at >= 1_800_003_600 && leaf.expires_at < 1_800_004_000, "{}", leaf.expires_at);
}

#[tokio::test]
async fn the_log_level_is_told_set_and_reset() {
    let world = World::start().await;
    let mut client = LoggerClient::new(world.channel().await);
    let levels = |logger: plastron_proto::types::Logger| (logger.current_level(), logger.launch_level());
    let got = client.get_logger(GetLoggerRequest {}).await.unwrap().into_inner();
    assert_eq!(levels(got), (LogLevel::Info, LogLevel::Info));
    for level in [LogLevel::Trace, LogLevel::Panic, LogLevel::Debug] {
        let set = client.set_log_level(SetLogLevelRequest { new_level: level.into() }).await.unwrap().into_inner();
        assert_eq!(levels(set), (level, LogLevel::Info));
    }
    for (level, text) in [
        (0, "newLevel value cannot be LogLevel_UNSPECIFIED"),
        (99, "unsupported log level"),
        (-1, "unsupported log level"),
    ] {
        let refusal = client.set_log_level(SetLogLevelRequest { new_level: level }).await;
        refused(refusal, Code::InvalidArgument, text);
    }
    let got = client.get_logger(GetLoggerRequest {}).await.unwrap().into_inner();
    assert_eq!(levels(got), (LogLevel::Debug, LogLevel::Info));
    let reset = client.reset_log_level(ResetLogLevelRequest {}).await.unwrap().into_inner();
    assert_eq!(levels(reset), (LogLevel::Info, LogLevel::Info));
}
