//! `grpc.reflection`, v1 and v1alpha, for tools such as grpcurl (SPIFFE_Workload_Endpoint.md, section 7): what the socket serves. It asks for
//! no security header: what it tells stands in public .proto files.

use plastron_proto::FILE_DESCRIPTOR_SET;
use tonic_reflection::server::{Builder, Error, v1, v1alpha};

use crate::limits::MAX_HEALTH_REQUEST_BYTES;

/// The services, which name those that are served and no others.
pub(crate) fn services(
    served: &[&str],
) -> Result<
    (
        v1::ServerReflectionServer<impl v1::ServerReflection>,
        v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>,
    ),
    Error,
> {
    let builder = || {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        served.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    Ok((
        builder().build_v1()?.max_decoding_message_size(MAX_HEALTH_REQUEST_BYTES),
        builder().build_v1alpha()?.max_decoding_message_size(MAX_HEALTH_REQUEST_BYTES),
    ))
}
