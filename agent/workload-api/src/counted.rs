//! The calls that are counted on a socket: every method that the descriptors have of the services on it.

use plastron_proto::FILE_DESCRIPTOR_SET;
use plastron_transport::CountedCalls;
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Those of these services.
pub(crate) fn counted(services: &[&str]) -> CountedCalls {
    let files = [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    // They are a part of the program; were one unreadable, reflection would not start.
    let files = files.into_iter().filter_map(|files| FileDescriptorSet::decode(files).ok()).flat_map(|set| set.file);
    let mut paths = Vec::new();
    for file in files {
        let prefix = if file.package().is_empty() { String::new() } else { format!("{}.", file.package()) };
        for service in &file.service {
            let name = format!("{prefix}{}", service.name());
            if services.contains(&name.as_str()) {
                paths.extend(service.method.iter().map(|method| format!("/{name}/{}", method.name())));
            }
        }
    }
    CountedCalls::new(paths)
}

#[cfg(test)]
mod tests {
    use crate::{admin, serve};

    /// A name that no descriptor has would count nothing.
    #[test]
    fn every_service_of_a_socket_is_counted() {
        for (counted, path) in [
            (serve::counted(), "/SpiffeWorkloadAPI/FetchX509SVID"),
            (serve::counted(), "/SpiffeWorkloadAPI/ValidateJWTSVID"),
            (serve::counted(), "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"),
            (serve::counted(), "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"),
            (serve::counted(), "/grpc.health.v1.Health/Check"),
            (serve::counted(), "/grpc.health.v1.Health/Watch"),
            (admin::counted(), "/spire.api.agent.delegatedidentity.v1.DelegatedIdentity/SubscribeToX509SVIDs"),
            (admin::counted(), "/spire.agent.debug.v1.Debug/GetInfo"),
            (admin::counted(), "/spire.api.agent.logger.v1.Logger/GetLogger"),
        ] {
            assert!(counted.counts(path), "{path}");
        }
        assert!(!serve::counted().counts("/spire.agent.debug.v1.Debug/GetInfo"));
    }
}
