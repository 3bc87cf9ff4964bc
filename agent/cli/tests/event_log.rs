//! `tpm eventlog` without a TPM, on logs as firmware writes them and as it does not.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::error::Error;
use std::ffi::OsString;

use clap::{CommandFactory as _, Parser};
use plastron_agent_cli::{CliError, Command, Context, EXIT_NOT_FOUND, EXIT_UNTRUSTED, EXIT_USAGE, Environment, run};
use plastron_attestation_fake_tpm::event_log::{LinuxBoot, LogBuilder};
use plastron_attestation_tcg::HashAlgorithm::{Sha1, Sha256};
use plastron_attestation_tcg::event_log::EventType;
use serde_json::Value;

#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

/// Runs `tpm eventlog` as a program without a TPM would.
async fn call(arguments: &[&str], mut input: &[u8]) -> (Result<(), CliError>, String) {
    let line = ["program", "tpm", "eventlog"].iter().chain(arguments).map(OsString::from);
    let Program { command } =
        Program::try_parse_from(plastron_daemon::go_flags::normalise(line, &Program::command())).unwrap();
    let mut out = Vec::new();
    let environment = Environment::default();
    let mut err = Vec::new();
    let context = Context { environment: &environment, tpm: None, input: &mut input, out: &mut out, err: &mut err };
    let outcome = run(command, context).await;
    (outcome, String::from_utf8(out).unwrap())
}

async fn json(log: &[u8]) -> Value {
    let (outcome, text) = call(&["-", "-output", "json"], log).await;
    outcome.unwrap();
    serde_json::from_str(&text).unwrap()
}

async fn pretty(log: &[u8]) -> String {
    let (outcome, text) = call(&["-"], log).await;
    outcome.unwrap();
    text
}

/// The error and its causes, as the program writes them to standard error.
fn explained(error: &CliError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn json_has_the_pcrs_that_events_extend_in_every_bank() {
    let log = LinuxBoot { startup_locality: Some(3), ..LinuxBoot::default() }.log();
    let report = json(log.bytes()).await;
    let keys: Vec<_> = report.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["events", "facts", "findings", "pcrs"]);
    let mut values = 0;
    for ((bank, pcr), value) in log.pcrs() {
        let shown = report.pointer(&format!("/pcrs/{bank}/{pcr}")).unwrap();
        assert_eq!(shown, &hex::encode(value), "PCR {pcr} of bank {bank}");
        values += 1;
    }
    let shown =
        report.pointer("/pcrs").unwrap().as_object().unwrap().values().map(|bank| bank.as_object().unwrap().len());
    assert_eq!(shown.sum::<usize>(), values);
    assert_eq!(report.pointer("/events").unwrap().as_array().unwrap().len(), log.event_count());
    assert_eq!(report.pointer("/events/0/extended").unwrap(), false);
    assert_eq!(report.pointer("/events/2/type").unwrap(), "EV_S_CRTM_VERSION");
    assert_eq!(report.pointer("/events/2/provenance").unwrap(), "verified");
    assert_eq!(report.pointer("/facts/secure_boot/enabled/value").unwrap(), true);
    assert_eq!(report.pointer("/findings").unwrap(), &Value::Array(Vec::new()));
}

#[tokio::test]
async fn text_has_a_table_for_each_pcr_with_its_values() {
    let log = LinuxBoot::default().log();
    let text = pretty(log.bytes()).await;
    for (bank, value) in [(Sha1, 20), (Sha256, 32)].map(|(bank, _)| (bank, log.pcrs()[&(bank, 7)].clone())) {
        assert!(text.contains(&format!("  {:6} {}\n", bank.name(), hex::encode(value))), "{text}");
    }
    for part in
        ["\nPCR 0\n", "\nPCR 14\n", "EV_EFI_VARIABLE_AUTHORITY", "digest_only", "not extended", "no quote was compared"]
    {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(text.contains("\n  secure_boot.enabled = true  (verified, event "), "{text}");
    assert!(text.ends_with("\nFindings: none\n"), "{text}");
}

#[tokio::test]
async fn long_lists_of_facts_are_cut_for_people_and_whole_for_programs() {
    let log = LinuxBoot { dbx_len: 30, ..LinuxBoot::default() }.log();
    let report = json(log.bytes()).await;
    assert_eq!(report.pointer("/facts/secure_boot/dbx/value").unwrap().as_array().unwrap().len(), 30);
    let text = pretty(log.bytes()).await;
    assert!(text.contains("secure_boot.dbx[7].") && !text.contains("secure_boot.dbx[8]."), "{text}");
    assert!(text.contains("  secure_boot.dbx: 22 more, which -output json shows\n"));
}

/// Threat 41: what a node writes into its log does not drive the terminal of whoever looks at it.
#[tokio::test]
async fn text_of_the_log_is_escaped() {
    let kernel_cmdline = "/vmlinuz \x1b]0;owned\x07 \u{9b}2J \u{202e}ro".to_owned();
    let mut log = LinuxBoot { kernel_cmdline, ..LinuxBoot::default() }.log();
    log.event(5, EventType::EFI_ACTION, "\x1b[2J\n\nFindings: none".as_bytes());
    let text = pretty(log.bytes()).await;
    assert!(!text.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}']), "{text:?}");
    assert_eq!(text.matches("\nFindings").count(), 1, "{text}");
    assert!(text.contains("owned"));
}

/// Threat 6: a text that is not what was hashed is untrusted, and a finding names the event.
#[tokio::test]
async fn an_altered_text_is_a_finding_with_its_event() {
    let log = LinuxBoot { secure_boot: false, ..LinuxBoot::default() }.log();
    let secure_boot = (0..log.event_count())
        .find(|event| log.bytes()[log.offset_of(*event).unwrap()..][4..8] == 0x8000_0001u32.to_le_bytes())
        .unwrap();
    let mut bytes = log.bytes().to_vec();
    bytes[log.offset_of(secure_boot + 1).unwrap() - 1] = 1;
    let report = json(&bytes).await;
    assert_eq!(report.pointer(&format!("/events/{secure_boot}/provenance")).unwrap(), "untrusted");
    let findings = report.pointer("/findings").unwrap().as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["event"] == secure_boot).unwrap();
    let keys: Vec<_> = finding.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["check", "event", "text"]);
    assert!(pretty(&bytes).await.contains("\nFindings\n"));
}

#[tokio::test]
async fn a_bank_that_an_event_leaves_out_has_no_values() {
    let mut log = LogBuilder::crypto_agile(&[Sha1, Sha256]);
    log.event(0, EventType::S_CRTM_VERSION, b"1");
    log.raw_event(4, EventType::EFI_ACTION, &[(Sha256, vec![1; 32])], b"no SHA-1");
    let report = json(log.bytes()).await;
    assert!(report.pointer("/pcrs/sha1").is_none() && report.pointer("/pcrs/sha256/4").is_some());
    assert_eq!(report.pointer("/events/1/provenance").unwrap(), "verified");
    let findings = report.pointer("/findings").unwrap().as_array().unwrap();
    let gap = |finding: &&Value| finding["check"] == "bank_not_extended" && finding["event"] == 2;
    assert_eq!(findings.iter().filter(gap).count(), 1);
    assert!(pretty(log.bytes()).await.contains("sha1   unknown: event 2 has no digest for this bank"));
}

#[tokio::test]
async fn both_formats_files_and_padding_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let mut log = LogBuilder::sha1();
    log.event(0, EventType::S_CRTM_VERSION, b"1");
    std::fs::write(&file, [log.bytes(), &[0xff; 100]].concat()).unwrap();
    let (outcome, text) = call(&[file.to_str().unwrap()], b"").await;
    outcome.unwrap();
    assert!(text.contains(": sha1, ") && text.contains("Padding           : 100 bytes"), "{text}");
}

#[tokio::test]
async fn a_malformed_log_is_refused_with_file_offset_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let log = LinuxBoot::default().log();
    let mut bytes = log.bytes().to_vec();
    let at = log.offset_of(3).unwrap();
    bytes[at] = 24;
    std::fs::write(&file, bytes).unwrap();
    for output in ["json", "pretty"] {
        let (outcome, text) = call(&[file.to_str().unwrap(), "-output", output], b"").await;
        let error = outcome.unwrap_err();
        assert_eq!((error.exit_code(), text.as_str()), (EXIT_UNTRUSTED, ""));
        let wanted = format!("the event log {} is malformed: event 3 at offset {at}: pcrIndex is 24", file.display());
        assert!(explained(&error).starts_with(&wanted), "{}", explained(&error));
    }
    let endless = vec![1; 5 << 20];
    let error = call(&["-"], &endless).await.0.unwrap_err();
    assert!(explained(&error).contains("at most 4194304"), "{}", explained(&error));
}

#[tokio::test]
async fn no_log_is_said_with_what_to_do() {
    let missing = call(&["/nonexistent/binary_bios_measurements"], b"").await.0.unwrap_err();
    let empty = call(&["-"], b"").await.0.unwrap_err();
    for error in [missing, empty] {
        assert_eq!(error.exit_code(), EXIT_NOT_FOUND);
        assert!(explained(&error).starts_with("no event log in ") && explained(&error).contains("GRUB 2.06"));
    }
    let folder = call(&["/"], b"").await.0.unwrap_err();
    assert!(explained(&folder).starts_with("can't read the event log /"), "{}", explained(&folder));
    assert!(![0, EXIT_USAGE].contains(&folder.exit_code()));
}
