//! Entries come and go while workloads look on.

use std::collections::BTreeSet;

use super::testbed::{TRUST_DOMAIN, Testbed, eventually, own_uid, path_of, workload_program};

#[test]
fn entries_reach_workloads_and_leave_them() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    let node = bed.only_node();
    let (web, db) = (workload_program(&bed.path(""), "web"), workload_program(&bed.path(""), "db"));
    let web_entry = bed.entry(&node, "/web", &[&path_of(&web)], &[]);
    bed.entry(&node, "/db", &[&path_of(&db)], &[]);
    bed.entry(&node, "/everyone", &[&own_uid()], &[]);
    bed.entry(&node, "/nobody", &["unix:uid:4294967294"], &[]);
    agent.await_id(&web, "/everyone");
    agent.await_id(&db, "/everyone");
    let ids = |paths: [&str; 2]| BTreeSet::from(paths.map(|path| format!("spiffe://{TRUST_DOMAIN}{path}")));
    eventually("both workloads to have what is theirs", || {
        let found: [BTreeSet<_>; 2] = [&web, &db].map(|workload| agent.ids_of(workload).into_iter().collect());
        (found == [ids(["/web", "/everyone"]), ids(["/db", "/everyone"])]).then_some(())
    });
    // The order is stable, so that the default identity is.
    assert_eq!(agent.ids_of(&web), agent.ids_of(&web));

    bed.server_cli(&["entry", "delete", "-entryID", &web_entry]);
    eventually("the deleted entry's identity to go", || {
        (agent.ids_of(&web) == [format!("spiffe://{TRUST_DOMAIN}/everyone")]).then_some(())
    });
    assert_eq!(agent.ids_of(&db).len(), 2);
}
