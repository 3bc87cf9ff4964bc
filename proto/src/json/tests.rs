//! Messages as `-output json` prints them, and what is not printable.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::spire::api::server::entry::v1::{BatchCreateEntryResponse, batch_create_entry_response};
use crate::types;

#[test]
fn an_entry_prints_every_scalar_and_leaves_unset_messages_out() {
    let entry = types::Entry {
        id: "e1".into(),
        spiffe_id: Some(types::Spiffeid { trust_domain: "example.org".into(), path: "/db".into() }),
        selectors: vec![types::Selector { r#type: "unix".into(), value: "uid:0".into() }],
        x509_svid_ttl: -3,
        expires_at: -1,
        revision_number: 9_007_199_254_740_993,
        ..Default::default()
    };
    assert_eq!(
        to_json(&entry).unwrap(),
        json!({
            "id": "e1",
            "spiffe_id": {"trust_domain": "example.org", "path": "/db"},
            "selectors": [{"type": "unix", "value": "uid:0"}],
            "x509_svid_ttl": -3,
            "federates_with": [],
            "admin": false,
            "downstream": false,
            "expires_at": "-1",
            "dns_names": [],
            "revision_number": "9007199254740993",
            "store_svid": false,
            "jwt_svid_ttl": 0,
            "hint": "",
            "created_at": "0",
        })
    );
}

#[test]
fn bytes_are_base64_enums_are_names_and_optional_messages_appear_when_set() {
    let bundle = types::Bundle {
        x509_authorities: vec![types::X509Certificate { asn1: vec![0xff, 0xfe], tainted: false }],
        ..Default::default()
    };
    let value = to_json(&bundle).unwrap();
    assert_eq!(value["x509_authorities"], json!([{"asn1": "//4=", "tainted": false}]));
    assert_eq!(value["sequence_number"], json!("0"));

    let filter = types::SelectorMatch { r#match: 0, ..Default::default() };
    assert_eq!(to_json(&filter).unwrap(), json!({"selectors": [], "match": "MATCH_EXACT"}));

    let entry = types::Entry {
        additional_attributes: Some(types::entry::AdditionalAttributes::default()),
        ..Default::default()
    };
    let attributes = json!({"disable_x509_svid_prefetch": false, "jwt_svid_include_jti": false});
    assert_eq!(to_json(&entry).unwrap()["additional_attributes"], attributes);
}

#[test]
fn nested_results_keep_their_order() {
    let result = |code| batch_create_entry_response::Result {
        status: Some(types::Status { code, message: "m".into() }),
        entry: None,
    };
    let response = BatchCreateEntryResponse { results: vec![result(0), result(6)] };
    let value = to_json(&response).unwrap();
    assert_eq!(
        value,
        json!({"results": [{"status": {"code": 0, "message": "m"}}, {"status": {"code": 6, "message": "m"}}]})
    );
}

#[test]
fn maps_and_structs_print_as_objects() {
    let response = crate::workload::X509BundlesResponse {
        crl: vec![],
        bundles: BTreeMap::from([("spiffe://td".into(), vec![1])]),
    };
    assert_eq!(to_json(&response).unwrap(), json!({"crl": [], "bundles": {"spiffe://td": "AQ=="}}));

    let text = |s: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(s.into())) };
    let claims = prost_types::Struct { fields: BTreeMap::from([("sub".into(), text("spiffe://td/a"))]) };
    let response = crate::workload::ValidateJwtsvidResponse { spiffe_id: String::new(), claims: Some(claims) };
    assert_eq!(to_json(&response).unwrap(), json!({"spiffe_id": "", "claims": {"sub": "spiffe://td/a"}}));
}

#[test]
fn every_message_prints_with_nothing_set() {
    assert!(TYPES.messages.len() > 100, "the descriptor set was not read");
    for name in TYPES.messages.keys() {
        message_json(name, &[], MAX_DEPTH).unwrap();
    }
}

#[test]
fn bytes_that_are_no_message_are_an_error() {
    for bytes in [&[0x0a][..], &[0x0a, 5, 1], &[0x0b], &[0x08, 0xff]] {
        assert!(message_json("spire.api.types.Entry", bytes, MAX_DEPTH).is_err(), "{bytes:?}");
    }
}

#[test]
fn whole_numbers_in_claims_print_without_a_fraction() {
    let number = |n: f64| prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(n)) };
    let claims = [("exp", 1_800_000_300.0), ("half", 0.5), ("minus", -3.0), ("zero", 0.0), ("huge", 1e300)];
    let fields = claims.into_iter().map(|(name, n)| (name.to_owned(), number(n))).collect();
    let response = crate::workload::ValidateJwtsvidResponse {
        spiffe_id: "spiffe://example.org/web".to_owned(),
        claims: Some(prost_types::Struct { fields }),
    };
    let json = to_json(&response).unwrap();
    assert_eq!(json["claims"], json!({"exp": 1_800_000_300, "half": 0.5, "minus": -3, "zero": 0, "huge": 1e300}));
    assert!(json.to_string().contains(r#""exp":1800000300,"#), "{json}");
}
