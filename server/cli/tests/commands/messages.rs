//! The messages that a test's server answers with.

use plastron_proto::spire::api::server::bundle::v1 as bundle;
use plastron_proto::spire::api::server::debug::v1 as debug;
use plastron_proto::spire::api::server::entry::v1 as entry;
use plastron_proto::spire::api::server::localauthority::v1 as authority;
use plastron_proto::spire::api::server::svid::v1 as svid;
use plastron_proto::spire::api::server::trustdomain::v1 as trustdomain;
use plastron_proto::types::entry::AdditionalAttributes;
use plastron_proto::types::federation_relationship::BundleEndpointProfile;
use plastron_proto::types::{
    Agent, Bundle, Entry, FederationRelationship, HttpsWebProfile, HttpsspiffeProfile, JwtKey, Jwtsvid, LogLevel,
    Logger, Selector, Spiffeid, Status, X509Certificate, X509svid,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// 2026-01-02 15:04:05 UTC.
pub(crate) const THEN: i64 = 1_767_366_245;
/// In the year 2225: no verb that compares with now sees it expired.
const LATER: i64 = 8_078_000_000;

const CA: &str = include_str!("ca.pem");
const RSA: &str = include_str!("rsa.pem");
const JWT: &str = include_str!("jwt.pem");

pub(crate) fn ok() -> Status {
    Status { code: 0, message: "OK".into() }
}

pub(crate) fn id(path: &str) -> Option<Spiffeid> {
    Some(Spiffeid { trust_domain: "example.org".into(), path: path.into() })
}

pub(crate) fn selector(r#type: &str, value: &str) -> Selector {
    Selector { r#type: r#type.into(), value: value.into() }
}

pub(crate) fn join_token() -> Agent {
    Agent {
        id: id("/spire/agent/join_token/abc"),
        attestation_type: "join_token".into(),
        x509svid_expires_at: THEN,
        banned: true,
        ..Agent::default()
    }
}

pub(crate) fn x509pop() -> Agent {
    Agent {
        id: id("/spire/agent/x509pop/def"),
        attestation_type: "x509pop".into(),
        x509svid_serial_number: "1234567890".into(),
        x509svid_expires_at: THEN,
        selectors: vec![selector("x509pop", "subject:cn:node"), selector("x509pop", "serialnumber:1")],
        can_reattest: true,
        agent_version: "1.16.0".into(),
        ..Agent::default()
    }
}

pub(crate) fn plain_entry() -> Entry {
    Entry {
        id: "e-1".into(),
        spiffe_id: id("/db"),
        parent_id: id("/node"),
        selectors: vec![selector("unix", "uid:2"), selector("unix", "uid:1")],
        revision_number: 1,
        ..Entry::default()
    }
}

pub(crate) fn whole_entry() -> Entry {
    Entry {
        id: "e-2".into(),
        spiffe_id: id("/all"),
        x509_svid_ttl: 60,
        jwt_svid_ttl: 30,
        expires_at: THEN,
        federates_with: vec!["other.test".into(), "third.test".into()],
        admin: true,
        downstream: true,
        store_svid: true,
        dns_names: vec!["a.example.org".into(), "b.example.org".into()],
        hint: "internal".into(),
        created_at: THEN,
        additional_attributes: Some(AdditionalAttributes {
            disable_x509_svid_prefetch: true,
            jwt_svid_include_jti: true,
        }),
        ..plain_entry()
    }
}

/// In an order that is not the one they are shown in.
pub(crate) fn entries() -> Vec<Entry> {
    vec![
        plain_entry(),
        whole_entry(),
        Entry { id: "e-3".into(), spiffe_id: id("/db"), parent_id: id("/a"), ..plain_entry() },
    ]
}

pub(crate) fn created(status: Status) -> entry::BatchCreateEntryResponse {
    let entry = (status.code == 0).then(plain_entry);
    let results = vec![entry::batch_create_entry_response::Result { status: Some(status), entry }];
    entry::BatchCreateEntryResponse { results }
}

pub(crate) fn updated(status: Status) -> entry::BatchUpdateEntryResponse {
    let entry = (status.code == 0).then(whole_entry);
    let results = vec![entry::batch_update_entry_response::Result { status: Some(status), entry }];
    entry::BatchUpdateEntryResponse { results }
}

pub(crate) fn deleted(items: &[(&str, Status)]) -> entry::BatchDeleteEntryResponse {
    let results = items.iter().map(|(id, status)| entry::batch_delete_entry_response::Result {
        status: Some(status.clone()),
        id: (*id).into(),
    });
    entry::BatchDeleteEntryResponse { results: results.collect() }
}

pub(crate) fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

pub(crate) fn own_bundle() -> Bundle {
    let key = rustls_pki_types::SubjectPublicKeyInfoDer::from_pem_slice(JWT.as_bytes()).unwrap();
    Bundle {
        trust_domain: "example.org".into(),
        x509_authorities: vec![
            X509Certificate { asn1: der(CA), tainted: false },
            X509Certificate { asn1: der(RSA), tainted: true },
        ],
        jwt_authorities: vec![JwtKey {
            public_key: key.to_vec(),
            key_id: "kid-1".into(),
            expires_at: THEN,
            tainted: false,
        }],
        refresh_hint: 300,
        sequence_number: 7,
        ..Bundle::default()
    }
}

pub(crate) fn foreign_bundle(name: &str) -> Bundle {
    Bundle {
        trust_domain: name.into(),
        x509_authorities: vec![X509Certificate { asn1: der(RSA), tainted: false }],
        refresh_hint: 60,
        ..Bundle::default()
    }
}

pub(crate) fn federated_bundles() -> bundle::ListFederatedBundlesResponse {
    let bundles = vec![foreign_bundle("other.test"), foreign_bundle("third.test")];
    bundle::ListFederatedBundlesResponse { bundles, next_page_token: String::new() }
}

pub(crate) fn bundle_set(status: Status) -> bundle::BatchSetFederatedBundleResponse {
    let bundle = (status.code == 0).then(|| foreign_bundle("other.test"));
    let results = vec![bundle::batch_set_federated_bundle_response::Result { status: Some(status), bundle }];
    bundle::BatchSetFederatedBundleResponse { results }
}

pub(crate) fn bundle_deleted(status: Status) -> bundle::BatchDeleteFederatedBundleResponse {
    let trust_domain = "other.test".into();
    let results = vec![bundle::batch_delete_federated_bundle_response::Result { status: Some(status), trust_domain }];
    bundle::BatchDeleteFederatedBundleResponse { results }
}

pub(crate) fn web_relationship() -> FederationRelationship {
    FederationRelationship {
        trust_domain: "other.test".into(),
        bundle_endpoint_url: "https://other.test/bundle".into(),
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsWeb(HttpsWebProfile {})),
        trust_domain_bundle: None,
    }
}

pub(crate) fn spiffe_relationship() -> FederationRelationship {
    let profile = HttpsspiffeProfile { endpoint_spiffe_id: "spiffe://third.test/spire/server".into() };
    FederationRelationship {
        trust_domain: "third.test".into(),
        bundle_endpoint_url: "https://third.test:8443".into(),
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsSpiffe(profile)),
        trust_domain_bundle: Some(foreign_bundle("third.test")),
    }
}

pub(crate) fn relationships() -> trustdomain::ListFederationRelationshipsResponse {
    trustdomain::ListFederationRelationshipsResponse {
        federation_relationships: vec![web_relationship(), spiffe_relationship()],
        next_page_token: String::new(),
    }
}

pub(crate) fn relationship_created(items: &[Status]) -> trustdomain::BatchCreateFederationRelationshipResponse {
    let result = |status: &Status| trustdomain::batch_create_federation_relationship_response::Result {
        status: Some(status.clone()),
        federation_relationship: (status.code == 0).then(web_relationship),
    };
    trustdomain::BatchCreateFederationRelationshipResponse { results: items.iter().map(result).collect() }
}

pub(crate) fn relationship_updated(items: &[Status]) -> trustdomain::BatchUpdateFederationRelationshipResponse {
    let result = |status: &Status| trustdomain::batch_update_federation_relationship_response::Result {
        status: Some(status.clone()),
        federation_relationship: (status.code == 0).then(spiffe_relationship),
    };
    trustdomain::BatchUpdateFederationRelationshipResponse { results: items.iter().map(result).collect() }
}

pub(crate) fn relationship_deleted(status: Status) -> trustdomain::BatchDeleteFederationRelationshipResponse {
    let results = vec![trustdomain::batch_delete_federation_relationship_response::Result {
        status: Some(status),
        trust_domain: "other.test".into(),
    }];
    trustdomain::BatchDeleteFederationRelationshipResponse { results }
}

pub(crate) fn state(upstream: &str) -> Option<authority::AuthorityState> {
    Some(authority::AuthorityState {
        authority_id: "ab12".into(),
        expires_at: THEN,
        upstream_authority_subject_key_id: upstream.into(),
    })
}

pub(crate) fn x509_authorities() -> authority::GetX509AuthorityStateResponse {
    authority::GetX509AuthorityStateResponse { active: state(""), prepared: state("cd34"), old: None }
}

pub(crate) fn jwt_authorities() -> authority::GetJwtAuthorityStateResponse {
    authority::GetJwtAuthorityStateResponse { active: state(""), prepared: None, old: state("") }
}

/// Unsigned, with the claims `{"exp":8078000000}`.
pub(crate) fn token() -> Jwtsvid {
    Jwtsvid {
        token: "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.eyJleHAiOjgwNzgwMDAwMDB9.AAAA".into(),
        id: id("/web"),
        expires_at: LATER,
        issued_at: THEN,
        hint: String::new(),
    }
}

pub(crate) fn minted() -> svid::MintX509svidResponse {
    let svid = X509svid { cert_chain: vec![der(CA), der(RSA)], id: id("/web"), expires_at: LATER, hint: String::new() };
    svid::MintX509svidResponse { svid: Some(svid) }
}

pub(crate) fn logger(current: LogLevel, launch: LogLevel) -> Logger {
    Logger { current_level: current.into(), launch_level: launch.into() }
}

pub(crate) fn info() -> debug::GetInfoResponse {
    let cert = |id, subject: &str| debug::get_info_response::Cert { id, expires_at: THEN, subject: subject.into() };
    debug::GetInfoResponse {
        svid_chain: vec![cert(id("/spire/server"), "O=SPIRE,C=US"), cert(None, "O=SPIFFE,C=US")],
        uptime: 3_725,
        agents_count: 2,
        federated_bundles_count: 1,
        entries_count: 3,
    }
}
