//! A message that each method takes, to be spoilt. What is deleted, banned or destroyed is not there.

use plastron_proto::spire::api::server::agent::v1 as agent;
use plastron_proto::spire::api::server::bundle::v1 as bundle;
use plastron_proto::spire::api::server::entry::v1 as entry;
use plastron_proto::spire::api::server::localauthority::v1 as localauthority;
use plastron_proto::spire::api::server::logger::v1 as logger;
use plastron_proto::spire::api::server::svid::v1 as svid;
use plastron_proto::spire::api::server::trustdomain::v1 as trustdomain;
use plastron_proto::types::entry::AdditionalAttributes;
use plastron_proto::types::{
    AgentMask, Bundle, BundleMask, Entry, EntryMask, FederatesWithMatch, FederationRelationship, HttpsWebProfile,
    JwtKey, Selector, SelectorMatch, Spiffeid, X509Certificate,
};
use plastron_server_core::authorization::Method;
use prost::Message as _;

use crate::harness::{TRUST_DOMAIN, csr, params};

/// What the messages refer to.
pub(super) struct World {
    pub(super) agent: Spiffeid,
    pub(super) entry_id: String,
    /// DER of a certificate that can be an authority.
    pub(super) authority: Vec<u8>,
    pub(super) key: rcgen::KeyPair,
}

pub(super) fn id(path: &str) -> Option<Spiffeid> {
    Some(Spiffeid { trust_domain: TRUST_DOMAIN.into(), path: path.into() })
}

fn nobody() -> Option<Spiffeid> {
    id("/spire/agent/join_token/nobody")
}

fn selectors() -> Vec<Selector> {
    vec![Selector { r#type: "unix".into(), value: "uid:1000".into() }]
}

fn entry_of(world: &World, path: &str) -> Entry {
    Entry {
        spiffe_id: id(path),
        parent_id: Some(world.agent.clone()),
        selectors: selectors(),
        x509_svid_ttl: 60,
        jwt_svid_ttl: 60,
        dns_names: vec!["web.example.org".into()],
        hint: "internal".into(),
        expires_at: 4_000_000_000,
        additional_attributes: Some(AdditionalAttributes::default()),
        ..Entry::default()
    }
}

fn entry_mask() -> Option<EntryMask> {
    Some(EntryMask { spiffe_id: true, selectors: true, revision_number: true, ..EntryMask::default() })
}

fn selector_match() -> Option<SelectorMatch> {
    Some(SelectorMatch { selectors: selectors(), r#match: 2 })
}

fn foreign_bundle(world: &World) -> Bundle {
    Bundle {
        trust_domain: "other.org".into(),
        x509_authorities: vec![X509Certificate { asn1: world.authority.clone(), tainted: false }],
        jwt_authorities: vec![jwt_key(world)],
        refresh_hint: 60,
        sequence_number: 1,
        ..Bundle::default()
    }
}

fn jwt_key(world: &World) -> JwtKey {
    let public_key = rcgen::PublicKeyData::subject_public_key_info(&world.key);
    JwtKey { public_key, key_id: "kid".into(), expires_at: 4_000_000_000, tainted: false }
}

fn bundle_mask() -> Option<BundleMask> {
    Some(BundleMask { x509_authorities: true, ..BundleMask::default() })
}

fn relationship(world: &World) -> FederationRelationship {
    FederationRelationship {
        trust_domain: "other.org".into(),
        bundle_endpoint_url: "https://other.org/bundle".into(),
        trust_domain_bundle: Some(foreign_bundle(world)),
        bundle_endpoint_profile: Some(plastron_proto::types::federation_relationship::BundleEndpointProfile::HttpsWeb(
            HttpsWebProfile {},
        )),
    }
}

/// A request for a certificate that asks for one workload's ID.
fn mint_csr(key: &rcgen::KeyPair) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    let uri = format!("spiffe://{TRUST_DOMAIN}/minted");
    params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().unwrap()));
    params.serialize_request(key).unwrap().der().to_vec()
}

/// The good message; a method without fields takes the empty one.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn message(method: Method, world: &World) -> Vec<u8> {
    let csr_of = || csr(&world.key);
    match method {
        Method::CountAgents => {
            let filter = agent::count_agents_request::Filter {
                by_attestation_type: "join_token".into(),
                by_selector_match: selector_match(),
                by_banned: Some(false),
                by_can_reattest: Some(false),
                by_expires_before: "2126-01-02 15:04:05 -0700 -07".into(),
            };
            agent::CountAgentsRequest { filter: Some(filter) }.encode_to_vec()
        }
        Method::ListAgents => {
            let filter = agent::list_agents_request::Filter {
                by_attestation_type: "join_token".into(),
                by_selector_match: selector_match(),
                by_banned: Some(false),
                by_can_reattest: Some(false),
                by_expires_before: "2126-01-02 15:04:05 -0700 -07".into(),
            };
            let output_mask = Some(AgentMask { selectors: true, ..AgentMask::default() });
            let page_token = String::new();
            agent::ListAgentsRequest { filter: Some(filter), output_mask, page_size: 10, page_token }.encode_to_vec()
        }
        Method::GetAgent => {
            let output_mask = Some(AgentMask { selectors: true, ..AgentMask::default() });
            agent::GetAgentRequest { id: Some(world.agent.clone()), output_mask }.encode_to_vec()
        }
        Method::DeleteAgent => agent::DeleteAgentRequest { id: nobody() }.encode_to_vec(),
        Method::BanAgent => agent::BanAgentRequest { id: nobody() }.encode_to_vec(),
        Method::AttestAgent => params("join_token", b"no such token", &csr_of()).encode_to_vec(),
        Method::RenewAgent => {
            agent::RenewAgentRequest { params: Some(agent::AgentX509svidParams { csr: csr_of() }) }.encode_to_vec()
        }
        Method::CreateJoinToken => {
            agent::CreateJoinTokenRequest { ttl: 60, token: String::new(), agent_id: id("/alias") }.encode_to_vec()
        }
        Method::PostStatus => {
            agent::PostStatusRequest { current_bundle_serial: 1, agent_version: "1.0".into() }.encode_to_vec()
        }
        Method::CountEntries => {
            let filter = entry::count_entries_request::Filter {
                by_spiffe_id: id("/db"),
                by_parent_id: Some(world.agent.clone()),
                by_selectors: selector_match(),
                by_federates_with: Some(FederatesWithMatch { trust_domains: vec!["other.org".into()], r#match: 2 }),
                by_hint: Some("internal".into()),
                by_downstream: Some(false),
            };
            entry::CountEntriesRequest { filter: Some(filter) }.encode_to_vec()
        }
        Method::ListEntries => {
            let filter = entry::list_entries_request::Filter {
                by_spiffe_id: id("/db"),
                by_parent_id: Some(world.agent.clone()),
                by_selectors: selector_match(),
                by_federates_with: Some(FederatesWithMatch { trust_domains: vec!["other.org".into()], r#match: 2 }),
                by_hint: Some("internal".into()),
                by_downstream: Some(false),
            };
            let (output_mask, page_token) = (entry_mask(), String::new());
            entry::ListEntriesRequest { filter: Some(filter), output_mask, page_size: 10, page_token }.encode_to_vec()
        }
        Method::GetEntry => {
            entry::GetEntryRequest { id: world.entry_id.clone(), output_mask: entry_mask() }.encode_to_vec()
        }
        Method::BatchCreateEntry => {
            let entries = vec![entry_of(world, "/created")];
            entry::BatchCreateEntryRequest { entries, output_mask: entry_mask() }.encode_to_vec()
        }
        Method::BatchUpdateEntry => {
            let entries = vec![Entry { id: world.entry_id.clone(), ..entry_of(world, "/db") }];
            let (input_mask, output_mask) = (None, entry_mask());
            entry::BatchUpdateEntryRequest { entries, input_mask, output_mask }.encode_to_vec()
        }
        Method::BatchDeleteEntry => entry::BatchDeleteEntryRequest { ids: vec!["nothing".into()] }.encode_to_vec(),
        Method::GetAuthorizedEntries => {
            entry::GetAuthorizedEntriesRequest { output_mask: entry_mask() }.encode_to_vec()
        }
        Method::SyncAuthorizedEntries => {
            entry::SyncAuthorizedEntriesRequest { output_mask: entry_mask(), ids: vec![] }.encode_to_vec()
        }
        Method::MintX509Svid => svid::MintX509svidRequest { csr: mint_csr(&world.key), ttl: 60 }.encode_to_vec(),
        Method::MintJwtSvid => {
            svid::MintJwtsvidRequest { id: id("/minted"), audience: vec!["a".into()], ttl: 60 }.encode_to_vec()
        }
        Method::BatchNewX509Svid => {
            let params = vec![svid::NewX509svidParams { entry_id: world.entry_id.clone(), csr: csr_of() }];
            svid::BatchNewX509svidRequest { params }.encode_to_vec()
        }
        Method::NewJwtSvid => {
            let (entry_id, audience) = (world.entry_id.clone(), vec!["a".into()]);
            svid::NewJwtsvidRequest { entry_id, audience }.encode_to_vec()
        }
        Method::GetBundle => bundle::GetBundleRequest { output_mask: bundle_mask() }.encode_to_vec(),
        Method::AppendBundle => {
            let x509_authorities = vec![X509Certificate { asn1: world.authority.clone(), tainted: false }];
            let (jwt_authorities, output_mask) = (vec![jwt_key(world)], bundle_mask());
            let wit_authorities = Vec::new();
            bundle::AppendBundleRequest { x509_authorities, jwt_authorities, output_mask, wit_authorities }
                .encode_to_vec()
        }
        Method::ListFederatedBundles => {
            let (output_mask, page_token) = (bundle_mask(), String::new());
            bundle::ListFederatedBundlesRequest { output_mask, page_size: 10, page_token }.encode_to_vec()
        }
        Method::GetFederatedBundle => {
            let (trust_domain, output_mask) = ("other.org".into(), bundle_mask());
            bundle::GetFederatedBundleRequest { trust_domain, output_mask }.encode_to_vec()
        }
        Method::BatchCreateFederatedBundle => {
            let (bundle, output_mask) = (vec![foreign_bundle(world)], bundle_mask());
            bundle::BatchCreateFederatedBundleRequest { bundle, output_mask }.encode_to_vec()
        }
        Method::BatchUpdateFederatedBundle => {
            let (bundle, input_mask, output_mask) = (vec![foreign_bundle(world)], None, bundle_mask());
            bundle::BatchUpdateFederatedBundleRequest { bundle, input_mask, output_mask }.encode_to_vec()
        }
        Method::BatchSetFederatedBundle => {
            let (bundle, output_mask) = (vec![foreign_bundle(world)], bundle_mask());
            bundle::BatchSetFederatedBundleRequest { bundle, output_mask }.encode_to_vec()
        }
        Method::BatchDeleteFederatedBundle => {
            let trust_domains = vec!["nowhere.org".into()];
            bundle::BatchDeleteFederatedBundleRequest { trust_domains, mode: 0 }.encode_to_vec()
        }
        Method::ListFederationRelationships => {
            let (output_mask, page_token) = (None, String::new());
            trustdomain::ListFederationRelationshipsRequest { output_mask, page_size: 10, page_token }.encode_to_vec()
        }
        Method::GetFederationRelationship => {
            let (trust_domain, output_mask) = ("other.org".into(), None);
            trustdomain::GetFederationRelationshipRequest { trust_domain, output_mask }.encode_to_vec()
        }
        Method::BatchCreateFederationRelationship => {
            let (federation_relationships, output_mask) = (vec![relationship(world)], None);
            trustdomain::BatchCreateFederationRelationshipRequest { federation_relationships, output_mask }
                .encode_to_vec()
        }
        Method::BatchUpdateFederationRelationship => {
            let (federation_relationships, input_mask, output_mask) = (vec![relationship(world)], None, None);
            trustdomain::BatchUpdateFederationRelationshipRequest { federation_relationships, input_mask, output_mask }
                .encode_to_vec()
        }
        Method::BatchDeleteFederationRelationship => {
            let trust_domains = vec!["nowhere.org".into()];
            trustdomain::BatchDeleteFederationRelationshipRequest { trust_domains }.encode_to_vec()
        }
        Method::RefreshBundle => {
            trustdomain::RefreshBundleRequest { trust_domain: "nowhere.org".into() }.encode_to_vec()
        }
        Method::ActivateX509Authority => {
            localauthority::ActivateX509AuthorityRequest { authority_id: "none".into() }.encode_to_vec()
        }
        Method::TaintX509Authority => {
            localauthority::TaintX509AuthorityRequest { authority_id: "none".into() }.encode_to_vec()
        }
        Method::RevokeX509Authority => {
            localauthority::RevokeX509AuthorityRequest { authority_id: "none".into() }.encode_to_vec()
        }
        Method::ActivateJwtAuthority => {
            localauthority::ActivateJwtAuthorityRequest { authority_id: "none".into() }.encode_to_vec()
        }
        Method::TaintJwtAuthority => {
            localauthority::TaintJwtAuthorityRequest { authority_id: "none".into() }.encode_to_vec()
        }
        Method::RevokeJwtAuthority => {
            localauthority::RevokeJwtAuthorityRequest { authority_id: "none".into() }.encode_to_vec()
        }
        Method::TaintX509UpstreamAuthority => {
            localauthority::TaintX509UpstreamAuthorityRequest { subject_key_id: "none".into() }.encode_to_vec()
        }
        Method::RevokeX509UpstreamAuthority => {
            localauthority::RevokeX509UpstreamAuthorityRequest { subject_key_id: "none".into() }.encode_to_vec()
        }
        Method::NewDownstreamX509Ca => {
            svid::NewDownstreamX509caRequest { csr: csr_of(), preferred_ttl: 60 }.encode_to_vec()
        }
        Method::PublishJwtAuthority => {
            bundle::PublishJwtAuthorityRequest { jwt_authority: Some(jwt_key(world)) }.encode_to_vec()
        }
        Method::SetLogLevel => logger::SetLogLevelRequest { new_level: 5 }.encode_to_vec(),
        _without_fields_or_not_here => Vec::new(),
    }
}
