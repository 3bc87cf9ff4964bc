//! The server's authorities over the wire: shown, prepared, activated, tainted, revoked, and every refusal with SPIRE's code and words.

use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::localauthority::v1::local_authority_client::LocalAuthorityClient;
use plastron_proto::spire::api::server::localauthority::v1::{
    ActivateJwtAuthorityRequest, ActivateX509AuthorityRequest, AuthorityState, GetJwtAuthorityStateRequest,
    GetJwtAuthorityStateResponse, GetWitAuthorityStateRequest, GetX509AuthorityStateRequest,
    GetX509AuthorityStateResponse, PrepareJwtAuthorityRequest, PrepareX509AuthorityRequest, RevokeJwtAuthorityRequest,
    RevokeX509AuthorityRequest, RevokeX509UpstreamAuthorityRequest, TaintJwtAuthorityRequest,
    TaintX509AuthorityRequest, TaintX509UpstreamAuthorityRequest,
};
use plastron_proto::types::Bundle;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::Server;

/// The client, with one short method for each RPC.
struct Authorities(LocalAuthorityClient<Channel>);

impl Authorities {
    fn of(server: &Server) -> Self {
        Self(LocalAuthorityClient::new(server.local.clone()))
    }

    async fn x509(&mut self) -> GetX509AuthorityStateResponse {
        self.0.get_x509_authority_state(GetX509AuthorityStateRequest {}).await.unwrap().into_inner()
    }

    async fn jwt(&mut self) -> GetJwtAuthorityStateResponse {
        self.0.get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await.unwrap().into_inner()
    }

    async fn prepare_x509(&mut self) -> AuthorityState {
        let answer = self.0.prepare_x509_authority(PrepareX509AuthorityRequest {}).await.unwrap();
        answer.into_inner().prepared_authority.unwrap()
    }

    async fn prepare_jwt(&mut self) -> AuthorityState {
        let answer = self.0.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap();
        answer.into_inner().prepared_authority.unwrap()
    }

    async fn activate_x509(&mut self, id: &str) -> Result<AuthorityState, Status> {
        let request = ActivateX509AuthorityRequest { authority_id: id.to_owned() };
        Ok(self.0.activate_x509_authority(request).await?.into_inner().activated_authority.unwrap())
    }

    async fn activate_jwt(&mut self, id: &str) -> Result<AuthorityState, Status> {
        let request = ActivateJwtAuthorityRequest { authority_id: id.to_owned() };
        Ok(self.0.activate_jwt_authority(request).await?.into_inner().activated_authority.unwrap())
    }

    async fn taint_x509(&mut self, id: &str) -> Result<AuthorityState, Status> {
        let request = TaintX509AuthorityRequest { authority_id: id.to_owned() };
        Ok(self.0.taint_x509_authority(request).await?.into_inner().tainted_authority.unwrap())
    }

    async fn taint_jwt(&mut self, id: &str) -> Result<AuthorityState, Status> {
        let request = TaintJwtAuthorityRequest { authority_id: id.to_owned() };
        Ok(self.0.taint_jwt_authority(request).await?.into_inner().tainted_authority.unwrap())
    }

    async fn revoke_x509(&mut self, id: &str) -> Result<AuthorityState, Status> {
        let request = RevokeX509AuthorityRequest { authority_id: id.to_owned() };
        Ok(self.0.revoke_x509_authority(request).await?.into_inner().revoked_authority.unwrap())
    }

    async fn revoke_jwt(&mut self, id: &str) -> Result<AuthorityState, Status> {
        let request = RevokeJwtAuthorityRequest { authority_id: id.to_owned() };
        Ok(self.0.revoke_jwt_authority(request).await?.into_inner().revoked_authority.unwrap())
    }
}

fn refused(answer: Result<AuthorityState, Status>, code: Code, words: &str) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), status.message()), (code, words));
}

async fn bundle(server: &Server) -> Bundle {
    let request = GetBundleRequest { output_mask: None };
    BundleClient::new(server.local.clone()).get_bundle(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn an_x509_authority_lives_and_ends_in_spires_order() {
    let server = Server::start().await;
    let mut authorities = Authorities::of(&server);
    let first = authorities.x509().await;
    assert_eq!((&first.prepared, &first.old), (&None, &None));
    let first = first.active.unwrap();
    assert!(first.authority_id.len() == 40 && first.authority_id.chars().all(|c| c.is_ascii_hexdigit()));

    let prepared = authorities.prepare_x509().await;
    assert_eq!(authorities.x509().await.prepared.as_ref(), Some(&prepared));
    assert_eq!(bundle(&server).await.x509_authorities.len(), 2, "published before it signs");
    let activated = authorities.activate_x509(&prepared.authority_id).await.unwrap();
    assert_eq!(activated, prepared);
    let state = authorities.x509().await;
    assert_eq!((state.active.as_ref(), state.prepared.as_ref()), (Some(&prepared), None));
    assert_eq!(state.old.unwrap().authority_id, first.authority_id);

    let tainted = authorities.taint_x509(&first.authority_id).await.unwrap();
    assert_eq!(tainted.authority_id, first.authority_id);
    let flags: Vec<_> = bundle(&server).await.x509_authorities.iter().map(|authority| authority.tainted).collect();
    assert_eq!(flags.iter().filter(|tainted| **tainted).count(), 1, "{flags:?}");
    let revoked = authorities.revoke_x509(&first.authority_id).await.unwrap();
    assert_eq!(revoked.authority_id, first.authority_id);
    let left = bundle(&server).await.x509_authorities;
    assert!(left.len() == 1 && !left[0].tainted);
}

#[tokio::test]
async fn a_jwt_authority_lives_and_ends_in_spires_order() {
    let server = Server::start().await;
    let mut authorities = Authorities::of(&server);
    let first = authorities.jwt().await.active.unwrap();
    let prepared = authorities.prepare_jwt().await;
    let keys =
        |bundle: Bundle| bundle.jwt_authorities.into_iter().map(|key| (key.key_id, key.tainted)).collect::<Vec<_>>();
    let both = [(first.authority_id.clone(), false), (prepared.authority_id.clone(), false)];
    assert_eq!(keys(bundle(&server).await), both);
    authorities.activate_jwt(&prepared.authority_id).await.unwrap();
    authorities.taint_jwt(&first.authority_id).await.unwrap();
    assert_eq!(keys(bundle(&server).await), [(first.authority_id.clone(), true), both[1].clone()]);
    authorities.revoke_jwt(&first.authority_id).await.unwrap();
    assert_eq!(keys(bundle(&server).await), [both[1].clone()]);
}

#[tokio::test]
async fn x509_authorities_that_are_not_moved() {
    let server = Server::start().await;
    let mut authorities = Authorities::of(&server);
    let active = authorities.x509().await.active.unwrap().authority_id;
    let invalid = Code::InvalidArgument;
    for id in ["", "unknown"] {
        let words = if id.is_empty() { "no authority ID provided" } else { "unexpected authority ID" };
        refused(authorities.activate_x509(id).await, invalid, words);
        refused(authorities.taint_x509(id).await, invalid, words);
    }
    refused(authorities.activate_x509(&active).await, invalid, "unexpected authority ID");
    refused(authorities.taint_x509(&active).await, invalid, "unable to taint current local authority");
    refused(authorities.revoke_x509("").await, invalid, "invalid authority ID: no authority ID provided");
    refused(authorities.revoke_x509(&active).await, invalid, "invalid authority ID: unable to use current authority");
    let not_old = "invalid authority ID: only Old local authority can be revoked";
    refused(authorities.revoke_x509("unknown").await, invalid, not_old);
    let prepared = authorities.prepare_x509().await.authority_id;
    let words = "only Old local authorities can be tainted: unsupported local authority status: PREPARED";
    refused(authorities.taint_x509(&prepared).await, invalid, words);
    refused(authorities.revoke_x509(&prepared).await, invalid, not_old);
    authorities.activate_x509(&prepared).await.unwrap();
    // It is in the other slot, and no longer prepared.
    let words = "only Prepared authorities can be activated: unsupported local authority status: OLD";
    refused(authorities.activate_x509(&active).await, Code::Internal, words);
}

#[tokio::test]
async fn jwt_authorities_that_are_not_moved() {
    let server = Server::start().await;
    let mut authorities = Authorities::of(&server);
    let active = authorities.jwt().await.active.unwrap().authority_id;
    let invalid = Code::InvalidArgument;
    for id in ["", "unknown"] {
        let words = if id.is_empty() { "no authority ID provided" } else { "unexpected authority ID" };
        refused(authorities.activate_jwt(id).await, invalid, words);
        refused(authorities.taint_jwt(id).await, invalid, words);
    }
    refused(authorities.taint_jwt(&active).await, invalid, "unable to taint current local authority");
    refused(authorities.revoke_jwt("").await, invalid, "invalid authority ID: no authority ID provided");
    refused(authorities.revoke_jwt(&active).await, invalid, "invalid authority ID: unable to use current authority");
    let words = "invalid authority ID: no JWT authority found with provided authority ID";
    refused(authorities.revoke_jwt("unknown").await, invalid, words);
    let prepared = authorities.prepare_jwt().await.authority_id;
    let words = "only Old local authorities can be tainted: unsupported local authority status: PREPARED";
    refused(authorities.taint_jwt(&prepared).await, invalid, words);
    refused(authorities.revoke_jwt(&prepared).await, invalid, "invalid authority ID: unable to use a prepared key");
    authorities.activate_jwt(&prepared).await.unwrap();
    let words = "only Prepared authorities can be activated: unsupported local authority status: OLD";
    refused(authorities.activate_jwt(&active).await, Code::Internal, words);
}

#[tokio::test]
async fn without_an_upstream_authority_there_is_none_to_move() {
    let server = Server::start().await;
    let mut client = Authorities::of(&server).0;
    let taint = TaintX509UpstreamAuthorityRequest { subject_key_id: "ab".to_owned() };
    let revoke = RevokeX509UpstreamAuthorityRequest { subject_key_id: "ab".to_owned() };
    let words = "upstream authority is not configured";
    for status in [
        client.taint_x509_upstream_authority(taint).await.unwrap_err(),
        client.revoke_x509_upstream_authority(revoke).await.unwrap_err(),
    ] {
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, words));
    }
}

#[tokio::test]
async fn what_is_not_here_says_so_in_spires_words() {
    let server = Server::configured(|config| config.ca.disable_jwt_svids = true).await;
    let mut client = Authorities::of(&server).0;
    let wit = client.get_wit_authority_state(GetWitAuthorityStateRequest {}).await.unwrap_err();
    assert_eq!((wit.code(), wit.message()), (Code::Unimplemented, "WIT-SVID functionality is not yet implemented"));
    let id = || "a".to_owned();
    for status in [
        client.get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await.map(|_| ()).unwrap_err(),
        client.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.map(|_| ()).unwrap_err(),
        client
            .activate_jwt_authority(ActivateJwtAuthorityRequest { authority_id: id() })
            .await
            .map(|_| ())
            .unwrap_err(),
        client.taint_jwt_authority(TaintJwtAuthorityRequest { authority_id: id() }).await.map(|_| ()).unwrap_err(),
        client.revoke_jwt_authority(RevokeJwtAuthorityRequest { authority_id: id() }).await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, "JWT functionality is disabled"));
    }
    Authorities::of(&server).x509().await.active.unwrap();
    assert!(bundle(&server).await.jwt_authorities.is_empty(), "no key that signs nothing");
}
