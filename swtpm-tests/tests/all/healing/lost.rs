//! Files that are lost or damaged while the hardware is still there.

use std::fs;

use super::bed::{BOUND, Bed};

/// The TPM makes another AK, and the node is who it was: its EK says so.
#[test]
fn an_agent_without_its_data_directory_attests_again_as_the_same_node() {
    let mut bed = Bed::start("");
    let node = bed.node();
    bed.agent.kill().unwrap();
    fs::remove_dir_all(bed.agent.data_dir()).unwrap();
    fs::remove_dir_all(bed.agent.data_dir().with_file_name("keys")).unwrap();
    bed.agent.start_again_without_waiting().unwrap();
    bed.await_svid("agent's data directory lost");
    assert_eq!(bed.node(), node);
}

#[test]
fn an_agent_with_damaged_files_puts_them_aside_and_attests_again() {
    let mut bed = Bed::start("");
    let node = bed.node();
    // Only a whole file is ever renamed into place, so this takes a broken disk or an operator.
    for file in ["agent-data.json", "../keys/keys.json", "tpm_ak.json"] {
        bed.agent.kill().unwrap();
        let path = bed.agent.data_dir().join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() / 2);
        fs::write(&path, bytes).unwrap();
        if file == "tpm_ak.json" {
            // With an SVID it would not need its AK before half of the SVID's life.
            fs::remove_file(bed.agent.data_dir().join("agent-data.json")).unwrap();
        }
        bed.agent.start_again_without_waiting().unwrap();
        bed.await_svid(&format!("{file} damaged"));
        assert_eq!(bed.node(), node);
        bed.agent.process().wait_for_line("aside", BOUND).unwrap();
    }
}

/// Its keys are still in the token, and nothing tells any more which of them was whose: the server makes a new authority and leaves them
/// alone. That is a new trust root, and whom to trust first is for an operator to say: the agent says what to do, workloads keep what they
/// have, and after the agent was given the new bundle it is the same node.
#[test]
fn a_server_without_its_database_is_a_new_trust_root_and_the_agent_says_what_to_do() {
    let mut bed = Bed::start("");
    let node = bed.node();
    let keys_before = bed.private_keys();
    let before = bed.svid().unwrap();
    bed.server.kill().unwrap();
    let database = bed.server.database();
    for file in fs::read_dir(database.parent().unwrap()).unwrap() {
        let path = file.unwrap().path();
        if path.to_string_lossy().contains("datastore.sqlite3") {
            fs::remove_file(path).unwrap();
        }
    }
    bed.server.start_again().unwrap();
    assert!(bed.private_keys() > keys_before, "a key of before was destroyed");
    let line = bed.agent.process().wait_for_line("is not trusted", BOUND).unwrap();
    assert!(line.contains("trust_bundle_path"), "{line}");
    assert_eq!(bed.svid().unwrap().svid().serial(), before.svid().serial());

    bed.agent.terminate().unwrap();
    bed.server.write_bundle().unwrap();
    fs::remove_file(bed.agent.data_dir().join("agent-data.json")).unwrap();
    bed.agent.start_again().unwrap();
    assert_eq!(bed.node(), node);
    bed.create_entry();
    bed.await_svid("new trust root, bundle replaced by an operator");
}
