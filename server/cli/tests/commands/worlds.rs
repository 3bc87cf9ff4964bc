//! What the server of a test has to say.

use plastron_proto::spire::api::server::agent::v1 as agent;
use plastron_proto::spire::api::server::bundle::v1 as bundle;
use plastron_proto::spire::api::server::debug::v1 as debug;
use plastron_proto::spire::api::server::entry::v1 as entry;
use plastron_proto::spire::api::server::localauthority::v1 as authority;
use plastron_proto::spire::api::server::svid::v1 as svid;
use plastron_proto::spire::api::server::trustdomain::v1 as trustdomain;
use plastron_proto::types::{Agent, Bundle, JoinToken, LogLevel, Status};
use tonic_health::pb::HealthCheckResponse;

use crate::fake::World;
use crate::messages::*;

/// A server that has something of everything.
pub(crate) fn full() -> World {
    let agents = agent::ListAgentsResponse { agents: vec![join_token(), x509pop()], next_page_token: String::new() };
    World::default()
        .with("Agent/ListAgents", &agents)
        .with("Agent/CountAgents", &agent::CountAgentsResponse { count: 2 })
        .with("Agent/GetAgent", &x509pop())
        .with("Agent/BanAgent", &())
        .with("Agent/DeleteAgent", &())
        .with("Agent/CreateJoinToken", &JoinToken { value: "c0ffee".into(), expires_at: THEN })
        .with("Bundle/GetBundle", &own_bundle())
        .with("Bundle/CountBundles", &bundle::CountBundlesResponse { count: 3 })
        .with("Bundle/GetFederatedBundle", &foreign_bundle("other.test"))
        .with("Bundle/ListFederatedBundles", &federated_bundles())
        .with("Bundle/BatchSetFederatedBundle", &bundle_set(ok()))
        .with("Bundle/BatchDeleteFederatedBundle", &bundle_deleted(ok()))
        .with("Entry/ListEntries", &entry::ListEntriesResponse { entries: entries(), next_page_token: String::new() })
        .with("Entry/CountEntries", &entry::CountEntriesResponse { count: 3 })
        .with("Entry/GetEntry", &whole_entry())
        .with("Entry/BatchCreateEntry", &created(ok()))
        .with("Entry/BatchUpdateEntry", &updated(ok()))
        .with("Entry/BatchDeleteEntry", &deleted(&[("e-1", ok())]))
        .with("SVID/MintJWTSVID", &svid::MintJwtsvidResponse { svid: Some(token()) })
        .with("SVID/MintX509SVID", &minted())
        .with("TrustDomain/ListFederationRelationships", &relationships())
        .with("TrustDomain/GetFederationRelationship", &spiffe_relationship())
        .with("TrustDomain/BatchCreateFederationRelationship", &relationship_created(&[ok()]))
        .with("TrustDomain/BatchUpdateFederationRelationship", &relationship_updated(&[ok()]))
        .with("TrustDomain/BatchDeleteFederationRelationship", &relationship_deleted(ok()))
        .with("TrustDomain/RefreshBundle", &())
        .with("LocalAuthority/GetX509AuthorityState", &x509_authorities())
        .with("LocalAuthority/GetJWTAuthorityState", &jwt_authorities())
        .with(
            "LocalAuthority/PrepareX509Authority",
            &authority::PrepareX509AuthorityResponse { prepared_authority: state("") },
        )
        .with(
            "LocalAuthority/ActivateX509Authority",
            &authority::ActivateX509AuthorityResponse { activated_authority: state("") },
        )
        .with(
            "LocalAuthority/TaintX509Authority",
            &authority::TaintX509AuthorityResponse { tainted_authority: state("") },
        )
        .with(
            "LocalAuthority/RevokeX509Authority",
            &authority::RevokeX509AuthorityResponse { revoked_authority: state("cd34") },
        )
        .with(
            "LocalAuthority/PrepareJWTAuthority",
            &authority::PrepareJwtAuthorityResponse { prepared_authority: state("") },
        )
        .with(
            "LocalAuthority/ActivateJWTAuthority",
            &authority::ActivateJwtAuthorityResponse { activated_authority: state("") },
        )
        .with(
            "LocalAuthority/TaintJWTAuthority",
            &authority::TaintJwtAuthorityResponse { tainted_authority: state("") },
        )
        .with(
            "LocalAuthority/RevokeJWTAuthority",
            &authority::RevokeJwtAuthorityResponse { revoked_authority: state("") },
        )
        .with(
            "LocalAuthority/TaintX509UpstreamAuthority",
            &authority::TaintX509UpstreamAuthorityResponse { upstream_authority_subject_key_id: "cd34".into() },
        )
        .with(
            "LocalAuthority/RevokeX509UpstreamAuthority",
            &authority::RevokeX509UpstreamAuthorityResponse { upstream_authority_subject_key_id: "cd34".into() },
        )
        .with("Logger/GetLogger", &logger(LogLevel::Warn, LogLevel::Info))
        .with("Logger/SetLogLevel", &logger(LogLevel::Debug, LogLevel::Info))
        .with("Logger/ResetLogLevel", &logger(LogLevel::Info, LogLevel::Info))
        .with("Debug/GetInfo", &info())
        .with("Health/Check", &HealthCheckResponse { status: 1 })
}

/// A server that has nothing.
pub(crate) fn empty() -> World {
    World::default()
        .with("Agent/ListAgents", &agent::ListAgentsResponse::default())
        .with("Agent/CountAgents", &agent::CountAgentsResponse { count: 1 })
        .with("Bundle/CountBundles", &bundle::CountBundlesResponse { count: 1 })
        .with("Bundle/ListFederatedBundles", &bundle::ListFederatedBundlesResponse::default())
        .with("Bundle/GetBundle", &Bundle { trust_domain: "example.org".into(), ..Bundle::default() })
        .with("Entry/ListEntries", &entry::ListEntriesResponse::default())
        .with("Entry/CountEntries", &entry::CountEntriesResponse { count: 1 })
        .with("TrustDomain/ListFederationRelationships", &trustdomain::ListFederationRelationshipsResponse::default())
        .with("LocalAuthority/GetX509AuthorityState", &authority::GetX509AuthorityStateResponse::default())
        .with("LocalAuthority/GetJWTAuthorityState", &authority::GetJwtAuthorityStateResponse::default())
        .with("Debug/GetInfo", &debug::GetInfoResponse { uptime: 59, ..Default::default() })
        .with("Health/Check", &HealthCheckResponse { status: 2 })
}

/// A server that refuses every item of a batch, in words with all that needs escaping.
pub(crate) fn failing() -> World {
    let no = || Status { code: 3, message: "no \"such\" thing\n".into() };
    World::default()
        .with("Bundle/BatchSetFederatedBundle", &bundle_set(Status { code: 13, message: "no such thing".into() }))
        .with(
            "Bundle/BatchDeleteFederatedBundle",
            &bundle_deleted(Status { code: 5, message: "bundle not found".into() }),
        )
        .with("Entry/GetEntry", &whole_entry())
        .with("Entry/BatchCreateEntry", &created(no()))
        .with("Entry/BatchUpdateEntry", &updated(no()))
        .with("Entry/BatchDeleteEntry", &deleted(&[("e-1", no())]))
        .with("TrustDomain/BatchCreateFederationRelationship", &relationship_created(&[no(), ok(), no()]))
        .with("TrustDomain/BatchUpdateFederationRelationship", &relationship_updated(&[no()]))
        .with(
            "TrustDomain/BatchDeleteFederationRelationship",
            &relationship_deleted(Status { code: 5, message: "not found".into() }),
        )
}

/// A batch that half works, and lists of two pages.
pub(crate) fn halves() -> World {
    let page =
        |agent: Agent, token: &str| agent::ListAgentsResponse { agents: vec![agent], next_page_token: token.into() };
    let entries_page = |index: usize, token: &str| entry::ListEntriesResponse {
        entries: vec![entries().remove(index)],
        next_page_token: token.into(),
    };
    World::default()
        .with("Agent/ListAgents", &page(join_token(), "2"))
        .with("Agent/ListAgents", &page(x509pop(), ""))
        .refusing("Agent/DeleteAgent", tonic::Status::internal("failed to remove agent"))
        .with("Agent/DeleteAgent", &())
        .with("Entry/ListEntries", &entries_page(0, "next"))
        .with("Entry/ListEntries", &entries_page(1, ""))
        .with(
            "Entry/BatchDeleteEntry",
            &deleted(&[("e-1", ok()), ("e-2", Status { code: 5, message: "entry not found".into() })]),
        )
}

/// A server that refuses every call.
pub(crate) fn refusing() -> World {
    World::default().refusing("", tonic::Status::permission_denied("authorization denied for method"))
}

/// A server that knows nothing of what is asked for.
pub(crate) fn unknown() -> World {
    World::default().refusing("", tonic::Status::not_found("it is not there"))
}
