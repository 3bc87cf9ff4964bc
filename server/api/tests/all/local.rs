//! What the Unix socket alone serves: the log's level, health while it is watched, reflection.

use plastron_proto::spire::api::server::logger::v1::logger_client::LoggerClient;
use plastron_proto::spire::api::server::logger::v1::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use plastron_proto::types::{LogLevel, Logger};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::Server;

fn levels(logger: Logger) -> (LogLevel, LogLevel) {
    (logger.current_level(), logger.launch_level())
}

#[tokio::test]
async fn the_level_of_the_log_is_set_and_reset() {
    let server = Server::start().await;
    let mut client = LoggerClient::new(server.local.clone());
    for level in [LogLevel::Panic, LogLevel::Fatal, LogLevel::Error, LogLevel::Warn, LogLevel::Debug, LogLevel::Trace] {
        let set = client.set_log_level(SetLogLevelRequest { new_level: level.into() }).await.unwrap().into_inner();
        assert_eq!(levels(set), (level, LogLevel::Info));
        let told = client.get_logger(GetLoggerRequest {}).await.unwrap().into_inner();
        assert_eq!(levels(told), (level, LogLevel::Info));
    }
    let reset = client.reset_log_level(ResetLogLevelRequest {}).await.unwrap().into_inner();
    assert_eq!(levels(reset), (LogLevel::Info, LogLevel::Info));
    for (new_level, text) in [(0, "newLevel value cannot be LogLevel_UNSPECIFIED"), (8, "unsupported log level")] {
        let refused: Status = client.set_log_level(SetLogLevelRequest { new_level }).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, text));
    }
}

#[tokio::test]
async fn health_is_told_at_once_to_who_watches_and_one_service_is_not_asked_for() {
    let server = Server::start().await;
    let mut client = HealthClient::new(server.local.clone());
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let other = HealthCheckRequest { service: "spire.api.server.agent.v1.Agent".into() };
    for refused in [client.check(other.clone()).await.err(), client.watch(other).await.err()] {
        let refused = refused.unwrap();
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "per-service health is not supported"));
    }
    drop(server);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing, "it stops");
    assert!(watch.message().await.unwrap().is_none());
}

#[tokio::test]
async fn watches_of_health_are_bounded_and_their_places_come_back() {
    let server = Server::start().await;
    let mut client = HealthClient::new(server.local.clone());
    let mut held = Vec::new();
    let refused = loop {
        assert!(held.len() < 1000);
        match client.watch(HealthCheckRequest::default()).await {
            Ok(watch) => held.push(watch.into_inner()),
            Err(refused) => break refused,
        }
    };
    assert_eq!((held.len(), refused.code()), (16, Code::ResourceExhausted));
    held.clear();
    while client.watch(HealthCheckRequest::default()).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn reflection_names_what_is_served_and_describes_it() {
    let server = Server::start().await;
    let request = |message| v1::ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let asked = [
        request(MessageRequest::ListServices(String::new())),
        request(MessageRequest::FileContainingSymbol("spire.api.server.entry.v1.Entry".into())),
        request(MessageRequest::FileByFilename("google/protobuf/wrappers.proto".into())),
    ];
    let mut client = ServerReflectionClient::new(server.local.clone());
    let mut answers = client.server_reflection_info(tokio_stream::iter(asked)).await.unwrap().into_inner();
    let mut next = async || answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = next().await else { panic!("no list") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["spire.api.server.svid.v1.SVID", "grpc.health.v1.Health", "spire.api.server.logger.v1.Logger"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    assert!(!names.contains(&"SpiffeWorkloadAPI".to_owned()), "the agent's: {names:?}");
    for _file in 0..2 {
        assert!(matches!(next().await, MessageResponse::FileDescriptorResponse(_)));
    }

    let list = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let asked = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.local.clone());
    let answers = client.server_reflection_info(tokio_stream::iter([asked])).await;
    assert!(answers.unwrap().into_inner().message().await.unwrap().is_some());
}
