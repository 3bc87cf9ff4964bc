//! What the lines look like.

use super::sink::Keep;
use super::{AUDIT_REFUSAL_TARGET, AUDIT_TARGET, AuditRecord, FieldValue, Format, Level, LogOptions, subscriber};

/// What is logged by `events` with these options, without the time.
fn logged(options: LogOptions, events: impl FnOnce()) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let options = LogOptions { file: Some(file.clone()), ..options };
    let (subscriber, _) = subscriber(&options).unwrap();
    tracing::dispatcher::with_default(&subscriber.into(), events);
    std::fs::read_to_string(file).unwrap()
}

/// Everything after `time="…" `.
fn without_time(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split_once("Z\" ").unwrap().1).collect()
}

#[test]
fn text_is_the_form_that_scripts_around_spire_match() {
    let text = logged(LogOptions::default(), || {
        tracing::info!(network = "tcp", address = "127.0.0.1:8081", count = 3, "Starting Server APIs");
        tracing::warn!("Ready");
        let _span = tracing::info_span!("rpc", caller_id = "spiffe://td/a", b = 1).entered();
        tracing::error!(b = 2, error = "a \"b\"", "Refused");
    });
    assert!(text.starts_with("time=\"20"), "{text}");
    assert_eq!(
        without_time(&text),
        [
            "level=info msg=\"Starting Server APIs\" address=\"127.0.0.1:8081\" count=3 network=tcp",
            "level=warning msg=Ready",
            "level=error msg=Refused b=2 caller_id=\"spiffe://td/a\" error=\"a \\\"b\\\"\"",
        ]
    );
}

/// Threat 41
#[test]
fn no_value_can_forge_a_line_or_steer_a_terminal() {
    let forged = "x\ntime=\"2026-01-01T00:00:00Z\" level=info msg=\"CA rotated\"\u{1b}[2J\u{202e}";
    for format in [Format::Text, Format::Json] {
        let text = logged(LogOptions { format, ..LogOptions::default() }, || {
            tracing::info!(host = forged, shown = %forged, debugged = ?forged, "{forged}");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let controls: Vec<char> = text.trim_end().chars().filter(|c| c.is_control()).collect();
        assert!(controls.is_empty(), "{text:?}");
    }
}

#[test]
fn json_holds_the_same_and_its_own_keys_can_not_be_replaced() {
    let options = LogOptions { format: Format::Json, ..LogOptions::default() };
    let text = logged(options, || tracing::info!(level = "fatal", n = 3, ok = true, "Done"));
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "info");
    assert_eq!(line["fields.level"], "fatal");
    assert_eq!(line["msg"], "Done");
    assert_eq!(line["n"], 3);
    assert_eq!(line["ok"], true);
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn levels_hold_for_ours_and_libraries_speak_one_level_higher() {
    let events = || {
        tracing::debug!(target: "plastron_server", "a");
        tracing::info!(target: "plastron_server", "b");
        tracing::info!(target: "h2", "c");
        tracing::warn!(target: "h2", "d");
    };
    let text = logged(LogOptions::default(), events);
    assert_eq!(without_time(&text), ["level=info msg=b", "level=warning msg=d"]);
    let text = logged(LogOptions { level: Level::Debug, ..LogOptions::default() }, events);
    assert_eq!(without_time(&text).len(), 4);
}

#[test]
fn audit_lines_are_written_at_every_level() {
    for level in Level::ALL {
        let text = logged(LogOptions { level, ..LogOptions::default() }, || {
            tracing::info!(target: AUDIT_TARGET, r#type = "audit", "node attestation");
            tracing::info!(target: AUDIT_REFUSAL_TARGET, r#type = "audit", "Request failed");
        });
        let both = ["level=info msg=\"node attestation\" type=audit", "level=info msg=\"Request failed\" type=audit"];
        assert_eq!(without_time(&text), both, "{level:?}");
    }
}

#[test]
fn the_level_changes_while_the_log_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let options = LogOptions { file: Some(file.clone()), level: Level::Warn, ..LogOptions::default() };
    let (subscriber, log) = subscriber(&options).unwrap();
    let (level, other) = (log.level.clone(), log.level);
    tracing::dispatcher::with_default(&subscriber.into(), || {
        let events = |step: u8| {
            tracing::debug!(target: "plastron_server", step, "debug");
            tracing::warn!(target: "plastron_server", step, "warn");
            tracing::error!(target: "plastron_server", step, "error");
            tracing::info!(target: AUDIT_TARGET, step, "audit");
        };
        events(1);
        level.set(Level::Debug);
        assert_eq!((other.get(), other.launch()), (Level::Debug, Level::Warn));
        events(2);
        level.set(Level::Fatal);
        events(3);
        assert_eq!((other.reset(), level.get()), (Level::Warn, Level::Warn));
        events(4);
    });
    let text = std::fs::read_to_string(file).unwrap();
    let words: Vec<_> = without_time(&text).into_iter().map(|line| line.split_once("msg=").unwrap().1).collect();
    assert_eq!(
        words,
        [
            "warn step=1",
            "error step=1",
            "audit step=1",
            "debug step=2",
            "warn step=2",
            "error step=2",
            "audit step=2",
            "audit step=3",
            "warn step=4",
            "error step=4",
            "audit step=4",
        ]
    );
}

#[test]
fn what_was_done_is_kept_before_what_was_refused() {
    let targets = [AUDIT_TARGET, AUDIT_REFUSAL_TARGET, "plastron_server", "audited"];
    assert_eq!(targets.map(super::audit::keep), [Keep::Change, Keep::Refusal, Keep::No, Keep::No]);
}

#[test]
fn source_locations_are_named_when_asked_for() {
    let text = logged(LogOptions { source_location: true, ..LogOptions::default() }, || tracing::info!("a"));
    assert!(text.contains(" file=\"daemon/src/logging/tests.rs:"), "{text}");
    assert!(text.ends_with(" func=\"plastron_daemon::logging::tests\"\n"), "{text}");
}

#[test]
fn a_moved_log_file_is_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let (file, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let (subscriber, log) = subscriber(&LogOptions { file: Some(file.clone()), ..LogOptions::default() }).unwrap();
    tracing::dispatcher::with_default(&subscriber.into(), || {
        tracing::info!("first");
        std::fs::rename(&file, &moved).unwrap();
        log.reopen.reopen().unwrap();
        tracing::info!("second");
    });
    assert!(std::fs::read_to_string(moved).unwrap().contains("first"));
    assert!(std::fs::read_to_string(file).unwrap().contains("second"));
}

/// Threat 39
#[test]
fn a_log_file_is_not_for_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    subscriber(&LogOptions { file: Some(file.clone()), ..LogOptions::default() }).unwrap();
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o027, 0);
}

#[test]
fn words_of_the_configuration_are_understood() {
    assert_eq!("WARN".parse::<Level>().unwrap(), Level::Warn);
    assert_eq!("warning".parse::<Level>().unwrap(), Level::Warn);
    for level in Level::ALL {
        assert_eq!(level.as_str().parse::<Level>().unwrap(), level);
    }
    assert_eq!("JSON".parse::<Format>().unwrap(), Format::Json);
    assert_eq!(
        "loud".parse::<Level>().unwrap_err().to_string(),
        "\"loud\" is no log level: use TRACE, DEBUG, INFO, WARN or ERROR"
    );
    assert_eq!("xml".parse::<Format>().unwrap_err().to_string(), "\"xml\" is no log format: use text or json");
}

/// The same line in the same place, whichever way it goes, and whatever the level.
#[tokio::test]
async fn an_audit_line_with_a_result_is_a_line_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Text, Format::Json] {
        let file = folder.path().join(format!("{format:?}"));
        let options = LogOptions { file: Some(file.clone()), format, level: Level::Error, ..LogOptions::default() };
        let (subscriber, log) = subscriber(&options).unwrap();
        tracing::dispatcher::with_default(&subscriber.into(), || {
            tracing::info!(target: AUDIT_TARGET, actor = "a \u{1b}\"b\"", n = 3, r#type = "audit", "SVID issued");
        });
        let fields = || {
            vec![
                ("actor", FieldValue::Text("a \u{1b}\"b\"")),
                ("n", FieldValue::Number(3)),
                ("type", FieldValue::Text("audit")),
            ]
        };
        let records = [(); 2].map(|()| AuditRecord { message: "SVID issued", fields: fields() });
        log.audit.write(records).await.unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let mut lines: Vec<_> = text
            .lines()
            .map(|line| line.replace(line.split('"').find(|part| part.starts_with("20")).unwrap(), ""))
            .collect();
        assert_eq!(lines.len(), 3);
        lines.dedup();
        assert_eq!(lines.len(), 1, "{text}");
    }
}
