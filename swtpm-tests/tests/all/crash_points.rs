//! A server that dies between any two steps of its authorities' lives starts again and goes on.
//!
//! A first life counts the calls at the seams of the services: key store, store and audit log. Then a child process lives that life up to
//! each of them and kills itself there, and the server starts again on what is left.

mod life;
mod steps;
mod store;

use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::fault_proxy::block_on;
use life::Place;
use plastron_server_core::clock::Clock as _;
use steps::{End, Steps};

/// For the child: where it lives, and where its life ends.
const PLACE: &str = "PLASTRON_CRASH_PLACE";
const END: &str = "PLASTRON_CRASH_END";

/// The body of the child process. Not a test of its own.
#[test]
#[ignore = "run by another test as a server that ends at a chosen call"]
fn a_life_that_ends_at_a_chosen_call() {
    let place = Place::at(Path::new(&env::var_os(PLACE).unwrap()));
    let end = match env::var(END).unwrap().split_once(' ') {
        Some(("before", number)) => End::Before(number.parse().unwrap()),
        Some((_, number)) => End::After(number.parse().unwrap()),
        None => End::Never,
    };
    block_on(async {
        let server = place.start(Steps::new(end, &place.steps_file())).await;
        server.live().await;
    });
}

/// Lives in a process of its own; true where it was killed.
fn live(place: &TempDir, end: &str) -> bool {
    let output = Command::new(env::current_exe().unwrap())
        .args(["crash_points::a_life_that_ends_at_a_chosen_call", "--exact", "--ignored", "--nocapture"])
        .env(PLACE, place.path())
        .env(END, end)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let killed = output.status.signal() == Some(9);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(killed || output.status.success(), "{end}: {}\n{text}", output.status);
    killed
}

/// In memory where that is possible: it is the process that dies, not the machine.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
    tempfile::Builder::new().prefix("crash-").tempdir_in(parent).unwrap()
}

/// Whether a call changes what outlives the process: only after those there is something new to find.
fn changes(name: &str) -> bool {
    let reads = ["find", "list", "ask", "load", "follow", "sign"];
    !reads.iter().any(|read| name.starts_with(read))
}

/// Starts the server on what a crash left, and looks at all that must hold. How many keys no journal names.
async fn heal(place: &Place, what: &str) -> usize {
    let server = place.start(Steps::new(End::Never, &place.steps_file())).await;
    server.release().await;
    let (bundle, now, audit, revoked) = (server.bundle().await, server.clock.now(), place.audit(), place.revoked());
    for released in place.released() {
        let (authority, identity) = (&released.authority, &released.identity);
        assert!(audit.contains(identity), "{what}: no audit line has {identity}");
        let over = released.not_after < now.as_secs() || revoked.contains(authority);
        assert!(over || released.is_trusted(&bundle, now), "{what}: what {authority} signed is not trusted any more");
    }
    let orphans = server.services.ca.orphans().await.unwrap().unwrap();
    let named: Vec<_> = server.services.ledger.state().journals().iter().map(|entry| entry.key_id.clone()).collect();
    for key in server.keys.list().await.unwrap() {
        let listed = orphans.iter().any(|orphan| orphan.id == key.id);
        assert!(listed != named.contains(&key.id), "{what}: key {} {} is neither used nor listed", key.id, key.label);
    }
    // It goes on: the next authorities are prepared, sign, and the slots are used again.
    server.turn().await;
    server.turn().await;
    orphans.len()
}

/// Threat 50
#[test]
fn a_server_that_dies_between_two_steps_goes_on() {
    let whole = directory();
    assert!(!live(&whole, "never"));
    let names = Place::at(whole.path()).steps();
    let mut points = Vec::new();
    for (number, name) in (1..).zip(&names) {
        points.push((format!("before {number}"), name.clone()));
        if changes(name) {
            points.push((format!("after {number}"), name.clone()));
        }
    }
    println!("{} calls in a life, {} points at which it ends:", names.len(), points.len());
    let walk = |points: &[(String, String)]| {
        for (end, name) in points {
            let what = format!("{end}: {name}");
            let place = directory();
            assert!(live(&place, end), "{what}: the life was over before");
            let orphans = block_on(heal(&Place::at(place.path()), &what));
            println!("  {what}{}", if orphans == 0 { String::new() } else { format!(" ({orphans} for hsm gc)") });
        }
    };
    let (first, second) = points.split_at(points.len() / 2);
    std::thread::scope(|scope| {
        let halves = [scope.spawn(|| walk(first)), scope.spawn(|| walk(second))];
        for half in halves {
            half.join().unwrap();
        }
    });
}
