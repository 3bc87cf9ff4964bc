//! Files of pins, good and bad.

use super::*;

const HEADER: &str = "fingerprint,added_by,added_at,reason,obtained,expires\n";

fn row(byte: &str, rest: &str) -> String {
    format!("{},{rest}", byte.repeat(32))
}

fn pins_of(files: &[(&str, &str)]) -> Result<Vec<EkPin>, PoolsError> {
    let directory = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        paths.push(path);
    }
    Pins::read(&[], &BTreeMap::new(), paths).unwrap().open()
}

fn refusal(files: &[(&str, &str)]) -> String {
    pins_of(files).unwrap_err().to_string()
}

#[test]
fn both_forms_say_the_same() {
    let csv = format!(
        "{HEADER}{}\n{}\n",
        row("ab", "alice,2026-01-31T12:00:00Z,\"rack 7, slot 2\",asset list,2027-01-31T12:00:00Z"),
        row("cd", "bob,2026-01-31T12:00:00Z,ticket 4711,console,"),
    );
    let json = serde_json::json!([
        { "fingerprint": "ab".repeat(32), "added_by": "alice", "added_at": "2026-01-31T12:00:00Z",
          "reason": "rack 7, slot 2", "obtained": "asset list", "expires": "2027-01-31T12:00:00Z" },
        { "obtained": "console", "fingerprint": "cd".repeat(32), "added_by": "bob",
          "added_at": "2026-01-31T12:00:00Z", "reason": "ticket 4711" },
    ]);
    let pins = pins_of(&[("pins.csv", &csv)]).unwrap();
    assert_eq!(pins, pins_of(&[("pins.json", &json.to_string())]).unwrap());
    assert_eq!(pins.len(), 2);
    assert_eq!((pins[0].reason.as_str(), pins[0].added_at), ("rack 7, slot 2", 1_769_860_800));
    assert_eq!((pins[0].expires, pins[1].expires), (Some(1_801_396_800), None));
    assert_eq!(pins[1].obtained, "console");
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_line_and_column() {
    let good = row("ab", "alice,2026-01-31T12:00:00Z,why,how,");
    for (rows, expected) in [
        ("x,alice,2026-01-31T12:00:00Z,why,how,".to_owned(), "pins.csv\":2:1: \"x\" is no EK fingerprint"),
        (row("ab", ",2026-01-31T12:00:00Z,why,how,"), "pins.csv\":2:66: is empty"),
        (row("ab", "alice,yesterday,why,how,"), "pins.csv\":2:72: \"yesterday\" is no time"),
        (row("ab", "alice,2026-01-31T12:00:00Z,why,,"), "pins.csv\":2:97: is empty"),
        (row("ab", " ,2026-01-31T12:00:00Z,why,how,"), "pins.csv\":2:66: is empty"),
        (row("ab", "alice,2026-01-31T12:00:00Z,why,how,soon"), "pins.csv\":2:101: \"soon\" is no time"),
        (format!("{good}\nab\n"), "pins.csv\":3:1: 1 fields, and the header has 6"),
    ] {
        let refused = refusal(&[("pins.csv", &format!("{HEADER}{rows}"))]);
        assert!(refused.contains(expected), "{refused}\n{expected}");
    }
    for (header, expected) in [
        ("fingerprint,added_by,added_at,reason\n", ":1:1: column \"obtained\" is missing"),
        ("fingerprint,added_by,added_at,reason,obtained,colour\n", ":1:47: column \"colour\" is unknown"),
        ("fingerprint,reason,reason\n", ":1:20: column \"reason\" is there twice"),
    ] {
        let refused = refusal(&[("pins.csv", header)]);
        assert!(refused.contains(expected), "{refused}\n{expected}");
    }
    let entry = |fingerprint: &str, more: &str| {
        format!(
            "[\n {{ \"fingerprint\": \"{fingerprint}\",\n   \"added_by\": \"a\", \"added_at\": \"2026-01-31T12:00:00Z\", \
             \"reason\": \"r\"{more} }}\n]"
        )
    };
    for (json, line, problem) in [
        (entry("xy", ", \"obtained\": \"o\""), 2, "is no EK fingerprint"),
        (entry(&"ab".repeat(32), ""), 3, "missing field `obtained`"),
        (entry(&"ab".repeat(32), ", \"obtained\": \"\""), 3, "is empty"),
        (entry(&"ab".repeat(32), ", \"obtained\": \"o\", \"note\": 1"), 3, "unknown field `note`"),
        ("{}".to_owned(), 1, "expected a sequence"),
        ("[".to_owned(), 1, "EOF"),
    ] {
        let refused = refusal(&[("pins.json", &json)]);
        let place = format!("pins.json\":{line}:");
        assert!(refused.contains(&place) && refused.contains(problem), "{refused}\n{place} {problem}");
        assert!(!refused.contains("at line"), "{refused}");
    }
    assert!(refusal(&[("pins.txt", "")]).contains("neither .csv nor .json"));
}

#[test]
fn a_key_is_pinned_once_in_a_pool() {
    let csv = format!("{HEADER}{}\n", row("ab", "alice,2026-01-31T12:00:00Z,why,how,"));
    let twice = format!("{csv}{}\n", row("ab", "bob,2026-01-31T12:00:00Z,why,how,2027-01-31T12:00:00Z"));
    let refused = refusal(&[("pins.csv", &twice)]);
    assert!(refused.contains("pins.csv:2") && refused.contains("pins.csv:3"), "{refused}");
    let json = serde_json::json!([{ "fingerprint": "ab".repeat(32), "added_by": "a",
        "added_at": "2026-01-31T12:00:00Z", "reason": "r", "obtained": "o" }]);
    let refused = refusal(&[("pins.csv", &csv), ("more.json", &json.to_string())]);
    assert!(refused.contains("pins.csv:2") && refused.contains("more.json, entry 1"), "{refused}");
}

/// What spreadsheets write: a byte order mark, formulas in text, UTF-16. A formula is text like any other, and never a fingerprint.
#[test]
fn what_spreadsheets_write_is_read_or_named() {
    let csv = format!("\u{feff}{HEADER}{}\r\n", row("ab", "=alice,2026-01-31T12:00:00Z,\"=1+\"\"1\"\"\",how,"));
    let pins = pins_of(&[("pins.csv", &csv)]).unwrap();
    assert_eq!((pins[0].added_by.as_str(), pins[0].reason.as_str()), ("=alice", "=1+\"1\""));
    let entry = serde_json::json!([{ "fingerprint": "ab".repeat(32), "added_by": "a",
        "added_at": "2026-01-31T12:00:00Z", "reason": "r", "obtained": "o" }]);
    assert_eq!(pins_of(&[("pins.json", &format!("\u{feff}{entry}"))]).unwrap().len(), 1);
    let formula = format!("{HEADER}={}", row("ab", "alice,2026-01-31T12:00:00Z,why,how,"));
    assert!(refusal(&[("pins.csv", &formula)]).contains("is no EK fingerprint"));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pins.csv");
    let utf16 = std::iter::once('\u{feff}')
        .chain(HEADER.chars())
        .flat_map(|letter| u32::from(letter).to_le_bytes().into_iter().take(2));
    std::fs::write(&path, utf16.collect::<Vec<_>>()).unwrap();
    let refused = Pins::read(&[], &BTreeMap::new(), vec![path]).unwrap().open().unwrap_err().to_string();
    assert!(refused.ends_with("pins.csv\" is not text in UTF-8: byte 0; save it as UTF-8"), "{refused}");
}
