//! Certificates that are valid since the year 1: SPIRE's own suites attest with such.

use std::sync::Arc;

use plastron_plugins::node::{
    Admission, AdmissionContext, AgentContext, AgentNodeAttestor as _, NodeAttestor as _, NodeStep, Refusal,
};
use plastron_plugins_node_x509pop::{
    CaBundle, ChainLimits, ClientAddress, Mode, PathTemplate, X509PopAttestor, X509PopNodeAttestor, X509PopPolicy,
};
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;

use super::pki::{Key, Leaf, Pki};

async fn attest(pki: &Pki, leaf: &Leaf) -> Result<Vec<String>, Refusal> {
    let policy = X509PopPolicy {
        mode: Mode::ExternalPki { roots: CaBundle::new([pki.root_der()]).unwrap() },
        agent_path: PathTemplate::by_fingerprint(),
        limits: ChainLimits::DEFAULT,
        client_address: ClientAddress::NotCompared,
    };
    let (now, trust_domain) = (
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000)),
        TrustDomain::parse("example.org").unwrap(),
    );
    let directory = tempfile::tempdir().unwrap();
    let context = AgentContext { trust_domain: trust_domain.clone(), svid_public_key: Arc::from([]) };
    let mut agent = X509PopAttestor::new(leaf.write(directory.path())).begin(context);
    let context = AdmissionContext { trust_domain, svid_public_key: Arc::from([]), peer: None };
    let mut server = X509PopNodeAttestor::new(policy).begin(context);
    let NodeStep::Challenge(challenge) = server.step(&agent.payload().await.unwrap(), now).await? else {
        panic!("no challenge")
    };
    let response = agent.respond(&challenge).await.unwrap();
    match server.step(&response, now).await? {
        NodeStep::Admit(Admission::Document(proof)) => Ok(proof.selectors().iter().map(ToString::to_string).collect()),
        _other => panic!("another answer"),
    }
}

#[tokio::test]
async fn a_chain_that_is_valid_since_ever_counts_by_the_bytes_that_arrived() {
    let pki = Pki::since_ever();
    let leaf = |year| {
        pki.leaf(Key::p256(), move |params| {
            params.not_before = rcgen::date_time_ymd(1, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
        })
    };
    let selectors = attest(&pki, &leaf(2035)).await.unwrap();
    // Fingerprints are of what arrived, the intermediate's too.
    let fingerprint = format!("x509pop:ca:fingerprint:{}", pki.intermediate_fingerprint());
    assert!(selectors.contains(&fingerprint), "{selectors:?}");
    let forged = attest(&pki, &leaf(2035).forged()).await.unwrap_err();
    assert!(forged.to_string().contains("InvalidSignature"), "{forged}");
    let expired = attest(&pki, &leaf(2020)).await.unwrap_err();
    assert!(expired.to_string().contains("CertExpired"), "{expired}");
}
