//! What the server counts, by SPIRE's keys where it means the same (SPIRE's `doc/telemetry/telemetry.md`).
//!
//! What SPIRE reads from its database this server reads from memory, so of SPIRE's `datastore` keys there are those that change something.

use plastron_telemetry::{Call, Counter, Gauge};

use crate::ledger::Write;
use crate::store::SlotKind;

pub(crate) static X509_SVID_SIGNED: Counter = Counter::new("server_ca.sign.x509_svid");
pub(crate) static X509_CA_SIGNED: Counter = Counter::new("server_ca.sign.x509_ca_svid");
pub(crate) static JWT_SVID_SIGNED: Counter = Counter::new("server_ca.sign.jwt_svid");
pub(crate) static SERVER_SVID_ROTATE: Call = Call::new("svid.rotate");
pub(crate) static BUNDLE_PRUNE: Call = Call::new("ca.manager.bundle.prune");
pub(crate) static BUNDLE_PRUNED: Counter = Counter::new("ca.manager.bundle.pruned");
pub(crate) static ENTRY_PRUNE: Call = Call::new("registration_entry.manager.prune");
pub(crate) static NODE_PRUNE: Call = Call::new("node.manager.prune");
pub(crate) static GENERATE_KEY: Call = Call::new("server_key_manager.generate_key");
pub(crate) static SIGN_DATA: Call = Call::new("server_key_manager.sign_data");

static X509_CA_PREPARE: Call = Call::new("ca.manager.x509_ca.prepare");
static X509_CA_ACTIVATE: Counter = Counter::new("ca.manager.x509_ca.activate");
static JWT_KEY_PREPARE: Call = Call::new("ca.manager.jwt_key.prepare");
static JWT_KEY_ACTIVATE: Counter = Counter::new("manager.jwt_key.activate");

/// Of a kind's next authority that is being made.
pub(crate) fn prepare(kind: SlotKind) -> &'static Call {
    match kind {
        SlotKind::X509 => &X509_CA_PREPARE,
        SlotKind::Jwt => &JWT_KEY_PREPARE,
    }
}

/// Of a kind's authority that signs from now on.
pub(crate) fn activate(kind: SlotKind) -> &'static Counter {
    match kind {
        SlotKind::X509 => &X509_CA_ACTIVATE,
        SlotKind::Jwt => &JWT_KEY_ACTIVATE,
    }
}

/// When the certificate that signs ends, and how long that is from when it began to sign.
pub(crate) fn signing_until(trust_domain: &str, now: u64, not_after: u64) {
    let gauge = |name| Gauge::new(name).label("trust_domain_id", trust_domain);
    let seconds = |value: u64| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
    gauge("manager.x509_ca.rotate.expiration").set(seconds(not_after));
    gauge("manager.x509_ca.rotate.ttl").set(seconds(not_after.saturating_sub(now)));
}

/// The `datastore` call that a write is; `None` where SPIRE has none that means the same.
pub(crate) fn datastore(write: Write) -> Option<&'static Call> {
    macro_rules! call {
        ($key:literal) => {{
            static CALL: Call = Call::new(concat!("datastore.", $key));
            Some(&CALL)
        }};
    }
    match write {
        Write::CreateEntries => call!("registration_entry.create"),
        Write::UpdateEntries => call!("registration_entry.update"),
        Write::DeleteEntries => call!("registration_entry.delete"),
        Write::PruneEntries => call!("registration_entry.prune"),
        Write::KeepJoinToken => call!("join_token.create"),
        Write::PruneJoinTokens => call!("join_token.prune"),
        Write::AdmitNode => call!("node.create"),
        Write::RenewNode | Write::RecordFirstUse | Write::RecordVersion | Write::BanNode | Write::CutNodeOff => {
            call!("node.update")
        }
        Write::EvictNode => call!("node.delete"),
        Write::PruneNodes => call!("node.prune"),
        Write::KeepPendingTpm | Write::DecideOnTpm => None,
        Write::AppendToBundle
        | Write::PublishAuthority
        | Write::PublishUpstreamRoots
        | Write::PublishDownstreamJwtAuthority => call!("bundle.append"),
        Write::DropAuthorities => call!("bundle.prune"),
        Write::ActivateSlot => call!("ca_journal.set"),
        Write::PruneServers => call!("ca_journal.prune"),
        Write::CreateFederatedBundle => call!("bundle.create"),
        Write::UpdateFederatedBundle => call!("bundle.update"),
        Write::SetFederatedBundle | Write::KeepFetchedBundle => call!("bundle.set"),
        Write::DeleteFederatedBundle => call!("bundle.delete"),
        Write::CreateFederationRelationship => call!("federation_relationship.create"),
        Write::UpdateFederationRelationship => call!("federation_relationship.update"),
        Write::DeleteFederationRelationship => call!("federation_relationship.delete"),
        Write::TaintJwtAuthority => call!("bundle.jwt.taint"),
        Write::TaintX509Authority | Write::TaintUpstreamAuthority => call!("bundle.x509.taint"),
        Write::RevokeJwtAuthority => call!("bundle.jwt.revoke"),
        Write::RevokeX509Authority | Write::RevokeUpstreamAuthority => call!("bundle.x509.revoke"),
    }
}
