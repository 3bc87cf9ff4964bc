//! `grpc.reflection`, v1 and v1alpha, on the Unix socket: what the server speaks, for tools such as grpcurl. SPIRE's server has none.
//!
//! Who may ask is decided by the gate; what is told stands in the public .proto files, whoever asks.

use plastron_proto::FILE_DESCRIPTOR_SET;
use tonic::service::RoutesBuilder;
use tonic_reflection::server::{Builder, Error};

use crate::limits::MAX_SELF_REQUEST_LEN;

/// Serves the descriptors, and names the services that are served.
pub(crate) fn add(routes: &mut RoutesBuilder, served: &[&str]) -> Result<(), Error> {
    routes
        .add_service(builder(served).build_v1()?.max_decoding_message_size(MAX_SELF_REQUEST_LEN))
        .add_service(builder(served).build_v1alpha()?.max_decoding_message_size(MAX_SELF_REQUEST_LEN));
    Ok(())
}

fn builder<'a>(served: &[&str]) -> Builder<'a> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    served.iter().fold(builder, |builder, name| builder.with_service_name(*name))
}
