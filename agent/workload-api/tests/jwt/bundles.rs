//! FetchJWTBundles: plain JWK sets, of the own domain and of those that the workload's entries federate with.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::jwt_authority::SigningKey;

fn key_ids(bundles: &BTreeMap<String, Vec<u8>>) -> Vec<(&str, Vec<String>)> {
    let ids = |jwks: &[u8]| -> Vec<String> {
        let jwks: Value = serde_json::from_slice(jwks).unwrap();
        assert_eq!(jwks.as_object().unwrap().keys().collect::<Vec<_>>(), ["keys"], "no member of SPIFFE's");
        let keys = jwks["keys"].as_array().unwrap();
        assert!(keys.iter().all(|key| key.get("use").is_none() && key.get("x5c").is_none()), "{jwks}");
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    bundles.iter().map(|(id, jwks)| (id.as_str(), ids(jwks))).collect()
}

impl Client {
    async fn bundles(&mut self) -> Result<tonic::Streaming<wire::JwtBundlesResponse>, Status> {
        Ok(self.0.fetch_jwt_bundles(with_header(wire::JwtBundlesRequest {})).await?.into_inner())
    }
}

fn add_key(world: &World, key_id: &str) {
    let mut state = world.server.state();
    state.bundle.jwt_authorities.push(SigningKey::new(key_id).authority());
    state.bundle.sequence_number += 1;
}

#[tokio::test]
async fn own_and_federated_bundles_come_at_once_and_again_only_when_they_change() {
    let world = World::start(USUAL, &[("a", "/web", "", 1)]).await;
    let mut foreign = Bundle::empty(other_domain());
    foreign.jwt_authorities.push(SigningKey::new("foreign").authority());
    world.federate(foreign).await;
    let mut stream = world.client().await.bundles().await.unwrap();
    let message = stream.message().await.unwrap().unwrap();
    let both = |own: &[&str]| {
        let own = own.iter().map(|id| (*id).to_owned()).collect();
        vec![("spiffe://example.org", own), ("spiffe://other.test", vec!["foreign".to_owned()])]
    };
    assert_eq!(key_ids(&message.bundles), both(&["first"]));

    // Another SVID, another sequence number, another X.509 authority: the same message.
    {
        let mut state = world.server.state();
        state.entries.get_mut("a").unwrap().revision += 1;
        state.bundle.sequence_number += 1;
        let another = authority::Authority::new(&domain(), 1_800_000_000).bundle();
        state.bundle.x509_authorities.extend(another.x509_authorities);
    }
    world.synchronised(|held, _| held.bundle.x509_authorities.len() == 2).await;
    add_key(&world, "second");
    let message = stream.message().await.unwrap().unwrap();
    assert_eq!(key_ids(&message.bundles), both(&["first", "second"]));

    world.server.state().entries.clear();
    refused(stream.message().await, Code::PermissionDenied, "no identity issued");
}

/// A foreign domain without JWT authorities is left out; the own one never is.
#[tokio::test]
async fn a_domain_without_authorities_is_absent_and_the_own_one_is_not() {
    let world = World::start(USUAL, &[("a", "/web", "", 1)]).await;
    world.federate(Bundle::empty(other_domain())).await;
    world.server.state().bundle.jwt_authorities.clear();
    world.synchronised(|held, _| held.bundle.jwt_authorities.is_empty()).await;
    let message = world.client().await.bundles().await.unwrap().message().await.unwrap().unwrap();
    assert_eq!(key_ids(&message.bundles), [("spiffe://example.org", Vec::new())]);
}

/// A foreign server that publishes a key that has no JWK takes nobody's keys away but its own.
#[tokio::test]
async fn a_foreign_key_that_can_not_be_written_costs_that_domain_alone() {
    let world = World::start(USUAL, &[("a", "/web", "", 1)]).await;
    let mut foreign = Bundle::empty(other_domain());
    let good = SigningKey::new("foreign").authority();
    let public_key = b"not a key".to_vec();
    foreign.jwt_authorities = vec![good.clone(), plastron_spiffe::JwtAuthority { public_key, ..good.clone() }];
    world.federate(foreign.clone()).await;
    let mut stream = world.client().await.bundles().await.unwrap();
    let message = stream.message().await.unwrap().unwrap();
    assert_eq!(key_ids(&message.bundles), [("spiffe://example.org", vec!["first".to_owned()])]);

    foreign.jwt_authorities = vec![good];
    foreign.sequence_number += 1;
    world.federate(foreign).await;
    let message = stream.message().await.unwrap().unwrap();
    assert_eq!(key_ids(&message.bundles)[1], ("spiffe://other.test", vec!["foreign".to_owned()]));
}

#[tokio::test]
async fn without_an_identity_there_are_no_bundles_but_where_the_configuration_says_so_the_own_one() {
    let world = World::start(USUAL, &[]).await;
    refused(world.client().await.bundles().await, Code::PermissionDenied, "no identity issued");
    let world = World::start(Options { bundles: BundleAccess::AnyLocalProcess, ..USUAL }, &[]).await;
    let mut stream = world.client().await.bundles().await.unwrap();
    let message = stream.message().await.unwrap().unwrap();
    assert_eq!(key_ids(&message.bundles), [("spiffe://example.org", vec!["first".to_owned()])]);
    add_key(&world, "second");
    let message = stream.message().await.unwrap().unwrap();
    assert_eq!(key_ids(&message.bundles)[0].1, ["first", "second"]);
}
