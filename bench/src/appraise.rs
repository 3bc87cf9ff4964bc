//! Quote appraisals per CPU-second, beside the raw verification of signatures by a key of the same type.
//!
//! An appraisal is a whole renewal as the server sees it: payload and response read, EK certificate judged again (two more signatures, on
//! P-256), AK compared with the record, quote verified and bound to this conversation, PCRs of three banks compared, state compared
//! with the last. The same bytes are judged again and again,
//! which the verifier's own randomness being an argument makes possible.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use plastron_attestation::{
    AkBlob, Attester, AttesterAction, AttesterContext, AttesterEvent, Claims, EkTemplate, Entropy, KnownTpm, Standing,
    TpmDevice, Verifier, VerifierAction, VerifierEvent, VerifierPolicy, perform,
};
use plastron_attestation_appraise::{
    AttestedNode, CredentialEntropy, DenyList, EkTrust, MissingEventLog, Pool, PoolConfig, TrustAnchors,
};
use plastron_attestation_fake_tpm::{AkAlgorithm, FakeTpm, Manufacturer};
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

use crate::error::BenchError;
use crate::figures::{Series, heading, line};
use crate::{Effort, cpu};

/// 2026-06-01.
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_780_272_000));
const SVID_KEY: &[u8] = b"SubjectPublicKeyInfo of an SVID";
const TEMPLATE: EkTemplate = EkTemplate::H3P384;

pub(crate) fn run(effort: Effort) -> Result<(), BenchError> {
    heading(
        "Quote appraisals, one thread (CPU time); each is three signatures: the quote, and two of the EK's chain on P-256",
    );
    for (name, algorithm, raw) in
        [("RSA-2048", AkAlgorithm::Rsa2048, rsa()?), ("ECDSA P-256", AkAlgorithm::P256, ecdsa()?)]
    {
        let renewal = Renewal::record(algorithm)?;
        let (mut appraisals, mut raws) = (Series::default(), Series::default());
        for _ in 0..effort.rounds {
            appraisals.push(per_second(effort, || renewal.judge().map(drop))?);
            raws.push(per_second(effort, || raw.verify())?);
        }
        line(&format!("{name} AK: appraisals per CPU-second"), &appraisals.show(0));
        line(&format!("{name} AK: raw verifications per CPU-second"), &raws.show(0));
        line(&format!("{name} AK: appraisals per raw verification"), &appraisals.over(&raws).show(3));
    }
    Ok(())
}

/// Operations per CPU-second of this thread.
pub(crate) fn per_second(
    effort: Effort,
    mut operation: impl FnMut() -> Result<(), BenchError>,
) -> Result<f64, BenchError> {
    let (start, limit) = (cpu::of_this_thread(), Duration::from_secs(effort.seconds) / 2);
    let mut done = 0u32;
    loop {
        for _ in 0..64 {
            operation()?;
        }
        done += 64;
        let spent = cpu::of_this_thread().saturating_sub(start);
        if spent >= limit {
            return Ok(f64::from(done) / spent.as_secs_f64());
        }
    }
}

/// The bytes of one renewal, and what the server knew when it judged them.
struct Renewal {
    policy: Arc<VerifierPolicy>,
    known: KnownTpm,
    payload: Vec<u8>,
    response: Vec<u8>,
}

impl Renewal {
    fn record(algorithm: AkAlgorithm) -> Result<Self, BenchError> {
        let manufacturer = Manufacturer::new("Bench");
        let anchors = TrustAnchors::new(vec![manufacturer.root()], vec![manufacturer.intermediate()]);
        let mut pool = PoolConfig::new("bench", EkTrust::Chain(anchors.map_err(BenchError::wrong)?));
        pool.ek_template = TEMPLATE;
        pool.boot.missing_event_log = MissingEventLog::Accept;
        let pools = vec![Pool::new(pool).map_err(BenchError::wrong)?];
        let policy = Arc::new(VerifierPolicy { pools, deny: DenyList::default() });
        let mut tpm = FakeTpm::new(&manufacturer, TEMPLATE);
        tpm.set_ak_algorithm(algorithm);
        let (node, ak) = converse(&policy, &mut tpm, None, None)?.admitted()?;
        let enrolled = Arc::new(node.enrolled_tpm().clone());
        let known = KnownTpm { enrolled, standing: Standing::Enrolled };
        let Conversation { payload, response, outcome, .. } = converse(&policy, &mut tpm, ak, Some(known.clone()))?;
        outcome?;
        Ok(Self { policy, known, payload, response })
    }

    fn judge(&self) -> Result<Box<AttestedNode>, BenchError> {
        let mut verifier = verifier(&self.policy);
        challenge(&mut verifier, &self.payload, Some(&self.known))?;
        admit(&mut verifier, &self.response)
    }
}

struct Conversation {
    payload: Vec<u8>,
    response: Vec<u8>,
    outcome: Result<Box<AttestedNode>, BenchError>,
    new_ak: Option<AkBlob>,
}

impl Conversation {
    fn admitted(self) -> Result<(Box<AttestedNode>, Option<AkBlob>), BenchError> {
        Ok((self.outcome?, self.new_ak))
    }
}

fn converse(
    policy: &Arc<VerifierPolicy>,
    tpm: &mut FakeTpm,
    ak: Option<AkBlob>,
    known: Option<KnownTpm>,
) -> Result<Conversation, BenchError> {
    let mut attester = Attester::new(AttesterContext {
        template: TEMPLATE,
        trust_domain: trust_domain()?,
        svid_public_key: SVID_KEY.to_vec(),
        claims: Claims::default(),
        ak,
        ek: None,
        event_log: None,
        svid_key: None,
    });
    let mut verifier = verifier(policy);
    let payload = send(&mut attester, tpm, AttesterEvent::Begin)?;
    let challenge = challenge(&mut verifier, &payload, known.as_ref())?;
    let response = send(&mut attester, tpm, AttesterEvent::Challenge(&challenge))?;
    let outcome = admit(&mut verifier, &response);
    let new_ak = match attester.step(AttesterEvent::Admitted).map_err(BenchError::wrong)? {
        AttesterAction::Keep(ak) => Some(ak),
        _ => None,
    };
    Ok(Conversation { payload, response, outcome, new_ak })
}

/// Drives an attester and its TPM until it has something to send.
pub(crate) fn send(
    attester: &mut Attester,
    tpm: &mut dyn TpmDevice,
    event: AttesterEvent<'_>,
) -> Result<Vec<u8>, BenchError> {
    let mut action = attester.step(event).map_err(BenchError::wrong)?;
    loop {
        match action {
            AttesterAction::Send(bytes) => return Ok(bytes),
            AttesterAction::Tpm(request) => {
                let reply = perform(tpm, TEMPLATE, request).map_err(BenchError::wrong)?;
                action = attester.step(AttesterEvent::Tpm(reply)).map_err(BenchError::wrong)?;
            }
            other => return Err(BenchError::wrong(format!("the attester wants {other:?}"))),
        }
    }
}

fn trust_domain() -> Result<TrustDomain, BenchError> {
    TrustDomain::parse("bench.example").map_err(BenchError::wrong)
}

/// The nonce is the same in every conversation, so that recorded answers fit.
fn verifier(policy: &Arc<VerifierPolicy>) -> Verifier {
    let credential = CredentialEntropy { secret: Zeroizing::new([2; 32]), seed: Zeroizing::new([3; 48]) };
    let entropy = Entropy { nonce: [1; 32], credential };
    // The name is a constant that parses.
    let trust_domain = trust_domain().unwrap_or_else(|_| unreachable!());
    Verifier::new(Arc::clone(policy), trust_domain, SVID_KEY.to_vec(), entropy)
}

fn challenge(verifier: &mut Verifier, payload: &[u8], known: Option<&KnownTpm>) -> Result<Vec<u8>, BenchError> {
    verifier.step(VerifierEvent::Payload(payload), NOW).map_err(BenchError::wrong)?;
    let known = VerifierEvent::Known { by_ak: known.cloned(), by_ek: known.cloned() };
    match verifier.step(known, NOW).map_err(BenchError::wrong)? {
        VerifierAction::Challenge(bytes) => Ok(bytes),
        other => Err(BenchError::wrong(format!("the verifier wants {other:?}"))),
    }
}

fn admit(verifier: &mut Verifier, response: &[u8]) -> Result<Box<AttestedNode>, BenchError> {
    match verifier.step(VerifierEvent::Response(response), NOW).map_err(BenchError::wrong)? {
        VerifierAction::Admit(node) => Ok(node),
        other => Err(BenchError::wrong(format!("the verifier wants {other:?}"))),
    }
}

/// One signature over as many bytes as a quote has.
struct Raw {
    algorithm: &'static dyn aws_lc_rs::signature::VerificationAlgorithm,
    key: Vec<u8>,
    signature: Vec<u8>,
}

const MESSAGE: [u8; 145] = [7; 145];

impl Raw {
    fn verify(&self) -> Result<(), BenchError> {
        let key = UnparsedPublicKey::new(self.algorithm, &self.key);
        key.verify(&MESSAGE, &self.signature).map_err(|_| BenchError::wrong("a raw signature does not verify"))
    }
}

fn rsa() -> Result<Raw, BenchError> {
    let failed = |_| BenchError::wrong("can't make an RSA key");
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &MESSAGE, &mut signature).map_err(failed)?;
    Ok(Raw { algorithm: &RSA_PKCS1_2048_8192_SHA256, key: pair.public_key().as_ref().to_vec(), signature })
}

fn ecdsa() -> Result<Raw, BenchError> {
    let failed = |_| BenchError::wrong("can't make a P-256 key");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
    let signature = pair.sign(&SystemRandom::new(), &MESSAGE).map_err(failed)?.as_ref().to_vec();
    Ok(Raw { algorithm: &ECDSA_P256_SHA256_FIXED, key: pair.public_key().as_ref().to_vec(), signature })
}
