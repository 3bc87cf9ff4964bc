//! Files, environment and strictness.

use plastron_hcl1::{Place, Position};
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
struct File {
    server: Server,
}

#[derive(Debug, Deserialize)]
struct Server {
    trust_domain: String,
    #[serde(default)]
    #[expect(dead_code, reason = "what counts is the keys in it")]
    federation: Federation,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Federation {}

const USUAL: Strictness<'_> = Strictness::Usual { tolerant: &["server.federation"], strict: &[] };

fn loaded(text: &str, expand_env: bool, strictness: Strictness<'_>) -> Result<Loaded<File>, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.conf");
    std::fs::write(&path, text).unwrap();
    load(&Source { path: &path, expand_env, strictness })
}

/// The message without the folder's name.
fn message(error: &LoadError) -> String {
    let text = explain(error);
    let lines = text.lines().map(|line| match line.find("server.conf") {
        Some(start) => &line[start..],
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn all_unknown_keys_are_refused_at_once_with_their_places() {
    let error = loaded("bogus = 1\nserver {\n  trust_domain = \"td\"\n  bogus = 2\n}", false, USUAL).unwrap_err();
    assert_eq!(message(&error), "server.conf:1:1: unknown key bogus\nserver.conf:4:3: unknown key server.bogus");
}

#[test]
fn where_spire_lets_unknown_keys_pass_they_are_warnings_unless_strict() {
    let text = "server {\n  trust_domain = \"a\"\n  trust_domain = \"td\"\n  federation { bogus = 1 }\n}";
    let config = loaded(text, false, USUAL).unwrap();
    assert_eq!(config.config.server.trust_domain, "td");
    assert_eq!(config.warnings.len(), 2);
    let error = loaded(text, false, Strictness::Strict).unwrap_err();
    assert_eq!(
        message(&error),
        "server.conf:3:3: server.trust_domain was set at 2:3 already; the last value counts\n\
         server.conf:4:16: unknown key server.federation.bogus"
    );
}

/// `federation` lets unknown keys pass, the endpoint in it does not, its profile does.
#[test]
fn the_innermost_block_decides_whether_unknown_keys_pass() {
    let rules = Strictness::Usual { tolerant: &["a", "a.b.c"], strict: &["a.b"] };
    let unknown = |path: &str| {
        let place = Place { file: "f".into(), position: Position { line: 1, column: 1 }, path: path.to_owned() };
        rules.judge(vec![Notice { place, kind: NoticeKind::UnknownKey }]).is_ok()
    };
    for (path, passes) in
        [("a", false), ("ab.x", false), ("a.x", true), ("a.bc.x", true), ("a.b.x", false), ("a.b.c.x", true)]
    {
        assert_eq!(unknown(path), passes, "{path}");
    }
}

#[test]
fn a_missing_key_is_told_together_with_the_misspelt_one() {
    let error = loaded("server {\n  trust_domian = \"td\"\n}", false, USUAL).unwrap_err();
    assert_eq!(
        message(&error),
        "server.conf:1:8: server: trust_domain is missing\nserver.conf:2:3: unknown key server.trust_domian"
    );
}

#[test]
fn variables_are_replaced_only_when_asked_for() {
    let text = "server { trust_domain = \"$CARGO_PKG_NAME\" }";
    assert_eq!(loaded(text, true, USUAL).unwrap().config.server.trust_domain, "plastron-daemon");
    assert_eq!(loaded(text, false, USUAL).unwrap().config.server.trust_domain, "$CARGO_PKG_NAME");
}

/// Threat 32
#[test]
fn files_without_end_or_text_are_refused() {
    let endless = Source { path: Path::new("/dev/zero"), expand_env: false, strictness: USUAL };
    assert!(matches!(load::<File>(&endless), Err(LoadError::Config { error: ConfigError::TooLarge { .. }, .. })));
    let missing = Source { path: Path::new("/nonexistent/server.conf"), expand_env: false, strictness: USUAL };
    let error = load::<File>(&missing).unwrap_err();
    assert_eq!(explain(&error), "can't read /nonexistent/server.conf: No such file or directory (os error 2)");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.conf");
    std::fs::write(&path, b"a = \"\xff\"").unwrap();
    let binary = Source { path: &path, expand_env: false, strictness: USUAL };
    assert!(matches!(load::<File>(&binary), Err(LoadError::NotUtf8 { .. })));
}
