//! Two workloads of two trust domains on one foreign client, side by side for as long as it takes: what each makes of the other while their
//! domains come to know each other, replace authorities, and part. Each client brings a program of its own; the story is the same for all.
//!
//! A program's arguments are `peer FOLDER NAME PEER'S_NAME PEER'S_ID`. It serves mutual TLS for exactly that ID and writes where to
//! `FOLDER/NAME.address`, and a JWT-SVID for that ID to `FOLDER/NAME.jwt`. Again and again it connects to the peer, validates the peer's
//! token with the bundle that it has and by asking its agent, and prints a line: who the peer was, by serial number and key, or `refused`,
//! and how many authorities of the peer's trust domain it has.

use plastron_swtpm_tests::Process;

use crate::moved_authority::{Kind, move_on_once_published};
use crate::workloads::testbed::{Agent, TRUST_DOMAIN, Testbed, eventually, own_uid};

const OTHER: &str = "other.example";
const THIRD: &str = "third.example";
/// What has to be so in this many rounds, one after the other, stays so.
const ROUNDS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Round {
    handshake: String,
    offline: String,
    online: String,
    roots: usize,
    keys: usize,
}

fn is_good(outcome: &str) -> bool {
    !["refused", "none"].contains(&outcome)
}

impl Round {
    fn parse(line: &str) -> Option<Self> {
        let words = line.strip_prefix("round ")?;
        let word = |name: &str| {
            let word = words.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            word.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_owned()
        };
        Some(Self {
            handshake: word("handshake"),
            offline: word("offline"),
            online: word("online"),
            roots: word("roots").parse().unwrap(),
            keys: word("keys").parse().unwrap(),
        })
    }

    /// Handshakes hold, and tokens validate, with the bundle and by the agent.
    fn trusts(&self) -> bool {
        self.knows() && is_good(&self.handshake)
    }

    /// The bundle is there, and tokens validate.
    fn knows(&self) -> bool {
        is_good(&self.offline) && is_good(&self.online) && self.roots > 0 && self.keys > 0
    }

    /// There is no bundle of the peer's trust domain, and nothing of the peer is believed.
    fn is_stranger(&self) -> bool {
        self.refuses_all() && self.roots == 0 && self.keys == 0
    }

    fn refuses_all(&self) -> bool {
        [&self.handshake, &self.offline, &self.online].iter().all(|outcome| *outcome == "refused")
    }

    fn is_one_sided(&self) -> bool {
        self.knows() && self.handshake == "refused"
    }
}

/// A process of the client under test.
struct Peer {
    name: &'static str,
    process: Process,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}:\n{}", self.name, self.process.log());
        }
    }
}

impl Peer {
    fn rounds(&self) -> Vec<Round> {
        self.process.log().lines().filter_map(Round::parse).collect()
    }

    fn last(&self) -> Round {
        self.rounds().pop().unwrap_or_else(|| panic!("no round of {}: {}", self.name, self.process.log()))
    }

    /// Waits until this is so, round by round.
    fn await_rounds(&mut self, what: &str, is_so: impl Fn(&Round) -> bool) {
        let what = format!("{} {what}", self.name);
        eventually(&what, || {
            assert!(self.process.is_running(), "{what}: {}", self.process.log());
            let rounds = self.rounds();
            (rounds.len() >= ROUNDS && rounds.iter().rev().take(ROUNDS).all(&is_so)).then_some(())
        });
    }
}

/// The whole story. `spawn` starts the client with these arguments, as a workload of the agent at this endpoint, which is said in both of
/// the forms that the standard has for a Unix socket.
pub(crate) fn two_trust_domains(spawn: impl Fn(&str, &[&str]) -> Process) {
    let (ours, theirs) = (Testbed::start(""), Testbed::start_as(OTHER, ""));
    let (our_agent, their_agent) = (ours.start_agent(), theirs.start_agent());
    let uid = own_uid();
    let our_entry = ours.entry(&ours.only_node(), "/web", &[&uid], &[]);
    let their_entry = theirs.entry(&theirs.only_node(), "/db", &[&uid], &[]);
    let (web_id, db_id) = (format!("spiffe://{TRUST_DOMAIN}/web"), format!("spiffe://{OTHER}/db"));
    let folder = ours.path("");
    let folder = folder.to_str().unwrap();
    let start = |agent: &Agent, name: &'static str, peer: &str, peer_id: &str| {
        let form = if name == "web" { "unix://" } else { "unix:" };
        let endpoint = format!("{form}{}", agent.socket().display());
        Peer { name, process: spawn(&endpoint, &["peer", folder, name, peer, peer_id]) }
    };
    let mut web = start(&our_agent, "web", "db", &db_id);
    let mut db = start(&their_agent, "db", "web", &web_id);

    web.await_rounds("to know nobody", Round::is_stranger);
    db.await_rounds("to know nobody", Round::is_stranger);
    ours.federate(&theirs, &our_entry, "/web", &uid);
    // The client believes the server, and the server does not believe the client.
    web.await_rounds("to know the other", Round::is_one_sided);
    db.await_rounds("not to know the other yet", Round::is_stranger);
    theirs.federate(&ours, &their_entry, "/db", &uid);
    web.await_rounds("to trust the other", Round::trusts);
    db.await_rounds("to trust the other", Round::trusts);

    let third = Testbed::start_as(THIRD, "");
    outsiders(&ours, &our_agent, &third, &start);

    let before = [web.rounds().len(), db.rounds().len()];
    for kind in [Kind::X509, Kind::Jwt] {
        let first = web.last();
        let published = || {
            ours.learn_bundle_of(&theirs);
            web.await_rounds("to have their prepared authority", |round| match kind {
                Kind::X509 => round.roots == 2,
                Kind::Jwt => round.keys == 2,
            });
            web
        };
        web = move_on_once_published(&theirs, kind, published, |web| match kind {
            Kind::X509 => web.last().handshake != first.handshake,
            Kind::Jwt => web.last().offline != first.offline,
        });
        ours.learn_bundle_of(&theirs);
        web.await_rounds("to have their new authority alone", |round| round.roots == 1 && round.keys == 1);
    }
    for (peer, before) in [(&web, before[0]), (&db, before[1])] {
        let rounds = peer.rounds().split_off(before);
        let gaps: Vec<_> = rounds.iter().filter(|round| !round.trusts()).collect();
        println!("{}: {} rounds while authorities moved on", peer.name, rounds.len());
        assert!(gaps.is_empty() && rounds.len() > 10, "{gaps:?} of {}: {}", peer.name, peer.process.log());
    }

    // The entry parts from the domain, whose bundle stays; comes back to it; and then the bundle goes.
    ours.part(&our_entry, "/web", &uid);
    web.await_rounds("to have parted", Round::is_stranger);
    db.await_rounds("to be refused", Round::is_one_sided);
    ours.federate(&theirs, &our_entry, "/web", &uid);
    web.await_rounds("to trust the other again", Round::trusts);
    db.await_rounds("to trust the other again", Round::trusts);
    ours.forget_bundle_of(&theirs);
    web.await_rounds("to have forgotten the other", Round::is_stranger);
    db.await_rounds("to be refused at last", Round::is_one_sided);
    for peer in [&mut web, &mut db] {
        assert!(peer.process.is_running(), "{}", peer.process.log());
    }
}

/// A workload of a third trust domain, which knows ours, is refused by ours, which waits for exactly its ID; and a workload of the
/// federated domain is refused by who expects another ID of that domain.
fn outsiders(
    ours: &Testbed,
    our_agent: &Agent,
    third: &Testbed,
    start: &dyn Fn(&Agent, &'static str, &str, &str) -> Peer,
) {
    let agent = third.start_agent();
    let uid = own_uid();
    let entry = third.entry(&third.only_node(), "/outsider", &[&uid], &[]);
    third.federate(ours, &entry, "/outsider", &uid);
    let mut door = start(our_agent, "door", "outsider", &format!("spiffe://{THIRD}/outsider"));
    let mut outsider = start(&agent, "outsider", "door", &format!("spiffe://{TRUST_DOMAIN}/web"));
    let mut mistaken = start(our_agent, "mistaken", "db", &format!("spiffe://{OTHER}/another"));
    door.await_rounds("to refuse who is of no domain that it knows", Round::is_stranger);
    outsider.await_rounds("to be refused by who does not know its domain", Round::is_one_sided);
    mistaken.await_rounds("to refuse another ID", |round| round.refuses_all() && round.roots > 0 && round.keys > 0);
}
