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
    let hcl = "server { trust_domain = \"a\\u0041\" bind_port = \"81\" ttl = \"\" admin_ids = [\"x\"] bogus = 1 }";
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

#[test]
fn null_is_an_empty_text_and_nothing_else() {
    let server = |key: &str, value: &str| {
        let json =
            format!(r#"{{"server": {{"trust_domain": "td", "bind_port": 1, "admin_ids": [], "{key}": {value}}}}}"#);
        from_str::<File>(&json, "f").map(|(file, notices)| (file.server.ttl, notices.len())).map_err(|e| e.to_string())
    };
    assert_eq!(server("ttl", "null"), Ok((Some(String::new()), 0)));
    assert_eq!(server("bogus", "null"), Ok((None, 1)), "a key that nobody knows is unknown whatever it holds");
    for (key, value, says) in [
        ("bind_port", "null", "f:1:81: server.bind_port: expected an integer, got null"),
        ("admin_ids", "null", "f:1:81: server.admin_ids: expected a list, got null"),
        ("admin_ids", "[null]", "f:1:82: expected a value, found null"),
    ] {
        assert_eq!(server(key, value).unwrap_err(), says, "{key} {value}");
    }
    let whole = from_str::<File>(r#"{"server": null}"#, "f").unwrap_err();
    assert_eq!(whole.to_string(), "f:1:12: server: expected a block, got null");
}

/// In JSON a list of blocks is the only way to repeat one, and it is taken above.
#[test]
fn in_hcl_a_list_is_no_block() {
    for text in ["server = [{ trust_domain = \"td\" }]", "server = []", "server = [{}, {}]"] {
        let error = from_str::<File>(text, "f").unwrap_err();
        assert_eq!(error.to_string(), "f:1:10: server: expected a block, got a list", "{text}");
    }
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
