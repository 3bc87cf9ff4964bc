//! The key of the agent's SVID in a real TPM: certified once, and a renewal is one quote.

use std::sync::Arc;
use std::time::Duration;

use plastron_attestation::{EkTemplate, TpmDeviceError};
use plastron_attestation_appraise::{AttestedNode, Check, CheckOutcome, spki_of_public_area};
use plastron_attestation_fake_tpm::event_log::LinuxBoot;
use plastron_hsm_tpm::{Tpm, TpmConfig};
use plastron_swtpm_tests::{Attestor, EkKind, Manufacturer, ServerOptions, Swtpm, TestAgent, TestServer};

use crate::exchange::{CERTIFIED, Failure, Node, Server, attest};
use crate::tap::Tap;
use crate::tpm_device::assert_nothing_left;

/// TPM_CC (TPM 2.0 Library part 2, section 6.5.2).
const CREATE_PRIMARY: u32 = 0x131;
const ACTIVATE_CREDENTIAL: u32 = 0x147;
const CERTIFY: u32 = 0x148;
const CREATE: u32 = 0x153;
const SIGN: u32 = 0x15d;
const QUOTE: u32 = 0x158;
const CONTEXT_LOAD: u32 = 0x161;

fn is_resident(node: &AttestedNode) -> bool {
    node.selectors().iter().any(|selector| selector.to_string() == "tpm:key_resident:true")
}

/// Firmware boots this TPM: the log of it.
fn boot(tpm: &Swtpm, boot: &LinuxBoot) -> Arc<[u8]> {
    let log = boot.log();
    let extensions = log.extensions().map(|(pcr, digests)| {
        let digests = digests.iter().map(|(bank, digest)| format!("{bank}={}", hex::encode(digest)));
        format!("{pcr}:{}", digests.collect::<Vec<_>>().join(","))
    });
    tpm.measure(&extensions.collect::<Vec<_>>(), log.bytes()).unwrap();
    Arc::from(log.bytes())
}

/// A boot, an SVID key, an enrolment; then renewals of one TPM2_Quote each, with nothing certified, created or activated again.
#[test]
fn a_renewal_is_one_quote() {
    let tpm = Swtpm::start().unwrap();
    for template in [EkTemplate::L1Rsa2048, EkTemplate::H3P384] {
        let tap = Tap::on(&tpm);
        let mut server = Server::trusting(tpm.manufacturer(), template);
        let mut node = Node::new(&tpm, template);
        node.device = Box::new(Tpm::open(TpmConfig::new(tap.tcti())).unwrap());
        tpm.reboot().unwrap();
        node.event_log = Some(boot(&tpm, &LinuxBoot::default()));
        let key = node.device.create_svid_key(template).unwrap();
        node.svid_public_key = spki_of_public_area(&key.public).unwrap();
        node.svid_key = Some(key);
        tap.forget_commands();
        let first = attest(&mut server, &mut node).unwrap();
        assert!(is_resident(&first));
        assert!(first.selectors().iter().any(|selector| selector.to_string() == "tpm:secure_boot:true"));
        let counts = [QUOTE, CERTIFY, ACTIVATE_CREDENTIAL].map(|command| tap.count(command));
        assert_eq!(counts, [1, 1, 1]);

        node.ek = Some(node.device.endorsement_key(template).unwrap());
        for _ in 0..2 {
            tap.forget_commands();
            let renewed = attest(&mut server, &mut node).unwrap();
            assert!(is_resident(&renewed));
            let counts = [QUOTE, CERTIFY, ACTIVATE_CREDENTIAL, CREATE, SIGN].map(|command| tap.count(command));
            assert_eq!(counts, [1, 0, 0, 0, 0]);
            assert_eq!(tap.count(CREATE_PRIMARY), 0);
        }
        assert_nothing_left(&tpm);
    }
}

/// An EK that is not persistent is made once for a program's life, not for each renewal; and once more where a reset or TPM2_Clear has
/// made the saved one worthless.
#[test]
fn a_renewal_makes_no_ek() {
    let tpm = Swtpm::start().unwrap();
    for persistent in ["0x81010001", "0x81010016"] {
        tpm.tpm2(&["evictcontrol", "-C", "o", "-c", persistent]).unwrap();
    }
    for template in CERTIFIED {
        let tap = Tap::on(&tpm);
        let mut server = Server::trusting(tpm.manufacturer(), template);
        let mut node = Node::new(&tpm, template);
        node.device = Box::new(Tpm::open(TpmConfig::new(tap.tcti())).unwrap());
        let first = attest(&mut server, &mut node).unwrap();
        assert_eq!(tap.count(CREATE_PRIMARY), 1);
        node.ek = Some(node.device.endorsement_key(template).unwrap());
        let mut renew = |node: &mut Node, made: usize| {
            tap.forget_commands();
            attest(&mut server, node).unwrap();
            let counts = [QUOTE, CONTEXT_LOAD, CREATE_PRIMARY].map(|command| tap.count(command));
            assert_eq!(counts, [1, 1, made]);
        };
        renew(&mut node, 0);
        renew(&mut node, 0);
        tpm.reboot().unwrap();
        renew(&mut node, 1);
        renew(&mut node, 0);
        tpm.power_cut().unwrap();
        renew(&mut node, 1);
        tpm.suspend_and_resume().unwrap();
        attest(&mut server, &mut node).unwrap();
        tpm.clear().unwrap();
        (node.ak, node.ek) = (None, None);
        tap.forget_commands();
        assert_eq!(attest(&mut server, &mut node).unwrap().agent_path(), first.agent_path());
        assert_eq!(tap.count(CREATE_PRIMARY), 1);
        assert_nothing_left(&tpm);
    }
}

/// TPM2_Clear destroys the key with the AK; both are made anew, and the node is the same.
#[test]
fn a_cleared_tpm_forgets_the_key() {
    let tpm = Swtpm::start().unwrap();
    let template = EkTemplate::L1Rsa2048;
    let mut server = Server::trusting(tpm.manufacturer(), template);
    let mut node = Node::new(&tpm, template);
    let fresh_key = |node: &mut Node| {
        let key = node.device.create_svid_key(template).unwrap();
        node.svid_public_key = spki_of_public_area(&key.public).unwrap();
        node.svid_key = Some(key);
    };
    fresh_key(&mut node);
    let first = attest(&mut server, &mut node).unwrap();
    tpm.clear().unwrap();
    let signed = node.device.sign_with_svid_key(template, &node.svid_key.clone().unwrap(), &[7; 32]);
    assert!(matches!(signed, Err(TpmDeviceError::SvidKeyNotLoadable { .. })), "{signed:?}");
    let failure = attest(&mut server, &mut node).unwrap_err();
    assert!(matches!(failure, Failure::Device(TpmDeviceError::AkNotLoadable { .. })), "{failure:?}");
    node.ak = None;
    fresh_key(&mut node);
    let second = attest(&mut server, &mut node).unwrap();
    assert!(is_resident(&second));
    assert_eq!(second.agent_path(), first.agent_path());
    assert_ne!(second.enrolled_tpm().resident_svid_key, first.enrolled_tpm().resident_svid_key);
}

/// Over suspend, power cut and reboot the state goes forward; a power cut's unsafe clock is a note and no failure.
#[test]
fn suspend_and_power_cut_are_no_step_back() {
    let tpm = Swtpm::start().unwrap();
    let template = EkTemplate::L1Rsa2048;
    let mut server = Server::trusting(tpm.manufacturer(), template);
    let mut node = Node::new(&tpm, template);
    let state = |node: &AttestedNode| (node.enrolled_tpm().state.reset_count, node.enrolled_tpm().state.restart_count);
    let first = state(&attest(&mut server, &mut node).unwrap());
    tpm.suspend_and_resume().unwrap();
    let resumed = attest(&mut server, &mut node).unwrap();
    assert_eq!(state(&resumed), (first.0, first.1 + 1));
    tpm.power_cut().unwrap();
    let cut = attest(&mut server, &mut node).unwrap();
    assert_eq!(state(&cut), (first.0 + 1, 0));
    let record = cut.records().iter().find(|record| record.check == Check::TpmStateRegressed).unwrap();
    assert_eq!(record.outcome, CheckOutcome::Passed);
    assert!(record.detail.contains("clock not safe") || cut.enrolled_tpm().state.safe, "{}", record.detail);
}

/// The real programs: the agent's TLS connection is authenticated by a key that never was in its memory, and goes on after a restart.
#[test]
fn an_agent_whose_key_is_in_the_tpm_serves_and_serves_again() {
    let tpm = Swtpm::start().unwrap();
    boot(&tpm, &LinuxBoot::default());
    let tpms = Some((Manufacturer::shared().unwrap(), EkKind::Rsa2048));
    let pool_lines = "secure_boot { enabled = true }".to_owned();
    let mut server = TestServer::start(ServerOptions { tpms, pool_lines, ..ServerOptions::default() }).unwrap();
    let mut agent = TestAgent::start(&server, &Attestor::TpmWithKey(&tpm, EkKind::Rsa2048)).unwrap();
    let line = server.process().wait_for_line("svid_key: in the TPM", Duration::from_secs(60)).unwrap();
    assert!(line.contains("event_log_replay=passed") && line.contains("secure_boot=passed"), "{line}");
    assert!(!agent.data_dir().join("keys.json").exists());
    let shown = String::from_utf8(server.cli(&["agent", "list"]).unwrap().stdout).unwrap();
    assert!(shown.contains("/spire/agent/tpm/"), "{shown}");
    agent.kill().unwrap();
    agent.start_again().unwrap();
    // The stored SVID serves on, signed for by the same key; nothing was attested again.
    agent.process().wait_for_line("SVID loaded", Duration::from_secs(60)).unwrap();
}
