//! Every method that is served has a row in the authorisation table, and every row is a method.

use plastron_proto::FILE_DESCRIPTOR_SET;
use plastron_server_core::authorization::Method;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::*;

fn methods(files: &[u8]) -> Vec<String> {
    let mut paths = Vec::new();
    for file in FileDescriptorSet::decode(files).unwrap().file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            paths.extend(service.method.iter().map(|method| format!("/{name}/{}", method.name())));
        }
    }
    paths
}

/// Threat 24
#[test]
fn every_method_of_a_served_service_has_a_row_in_the_authorisation_table() {
    let mut paths = methods(FILE_DESCRIPTOR_SET);
    paths.extend(methods(tonic_health::pb::FILE_DESCRIPTOR_SET));
    let mut seen = 0;
    for service in LOCAL_SERVICES {
        let served: Vec<_> = paths.iter().filter(|path| path.starts_with(&format!("/{service}/"))).collect();
        assert!(!served.is_empty(), "{service} has no descriptor");
        for path in served {
            assert!(Method::from_path(path).is_some(), "{path} has no row");
            seen += 1;
        }
    }
    assert!(seen >= 59, "only {seen} methods were found");
}

#[test]
fn every_row_but_three_of_the_table_is_a_method_of_the_interfaces() {
    let mut paths = methods(FILE_DESCRIPTOR_SET);
    paths.extend(methods(tonic_health::pb::FILE_DESCRIPTOR_SET));
    let unknown: Vec<_> =
        Method::ALL.iter().map(|method| method.path()).filter(|p| !paths.contains(&(*p).into())).collect();
    // A newer version of the health interface than ours has the first; the others have descriptors of their own.
    let others = [
        "/grpc.health.v1.Health/List",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ];
    assert_eq!(unknown, others);
}
