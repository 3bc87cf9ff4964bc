//! What a crash, a second agent or a damaged disk leave of an agent.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use plastron_agent_core::{DataDir, KeyCustody, PersistError};

use crate::{Node, identities, pass};

#[tokio::test(start_paused = true)]
async fn a_valid_svid_on_disk_spares_the_attestation() {
    let node = Node::new();
    node.server.state().reattestable = false;
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    for _ in 0..3 {
        let agent = node.start();
        identities(&mut agent.subscribe(&["unix:uid:1"])).await;
        agent.kill().await;
    }
    assert_eq!(node.server.state().attestations, 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_in_memory_is_gone_with_the_process() {
    let mut node = Node::new();
    node.keys = KeyCustody::Memory;
    let agent = node.start();
    pass(10).await;
    agent.kill().await;
    assert!(!node.path().join("keys.json").exists());
    let _agent = node.start();
    pass(10).await;
    assert_eq!(node.server.state().attestations, 2);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_key_and_svid_leaves_the_pair_before() {
    let node = Node::new();
    node.server.state().reattestable = false;
    let agent = node.start();
    pass(10).await;
    let agreed = fs::read(node.path().join("agent-data.json")).unwrap();
    // Renewals: the new key is on disk before the new SVID is.
    while node.server.state().renewals < 3 {
        pass(10).await;
    }
    let latest = fs::read(node.path().join("agent-data.json")).unwrap();
    assert_ne!(agreed, latest);
    // The next renewal stages its key and never hears from the server again.
    node.server.state().away = true;
    let keys = fs::read(node.path().join("keys.json")).unwrap();
    pass(2000).await;
    assert_ne!(keys, fs::read(node.path().join("keys.json")).unwrap(), "a key was staged");
    agent.kill().await;
    fs::write(node.path().join("agent-data.json.new"), b"half a fi").unwrap();
    fs::write(node.path().join("keys.json.new"), b"").unwrap();

    node.server.state().away = false;
    let _agent = node.start();
    pass(60).await;
    let state = node.server.state();
    assert_eq!(state.attestations, 1, "the pair of the last renewal still fits");
    assert!(state.syncs > 0);
}

#[tokio::test(start_paused = true)]
async fn damaged_state_is_set_aside_and_the_node_attests_again() {
    for (file, content) in [
        ("agent-data.json", "{"),
        ("agent-data.json", r#"{"trust_domain":"other.org","svid":"","bundle":"","reattestable":true}"#),
        (
            "agent-data.json",
            r#"{"trust_domain":"example.org","svid":"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n","bundle":"","reattestable":true}"#,
        ),
        (
            "agent-data.json",
            r#"{"trust_domain":"example.org","svid":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n","bundle":"","reattestable":true}"#,
        ),
        ("keys.json", r#"{"keys":{"agent-svid-A":"AAAA"}}"#),
        ("keys.json", "\0\0\0\0"),
    ] {
        let node = Node::new();
        let agent = node.start();
        pass(10).await;
        agent.kill().await;
        fs::write(node.path().join(file), content).unwrap();
        let _agent = node.start();
        pass(10).await;
        assert_eq!(node.server.state().attestations, 2, "{file} {content}");
        let kept = fs::read_to_string(node.path().join(format!("{file}.unusable"))).unwrap();
        assert_eq!(kept, content);
    }
}

/// Threat 39
#[tokio::test(start_paused = true)]
async fn what_is_on_disk_is_private() {
    let node = Node::new();
    let dir = node.path().join("data");
    let mut node = node;
    node.keys = KeyCustody::Disk(dir.clone());
    let _agent = node.start();
    pass(10).await;
    let mode = |path: std::path::PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.clone()), 0o700);
    assert_eq!(mode(dir.join("keys.json")), 0o600);
    assert_eq!(mode(node.path().join("agent-data.json")), 0o600);
    let stored = fs::read_to_string(node.path().join("agent-data.json")).unwrap();
    assert!(!stored.contains("PRIVATE KEY"));
}

#[test]
fn two_agents_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = DataDir::open(dir.path(), KeyCustody::Memory).unwrap();
    let second = DataDir::open(dir.path(), KeyCustody::Memory);
    assert!(matches!(second, Err(PersistError::InUse { .. })), "{second:?}");
    drop(first);
    DataDir::open(dir.path(), KeyCustody::Memory).unwrap();
}

/// Who may write in the data directory can put a key and an SVID there.
#[test]
fn a_directory_in_which_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (data, keys) = (dir.path().join("data"), dir.path().join("keys"));
    let open = || DataDir::open(&data, KeyCustody::Disk(keys.clone())).map(drop);
    open().unwrap();
    for each in [&data, &keys] {
        for mode in [0o777, 0o1777, 0o770, 0o702] {
            std::fs::set_permissions(each, std::fs::Permissions::from_mode(mode)).unwrap();
            match open() {
                Err(PersistError::OthersWrite { path, mode: found }) => assert_eq!((&path, found), (each, mode)),
                other => panic!("{mode:o}: {other:?}"),
            }
        }
        std::fs::set_permissions(each, std::fs::Permissions::from_mode(0o755)).unwrap();
        open().unwrap();
    }
    // Only root can give a directory away.
    if std::os::unix::fs::chown(&data, Some(12_345), None).is_ok() {
        assert!(matches!(open(), Err(PersistError::Owner { uid: 12_345, .. })));
    }
}
