//! Every check refuses what it is there for.

use plastron_spiffe::x509::SvidError;
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain};

use super::*;
use crate::key::{KeyPair, SvidKeyType};

#[path = "../../tests/agent/authority.rs"]
mod authority;

use authority::{Authority, at};

const NOW: u64 = 1_800_000_000;

fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

fn key() -> Vec<u8> {
    KeyPair::generate(SvidKeyType::EcP256).unwrap().public_key().to_vec()
}

fn check(authority: &Authority, bundle: &Bundle, spiffe_id: &str, renewed: Option<&str>) -> Result<(), IssuedError> {
    let key = key();
    let chain = vec![authority.leaf(&id(spiffe_id), &key, NOW - 10, NOW + 3600)];
    let renewed = renewed.map(id);
    check_agent_svid(chain, &domain("example.org"), renewed.as_ref(), &key, bundle, at(NOW)).map(drop)
}

#[test]
fn a_good_agent_svid_is_taken() {
    let authority = Authority::new(&domain("example.org"), NOW);
    let agent = "spiffe://example.org/spire/agent/tpm/ab";
    check(&authority, &authority.bundle(), agent, None).unwrap();
    check(&authority, &authority.bundle(), agent, Some(agent)).unwrap();
}

#[test]
fn an_id_that_is_no_agents_is_refused() {
    let authority = Authority::new(&domain("example.org"), NOW);
    for other in [
        "spiffe://example.org/spire/server",
        "spiffe://example.org/spire/agent",
        "spiffe://example.org/web",
        "spiffe://example.org/spire/agentx/tpm/ab",
        "spiffe://other.org/spire/agent/tpm/ab",
    ] {
        let refused = check(&authority, &authority.bundle(), other, None);
        assert!(matches!(refused, Err(IssuedError::NotAnAgent { .. })), "{other}: {refused:?}");
    }
}

/// Threat 26
#[test]
fn a_renewal_keeps_the_id() {
    let authority = Authority::new(&domain("example.org"), NOW);
    let refused = check(
        &authority,
        &authority.bundle(),
        "spiffe://example.org/spire/agent/tpm/ab",
        Some("spiffe://example.org/spire/agent/tpm/cd"),
    );
    assert!(matches!(refused, Err(IssuedError::OtherId { .. })), "{refused:?}");
}

#[test]
fn a_chain_to_another_authority_is_refused() {
    let ours = Authority::new(&domain("example.org"), NOW);
    let theirs = Authority::new(&domain("example.org"), NOW);
    let refused = check(&theirs, &ours.bundle(), "spiffe://example.org/spire/agent/tpm/ab", None);
    assert!(matches!(refused, Err(IssuedError::Svid(SvidError::UnknownAuthority { .. }))), "{refused:?}");
}

#[test]
fn another_key_is_refused() {
    let authority = Authority::new(&domain("example.org"), NOW);
    let (agent, web) = (id("spiffe://example.org/spire/agent/tpm/ab"), id("spiffe://example.org/web"));
    let chain = |id| vec![authority.leaf(id, &key(), NOW - 10, NOW + 3600)];
    let refused = check_agent_svid(chain(&agent), &domain("example.org"), None, &key(), &authority.bundle(), at(NOW));
    assert!(matches!(refused, Err(IssuedError::OtherKey { .. })), "{refused:?}");
    let refused = check_workload_svid(chain(&web), &web, &key(), at(NOW));
    assert!(matches!(refused, Err(IssuedError::OtherKey { .. })), "{refused:?}");
}

#[test]
fn a_workload_svid_is_the_entrys_and_alive() {
    let authority = Authority::new(&domain("example.org"), NOW);
    let (web, key) = (id("spiffe://example.org/web"), key());
    let chain = || vec![authority.leaf(&web, &key, NOW - 10, NOW + 60)];
    check_workload_svid(chain(), &web, &key, at(NOW)).unwrap();
    let refused = check_workload_svid(chain(), &id("spiffe://example.org/db"), &key, at(NOW));
    assert!(matches!(refused, Err(IssuedError::OtherId { .. })), "{refused:?}");
    let refused = check_workload_svid(chain(), &web, &key, at(NOW + 60));
    assert!(matches!(refused, Err(IssuedError::Svid(SvidError::Expired { .. }))), "{refused:?}");
    let refused = check_workload_svid(Vec::new(), &web, &key, at(NOW));
    assert!(matches!(refused, Err(IssuedError::Svid(SvidError::ChainLength { got: 0 }))), "{refused:?}");
}

#[test]
fn a_bundle_is_of_our_domain_and_not_empty() {
    let authority = Authority::new(&domain("example.org"), NOW);
    let mut bundle = authority.bundle();
    check_bundle(&bundle, &domain("example.org")).unwrap();
    assert!(matches!(check_bundle(&bundle, &domain("other.org")), Err(IssuedError::OtherBundle { .. })));
    bundle.x509_authorities.clear();
    assert!(matches!(check_bundle(&bundle, &domain("example.org")), Err(IssuedError::EmptyBundle { .. })));
}
