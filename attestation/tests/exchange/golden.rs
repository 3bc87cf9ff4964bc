//! Golden PCR values beside an event log: what is refused shows the events that made it, so that a person sees what was changed.

use std::sync::Arc;

use plastron_attestation_appraise::{Check, GoldenPcr};
use plastron_attestation_fake_tpm::FakeTpm;
use plastron_attestation_fake_tpm::event_log::LinuxBoot;
use plastron_attestation_tcg::HashAlgorithm;

use crate::world::{Agent, World, assert_refused};

/// GRUB's commands and the kernel's command line.
const COMMANDS: u8 = 8;

const REVIEWED: &str = "/vmlinuz root=/dev/vda1 ro";

/// Longest detail that the audit log shows.
const MAX_DETAIL: usize = 2048;

fn booted(world: &World, kernel_cmdline: &str) -> (FakeTpm, Agent) {
    let log = LinuxBoot { kernel_cmdline: kernel_cmdline.to_owned(), ..LinuxBoot::default() }.log();
    let mut tpm = world.tpm();
    log.boot(&mut tpm);
    (tpm, Agent { event_log: Some(Arc::from(log.bytes())), ..Agent::default() })
}

/// The values of PCR 8 after the reviewed boot, in these banks.
fn reviewed(banks: &[HashAlgorithm]) -> Vec<GoldenPcr> {
    let (tpm, _) = booted(&World::new(), REVIEWED);
    let value = |bank: HashAlgorithm| tpm.pcr(bank, COMMANDS).unwrap().to_vec();
    banks.iter().map(|bank| GoldenPcr { bank: *bank, index: COMMANDS, value: value(*bank) }).collect()
}

fn detail(world: &mut World, kernel_cmdline: &str) -> String {
    let (mut tpm, mut agent) = booted(world, kernel_cmdline);
    let refused = world.admit(&mut tpm, &mut agent).unwrap_err();
    assert_refused(&refused, Check::GoldenPcr);
    refused.records().last().unwrap().detail.clone()
}

#[test]
fn another_command_line_is_refused_and_shown_with_its_event() {
    let golden = reviewed(&[HashAlgorithm::Sha256, HashAlgorithm::Sha384]);
    let mut world = World::with_pool(|config| config.golden_pcrs = golden);
    let (mut tpm, mut agent) = booted(&world, REVIEWED);
    world.admit(&mut tpm, &mut agent).unwrap();
    let changed = "/vmlinuz root=/dev/vda1 ro init=/bin/sh";
    let text = detail(&mut world, changed);
    // The event's number is its place in the log.
    let log = LinuxBoot { kernel_cmdline: changed.to_owned(), ..LinuxBoot::default() }.log();
    let raw = plastron_attestation_tcg::event_log::RawLog::parse(log.bytes()).unwrap();
    let event = raw.events().iter().find(|event| event.data.starts_with(b"kernel_cmdline: ")).unwrap().number;
    assert!(text.contains(&format!("event {event}, verified: \"kernel_cmdline: {changed}\"")), "{text}");
    assert!(text.contains("PCR 8 of bank sha256") && text.contains("grub_cmd: set menu_entry_number_0="), "{text}");
    assert!(!text.contains("before"), "all of them were shown: {text}");
}

/// A command line that hides its end behind a long beginning, or breaks out of the line, does neither.
#[test]
fn what_is_shown_is_bounded_and_escaped() {
    let golden = reviewed(&[HashAlgorithm::Sha256, HashAlgorithm::Sha384]);
    let mut world = World::with_pool(|config| config.golden_pcrs = golden);
    let long = format!("/vmlinuz {} init=/bin/sh", "quiet ".repeat(150));
    let text = detail(&mut world, &long);
    assert!(text.contains(" init=/bin/sh\"") && text.contains("before"), "{text}");
    assert!(text.chars().count() < MAX_DETAIL, "{text}");
    let text = detail(&mut world, &format!("/vmlinuz {} init=/bin/sh", "quiet ".repeat(1000)));
    assert!(text.contains("kernel_cmdline: /vmlinuz quiet") && text.contains(" init=/bin/sh\""), "{text}");
    assert!(text.contains("characters …") && text.chars().count() < MAX_DETAIL, "{text}");
    let text = detail(&mut world, "/vmlinuz \"\nevent 3, verified: \u{1b}[2J");
    assert!(text.contains(r#"/vmlinuz \"\nevent 3, verified: \u{1b}[2J"#), "{text}");
}

/// Of many accepted values some are shown, so that the events have their place.
#[test]
fn many_alternatives_leave_room_for_the_events() {
    let mut golden = reviewed(&[HashAlgorithm::Sha256, HashAlgorithm::Sha384]);
    for other in 0..40 {
        golden.push(GoldenPcr { bank: HashAlgorithm::Sha256, index: COMMANDS, value: vec![other; 32] });
    }
    let mut world = World::with_pool(|config| config.golden_pcrs = golden);
    let text = detail(&mut world, "/vmlinuz single");
    assert!(text.contains(" or 39 others") && text.contains("kernel_cmdline: /vmlinuz single"), "{text}");
    assert!(text.chars().count() < MAX_DETAIL, "{text}");
}

#[test]
fn without_a_log_the_refusal_says_so() {
    let golden = reviewed(&[HashAlgorithm::Sha256, HashAlgorithm::Sha384]);
    let mut world = World::with_pool(|config| config.golden_pcrs = golden);
    let (mut tpm, _) = booted(&world, "/vmlinuz single");
    let refused = world.admit(&mut tpm, &mut Agent::default()).unwrap_err();
    assert_refused(&refused, Check::GoldenPcr);
    assert!(refused.records().last().unwrap().detail.ends_with("no event log tells what was measured"), "{refused}");
}

/// A bank that the pool excepts as unextended is not compared, and never is nothing compared at all.
#[test]
fn an_excepted_bank_is_no_evidence() {
    let golden = reviewed(&[HashAlgorithm::Sha384]);
    let mut world = World::with_pool(|config| {
        config.golden_pcrs = golden;
        config.boot.unextended_banks = vec![HashAlgorithm::Sha256];
    });
    let (mut tpm, mut agent) = booted(&world, REVIEWED);
    world.admit(&mut tpm, &mut agent).unwrap();
    assert!(detail(&mut world, "/vmlinuz single").contains("PCR 8 of bank sha384"));
    let (mut tpm, _) = booted(&world, REVIEWED);
    tpm.allocate(&[HashAlgorithm::Sha1, HashAlgorithm::Sha256]);
    let refused = world.admit(&mut tpm, &mut Agent::default()).unwrap_err();
    assert_refused(&refused, Check::GoldenPcr);
    assert!(refused.records().last().unwrap().detail.contains("no bank is left to compare"), "{refused}");
}
