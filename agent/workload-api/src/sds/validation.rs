//! Which form of bundles a proxy gets: the configuration says, the proxy may say otherwise of itself, and its version may not leave a choice.

use plastron_proto::envoy::config::core::v3::Node;
use plastron_proto::envoy::config::core::v3::node::UserAgentVersionType;
use prost_types::value::Kind;

use super::PeerValidation;

/// The key of a node's metadata by which a proxy overrides the configuration.
const DISABLE_KEY: &str = "disable_spiffe_cert_validation";

/// The last version of Envoy whose validator of SPIFFE certificates SPIRE does not use: 1.17 had it without support for SDS.
const LAST_WITHOUT: (u32, u32) = (1, 17);

/// What this proxy gets.
pub(super) fn of(node: Option<&Node>, configured: PeerValidation) -> PeerValidation {
    let told = node.and_then(|node| node.metadata.as_ref()?.fields.get(DISABLE_KEY)?.kind.as_ref());
    let wanted = match told.and_then(is_set) {
        Some(true) => PeerValidation::RootsOnly,
        Some(false) => PeerValidation::ByTrustDomain,
        None => configured,
    };
    if node.is_some_and(is_too_old) { PeerValidation::RootsOnly } else { wanted }
}

/// A proxy that does not say its version is taken for a new one.
fn is_too_old(node: &Node) -> bool {
    match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
            build.version.as_ref().is_some_and(|version| (version.major_number, version.minor_number) <= LAST_WITHOUT)
        }
        Some(UserAgentVersionType::UserAgentVersion(_)) | None => false,
    }
}

/// The truth of a value as SPIRE reads it; anything else is as if it were not there.
fn is_set(value: &Kind) -> Option<bool> {
    match value {
        Kind::BoolValue(value) => Some(*value),
        Kind::StringValue(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        },
        Kind::NullValue(_) | Kind::NumberValue(_) | Kind::StructValue(_) | Kind::ListValue(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use plastron_proto::envoy::config::core::v3::BuildVersion;
    use plastron_proto::envoy::r#type::v3::SemanticVersion;
    use prost_types::{ListValue, Struct, Value};

    use super::PeerValidation::{ByTrustDomain, RootsOnly};
    use super::*;

    fn version(major_number: u32, minor_number: u32) -> Node {
        let version = SemanticVersion { major_number, minor_number, patch: 9 };
        let build = BuildVersion { version: Some(version) };
        Node { user_agent_version_type: Some(UserAgentVersionType::UserAgentBuildVersion(build)), ..Node::default() }
    }

    fn telling(kind: Kind) -> Node {
        let fields = [(DISABLE_KEY.to_owned(), Value { kind: Some(kind) })].into();
        Node { metadata: Some(Struct { fields }), ..version(1, 40) }
    }

    #[test]
    fn the_validator_is_for_whoever_has_it() {
        for (node, expected) in [
            (None, ByTrustDomain),
            (Some(Node::default()), ByTrustDomain),
            (Some(version(0, 99)), RootsOnly),
            (Some(version(1, 17)), RootsOnly),
            (Some(version(1, 18)), ByTrustDomain),
            (Some(version(2, 0)), ByTrustDomain),
        ] {
            assert_eq!(of(node.as_ref(), ByTrustDomain), expected, "{node:?}");
            assert_eq!(of(node.as_ref(), RootsOnly), RootsOnly, "{node:?}");
        }
    }

    #[test]
    fn a_proxy_may_choose_for_itself() {
        let text = |text: &str| Kind::StringValue(text.to_owned());
        for (kind, expected) in [
            (Kind::BoolValue(true), Some(RootsOnly)),
            (Kind::BoolValue(false), Some(ByTrustDomain)),
            (text("true"), Some(RootsOnly)),
            (text("1"), Some(RootsOnly)),
            (text("False"), Some(ByTrustDomain)),
            (text("yes"), None),
            (text(""), None),
            (Kind::NumberValue(1.0), None),
            (Kind::NullValue(0), None),
            (Kind::ListValue(ListValue::default()), None),
        ] {
            let node = telling(kind);
            for configured in [ByTrustDomain, RootsOnly] {
                assert_eq!(of(Some(&node), configured), expected.unwrap_or(configured), "{node:?}");
            }
        }
        let mut old = telling(Kind::BoolValue(false));
        old.user_agent_version_type = version(1, 17).user_agent_version_type;
        assert_eq!(of(Some(&old), ByTrustDomain), RootsOnly, "what it does not have it can't choose");
    }
}
