//! Endorsement keys that fail a check: what they are, who vouches for them, and what the operator says of them.

use plastron_attestation::{EkTemplate, Payload, Refused};
use plastron_attestation_appraise::{DeniedEk, DenyList, EkFingerprint, EkTrust};
use plastron_attestation_fake_tpm::{EkCertificate, FakeTpm};
use rcgen::CustomExtension;

use super::{forged, roca};
use crate::world::{Meddling, World};

pub(super) fn bad_certificate(change: fn(&mut EkCertificate)) -> Box<Refused> {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let mut certificate = EkCertificate::default();
    change(&mut certificate);
    tpm.certify(&certificate);
    world.refusal(&mut tpm, Meddling::default())
}

pub(super) fn pool_gone() -> Box<Refused> {
    let mut world = World::new();
    world.policy.pools.clear();
    let mut tpm = world.tpm();
    world.refusal(&mut tpm, Meddling::default())
}

pub(super) fn deny_list() -> Box<Refused> {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let fingerprint = EkFingerprint::of_bytes(&tpm.ek_public()).unwrap();
    let denied = DeniedEk { fingerprint, reason: "recalled".into() };
    world.policy.deny = DenyList { keys: vec![denied], ..DenyList::default() };
    world.refusal(&mut tpm, Meddling::default())
}

pub(super) fn ek_template() -> Box<Refused> {
    let mut world = World::with_pool(|config| config.ek_template = EkTemplate::L1Rsa2048);
    let mut tpm = world.tpm();
    world.refusal(&mut tpm, Meddling::default())
}

/// Threat 15: a modulus that is 1 modulo every prime of the ROCA test.
pub(super) fn ek_strength() -> Box<Refused> {
    let mut world = World::with_pool(|config| config.ek_template = EkTemplate::L1Rsa2048);
    let mut tpm = FakeTpm::new(&world.manufacturer, EkTemplate::L1Rsa2048);
    let weak = |bytes: Vec<u8>| {
        let mut payload = Payload::decode(&bytes).unwrap();
        let at = payload.ek_public.len() - 256;
        payload.ek_public[at..].copy_from_slice(&roca::modulus());
        payload.encode()
    };
    world.refusal(&mut tpm, Meddling { payload: Box::new(weak), ..Meddling::default() })
}

pub(super) fn ek_certificate() -> Box<Refused> {
    forged(|tpm| tpm.set_certificate(None))
}

pub(super) fn ek_certificate_key() -> Box<Refused> {
    let mut world = World::new();
    let other = world.tpm();
    let mut tpm = world.tpm();
    tpm.set_certificate(other.certificate().map(<[u8]>::to_vec));
    world.refusal(&mut tpm, Meddling::default())
}

pub(super) fn ek_critical_extension() -> Box<Refused> {
    bad_certificate(|certificate| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        certificate.extensions.push(extension);
    })
}

pub(super) fn ek_path() -> Box<Refused> {
    let mut world = World::new();
    let mut tpm = World::new().tpm();
    world.refusal(&mut tpm, Meddling::default())
}

pub(super) fn ek_pin() -> Box<Refused> {
    let pinned = crate::endorsement::pin_of(&World::new().tpm());
    let mut world = World::with_pool(|config| config.ek_trust = EkTrust::Pin(vec![pinned]));
    let mut tpm = world.tpm();
    world.refusal(&mut tpm, Meddling::default())
}
