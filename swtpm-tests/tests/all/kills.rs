//! The real server is killed at random moments, while it starts, serves and rotates its CA, and starts again each time: clients go on, and
//! what they got before is still trusted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use plastron_swtpm_tests::{ServerOptions, SoftHsm, TestServer};
use rustls_pki_types::UnixTime;

use crate::fault_proxy::block_on;
use crate::minting::{Minted, Minter, minted_in_log};

/// How many times, where the suite's number is not wanted.
const KILLS: &str = "PLASTRON_KILLS";
const KILLS_IN_THE_SUITE: u32 = 10;
/// Printed, and the same every time: a run that fails can be had again as far as a machine's timing allows.
const SEED: u64 = 0x5eed_ca11_0000_0055;
/// Short enough for the CA to rotate every few seconds.
const CA_TTL: &str = "4s";
/// Five sixths of that, and the server's own tick.
const ROTATION: Duration = Duration::from_secs(4);
const CALLERS: usize = 4;
/// Until a server that starts again issues: most of it is the harness's patience with a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Splitmix64: reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What clients got, and when.
type Got = Arc<Mutex<Vec<(Minted, UnixTime)>>>;

fn load(minter: &Minter, got: &Got, stop: &Arc<AtomicBool>) {
    for _ in 0..CALLERS {
        let (minter, got, stop) = (minter.clone(), Arc::clone(got), Arc::clone(stop));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // A server that is away answers with an error.
                // Of the moment before the call: what a CA signs in its last second is over soon after it arrives.
                let at = UnixTime::now();
                for minted in [minter.mint(3600).await, minter.mint_jwt(3600).await].into_iter().flatten() {
                    got.lock().unwrap().push((minted, at));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
}

/// Everything that the process wrote, once it has ended.
fn log(server: &mut TestServer) -> String {
    // No line has this, so the wait ends when both of its outputs are closed.
    let _ = server.process().wait_for_line("\u{0}", Duration::from_secs(10));
    server.process().log()
}

fn key_count(server: &TestServer) -> usize {
    let Some(token) = server.token() else {
        let keys = std::fs::read_dir(server.database().with_file_name("keys")).unwrap();
        return keys.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "key")).count();
    };
    let listed = token.pkcs11_tool(&["--list-objects", "--type", "privkey"]).unwrap().stdout;
    String::from_utf8(listed).unwrap().matches("Private Key Object").count()
}

fn orphan_count(server: &TestServer) -> usize {
    let listed = server.cli(&["hsm", "gc", "-output", "json"]).unwrap().stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    listed["keys"].as_array().unwrap().len()
}

fn survives(kills: u32, token: Option<SoftHsm>) {
    let lines = format!(
        "ca_ttl = \"{CA_TTL}\"\n default_x509_svid_ttl = \"2s\"\n ratelimit {{ attestation = false signing = false }}"
    );
    let mut server =
        TestServer::start(ServerOptions { token, server_lines: lines, ..ServerOptions::default() }).unwrap();
    let mut random = Random(SEED);
    println!("seed {SEED:#x}, {kills} kills, ca_ttl {CA_TTL}");
    let (got, stop) = (Got::default(), Arc::new(AtomicBool::new(false)));
    let (mut recorded, mut healed) = (Vec::new(), Vec::new());
    let (mut starting, mut rotations, mut judged) = (0, 0, 0);
    block_on(async {
        let minter = Minter::new(&server);
        load(&minter, &got, &stop);
        for kill in 0..kills {
            tokio::time::sleep(Duration::from_millis(random.below(700))).await;
            server.kill().unwrap();
            let mut log_of = |server: &mut TestServer| {
                let log = log(server);
                rotations += log.matches("X509 CA activated").count();
                recorded.extend(minted_in_log(&log));
            };
            log_of(&mut server);
            // Every third time it dies once more before it serves.
            if random.below(3) == 0 {
                server.start_again_without_waiting().unwrap();
                tokio::time::sleep(Duration::from_millis(random.below(300))).await;
                server.kill().unwrap();
                log_of(&mut server);
                starting += 1;
            }
            let began = Instant::now();
            server.start_again().unwrap();
            let (minted, again_at) = loop {
                let at = UnixTime::now();
                match minter.mint(3600).await {
                    Ok(minted) => break (minted, at),
                    Err(status) => assert!(began.elapsed() < PATIENCE, "kill {kill}: {status}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            healed.push(began.elapsed());
            // What comes from now on may be signed by an authority that is newer than the bundle.
            let before = got.lock().unwrap().clone();
            let bundle = minter.bundle().await.unwrap();
            assert!(minted.was_trusted(&bundle, again_at), "kill {kill}");
            for (minted, at) in before.iter().skip(judged) {
                let trusted = minted.was_trusted(&bundle, *at);
                assert!(
                    trusted,
                    "kill {kill}: an SVID that a client got is not trusted any more: {}",
                    minted.identity()
                );
            }
            judged = before.len();
            got.lock().unwrap().push((minted, again_at));
        }
        // Where all deaths came within one life of the CA, it rotates once under load before what is left is judged.
        tokio::time::sleep(ROTATION).await;
        stop.store(true, Ordering::Relaxed);
        // What was trusted after one death is trusted after all.
        let all = got.lock().unwrap().clone();
        let bundle = minter.bundle().await.unwrap();
        assert!(all.iter().all(|(minted, at)| minted.was_trusted(&bundle, *at)), "an old SVID is not trusted any more");
        let (keys, orphans) = (key_count(&server), orphan_count(&server));
        println!("{keys} keys are left, and {orphans} of them are listed by hsm gc");
        // Two slots for each kind, and what a rotation has under way.
        // A token that dies while it makes a pair may leave half of one, which is listed and is no private key.
        let is_token = server.token().is_some();
        assert!(is_token || (2..=6).contains(&(keys - orphans)), "{keys} keys, and hsm gc lists {orphans}");
        server.terminate().unwrap();
    });
    recorded.extend(minted_in_log(&log(&mut server)));
    rotations += server.process().log().matches("X509 CA activated").count();
    let got = got.lock().unwrap();
    for (minted, _) in got.iter() {
        assert!(recorded.contains(&minted.identity()), "an SVID without a line in the audit log");
    }
    // A line may be of an SVID whose answer died with the server; one caller has one call under way.
    let lost = recorded.len() - got.len();
    let deaths = usize::try_from(kills + starting).unwrap() + 1;
    assert!(lost <= deaths * (CALLERS + 1), "{lost} lines of SVIDs that nobody got, after {deaths} deaths");
    healed.sort();
    println!(
        "{} SVIDs by {rotations} authorities, {lost} more recorded whose answer died with the server; {starting} times it was killed \
         while it started; serves again after {:?} (median), {:?} at most",
        got.len(),
        healed[healed.len() / 2],
        healed.last().unwrap()
    );
    assert!(rotations > 1, "the CA did not rotate");
}

fn kills() -> u32 {
    std::env::var(KILLS).map_or(KILLS_IN_THE_SUITE, |text| text.parse().unwrap())
}

/// Threats 50, 55
#[test]
fn a_server_that_is_killed_at_random_moments_serves_again_and_keeps_what_it_published() {
    survives(kills(), None);
}

/// Threats 50, 53
#[test]
fn a_server_with_a_token_that_is_killed_at_random_moments_serves_again() {
    survives(kills() / 2, Some(SoftHsm::start().unwrap()));
}
