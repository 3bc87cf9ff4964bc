//! What types see: merging, coercion, unknown keys, places.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{ConfigError, Located, Notice, Place, Position, Subtree, from_str};

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Server {
    trust_domain: String,
    bind_port: Option<u16>,
    ca_ttl: String,
    enabled: bool,
    ratio: f64,
    offset: i32,
    admin_ids: Vec<String>,
    federates_with: BTreeMap<String, Endpoint>,
    profile: Option<Profile>,
    key_type: Option<KeyType>,
    ca_subject: Option<Subject>,
    nothing: Option<()>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Subject {
    country: Vec<String>,
    organization: Vec<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Endpoint {
    url: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Profile {
    HttpsWeb,
    HttpsSpiffe { endpoint_spiffe_id: String },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeyType {
    EcP256,
    EcP384,
}

fn read(text: &str) -> (Server, Vec<String>) {
    let (server, notices) = from_str::<Server>(text, "f").unwrap_or_else(|error| panic!("{text:?}: {error}"));
    (server, notices.iter().map(Notice::to_string).collect())
}

fn refusal(text: &str) -> String {
    from_str::<Server>(text, "f").unwrap_err().to_string()
}

#[test]
fn keys_match_without_regard_to_case() {
    let (server, notices) = read("Trust_Domain = \"td\" BIND_PORT = 1");
    assert_eq!((server.trust_domain.as_str(), server.bind_port), ("td", Some(1)));
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn repeated_blocks_and_lists_are_one() {
    let (server, notices) = read(
        "ca_subject { country = [\"US\"] }\nCA_subject = { organization = [\"SPIFFE\"] }\nadmin_ids = [\"a\"] admin_ids = [\"b\"]",
    );
    let subject = Subject { country: vec!["US".to_owned()], organization: vec!["SPIFFE".to_owned()] };
    assert_eq!(server.ca_subject, Some(subject));
    assert_eq!(server.admin_ids, ["a", "b"]);
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn one_block_is_a_list_of_one() {
    #[derive(Deserialize)]
    struct File {
        statsd: Vec<Endpoint>,
    }
    let (file, _) = from_str::<File>("statsd { url = \"a\" }", "f").unwrap();
    assert_eq!(file.statsd, [Endpoint { url: "a".to_owned() }]);
    let (file, _) =
        from_str::<File>("statsd = [{ url = \"a\" }, { url = \"b\" }] statsd { url = \"c\" }", "f").unwrap();
    assert_eq!(file.statsd.len(), 3);
}

#[test]
fn labels_are_map_levels() {
    for text in [
        "federates_with \"a\" { url = \"1\" } federates_with \"B\" { url = \"2\" }",
        "federates_with { a { url = \"1\" } \"B\" { url = \"2\" } }",
        "federates_with = { a = { url = \"1\" } \"B\" = { url = \"2\" } }",
    ] {
        let (server, _) = read(text);
        let urls: Vec<_> = server.federates_with.iter().map(|(key, end)| (key.as_str(), end.url.as_str())).collect();
        assert_eq!(urls, [("B", "2"), ("a", "1")], "{text}");
    }
}

#[test]
fn numbers_and_texts_are_taken_for_each_other_where_that_is_safe() {
    let (server, _) = read("trust_domain = 5 bind_port = \"8081\" offset = \"-0x10\" ratio = 2");
    assert_eq!(server.trust_domain, "5");
    assert_eq!((server.bind_port, server.offset, server.ratio), (Some(8081), -16, 2.0));
    assert_eq!(read("bind_port = 0755").0.bind_port, Some(493));
    assert_eq!(read("ratio = .5").0.ratio, 0.5);
}

#[test]
fn variants_come_from_text_or_from_a_label() {
    assert_eq!(read("key_type = \"ec-p384\"").0.key_type, Some(KeyType::EcP384));
    assert_eq!(read("profile \"https_web\" {}").0.profile, Some(Profile::HttpsWeb));
    assert_eq!(read("profile = \"https_web\"").0.profile, Some(Profile::HttpsWeb));
    let spiffe = Profile::HttpsSpiffe { endpoint_spiffe_id: "spiffe://td/x".to_owned() };
    assert_eq!(read("profile \"https_spiffe\" { endpoint_spiffe_id = \"spiffe://td/x\" }").0.profile, Some(spiffe));
    assert_eq!(read("profile \"https_web\" { a = 1 }").1, ["f:1:23: unknown key profile.https_web.a"]);
    assert_eq!(
        refusal("profile \"a\" {} profile \"b\" {}"),
        "f:1:9: profile: expected exactly one of https_web, https_spiffe"
    );
    assert_eq!(refusal("key_type = \"x\""), "f:1:12: key_type: \"x\" is none of ec-p256, ec-p384");
}

#[test]
fn wrong_types_are_refused_with_their_place() {
    for (text, message) in [
        ("\n  ca_ttl = true", "f:2:12: ca_ttl: expected a string, got a bool"),
        ("ca_ttl = 1.5", "f:1:10: ca_ttl: expected a string, got a float"),
        ("ca_ttl = []", "f:1:10: ca_ttl: expected a string, got a list"),
        ("enabled = \"true\"", "f:1:11: enabled: expected a boolean, got a string"),
        ("enabled = 1", "f:1:11: enabled: expected a boolean, got a number"),
        ("bind_port = 65536", "f:1:13: bind_port: expected u16, got integer `65536`"),
        ("bind_port = -1", "f:1:13: bind_port: expected u16, got integer `-1`"),
        ("bind_port = \"http\"", "f:1:13: bind_port: \"http\" is not an integer of 64 bits"),
        (
            "bind_port = 99999999999999999999",
            "f:1:13: bind_port: \"99999999999999999999\" is not an integer of 64 bits",
        ),
        ("bind_port = 1.0", "f:1:13: bind_port: expected an integer, got a float"),
        ("ratio = \"1\"", "f:1:9: ratio: expected f64, got a string"),
        ("admin_ids = \"x\"", "f:1:13: admin_ids: expected a list, got a string"),
        ("admin_ids = [1, true]", "f:1:17: admin_ids: expected a string, got a bool"),
        ("ca_subject = 1", "f:1:14: ca_subject: expected a block, got a number"),
        ("ca_subject {}\nca_subject = 1", "f:2:14: ca_subject: expected a block, got a number"),
        ("federates_with \"td\" {}", "f:1:21: federates_with.td: url is missing"),
        ("federates_with \"td\" { url = true }", "f:1:29: federates_with.td.url: expected a string, got a bool"),
    ] {
        assert_eq!(refusal(text), message, "{text:?}");
    }
}

#[test]
fn every_unknown_key_is_noticed_with_its_place() {
    let (_, notices) = read(
        "bogus = 1\nca_subject {\n  contry = [\"US\"]\n  \"a\\nb\" { c = 1 }\n}\nfederates_with \"test1\" { url = \"\" unknown_option1 = 1 }\nnothing { x = 1 }",
    );
    assert_eq!(
        notices,
        [
            "f:1:1: unknown key bogus",
            "f:3:3: unknown key ca_subject.contry",
            "f:4:3: unknown key ca_subject.a\\nb",
            "f:6:35: unknown key federates_with.test1.unknown_option1",
            "f:7:11: unknown key nothing.x",
        ]
    );
}

#[test]
fn a_value_set_twice_counts_last_and_is_noticed() {
    let (server, notices) = read("trust_domain = \"a\"\ntrust_domain = \"b\"");
    assert_eq!(server.trust_domain, "b");
    assert_eq!(notices, ["f:2:1: trust_domain was set at 1:1 already; the last value counts"]);
}

#[test]
fn an_error_still_tells_of_unknown_keys() {
    let error = from_str::<Endpoint>("ulr = \"x\"", "f").unwrap_err();
    assert_eq!(error.to_string(), "f:1:1: url is missing");
    let ConfigError::Value { notices, .. } = error else { panic!() };
    assert_eq!(notices[0].to_string(), "f:1:1: unknown key ulr");
}

#[test]
fn located_values_know_their_place() {
    #[derive(Deserialize)]
    struct File {
        server: Inner,
        other: Option<Located<String>>,
    }
    #[derive(Deserialize)]
    struct Inner {
        trust_domain: Located<String>,
        ids: Vec<Located<u16>>,
    }
    let (file, notices) = from_str::<File>("server {\n  trust_domain = \"TD\"\n  ids = [1,\n 2]\n}", "s.conf").unwrap();
    assert_eq!(&*file.server.trust_domain, "TD");
    assert_eq!(
        file.server.trust_domain.refuse("no upper case").to_string(),
        "s.conf:2:18: server.trust_domain: no upper case"
    );
    assert_eq!(file.server.ids[1].place.position, Position { line: 4, column: 2 });
    assert!(file.other.is_none());
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn a_subtree_keeps_places_for_a_later_type() {
    #[derive(Deserialize)]
    struct File {
        plugins: Subtree,
    }
    let text = "plugins {\n  B \"x\" { n = 1 }\n  A \"y\" {\n    n = \"q\"\n    m = [1, { z = \"é\" }]\n  }\n}\nplugins { B \"x\" { bogus = 2 } }";
    let (file, notices) = from_str::<File>(text, "f").unwrap();
    assert!(notices.is_empty(), "{notices:?}");
    let blocks = file.plugins.blocks().unwrap();
    let keys: Vec<_> = blocks.iter().map(|block| (block.key.as_str(), block.place.to_string())).collect();
    assert_eq!(
        keys,
        [
            ("B", "f:2:3: plugins.B".to_owned()),
            ("A", "f:3:3: plugins.A".to_owned()),
            ("B", "f:8:11: plugins.B".to_owned())
        ]
    );

    #[derive(Debug, Default, Deserialize)]
    struct Plugin {
        n: Option<u8>,
    }
    let labelled = blocks[1].subtree.blocks().unwrap();
    let error = labelled[0].subtree.decode::<Plugin>().unwrap_err();
    assert_eq!(error.to_string(), "f:4:9: plugins.A.y.n: \"q\" is not an integer of 64 bits");
    let labelled = blocks[2].subtree.blocks().unwrap();
    let (plugin, notices) = labelled[0].subtree.decode::<Plugin>().unwrap();
    assert!(plugin.n.is_none());
    assert_eq!(notices[0].to_string(), "f:8:19: unknown key plugins.B.x.bogus");

    let (plugin, _) = Subtree::absent(blocks[0].place.clone()).decode::<Plugin>().unwrap();
    assert!(plugin.n.is_none());
}

#[test]
fn a_subtree_holds_whatever_the_parser_lets_through() {
    #[derive(Deserialize)]
    struct File {
        a: Subtree,
    }
    let deepest = format!("{}{}", "a {".repeat(crate::MAX_NESTING), "}".repeat(crate::MAX_NESTING));
    let (file, _) = from_str::<File>(&deepest, "f").unwrap();
    assert_eq!(file.a.blocks().unwrap().len(), 1);
}

#[test]
fn other_formats_can_not_forge_a_place() {
    assert!(serde_json::from_str::<Subtree>("\"x\"").is_err());
    assert!(serde_json::from_str::<Located<u8>>("1").is_err());
}

#[test]
fn a_key_of_control_characters_is_escaped_for_people() {
    let place = Place { file: "f".into(), position: Position { line: 1, column: 1 }, path: "a\u{1b}[31m".to_owned() };
    assert_eq!(place.to_string(), "f:1:1: a\\u{1b}[31m");
}
