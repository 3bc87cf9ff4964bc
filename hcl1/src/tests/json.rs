//! The JSON form.

use serde::Deserialize;

use crate::{ConfigError, SyntaxError, from_str};

#[derive(Debug, PartialEq, Deserialize)]
struct File {
    server: Server,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Server {
    trust_domain: String,
    bind_port: u16,
    ttl: Option<String>,
    admin_ids: Vec<String>,
}

#[test]
fn json_reads_like_hcl() {
    let hcl = "server { trust_domain = \"a\\u0041\" bind_port = \"81\" admin_ids = [\"x\"] bogus = 1 }";
    let json = r#"
 {"Server": {"trust_domain": "a\u0041", "bind_port": "81", "ttl": null, "admin_ids": ["x"], "bogus": 1}}"#;
    let (from_hcl, _) = from_str::<File>(hcl, "f").unwrap();
    let (from_json, notices) = from_str::<File>(json, "f").unwrap();
    assert_eq!(from_json, from_hcl);
    assert_eq!(from_json.server.trust_domain, "aA");
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].to_string(), "f:2:93: unknown key server.bogus");
}

#[test]
fn a_list_of_blocks_is_a_repeated_block() {
    let json = r#"{"server": [{"trust_domain": "td", "bind_port": 1}, {"admin_ids": ["x"]}]}"#;
    let (file, _) = from_str::<File>(json, "f").unwrap();
    assert_eq!(file.server.admin_ids, ["x"]);
}

/// Threat 32
#[test]
fn broken_json_is_refused_with_its_place() {
    for (text, place, message) in [
        ("{", "1:2", "expected a quoted key, found the end of the file"),
        ("{a: 1}", "1:2", "expected a quoted key, found 'a'"),
        ("{\"a\" = 1}", "1:6", "expected ':', found '='"),
        ("{\"a\": 1,}", "1:9", "expected a quoted key, found '}'"),
        ("{\"a\": 1 \"b\": 2}", "1:9", "expected ',' or '}', found '\"'"),
        ("{\"a\": [1 2]}", "1:10", "expected ',' or ']', found '2'"),
        ("{\"a\": bare}", "1:7", "expected a value, found a word without quotes"),
        ("{\"a\": 01}", "1:7", "a number with a wrong digit or without digits"),
        ("{\"a\": \"x\ny\"}", "1:7", "string without a closing quote on its line"),
        ("{\"a\": \"\\ud800\"}", "1:7", "escape sequences that are not UTF-8 text"),
        ("{} x", "1:4", "expected the end of the file, found 'x'"),
    ] {
        match from_str::<File>(text, "f") {
            Err(ConfigError::Syntax { position, problem, .. }) => {
                assert_eq!((position.to_string().as_str(), problem.to_string().as_str()), (place, message), "{text:?}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
    let unterminated = from_str::<File>("{\"a", "f");
    assert!(matches!(unterminated, Err(ConfigError::Syntax { problem: SyntaxError::UnterminatedString, .. })));
}
