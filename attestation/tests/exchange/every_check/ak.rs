//! Attestation keys that fail a check.

use plastron_attestation::{Payload, Refused};
use plastron_attestation_appraise::Check;
use plastron_attestation_fake_tpm::AkAlgorithm;
use plastron_attestation_tcg::{HashAlgorithm, ObjectAttributes};
use zeroize::Zeroizing;

use super::{forged, in_payload, in_response, roca};
use crate::world::{Meddling, World, assert_refused};

pub(super) fn ak_attributes() -> Box<Refused> {
    forged(|tpm| {
        let unrestricted = ObjectAttributes(tpm.ak_attributes().0 & !ObjectAttributes::RESTRICTED.0);
        tpm.set_ak_attributes(unrestricted);
    })
}

/// The scheme's hash, after type, nameAlg, attributes, an empty policy, no symmetric algorithm and the scheme.
pub(super) fn ak_algorithm() -> Box<Refused> {
    in_payload(|payload| payload.ak_public[14..16].copy_from_slice(&HashAlgorithm::Sha1.id().to_be_bytes()))
}

/// Threat 15: an AK whose modulus is of the ROCA family.
#[test]
fn a_weak_ak_is_refused() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    tpm.set_ak_algorithm(AkAlgorithm::Rsa2048);
    for (weak, what) in [(roca::modulus(), "ROCA"), (vec![0x7f; 256], "256 bytes")] {
        let payload = move |bytes: Vec<u8>| {
            let mut payload = Payload::decode(&bytes).unwrap();
            let at = payload.ak_public.len() - 256;
            payload.ak_public[at..].copy_from_slice(&weak);
            payload.encode()
        };
        let refused = world.refusal(&mut tpm, Meddling { payload: Box::new(payload), ..Meddling::default() });
        assert_refused(&refused, Check::AkAlgorithm);
        assert!(refused.error().describe().contains(what), "{refused}");
    }
}

pub(super) fn ak_activated() -> Box<Refused> {
    in_response(|response| response.secret = Some(Zeroizing::new(vec![0; 32])))
}
