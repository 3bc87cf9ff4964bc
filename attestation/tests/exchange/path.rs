//! Paths of EK certificates: what may be an issuer, how long a path may be, and how much a hostile one may cost.

use plastron_attestation::EkTemplate;
use plastron_attestation_appraise::{Check, EkTrust, ExpiredEk, Pool, TrustAnchors};
use plastron_attestation_fake_tpm::{FakeTpm, Manufacturer};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};

use crate::world::{Agent, Meddling, World, assert_refused, pool_config};

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// A root, CAs below it in order, and a TPM whose EK certificate the last one signs.
struct Chain {
    root: Vec<u8>,
    below: Vec<Vec<u8>>,
    tpm: FakeTpm,
}

impl Chain {
    fn new(root_params: CertificateParams, below_params: Vec<CertificateParams>) -> Self {
        let root_key = key();
        let root = root_params.self_signed(&root_key).unwrap().der().to_vec();
        let mut issuer = Issuer::new(root_params, root_key);
        let mut below = Vec::new();
        for params in below_params {
            let key = key();
            below.push(params.signed_by(&key, &issuer).unwrap().der().to_vec());
            issuer = Issuer::new(params, key);
        }
        let manufacturer = Manufacturer::with_issuer(&root, &[], issuer);
        let mut tpm = FakeTpm::new(&manufacturer, EkTemplate::H3P384);
        tpm.set_chain(below.clone());
        Self { root, below, tpm }
    }

    fn of_length(intermediates: usize) -> Self {
        Self::new(params("root"), (0..intermediates).map(|n| params(&format!("ca {n}"))).collect())
    }

    fn world(&self) -> World {
        let mut world = World::new();
        let mut config = pool_config(&world.manufacturer, EkTemplate::H3P384);
        config.ek_trust = EkTrust::Chain(TrustAnchors::new(vec![self.root.clone()], vec![]).unwrap());
        world.policy.pools = vec![Pool::new(config).unwrap()];
        world
    }

    fn refused_by(mut self, check: Check) {
        let refused = self.world().refusal(&mut self.tpm, Meddling::default());
        assert_refused(&refused, check);
    }

    fn admitted(mut self) {
        self.world().admit(&mut self.tpm, &mut Agent::default()).unwrap();
    }
}

fn changed(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = params("ca");
    change(&mut params);
    params
}

#[test]
fn up_to_six_intermediates() {
    for intermediates in [0, 1, 6] {
        Chain::of_length(intermediates).admitted();
    }
    Chain::of_length(7).refused_by(Check::EkPath);
}

/// On-die CAs: the chain from NV leads to an intermediate that the pool has, in whichever order it lies there.
#[test]
fn a_chain_from_the_tpm_and_intermediates_of_the_pool_make_one_path() {
    for of_pool in 0..6 {
        let mut chain = Chain::of_length(6);
        let mut from_tpm = chain.below.split_off(of_pool);
        from_tpm.reverse();
        chain.tpm.set_chain(from_tpm);
        let mut world = chain.world();
        let mut config = pool_config(&world.manufacturer, EkTemplate::H3P384);
        let anchors = TrustAnchors::new(vec![chain.root.clone()], chain.below.clone()).unwrap();
        config.ek_trust = EkTrust::Chain(anchors);
        world.policy.pools = vec![Pool::new(config).unwrap()];
        world.admit(&mut chain.tpm, &mut Agent::default()).unwrap();
        chain.tpm.set_chain(Vec::new());
        assert_refused(&world.refusal(&mut chain.tpm, Meddling::default()), Check::EkPath);
    }
}

/// `expired_ek` is about the TPM's own certificate: an issuer that expired refuses all the same.
#[test]
fn expired_issuers_are_never_accepted() {
    let expired = changed(|ca| {
        ca.not_before = date_time_ymd(2000, 1, 1);
        ca.not_after = date_time_ymd(2020, 1, 1);
    });
    let mut chain = Chain::new(params("root"), vec![expired]);
    let mut world = chain.world();
    let mut config = pool_config(&world.manufacturer, EkTemplate::H3P384);
    config.ek_trust = EkTrust::Chain(TrustAnchors::new(vec![chain.root.clone()], vec![]).unwrap());
    config.expired_ek = ExpiredEk::Accepted;
    world.policy.pools = vec![Pool::new(config).unwrap()];
    assert_refused(&world.refusal(&mut chain.tpm, Meddling::default()), Check::EkValidity);
}

#[test]
fn an_issuer_must_be_a_ca_that_signs_certificates() {
    Chain::new(params("root"), vec![changed(|ca| ca.is_ca = IsCa::ExplicitNoCa)]).refused_by(Check::EkPath);
    Chain::new(params("root"), vec![changed(|ca| ca.is_ca = IsCa::NoCa)]).refused_by(Check::EkPath);
    let no_signing = changed(|ca| ca.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    Chain::new(params("root"), vec![no_signing]).refused_by(Check::EkPath);
}

#[test]
fn a_path_length_constraint_holds() {
    let constrained = |limit| {
        let mut root = params("root");
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(limit));
        root
    };
    Chain::new(constrained(1), vec![params("ca")]).admitted();
    Chain::new(constrained(0), vec![params("ca")]).refused_by(Check::EkPath);
    Chain::new(constrained(0), vec![]).admitted();
}

#[test]
fn issuers_expire_and_have_critical_extensions_too() {
    let expired = changed(|ca| {
        ca.not_before = date_time_ymd(2000, 1, 1);
        ca.not_after = date_time_ymd(2020, 1, 1);
    });
    Chain::new(params("root"), vec![expired]).refused_by(Check::EkValidity);
    let critical = |oid: &[u64], content: &[u8]| {
        let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
        extension.set_criticality(true);
        changed(|ca| ca.custom_extensions.push(extension))
    };
    // Name constraints and policy constraints limit a path in ways that are not judged here; certificatePolicies says nothing.
    for unjudged in [[2, 5, 29, 30], [2, 5, 29, 36]] {
        Chain::new(params("root"), vec![critical(&unjudged, &[0x30, 0])]).refused_by(Check::EkCriticalExtension);
    }
    let any_policy = [0x30, 0x08, 0x30, 0x06, 0x06, 0x04, 0x55, 0x1d, 0x20, 0x00];
    Chain::new(params("root"), vec![critical(&[2, 5, 29, 32], &any_policy)]).admitted();
}

/// A root of the same name with another key is another root.
#[test]
fn names_prove_nothing() {
    let mut chain = Chain::of_length(1);
    chain.root = Chain::of_length(0).root;
    chain.refused_by(Check::EkPath);
}

/// Threat 29: certificates that share names make a search wide, and it stops.
#[test]
fn a_hostile_chain_costs_a_bounded_number_of_signatures() {
    // Eight CAs of one name and one key, each of which may have issued each other and the leaf.
    let key = key();
    let pkcs8 = key.serialize_der();
    let again = || KeyPair::try_from(pkcs8.clone()).unwrap();
    let issuer = Issuer::new(params("loop"), again());
    let mut chain = Chain::of_length(0);
    let looped = |serial: u8| {
        let mut params = params("loop");
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.signed_by(&key, &issuer).unwrap().der().to_vec()
    };
    let loops = (1..9).map(looped).collect();
    let manufacturer = Manufacturer::with_issuer(&chain.root, &[], Issuer::new(params("loop"), again()));
    chain.tpm = FakeTpm::new(&manufacturer, EkTemplate::H3P384);
    chain.tpm.set_chain(loops);
    let refused = chain.world().refusal(&mut chain.tpm, Meddling::default());
    assert_refused(&refused, Check::EkPath);
    assert!(refused.error().describe().contains("more than 32 candidates"), "{refused}");
}

#[test]
fn a_chain_that_is_too_long_to_be_looked_at() {
    let mut chain = Chain::of_length(1);
    chain.tpm.set_chain(vec![chain.below[0].clone(); 9]);
    chain.refused_by(Check::Malformed);
}
