//! An operator moves an authority on by hand: prepared, activated, the old one tainted and at last revoked.

use serde_json::Value;

use crate::workloads::testbed::{Testbed, eventually};

/// Of which kind: the word of the command line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    X509,
    Jwt,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::X509 => "x509",
            Self::Jwt => "jwt",
        }
    }
}

/// The ID of the authority in this state.
pub(crate) fn authority(bed: &Testbed, kind: Kind, state: &str) -> String {
    let json = bed.server_cli(&["localauthority", kind.word(), "show", "-output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    json[state]["authority_id"].as_str().unwrap_or_else(|| panic!("no {state} authority in {json}")).to_owned()
}

/// The serial number of the only agent's own SVID.
fn serial_of_agent(bed: &Testbed) -> String {
    let json: Value = serde_json::from_str(&bed.server_cli(&["agent", "list", "-output", "json"])).unwrap();
    json["agents"][0]["x509svid_serial_number"].as_str().unwrap().to_owned()
}

/// Goes all the way. `replaced` is asked, meanwhile and again and again, whether workloads have what the new authority signed; an operator
/// waits for that, and for the agent's own SVID, before the old authority goes: an agent that still needs it would be cut off.
pub(crate) fn move_on(bed: &Testbed, kind: Kind, mut replaced: impl FnMut() -> bool) {
    move_on_once_published(bed, kind, || (), |()| replaced());
}

/// The same. What `published` waits for happens while the new authority is in the bundle and signs nothing yet.
pub(crate) fn move_on_once_published<T>(
    bed: &Testbed,
    kind: Kind,
    published: impl FnOnce() -> T,
    mut replaced: impl FnMut(&mut T) -> bool,
) -> T {
    let verb =
        |verb: &str, id: &str| bed.try_server_cli(&["localauthority", kind.word(), verb, "-authorityID", id]).map(drop);
    let old = authority(bed, kind, "active");
    bed.server_cli(&["localauthority", kind.word(), "prepare"]);
    let prepared = authority(bed, kind, "prepared");
    let mut observer = published();
    eventually("the prepared authority to be everywhere", || {
        replaced(&mut observer);
        verb("activate", &prepared).ok()
    });
    let agents_svid = serial_of_agent(bed);
    verb("taint", &old).unwrap();
    eventually("what the new authority signed, everywhere", || {
        let agent_has = kind == Kind::Jwt || serial_of_agent(bed) != agents_svid;
        (replaced(&mut observer) && agent_has).then_some(())
    });
    verb("revoke", &old).unwrap();
    observer
}
