//! From a gRPC status to what the agent does about it. The reason for a denial rides in `grpc-status-details-bin`
//! (google.rpc.Status with an Any of spire.api.types.PermissionDeniedDetails).

use std::error::Error as _;
use std::time::Duration;

use plastron_agent_core::upstream::{AgentDenial, UpstreamError};
use plastron_proto::types::PermissionDeniedDetails;
use plastron_proto::types::permission_denied_details::Reason;
use prost::Message as _;
use tonic::{Code, Status};

use crate::connect::{chain, sort};

/// How long one call, or one step of a stream, may take: SPIRE's own limit.
pub(crate) const RPC_TIMEOUT: Duration = Duration::from_secs(30);
/// Most details looked through; a server sends one.
const MAX_DETAILS: usize = 16;
/// Most bytes of a server's words that are kept.
const MAX_MESSAGE_LEN: usize = 1024;

/// Waits for a call or a step of a stream.
pub(crate) async fn bounded<T>(
    server: &str,
    rpc: &'static str,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, UpstreamError> {
    match tokio::time::timeout(RPC_TIMEOUT, call).await {
        Ok(result) => result.map_err(|status| error(server, rpc, &status)),
        Err(_) => Err(UpstreamError::DeadlineExceeded { rpc, seconds: RPC_TIMEOUT.as_secs() }),
    }
}

/// Sorts a status by what the agent does about it.
pub(crate) fn error(server: &str, rpc: &'static str, status: &Status) -> UpstreamError {
    if let Some(error) = plastron_transport::connect_error(status) {
        return sort(server, error);
    }
    let message = shortened(status.message());
    if let (Code::Unknown | Code::Internal | Code::Cancelled | Code::Unavailable, Some(cause)) =
        (status.code(), status.source())
    {
        // The connection broke: tonic has no code of its own for that.
        return UpstreamError::Unavailable {
            server: server.to_owned(),
            reason: format!("{message}: {}", chain(cause)),
        };
    }
    match status.code() {
        Code::PermissionDenied => match denial(status.details()) {
            Some(reason) => UpstreamError::AgentDenied { reason, message },
            None => UpstreamError::PermissionDenied { message },
        },
        Code::Unavailable => UpstreamError::Unavailable { server: server.to_owned(), reason: message },
        Code::InvalidArgument => UpstreamError::InvalidArgument { rpc, message },
        Code::ResourceExhausted => UpstreamError::ResourceExhausted { rpc, message },
        Code::Unimplemented => UpstreamError::Unimplemented { rpc, message },
        code => UpstreamError::Status { rpc, code: format!("{code:?}"), message },
    }
}

fn denial(details: &[u8]) -> Option<AgentDenial> {
    let status = tonic_types::Status::decode(details).ok()?;
    let details = status
        .details
        .iter()
        .take(MAX_DETAILS)
        .find(|any| any.type_url.rsplit('/').next() == Some("spire.api.types.PermissionDeniedDetails"))?;
    let details = PermissionDeniedDetails::decode(details.value.as_slice()).ok()?;
    match Reason::try_from(details.reason).ok()? {
        Reason::Unknown => None,
        Reason::AgentExpired => Some(AgentDenial::Expired),
        Reason::AgentNotAttested => Some(AgentDenial::NotAttested),
        Reason::AgentNotActive => Some(AgentDenial::NotActive),
        Reason::AgentBanned => Some(AgentDenial::Banned),
        Reason::AgentMustReattest => Some(AgentDenial::MustReattest),
    }
}

fn shortened(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_LEN).collect()
}

#[cfg(test)]
mod tests {
    use tonic_types::pb;

    use super::*;

    fn denied(reason: i32, type_url: &str) -> Status {
        let value = PermissionDeniedDetails { reason }.encode_to_vec();
        let any = || prost_any(type_url, value.clone());
        let details = pb::Status { code: 7, message: "no".to_owned(), details: vec![any()] };
        Status::with_details(Code::PermissionDenied, "no", details.encode_to_vec().into())
    }

    fn prost_any(type_url: &str, value: Vec<u8>) -> prost_types::Any {
        prost_types::Any { type_url: type_url.to_owned(), value }
    }

    #[test]
    fn reasons_are_read_from_the_details() {
        const URL: &str = "type.googleapis.com/spire.api.types.PermissionDeniedDetails";
        for (reason, expected) in [
            (1, AgentDenial::Expired),
            (2, AgentDenial::NotAttested),
            (3, AgentDenial::NotActive),
            (4, AgentDenial::Banned),
            (5, AgentDenial::MustReattest),
        ] {
            let error = error("s", "RenewAgent", &denied(reason, URL));
            assert!(matches!(error, UpstreamError::AgentDenied { reason, .. } if reason == expected), "{error}");
        }
        for plain in [denied(0, URL), denied(99, URL), denied(4, "type.googleapis.com/google.rpc.Help")] {
            let error = error("s", "RenewAgent", &plain);
            assert!(matches!(error, UpstreamError::PermissionDenied { .. }), "{error}");
        }
    }

    /// What a SPIRE server says to a service that it does not have.
    #[test]
    fn a_service_that_the_server_lacks_is_told_from_one_that_fails() {
        let lacks = Status::unimplemented("unknown service plastron.server.watch.v1.Watch");
        let error = error("s", "Watch/Subscribe", &lacks);
        assert!(matches!(error, UpstreamError::Unimplemented { rpc: "Watch/Subscribe", .. }), "{error}");
    }

    #[test]
    fn details_that_are_no_details_are_no_reason() {
        for bytes in [&b"\xff\xff\xff"[..], b"", &[0x1a, 0x80]] {
            let status = Status::with_details(Code::PermissionDenied, "no", bytes.to_vec().into());
            assert!(matches!(error("s", "r", &status), UpstreamError::PermissionDenied { .. }));
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let error = error("s", "r", &Status::internal("x".repeat(100_000)));
        assert!(error.to_string().len() < 2000);
    }
}
