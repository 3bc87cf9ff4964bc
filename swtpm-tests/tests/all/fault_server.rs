//! The real server with a token that fails, hangs and mixes its keys up: what clients got is worth something, and what they did not get was
//! not signed for nobody.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use plastron_swtpm_tests::{FaultProxy, ServerOptions, SoftHsm, TestServer};
use tokio::task::JoinSet;

use crate::fault_codes::{Pin, table};
use crate::fault_proxy::block_on;
use crate::minting::{Minted, Minter, minted_in_log};

const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    server: TestServer,
    proxy: FaultProxy,
    ready: u16,
}

impl Bench {
    fn start(key_lines: &str) -> Self {
        let token = SoftHsm::start().unwrap();
        let proxy = FaultProxy::of(&token);
        let ready = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let options = ServerOptions {
            token: Some(token),
            faults: true,
            key_lines: key_lines.to_owned(),
            blocks: format!(
                "health_checks {{ listener_enabled = true bind_address = \"127.0.0.1\" bind_port = {ready} }}"
            ),
            // One caller is the load of many.
            server_lines: "ratelimit { attestation = false signing = false }".to_owned(),
            ..ServerOptions::default()
        };
        Self { server: TestServer::start(options).unwrap(), proxy, ready }
    }

    /// The status of `/ready`, and what it says.
    fn ready(&self) -> (bool, String) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ready)).unwrap();
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer.starts_with("HTTP/1.1 200"), answer)
    }

    fn wait_until_ready_is(&self, wanted: bool) -> Duration {
        let began = Instant::now();
        loop {
            let (ready, answer) = self.ready();
            if ready == wanted {
                return began.elapsed();
            }
            assert!(began.elapsed() < PATIENCE, "{answer}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn logins(&self) -> u64 {
        self.proxy.calls("C_Login").unwrap().came
    }

    /// CKA_IDs of the private keys in the token whose label has this.
    fn key_ids(&self, label: &str) -> Vec<String> {
        let token = self.server.token().unwrap();
        let output = token.pkcs11_tool(&["--list-objects", "--type", "privkey"]).unwrap().stdout;
        let text = String::from_utf8(output).unwrap();
        let mut lines = text.lines();
        let mut found = Vec::new();
        while let Some(line) = lines.next() {
            if line.contains("label:") && line.contains(label) {
                let id = lines.by_ref().find_map(|line| line.trim().strip_prefix("ID:")).unwrap();
                found.push(id.trim().to_owned());
            }
        }
        found
    }
}

/// Mints until it works; the SVID, and how long that took.
async fn mint_again(minter: &Minter, what: &str) -> (Minted, Duration) {
    let began = Instant::now();
    loop {
        match minter.mint(60).await {
            Ok(minted) => return (minted, began.elapsed()),
            Err(status) => assert!(began.elapsed() < PATIENCE, "{what}: it does not issue again: {status}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Threat 53
#[test]
fn a_server_whose_token_gives_every_answer_once_issues_what_is_trusted_and_loses_nothing() {
    let mut bench = Bench::start("sessions = 2");
    assert_eq!(bench.logins(), 1, "the PIN was sent once");
    block_on(async {
        let minter = Minter::new(&bench.server);
        // Somebody else wants SVIDs all the time.
        let stop = Arc::new(AtomicBool::new(false));
        let load = {
            let (minter, stop) = (minter.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut got, mut refused) = (Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    for outcome in [minter.mint(60).await, minter.mint_jwt(60).await] {
                        match outcome {
                            Ok(minted) => got.push(minted),
                            Err(_) => refused += 1,
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (got, refused)
            })
        };
        let (mut got, mut times) = (Vec::new(), Vec::new());
        let mut rows = table();
        // What is said of the PIN last: a login that follows would not send it again.
        rows.sort_by_key(|row| row.pin == Pin::Refused);
        for row in rows {
            for step in ["C_SignInit return", "C_Sign return", "C_Sign lose"] {
                let met = || bench.proxy.calls(step.split(' ').next().unwrap()).unwrap().met;
                let before = met();
                bench.proxy.set(&[&format!("{step}={:#x} times=1", row.code)]).unwrap();
                let began = Instant::now();
                while met() == before {
                    assert!(began.elapsed() < PATIENCE, "{step} {}", row.name);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let (minted, took) = mint_again(&minter, &row.name).await;
                got.push(minted);
                times.push((took, format!("{step} {}", row.name)));
            }
        }
        stop.store(true, Ordering::Relaxed);
        let (others, refused) = load.await.unwrap();
        times.sort();
        let (median, last) = (times[times.len() / 2].0, times.last().unwrap());
        println!(
            "{} faults: issues again after {median:?} (median), {:?} at most ({}); {} SVIDs, {refused} of others' calls refused",
            times.len(),
            last.0,
            last.1,
            got.len() + others.len()
        );
        got.extend(others);
        let bundle = minter.bundle().await.unwrap();
        assert!(got.iter().all(|minted| minted.is_trusted(&bundle)), "an SVID that the bundle does not vouch for");
        // Every SVID has its line, and every line is of an SVID that somebody got.
        let mut recorded = minted_in_log(&bench.server.process().log());
        let mut serials: Vec<_> = got.iter().map(Minted::identity).collect();
        recorded.sort();
        serials.sort();
        assert_eq!(recorded, serials);
    });
    assert_eq!(bench.key_ids("x509-CA-A").len(), 1, "no key was made twice");
    assert!(bench.server.terminate().unwrap().success());
}

/// Threat 53
#[test]
fn a_server_whose_token_hangs_serves_others_then_says_so_and_comes_back() {
    let bench = Bench::start("sessions = 2\n deadline = \"2s\"");
    let limit = Duration::from_secs(2 + 3);
    block_on(async {
        let minter = Minter::new(&bench.server);
        mint_again(&minter, "at first").await;
        bench.wait_until_ready_is(true);
        bench.proxy.set(&["C_SignInit hang times=1"]).unwrap();
        let began = Instant::now();
        let status = minter.mint(60).await.err().unwrap();
        assert!(began.elapsed() < limit, "{:?}", began.elapsed());
        println!("one session hangs: {:?} after {:?}: {}", status.code(), began.elapsed(), status.message());
        let mut others = JoinSet::new();
        for _ in 0..50 {
            let minter = minter.clone();
            others.spawn(async move { minter.mint(60).await.is_ok() });
        }
        assert!(others.join_all().await.into_iter().all(|served| served), "one session is enough");
        assert!(bench.ready().0, "{}", bench.ready().1);

        bench.proxy.set(&["C_SignInit hang"]).unwrap();
        let _ = minter.mint(60).await;
        let failed = bench.wait_until_ready_is(false);
        let (_, answer) = bench.ready();
        println!("all sessions hang: not ready after {failed:?}: {}", answer.lines().last().unwrap_or_default());
        let began = Instant::now();
        assert!(minter.mint(60).await.is_err() && began.elapsed() < limit);

        bench.proxy.clear().unwrap();
        let (_, took) = mint_again(&minter, "after all sessions hung").await;
        println!("issues again after {took:?}, ready after {:?}", bench.wait_until_ready_is(true));
    });
}

/// Another key answers under the handle of the CA's, as after a vendor's library mixed handles up, or somebody who may write to the token
/// exchanged the objects. No SVID leaves that the bundle does not vouch for, and the server says that it is not ready.
///
/// Threat 53
#[test]
fn a_key_that_was_exchanged_signs_nothing_that_leaves() {
    let bench = Bench::start("sessions = 2");
    let token = bench.server.token().unwrap();
    token.pkcs11_tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--usage-sign", "--id", "c3d4"]).unwrap();
    let [id] = &bench.key_ids("x509-CA-A")[..] else { unreachable!("one key of the CA") };
    let [jwt_id] = &bench.key_ids("JWT-Signer-A")[..] else { unreachable!("one key for JWT-SVIDs") };
    let signs = format!("C_SignInit other={id}:c3d4");
    let signs_jwt = format!("C_SignInit other={jwt_id}:c3d4");
    let shows = format!("C_GetAttributeValue other={id}:c3d4");
    block_on(async {
        let minter = Minter::new(&bench.server);
        mint_again(&minter, "at first").await;
        let bundle = minter.bundle().await.unwrap();
        let died = "C_SignInit return=0xb3 times=1";
        let cases: [(&str, &[&str]); 4] = [
            ("under the handle that it has", &[&signs]),
            ("and it shows its own public key", &[&signs, &shows]),
            ("after a session that died", &[died, &signs]),
            ("after a session that died, and it shows its own public key", &[died, &signs, &shows]),
        ];
        for (case, rules) in cases {
            bench.proxy.set(&[rules, &[&signs_jwt]].concat()).unwrap();
            for _ in 0..10 {
                for minted in [minter.mint(60).await, minter.mint_jwt(60).await].into_iter().flatten() {
                    assert!(minted.is_trusted(&bundle), "{case}: an SVID that nobody can verify was issued");
                }
            }
            assert!(bench.proxy.calls("C_SignInit").unwrap().met > 0);
            bench.wait_until_ready_is(false);
            bench.proxy.clear().unwrap();
            let (minted, took) = mint_again(&minter, case).await;
            assert!(minted.is_trusted(&bundle), "{case}");
            println!("another key {case}: nothing left, and issues again {took:?} after the right one was back");
            bench.wait_until_ready_is(true);
        }
    });
}
