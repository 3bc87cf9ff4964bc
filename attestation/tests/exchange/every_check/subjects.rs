//! Proofs about two TPMs do not combine, whoever puts them together.

use std::sync::Arc;

use plastron_attestation::{AkBlob, EkTemplate, PcrSelection, TpmDevice};
use plastron_attestation_appraise::{
    AcceptableAk, Appraisal, AttestedNode, Binding, BoundAk, Check, Checklist, Claims, CredentialEntropy, EkEvidence,
    Expected, History, PendingActivation, Pool, Purpose, TrustedEk, VerifiedQuote,
};
use plastron_attestation_fake_tpm::FakeTpm;
use plastron_spiffe::TrustDomain;
use zeroize::Zeroizing;

use crate::world::{NOW, World, pool_config, time};

/// Everything that one TPM proves, stage by stage.
struct Proofs {
    ek: TrustedEk,
    ak: BoundAk,
    quote: VerifiedQuote,
}

const TEMPLATE: EkTemplate = EkTemplate::H3P384;

fn prove(world: &World, tpm: &mut FakeTpm) -> Proofs {
    prove_with_blob(world, tpm).0
}

fn prove_with_blob(world: &World, tpm: &mut FakeTpm) -> (Proofs, AkBlob) {
    let template = TEMPLATE;
    let checks = &mut Checklist::new();
    let material = tpm.endorsement_key(template).unwrap();
    let evidence = EkEvidence {
        public: &material.public,
        certificate: material.certificate.as_deref(),
        intermediates: &material.chain,
    };
    let ek = TrustedEk::judge(evidence, &world.policy.pools, &world.policy.deny, NOW, checks).unwrap();
    let blob = tpm.create_attestation_key(template).unwrap();
    let ak = AcceptableAk::check(&blob.public, checks).unwrap();
    let entropy = CredentialEntropy { secret: Zeroizing::new([9; 32]), seed: Zeroizing::new([8; 48]) };
    let (pending, made) = PendingActivation::make(&ek, ak, entropy).unwrap();
    let secret = tpm.activate_credential(template, &blob, &made.id_object, &made.encrypted_secret).unwrap();
    let ak = pending.activated(&secret, checks).unwrap();
    let quote = quote(world, tpm, &ak, &blob, [1; 32]);
    (Proofs { ek, ak, quote }, blob)
}

fn quote(world: &World, tpm: &mut FakeTpm, ak: &BoundAk, blob: &AkBlob, nonce: [u8; 32]) -> VerifiedQuote {
    let binding = Binding {
        purpose: Purpose::Enrol,
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        nonce,
        payload_sha256: vec![2; 32],
        challenge_sha256: vec![3; 32],
        svid_public_key: vec![4],
    };
    let asked = world.policy.pools[0].selection();
    let selection = PcrSelection(asked.iter().map(|bank| (bank.hash, bank.bitmap)).collect());
    let quote = tpm.quote(TEMPLATE, blob, &binding.extra_data(), &selection).unwrap();
    let (values, checks) = (&quote.pcr_values, &mut Checklist::new());
    VerifiedQuote::verify(ak, &quote.attest, &quote.signature, values, asked, &binding, checks).unwrap()
}

/// Threat 7, threat 10: proofs carry their subject, whoever combines them.
#[test]
fn proofs_about_two_tpms_do_not_combine() {
    let world = World::new();
    let pool = &world.policy.pools[0];
    let deny = &world.policy.deny;
    let judge = |ek: &Proofs, ak: &Proofs, quote: &Proofs| {
        let expected = Expected { pool, deny, history: History::New };
        Appraisal::judge(&ek.ek, &ak.ak, &quote.quote, None, None, expected, &mut Checklist::new())
    };
    let (a, b) = (prove(&world, &mut world.tpm()), prove(&world, &mut world.tpm()));
    for (ek, ak, quote) in [(&a, &b, &b), (&b, &a, &b), (&b, &b, &a)] {
        assert_eq!(judge(ek, ak, quote).unwrap_err().check(), Check::Subject);
    }
    let other_pool = Pool::new({
        let mut config = pool_config(&world.manufacturer, EkTemplate::H3P384);
        config.name = "other".into();
        config
    })
    .unwrap();
    let expected = Expected { pool: &other_pool, deny, history: History::New };
    let judged = Appraisal::judge(&a.ek, &a.ak, &a.quote, None, None, expected, &mut Checklist::new());
    assert_eq!(judged.unwrap_err().check(), Check::Subject);

    let (mut tpm, mut other) = (world.tpm(), world.tpm());
    for swapped in 0..4 {
        let (mut own, mut foreign) = (prove(&world, &mut tpm), prove(&world, &mut other));
        let judged = if swapped == 3 { &foreign } else { &own };
        let appraisal = judge(judged, judged, judged).unwrap();
        match swapped {
            0 => std::mem::swap(&mut own.ek, &mut foreign.ek),
            1 => std::mem::swap(&mut own.ak, &mut foreign.ak),
            2 => std::mem::swap(&mut own.quote, &mut foreign.quote),
            _ => {}
        }
        let Proofs { ek, ak, quote } = own;
        let admitted = AttestedNode::admit(ek, ak, quote, appraisal, Claims::default(), time(NOW), Checklist::new());
        assert_eq!(admitted.unwrap_err().0.check(), Check::Subject);
    }
    let appraisal = judge(&a, &a, &a).unwrap();
    let Proofs { ek, ak, quote } = a;
    assert!(AttestedNode::admit(ek, ak, quote, appraisal, Claims::default(), time(NOW), Checklist::new()).is_ok());
}

/// Threat 13: what one quote of a node shows is not taken for another's, of the same AK in the same boot.
#[test]
fn proofs_of_two_conversations_do_not_combine() {
    let world = World::new();
    let mut tpm = world.tpm();
    let (Proofs { ek, ak, quote: judged }, blob) = prove_with_blob(&world, &mut tpm);
    let later = quote(&world, &mut tpm, &ak, &blob, [2; 32]);
    let expected = Expected { pool: &world.policy.pools[0], deny: &world.policy.deny, history: History::New };
    let appraisal = Appraisal::judge(&ek, &ak, &judged, None, None, expected, &mut Checklist::new()).unwrap();
    let admitted = AttestedNode::admit(ek, ak, later, appraisal, Claims::default(), time(NOW), Checklist::new());
    assert_eq!(admitted.unwrap_err().0.check(), Check::Subject);
}

/// A record of one node can't bind the AK of another, nor stand in for the history of one that is new.
#[test]
fn a_record_is_about_its_own_tpm() {
    let mut world = World::new();
    let (mut tpm, _, node) = world.enrolled();
    let proofs = prove(&world, &mut world.tpm());
    let ak = AcceptableAk::check(&node.enrolled_tpm().ak_public, &mut Checklist::new()).unwrap();
    let bound = BoundAk::enrolled(&proofs.ek, ak.clone(), node.enrolled_tpm(), &mut Checklist::new());
    assert_eq!(bound.unwrap_err().check(), Check::Subject);
    let own = prove(&world, &mut tpm);
    let known = Arc::clone(&world.known[0].enrolled);
    let judged = Appraisal::judge(
        &proofs.ek,
        &proofs.ak,
        &proofs.quote,
        None,
        None,
        Expected {
            pool: &world.policy.pools[0],
            deny: &world.policy.deny,
            history: History::Known(Box::new((*known).clone())),
        },
        &mut Checklist::new(),
    );
    assert_eq!(judged.unwrap_err().check(), Check::Subject);
    assert_eq!(own.ek.fingerprint(), node.ek_fingerprint());
}
