//! What the server counts, by SPIRE's keys where it means the same (SPIRE's `doc/telemetry/telemetry.md`).
//!
//! What SPIRE reads from its database this server reads from memory, so of SPIRE's `datastore` keys there are those that change something.

use plastron_telemetry::{Call, Counter, Gauge};

use crate::store::SlotKind;

pub(crate) static X509_SVID_SIGNED: Counter = Counter::new("server_ca.sign.x509_svid");
pub(crate) static JWT_SVID_SIGNED: Counter = Counter::new("server_ca.sign.jwt_svid");
pub(crate) static SERVER_SVID_ROTATE: Call = Call::new("svid.rotate");
pub(crate) static BUNDLE_PRUNE: Call = Call::new("ca.manager.bundle.prune");
pub(crate) static BUNDLE_PRUNED: Counter = Counter::new("ca.manager.bundle.pruned");
pub(crate) static ENTRY_PRUNE: Call = Call::new("registration_entry.manager.prune");
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

/// The `datastore` call that a step of the ledger is; `None` where SPIRE has none that means the same.
pub(crate) fn datastore(step: &'static str) -> Option<&'static Call> {
    macro_rules! calls {
        ($($step:literal => $key:literal,)*) => {
            match step {
                $($step => {
                    static CALL: Call = Call::new(concat!("datastore.", $key));
                    Some(&CALL)
                })*
                _ => None,
            }
        };
    }
    calls! {
        "create entries" => "registration_entry.create",
        "update entries" => "registration_entry.update",
        "delete entries" => "registration_entry.delete",
        "prune expired entries" => "registration_entry.prune",
        "keep a join token" => "join_token.create",
        "prune expired join tokens" => "join_token.prune",
        "admit a node" => "node.create",
        "renew an agent's SVID" => "node.update",
        "record the first use of an agent's SVID" => "node.update",
        "ban a node" => "node.update",
        "cut a node off" => "node.update",
        "evict a node" => "node.delete",
        "append to the bundle" => "bundle.append",
        "publish an authority" => "bundle.append",
        "publish roots of the upstream" => "bundle.append",
        "drop expired authorities" => "bundle.prune",
        "activate a slot" => "ca_journal.set",
        "remove servers that are gone" => "ca_journal.prune",
        "create a federated bundle" => "bundle.create",
        "update a federated bundle" => "bundle.update",
        "set a federated bundle" => "bundle.set",
        "keep a fetched bundle" => "bundle.set",
        "delete a federated bundle" => "bundle.delete",
        "create a federation relationship" => "federation_relationship.create",
        "update a federation relationship" => "federation_relationship.update",
        "delete a federation relationship" => "federation_relationship.delete",
    }
}
