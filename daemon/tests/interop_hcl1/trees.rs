//! What a text is, before anyone asks what it means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plastron_hcl1::{ConfigError, Item, Node, SyntaxError, Value as Hcl, expand_env, parse};
use serde_json::{Value, json};

use crate::oracle;
use crate::random::Random;

/// How many changed texts are compared: some seconds.
const MUTATIONS: usize = 10_000;
/// How many texts are expanded.
const EXPANSIONS: usize = 10_000;

/// One of each form, besides our own example files.
const SEEDS: &[&str] = &[
    "server {\n  trust_domain = \"td\"\n  bind_port = \"8081\"\n}\n",
    "NodeAttestor \"join_token\" { plugin_data {} }\nKeyManager \"disk\" plugin_data { keys_path = \"k\" }",
    "a = 1 b = 2, c = [1, 2, [3] [4], { d = 5 },] e = [,1,,2]",
    "a = 0x1f b = .5 c = -3 d = 1e3 e = 1.5e-3 f = 0755 g = true h = false",
    "a.b = 1\n\"q\" = \"${x \"y\" z}\" größe-1 = \"é\\u00e9\\x41\\101\\n\\\"\"",
    "a = <<EOF\n  x ${y\n  EOF\nb = <<-EOF\n    x\n      y\n    EOF\n",
    "a = <<EOF\r\n  x\r\nEOF\r\nb = \"${\r\n}\"\r\n",
    "// c\n# d\na /* e\n */ = 1 # f\r\nb = 2\r\n",
    "a\n{\nb =\n1 }\na { b = \"x\" }",
    "federates_with \"td\" { bundle_endpoint_profile \"https_spiffe\" { endpoint_spiffe_id = \"spiffe://td/x\" } }",
    "plugins = { KeyManager = { memory = { plugin_data = {} } } }",
];

/// A tree in the oracle's form.
fn shown(node: &Node) -> Value {
    let at = node.position.to_string();
    match &node.value {
        Hcl::String(text) => json!({ "at": at, "text": text }),
        Hcl::Number(text) | Hcl::Float(text) => json!({ "at": at, "literal": text }),
        Hcl::Bool(value) => json!({ "at": at, "literal": value.to_string() }),
        Hcl::Null => json!({ "at": at, "literal": "null" }),
        Hcl::List(nodes) => json!({ "at": at, "list": nodes.iter().map(shown).collect::<Vec<_>>() }),
        Hcl::Object(object) => {
            let item =
                |item: &Item| json!({ "key": item.key, "at": item.position.to_string(), "value": shown(&item.node) });
            json!({ "at": at, "items": object.items.iter().map(item).collect::<Vec<_>>() })
        }
    }
}

/// How many texts are read alike, and those that are not and ought to be.
fn compare(texts: &[String]) -> (usize, String) {
    let requests: Vec<_> = texts.iter().map(|text| json!({ "mode": "parse", "text": text })).collect();
    let (mut agreed, mut differences) = (0, String::new());
    for (text, theirs) in texts.iter().zip(oracle::ask(&requests)) {
        let ours = parse(text, "f");
        let same = match (&ours, theirs.get("tree")) {
            (Ok(tree), Some(theirs)) => shown(tree) == *theirs,
            (Err(_), None) => true,
            _ => false,
        };
        if same {
            agreed += 1;
        } else if !known(text, &ours, &theirs) {
            let ours = ours.map_or_else(|error| error.to_string(), |tree| shown(&tree).to_string());
            differences.push_str(&format!("{text:?}\n  ours:   {ours}\n  theirs: {theirs}\n"));
        }
    }
    (agreed, differences)
}

/// Differences that are meant. Most are of texts that one of the two refuses.
fn known(text: &str, ours: &Result<Node, ConfigError>, theirs: &Value) -> bool {
    match (ours, theirs["error"].as_str()) {
        (Err(ConfigError::Syntax { problem, .. }), None) => match problem {
            // It takes a key without a value before `}` and at the end, as if the key were not there.
            SyntaxError::Expected { expected: "a value", .. } => true,
            // It takes `8081.`, `1e` and what stands behind that, as numbers.
            SyntaxError::Number => true,
            // It makes replacement characters of bytes that are no text.
            SyntaxError::NotUtf8 => text.contains("\\x") || text.contains("\\1") || text.contains("\\u"),
            _ => false,
        },
        // It wants a line feed behind the last heredoc of a file, and knows `.5` and `5e-3` but not `.5e-3`.
        (Ok(_), Some(error)) => {
            error.contains("heredoc not terminated") && text.contains("<<")
                || error.contains("got: NUMBER") && text.contains("5e-3")
                // A number with a huge exponent.
                || error.starts_with("panic: ")
        }
        // It takes part of an end marker with a stray carriage return behind it for text.
        (Ok(_), None) => text.contains("<<") && text.replace("\r\n", "\n").contains("EOF\r"),
        _ => false,
    }
}

fn configurations(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            configurations(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "conf" || extension == "hcl") {
            found.push(path);
        }
    }
}

fn seeds() -> Vec<String> {
    let mut files = Vec::new();
    configurations(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf"), &mut files);
    assert!(!files.is_empty());
    let read = files.iter().map(|path| std::fs::read_to_string(path).unwrap());
    SEEDS.iter().map(|&text| text.to_owned()).chain(read).collect()
}

fn changed(random: &mut Random, seeds: &[String]) -> String {
    const PIECES: &[&str] = &[
        "{", "}", "[", "]", "=", ",", "\"", "\n", " ", "a", "1", ".", "-", "<<EOF\n", "EOF", "${", "\\", "#", "/*",
        "*/", "//", "0x", "true", "e", "é", "\r", "\t", "\\n", "\"b\"", "{ }",
    ];
    let mut text: Vec<char> = random.of(seeds).chars().collect();
    for _ in 0..=random.below(3) {
        let at = random.below(text.len() + 1);
        match random.below(4) {
            0 if at < text.len() => {
                text.remove(at);
            }
            1 => {
                let end = (at + random.below(6)).min(text.len());
                text.drain(at..end);
            }
            2 if at < text.len() => {
                let other = random.below(text.len());
                text.swap(at, other);
            }
            _ => {
                let piece: Vec<char> = random.of(PIECES).chars().collect();
                text.splice(at..at, piece);
            }
        }
    }
    text.into_iter().collect()
}

#[test]
fn trees_are_those_of_hashicorps_reader() {
    let seeds = seeds();
    let (agreed, differences) = compare(&seeds);
    assert_eq!(agreed, seeds.len(), "{differences}");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut texts: Vec<String> = (0..MUTATIONS).map(|_| changed(&mut random, &seeds)).collect();
    // JSON has a tree of another shape; `decoded` compares what it means.
    texts.retain(|text| !text.trim_start().starts_with('{'));
    let (agreed, differences) = compare(&texts);
    println!("{agreed} of {} changed texts are read alike", texts.len());
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn variables_are_expanded_as_go_expands_them() {
    const PIECES: &[&str] = &["$", "{", "}", "A", "B_1", "-", "\"", " ", "1", "*", "é", "\n", "${A}", "$$", "#"];
    let variables: BTreeMap<&str, &str> = [("A", "x"), ("B_1", "$A"), ("1", "one"), ("AA", "")].into();
    let mut random = Random(7);
    let texts: Vec<String> = (0..EXPANSIONS).map(|_| random.text(PIECES, 12)).collect();
    let requests: Vec<_> =
        texts.iter().map(|text| json!({ "mode": "expand", "text": text, "variables": variables })).collect();
    for (text, theirs) in texts.iter().zip(oracle::ask(&requests)) {
        let ours = expand_env(text, "f", |name| variables.get(name).map(|&value| value.to_owned())).unwrap();
        assert_eq!(ours, theirs["text"].as_str().unwrap_or_default(), "{text:?}");
    }
}

/// The files of a copy of SPIRE's sources, where there is one.
#[test]
fn spires_own_files_are_read_alike() {
    let Some(folder) = std::env::var_os("SPIRE_SOURCE_DIR") else {
        println!("NOT RUN: SPIRE_SOURCE_DIR is not set");
        return;
    };
    let mut files = Vec::new();
    configurations(Path::new(&folder), &mut files);
    let texts: Vec<String> = files.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let (agreed, differences) = compare(&texts);
    println!("{agreed} of {} files are read alike", texts.len());
    assert!(differences.is_empty(), "{differences}");
    assert_eq!(agreed, texts.len());
}
