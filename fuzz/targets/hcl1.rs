//! Configuration files: parsed, read as a type with every kind of field, and kept as subtrees.
#![no_main]

use std::collections::BTreeMap;
use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use plastron_hcl1::{Located, Subtree, Value, expand_env, from_str, parse};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    server: Option<Server>,
    plugins: Option<Subtree>,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Server {
    trust_domain: Option<Located<String>>,
    bind_port: u16,
    enabled: bool,
    ratio: f64,
    ids: Vec<String>,
    federates_with: BTreeMap<String, Profile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Profile {
    HttpsWeb,
    HttpsSpiffe {
        #[expect(dead_code, reason = "read, and that is all")]
        endpoint: String,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self { server: None, plugins: None }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            trust_domain: None,
            bind_port: 0,
            enabled: false,
            ratio: 0.0,
            ids: Vec::new(),
            federates_with: BTreeMap::new(),
        }
    }
}

fuzz_target!(|text: &str| {
    let root = parse(text, "fuzz");
    if let Ok(root) = &root {
        assert!(matches!(root.value, Value::Object(_)), "the root is a block");
    }
    if let Ok((config, notices)) = black_box(from_str::<Config>(text, "fuzz")) {
        assert!(root.is_ok(), "what can be read can be parsed");
        for notice in notices {
            let shown = notice.to_string();
            assert!(!shown.contains(char::is_control), "a notice is one line: {shown:?}");
        }
        if let Some(plugins) = config.plugins
            && let Ok(blocks) = plugins.blocks()
        {
            for block in blocks {
                let _ = black_box(block.subtree.decode::<Config>());
            }
        }
    }
    let _ = black_box(expand_env(text, "fuzz", |name| Some(name.to_owned())));
});
