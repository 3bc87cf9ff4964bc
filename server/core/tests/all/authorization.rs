//! The authorisation table and the rules for agents.

use plastron_server_core::authorization::{AgentDenial, Columns, Denied, Method, Permit, Rpc, rpc, table};

use crate::fixture::{CA_TTL, Disk, Server, anonymous, csr, entry, id, local};

/// The table as it was reviewed. After a deliberate change: `UPDATE_GOLDEN=1 cargo test -p plastron-server-core`.
#[test]
fn the_table_is_the_reviewed_one() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/authorization.txt");
    let rendered = table::render();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &rendered).unwrap();
    }
    assert_eq!(std::fs::read_to_string(golden).unwrap(), rendered);
}

#[test]
fn paths_are_unique_and_found_again() {
    for method in Method::ALL {
        assert_eq!(Method::from_path(method.path()), Some(*method));
        assert_ne!(method.columns(), Columns::NONE, "{} is open to no one", method.path());
    }
    assert_eq!(Method::from_path("/spire.api.server.agent.v1.Agent/attestagent"), None);
}

async fn may<R: Rpc>(server: &Server, caller: &plastron_server_core::authorization::Caller) -> Result<(), Denied> {
    let permit: Result<Permit<R>, Denied> = server.services.authorizer.authorize(caller).await;
    let by_path = server.services.authorizer.authorize_path(R::METHOD.path(), caller).await;
    assert_eq!(permit.as_ref().err(), by_path.as_ref().err(), "both ways decide alike");
    permit.map(|_permit| ())
}

/// Every kind of caller against a row of every kind.
#[tokio::test]
async fn callers_get_in_by_their_column_only() {
    let server = Disk::new().start().await.unwrap();
    let (agent, agent_caller) = server.agent().await;
    let mut admin = entry("/admin", &agent, &["unix:uid:0"]);
    admin.admin = true;
    let mut downstream = entry("/downstream", &agent, &["unix:uid:1"]);
    downstream.downstream = true;
    let created = server.create(vec![admin, downstream, entry("/plain", &agent, &["unix:uid:2"])]).await;
    let mut svids = Vec::new();
    for entry in &created {
        let permit = server.permit::<rpc::BatchNewX509Svid>(&agent_caller).await;
        let request = plastron_server_core::issuance::SvidRequest { entry_id: entry.id.clone(), csr: csr(&[]) };
        let results = server.services.issuance.batch_new_x509_svid(permit, vec![request]).await.unwrap();
        svids.push(server.caller(&results.into_iter().next().unwrap().unwrap()));
    }
    let [admin, downstream, plain] = svids.as_slice() else { unreachable!("three SVIDs") };
    let method_denied = |result: Result<(), Denied>| matches!(result, Err(Denied::Method { .. }));

    for caller in [&anonymous(), &local(), &agent_caller, admin, downstream, plain] {
        assert_eq!(may::<rpc::GetBundle>(&server, caller).await, Ok(()), "open to anyone");
        assert_eq!(may::<rpc::AttestAgent>(&server, caller).await, Ok(()), "open to anyone");
    }
    for caller in [&local(), admin] {
        assert_eq!(may::<rpc::ListEntries>(&server, caller).await, Ok(()));
        assert_eq!(may::<rpc::GetFederatedBundle>(&server, caller).await, Ok(()));
    }
    for caller in [&anonymous(), &agent_caller, downstream, plain] {
        assert!(method_denied(may::<rpc::ListEntries>(&server, caller).await));
    }
    for caller in [&anonymous(), &local()] {
        assert!(method_denied(may::<rpc::BatchNewX509Svid>(&server, caller).await));
    }
    assert_eq!(may::<rpc::BatchNewX509Svid>(&server, &agent_caller).await, Ok(()));
    assert_eq!(may::<rpc::GetFederatedBundle>(&server, &agent_caller).await, Ok(()));
    for caller in [admin, downstream, plain] {
        let refused = may::<rpc::BatchNewX509Svid>(&server, caller).await;
        assert!(matches!(refused, Err(Denied::Agent { reason: AgentDenial::NotAttested, .. })), "{refused:?}");
    }
    assert_eq!(may::<rpc::NewDownstreamX509Ca>(&server, downstream).await, Ok(()));
    for caller in [&anonymous(), &local(), &agent_caller, admin, plain] {
        assert!(method_denied(may::<rpc::NewDownstreamX509Ca>(&server, caller).await));
    }
    assert_eq!(may::<rpc::HealthCheck>(&server, &local()).await, Ok(()));
    for caller in [&anonymous(), &agent_caller, admin, downstream, plain] {
        assert!(method_denied(may::<rpc::HealthCheck>(&server, caller).await));
    }
    // An administrator by entry is one only as long as the entry is there.
    let permit = server.permit::<rpc::BatchDeleteEntry>(&local()).await;
    let ids = vec![created.first().unwrap().id.clone()];
    server.services.registration.delete(permit, ids).await.unwrap().remove(0).unwrap();
    assert!(method_denied(may::<rpc::ListEntries>(&server, admin).await));
}

#[tokio::test]
async fn a_path_without_a_row_is_refused_and_escaped() {
    let server = Disk::new().start().await.unwrap();
    let refused = server.services.authorizer.authorize_path("/a.B/C\n", &local()).await.unwrap_err();
    assert_eq!(refused.to_string(), "authorization denied for method /a.B/C\\n");
}

#[tokio::test]
async fn an_agents_svid_expires_on_an_open_connection() {
    let server = Disk::new().start().await.unwrap();
    let (agent, caller) = server.agent().await;
    server.clock.advance(3600);
    server.permit::<rpc::GetAuthorizedEntries>(&caller).await;
    server.clock.advance(1);
    let Denied::Agent { id, reason } = may::<rpc::GetAuthorizedEntries>(&server, &caller).await.unwrap_err() else {
        unreachable!("an agent's refusal")
    };
    assert_eq!((id, reason.number()), (agent, 1));
    may::<rpc::GetBundle>(&server, &caller).await.unwrap_err();
}

#[tokio::test]
async fn an_administrator_of_the_configuration_needs_no_entry() {
    let server = Disk::new().start().await.unwrap();
    let (agent, agent_caller) = server.agent().await;
    let created = server.create(vec![entry("/configured-admin", &agent, &["unix:uid:0"])]).await;
    let permit = server.permit::<rpc::BatchNewX509Svid>(&agent_caller).await;
    let request =
        plastron_server_core::issuance::SvidRequest { entry_id: created.first().unwrap().id.clone(), csr: csr(&[]) };
    let results = server.services.issuance.batch_new_x509_svid(permit, vec![request]).await.unwrap();
    let svid = results.into_iter().next().unwrap().unwrap();
    assert_eq!(svid.id, id("/configured-admin"));
    let caller = server.caller(&svid);
    assert_eq!(may::<rpc::ListEntries>(&server, &caller).await, Ok(()));

    server.clock.advance(CA_TTL);
    let refused = may::<rpc::ListEntries>(&server, &caller).await.unwrap_err();
    assert!(matches!(refused, Denied::Agent { reason: AgentDenial::Expired { .. }, .. }), "{refused:?}");
}

/// A connection outlives the authority that its SVID was verified by.
#[tokio::test]
async fn an_administrator_whose_authority_is_revoked_is_none_on_an_open_connection() {
    let server = Disk::new().start().await.unwrap();
    let (agent, agent_caller) = server.agent().await;
    let mut nested = entry("/nested", &agent, &["unix:uid:1"]);
    nested.downstream = true;
    let created = server.create(vec![entry("/configured-admin", &agent, &["unix:uid:0"]), nested]).await;
    let mut callers = Vec::new();
    for entry in &created {
        let permit = server.permit::<rpc::BatchNewX509Svid>(&agent_caller).await;
        let request = plastron_server_core::issuance::SvidRequest { entry_id: entry.id.clone(), csr: csr(&[]) };
        let results = server.services.issuance.batch_new_x509_svid(permit, vec![request]).await.unwrap();
        callers.push(server.caller(&results.into_iter().next().unwrap().unwrap()));
    }
    let [admin, nested] = callers.as_slice() else { unreachable!("two SVIDs") };
    let authorities = &server.services.local_authorities;
    let first = authorities.x509_state(server.permit(&local()).await).unwrap().active.authority_id;
    let second = authorities.prepare_x509(server.permit(&local()).await).await.unwrap().authority_id;
    authorities.activate_x509(server.permit(&local()).await, &second).await.unwrap();
    authorities.taint_x509(server.permit(&local()).await, &first).await.unwrap();
    assert_eq!(may::<rpc::ListEntries>(&server, admin).await, Ok(()), "tainted is trusted still");
    assert_eq!(may::<rpc::NewDownstreamX509Ca>(&server, nested).await, Ok(()));
    authorities.revoke_x509(server.permit(&local()).await, &first).await.unwrap();
    let refused = may::<rpc::ListEntries>(&server, admin).await;
    assert!(matches!(refused, Err(Denied::Method { .. })), "{refused:?}");
    let refused = may::<rpc::NewDownstreamX509Ca>(&server, nested).await;
    assert!(matches!(refused, Err(Denied::Method { .. })), "{refused:?}");
}
