//! What a text means: the same values in the fields of a type, the same keys that no field takes.

use std::collections::BTreeMap;

use plastron_hcl1::{NoticeKind, from_str};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::oracle;
use crate::random::Random;

/// How many files are decoded.
const FILES: usize = 10_000;

/// A field of each kind that SPIRE's configuration has; the oracle has the same.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Sample {
    text: String,
    number: i64,
    switch: bool,
    maybe: Option<bool>,
    names: Vec<String>,
    block: Option<Inner>,
    many: Vec<Inner>,
    named: BTreeMap<String, Inner>,
    words: BTreeMap<String, String>,
    deep: BTreeMap<String, Holder>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Inner {
    label: String,
    size: i64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Holder {
    profile: Option<Inner>,
}

/// What we make of a text, in the oracle's form.
fn ours(text: &str) -> Result<Value, String> {
    let (sample, notices) = from_str::<Sample>(text, "f").map_err(|error| error.to_string())?;
    let unknown = notices.iter().filter(|notice| notice.kind == NoticeKind::UnknownKey);
    let mut unknown: Vec<_> = unknown.map(|notice| &notice.place.path).filter(|path| !path.contains('.')).collect();
    unknown.sort();
    unknown.dedup();
    let mut value = serde_json::to_value(sample).unwrap();
    value["unknown"] = json!(unknown);
    Ok(value)
}

/// Go has nothing where we have an empty list or map.
fn theirs(mut answer: Value) -> Result<Value, String> {
    if let Some(error) = answer["error"].as_str() {
        return Err(error.to_owned());
    }
    let mut sample = answer["sample"].take();
    for (key, empty) in [("names", json!([])), ("many", json!([]))] {
        if sample[key].is_null() {
            sample[key] = empty;
        }
    }
    for key in ["named", "words", "deep"] {
        if sample[key].is_null() {
            sample[key] = json!({});
        }
    }
    Ok(sample)
}

/// Fields, the forms that their values have, and values of other kinds.
const FIELDS: &[(&str, &[&str], &[&str])] = &[
    ("text", &["\"x\"", "\"\"", "5", "0755", "-2", "<<E\ntext\nE\n"], &["true", "1.5", "[]", "{}"]),
    ("Text", &["\"y\"", "\"${z}\""], &["false"]),
    ("number", &["1", "-2", "0755", "0x1f", "\"3\"", "\"0x10\""], &["\"x\"", "1.5", "true", "[]", "{}"]),
    ("switch", &["true", "false"], &["\"true\"", "1", "[]", "{}"]),
    ("maybe", &["true", "false"], &["\"false\"", "0"]),
    ("names", &["[]", "[\"a\"]", "[\"a\", \"b\",]", "[1, \"2\"]"], &["\"a\"", "[true]", "1"]),
    ("NAMES", &["[\"c\"]"], &["1"]),
    (
        "block",
        &["{}", "{ label = \"l\" }", "{ size = \"7\", label = 8 }"],
        &["\"x\"", "1", "[1]", "[]", "[{}]", "[{ size = 1 }]", "[{ size = 1 }, { size = 2 }]"],
    ),
    ("many", &["[]", "[{ label = \"l\" size = 2 }, { size = 1 }]", "[{}]", "{ label = \"l\" }"], &["\"x\"", "[\"x\"]"]),
    ("named", &["{}", "{ d = { size = 9 } }", "{ \"e f\" = { label = 1 } G = {} }"], &["\"x\"", "{ a = 1 }"]),
    ("words", &["{}", "{ a = \"w\" b = 2 }", "{ B = \"y\" \"c d\" = \"z\" }"], &["\"x\"", "{ a = true }", "[]"]),
    ("deep", &["{ dt = { profile = { size = 1 } } }", "{ \"d t\" = { profile { label = \"p\" } } }"], &["\"x\""]),
    ("bogus", &["1", "\"x\"", "[1, { a = 1 }]", "{ a = 1 }"], &["{}"]),
];

/// Whole blocks.
const BLOCKS: &[&str] = &[
    "block { label = \"l\" }",
    "block { size = 5 }",
    "Block { label = 6 }",
    "many { label = \"m\" }",
    "many { size = 2 }",
    "named \"a\" { label = \"n\" }",
    "named \"a\" { size = 3 }",
    "named \"b\" { }",
    "named { c { label = \"o\" } }",
    "words { a = \"w\" b = 2 }",
    "deep \"td\" { profile { label = \"p\" } }",
    "deep \"td\" { profile { size = 4 } }",
    "bogus { a = 1 }",
];

/// A value of another kind stands alone: beside the same key, the two readers differ in which of them they look at.
fn file(random: &mut Random) -> String {
    if random.below(4) == 0 {
        let (field, _, others) = random.of(FIELDS);
        return format!("{field} = {}\n", others[random.below(others.len())]);
    }
    let mut text = String::new();
    for _ in 0..=random.below(4) {
        if random.below(2) == 0 {
            let (field, values, _) = random.of(FIELDS);
            text.push_str(&format!("{field} = {}\n", values[random.below(values.len())]));
        } else {
            text.push_str(BLOCKS[random.below(BLOCKS.len())]);
            text.push('\n');
        }
    }
    text
}

/// As [`FIELDS`], in JSON.
const JSON_FIELDS: &[(&str, &[&str], &[&str])] = &[
    ("text", &["\"x\"", "\"é\\u00e9\\n\"", "5", "-2", "null"], &["true", "1.5"]),
    ("Text", &["\"y\""], &["false"]),
    ("number", &["1", "-2", "\"3\"", "\"0x10\""], &["\"x\"", "1.5", "true", "null"]),
    ("switch", &["true", "false"], &["\"true\"", "1", "null"]),
    ("maybe", &["true", "false"], &["0", "null"]),
    ("names", &["[\"a\"]", "[\"a\", \"b\"]", "[1, \"2\"]"], &["\"a\"", "1", "null", "[null]", "[\"a\", null]"]),
    (
        "block",
        &[
            "{\"label\": \"l\"}",
            "{\"size\": \"7\", \"label\": 8}",
            "[{\"label\": \"l\"}]",
            "[{\"label\": \"l\"}, {\"size\": 3}]",
        ],
        &["\"x\"", "null", "[]"],
    ),
    ("many", &["[{\"label\": \"l\"}, {\"size\": 1}]", "{\"label\": \"l\"}"], &["\"x\""]),
    ("named", &["{\"a\": {\"label\": \"n\"}, \"b\": {\"size\": 2}}", "{\"a\": [{\"label\": \"n\"}]}"], &["\"x\""]),
    ("words", &["{\"a\": \"x\", \"B\": \"y\"}"], &["\"x\""]),
    ("deep", &["{\"td\": {\"profile\": {\"label\": \"p\"}}}"], &["1"]),
];

/// No key twice: JSON has no meaning for that.
fn json_file(random: &mut Random) -> String {
    if random.below(4) == 0 {
        let (field, _, others) = random.of(JSON_FIELDS);
        return format!("{{\"{field}\": {}}}", others[random.below(others.len())]);
    }
    let mut items = BTreeMap::new();
    for _ in 0..=random.below(4) {
        let (field, values, _) = random.of(JSON_FIELDS);
        items.insert(field.to_lowercase(), format!("\"{field}\": {}", values[random.below(values.len())]));
    }
    format!("{{{}}}", items.into_values().collect::<Vec<_>>().join(", "))
}

fn compare(texts: &[String], ignored: &str) -> String {
    let requests: Vec<_> = texts.iter().map(|text| json!({ "mode": "decode", "text": text })).collect();
    let (mut agreed, mut refused, mut differences) = (0, 0, String::new());
    for (text, answer) in texts.iter().zip(oracle::ask(&requests)) {
        let without = |told: Result<Value, String>| {
            told.map(|mut value| {
                value[ignored] = Value::Null;
                value
            })
        };
        match (without(ours(text)), without(theirs(answer))) {
            (Ok(ours), Ok(theirs)) if ours == theirs => agreed += 1,
            (Err(_), Err(_)) => refused += 1,
            (ours, theirs) => differences.push_str(&format!("{text:?}\n  ours:   {ours:?}\n  theirs: {theirs:?}\n")),
        }
    }
    println!("{agreed} of {} files mean the same, {refused} are refused by both", texts.len());
    differences
}

#[test]
fn files_mean_what_they_mean_to_hashicorps_reader() {
    let mut random = Random(11);
    let texts: Vec<String> = (0..FILES).map(|_| file(&mut random)).collect();
    let differences = compare(&texts, "nothing");
    assert!(differences.is_empty(), "{differences}");
}

/// Its list of unknown keys is wrong in JSON: it holds the keys within the first block, known or not.
#[test]
fn json_means_what_it_means_to_hashicorps_reader() {
    let mut random = Random(13);
    let texts: Vec<String> = (0..FILES).map(|_| json_file(&mut random)).collect();
    let differences = compare(&texts, "unknown");
    assert!(differences.is_empty(), "{differences}");
}

/// Where we mean to differ. When a row agrees, it is to go.
#[test]
fn differences_are_the_known_ones() {
    let unknown = |keys: &[&str]| Some(json!({ "unknown": keys }));
    let rows = [
        // Unknown blocks with a label, and unknown keys in quotes, are found.
        ("text = \"x\"\nbogus \"x\" { }", unknown(&["bogus"])),
        ("\"bogus\" = 1", unknown(&["bogus"])),
        // A block is one element of a list, however many keys it has.
        ("many { label = \"l\" size = 1 }", Some(json!({ "many": [{ "label": "l", "size": 1 }] }))),
        ("many = {}", Some(json!({ "many": [{ "label": "", "size": 0 }] }))),
        // A block is no list of texts.
        ("names = {}", None),
        // The last value counts, whatever was there before.
        ("text = {}\ntext = \"x\"", Some(json!({ "text": "x" }))),
        ("{\"many\": [{\"label\": \"l\", \"size\": 1}]}", Some(json!({ "many": [{ "label": "l", "size": 1 }] }))),
        // A file is read from its top to its end, labelled blocks or not.
        (
            "named = { a = { size = 1 } }\nnamed \"a\" { size = 2 }",
            Some(json!({ "named": { "a": { "label": "", "size": 2 } } })),
        ),
    ];
    let requests: Vec<_> = rows.iter().map(|(text, _)| json!({ "mode": "decode", "text": text })).collect();
    for ((text, expected), answer) in rows.iter().zip(oracle::ask(&requests)) {
        let (ours, theirs) = (ours(text), theirs(answer));
        assert!(ours != theirs && (ours.is_ok() || theirs.is_ok()), "{text:?} means the same: {ours:?}");
        match expected {
            Some(expected) => {
                let ours = ours.unwrap_or_else(|error| panic!("{text:?}: {error}"));
                let agree = |(key, value): (&String, &Value)| ours[key] == *value;
                assert!(expected.as_object().unwrap().iter().all(agree), "{text:?}: {ours}");
            }
            None => assert!(ours.is_err(), "{text:?}: {ours:?}"),
        }
    }
}
