//! Nodes as the API shows them.

use plastron_proto::types::{Agent, AgentMask};
use plastron_server_core::store::Node;

use super::{selectors_to_proto, spiffe_id_to_proto};

/// The fields that the mask asks for, or all without a mask; the SPIFFE ID always. A banned node has no serial number.
pub(crate) fn to_proto(node: &Node, mask: Option<&AgentMask>) -> Agent {
    let wants = |field: fn(&AgentMask) -> bool| mask.is_none_or(field);
    let text = |wanted: bool, text: &str| if wanted { text.to_owned() } else { String::new() };
    let serial = node.current_svid().map(|svid| svid.serial.to_decimal()).unwrap_or_default();
    Agent {
        id: Some(spiffe_id_to_proto(&node.id)),
        attestation_type: text(wants(|m| m.attestation_type), &node.attestation_type),
        x509svid_serial_number: text(wants(|m| m.x509svid_serial_number), &serial),
        x509svid_expires_at: if wants(|m| m.x509svid_expires_at) {
            i64::try_from(node.expires_at()).unwrap_or(i64::MAX)
        } else {
            0
        },
        selectors: if wants(|m| m.selectors) { selectors_to_proto(&node.selectors) } else { Vec::new() },
        banned: wants(|m| m.banned) && node.is_banned(),
        can_reattest: wants(|m| m.can_reattest) && node.can_reattest,
        agent_version: text(wants(|m| m.agent_version), &node.agent_version),
    }
}
