//! The server away, and kill -9 of everything under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::testbed::{TRUST_DOMAIN, Testbed, eventually, path_of, workload_program};

#[test]
fn an_agent_serves_on_while_its_server_is_away() {
    let mut bed = Testbed::start("");
    let agent = bed.start_agent();
    let node = bed.only_node();
    let (web, db) = (workload_program(&bed.path(""), "web"), workload_program(&bed.path(""), "db"));
    bed.entry(&node, "/web", &[&path_of(&web)], &[]);
    agent.await_id(&web, "/web");
    bed.kill_server();
    for _ in 0..20 {
        assert_eq!(agent.ids_of(&web), [format!("spiffe://{TRUST_DOMAIN}/web")]);
    }
    bed.start_server();
    bed.entry(&node, "/db", &[&path_of(&db)], &[]);
    agent.await_id(&db, "/db");
}

/// Threats 49 and 55: whatever is killed and whenever, what was acknowledged is there, and nobody has to do anything.
#[test]
fn kill_minus_nine_under_load_loses_nothing() {
    const KILLS: usize = 3;
    let bed = Testbed::start("");
    let mut agent = bed.start_agent();
    let node = bed.only_node();
    let web = workload_program(&bed.path(""), "web");
    let mut acknowledged = vec![bed.entry(&node, "/web", &[&path_of(&web)], &[])];
    agent.await_id(&web, "/web");

    let bed = Arc::new(std::sync::RwLock::new(bed));
    for kill in 0..KILLS {
        let pid = bed.write().unwrap().server_pid();
        let stop = Arc::new(AtomicBool::new(false));
        // The load goes on while the server dies under it.
        let clients: Vec<_> = (0..3)
            .map(|client| {
                let (bed, node, stop) = (bed.clone(), node.clone(), stop.clone());
                thread::spawn(move || {
                    let mut created = Vec::new();
                    for number in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                        let path = format!("/load/{kill}/{client}/{number}");
                        if let Ok(id) = bed.read().unwrap().try_entry(&node, &path, &["unix:uid:4294967294"], &[]) {
                            created.push(id);
                        }
                    }
                    created
                })
            })
            .collect();
        let before = acknowledged.len();
        eventually("entries to be created", || (bed.read().unwrap().entries().len() > before + 5).then_some(()));
        // SIGKILL from outside the lock: clients are in the middle of their calls.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        agent.process().kill().unwrap();
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            acknowledged.extend(client.join().unwrap());
        }
        let mut server_side = bed.write().unwrap();
        server_side.kill_server();
        server_side.start_server();
        // With the token that was spent: what the data directory holds must do.
        agent.0.start_again().unwrap();
        let found = server_side.entries();
        for id in &acknowledged {
            assert!(found.contains(id), "entry {id} was acknowledged and is lost after kill {kill}");
        }
        assert_eq!(server_side.only_node(), node);
        agent.await_id(&web, "/web");
    }
    assert!(acknowledged.len() > 5 * KILLS);
}
