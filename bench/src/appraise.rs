//! Quote appraisals per CPU-second, beside the raw verification of signatures by a key of the same type.
//!
//! An appraisal is a whole conversation as the server sees it, TLS and database left out: payload and response read, EK certificate judged
//! (two more signatures, on P-256), quote verified and bound to this conversation, and either PCRs of three banks compared, or the event
//! log replayed in all of them, read for facts and judged by them. A renewal compares the AK and the TPM's state with the record; an
//! enrolment makes a credential. The same bytes are judged again and again, which the verifier's own randomness being an argument makes
//! possible.

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
use plastron_attestation_fake_tpm::event_log::LogBuilder;
use plastron_attestation_fake_tpm::{AkAlgorithm, FakeTpm, Manufacturer};
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

use crate::error::BenchError;
use crate::figures::{Series, heading, line};
use crate::{Effort, cpu, event_log};

/// 2026-06-01.
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_780_272_000));
const SVID_KEY: &[u8] = b"SubjectPublicKeyInfo of an SVID";
const TEMPLATE: EkTemplate = EkTemplate::H3P384;

pub(crate) fn run(effort: Effort) -> Result<(), BenchError> {
    heading(
        "Appraisals, one thread (CPU time); each is three signatures: the quote, and two of the EK's chain on P-256",
    );
    for (name, algorithm, raw) in
        [("RSA-2048", AkAlgorithm::Rsa2048, rsa()?), ("ECDSA P-256", AkAlgorithm::P256, ecdsa()?)]
    {
        let log = event_log::log(88, 26_000)?;
        let quote_alone = Recorded::renewal(algorithm, None)?;
        let renewal = Recorded::renewal(algorithm, Some(&log))?;
        let enrolment = Recorded::enrolment(algorithm, &log)?;
        let mut series: [Series; 4] = Default::default();
        let [quotes, renewals, enrolments, raws] = &mut series;
        for _ in 0..effort.rounds {
            quotes.push(per_second(effort, || quote_alone.judge().map(drop))?);
            renewals.push(per_second(effort, || renewal.judge().map(drop))?);
            enrolments.push(per_second(effort, || enrolment.judge().map(drop))?);
            raws.push(per_second(effort, || raw.verify())?);
        }
        for (what, done) in [
            ("renewals without a log", &*quotes),
            ("renewals with a log of 26 KB", renewals),
            ("enrolments with that log", enrolments),
        ] {
            line(&format!("{name} AK: {what}, per CPU-second"), &done.show(0));
            line(&format!("{name} AK: {what}, per raw verification"), &done.over(raws).show(3));
        }
        line(&format!("{name} AK: raw verifications per CPU-second"), &raws.show(0));
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

/// The bytes of one conversation, and what the server knew when it judged them.
struct Recorded {
    policy: Arc<VerifierPolicy>,
    known: Option<KnownTpm>,
    stored_log: Option<Vec<u8>>,
    payload: Vec<u8>,
    response: Vec<u8>,
}

impl Recorded {
    /// A TPM enrols, and what it says then is not what is measured; without a log, the pool accepts that.
    fn renewal(algorithm: AkAlgorithm, log: Option<&LogBuilder>) -> Result<Self, BenchError> {
        let missing = if log.is_some() { MissingEventLog::Refuse } else { MissingEventLog::Accept };
        let (policy, mut tpm) = machine(algorithm, log, missing)?;
        let stored_log = log.map(|log| log.bytes().to_vec());
        let mut conversation = Conversation::of(&policy, &mut tpm, None, None, stored_log.as_deref())?;
        let enrolled = Arc::new(conversation.node.enrolled_tpm().clone());
        let known = Some(KnownTpm { enrolled, standing: Standing::Enrolled });
        let ak = conversation.new_ak.take();
        let Conversation { payload, response, .. } =
            Conversation::of(&policy, &mut tpm, ak, known.clone(), stored_log.as_deref())?;
        Ok(Self { policy, known, stored_log, payload, response })
    }

    fn enrolment(algorithm: AkAlgorithm, log: &LogBuilder) -> Result<Self, BenchError> {
        let (policy, mut tpm) = machine(algorithm, Some(log), MissingEventLog::Refuse)?;
        let Conversation { payload, response, .. } =
            Conversation::of(&policy, &mut tpm, None, None, Some(log.bytes()))?;
        Ok(Self { policy, known: None, stored_log: None, payload, response })
    }

    fn judge(&self) -> Result<Box<AttestedNode>, BenchError> {
        let mut verifier = verifier(&self.policy);
        challenge(&mut verifier, &self.payload, self.known.as_ref())?;
        admit(&mut verifier, &self.response, self.stored_log.as_deref())
    }
}

/// A server with one pool, and a TPM that it trusts, which was told what the log says.
fn machine(
    algorithm: AkAlgorithm,
    log: Option<&LogBuilder>,
    missing: MissingEventLog,
) -> Result<(Arc<VerifierPolicy>, FakeTpm), BenchError> {
    let manufacturer = Manufacturer::new("Bench");
    let anchors = TrustAnchors::new(vec![manufacturer.root()], vec![manufacturer.intermediate()]);
    let mut pool = PoolConfig::new("bench", EkTrust::Chain(anchors.map_err(BenchError::wrong)?));
    pool.ek_template = TEMPLATE;
    pool.boot.missing_event_log = missing;
    let pools = vec![Pool::new(pool).map_err(BenchError::wrong)?];
    let mut tpm = FakeTpm::new(&manufacturer, TEMPLATE);
    tpm.set_ak_algorithm(algorithm);
    if let Some(log) = log {
        log.boot(&mut tpm);
    }
    Ok((Arc::new(VerifierPolicy { pools, deny: DenyList::default() }), tpm))
}

struct Conversation {
    payload: Vec<u8>,
    response: Vec<u8>,
    node: Box<AttestedNode>,
    new_ak: Option<AkBlob>,
}

impl Conversation {
    fn of(
        policy: &Arc<VerifierPolicy>,
        tpm: &mut FakeTpm,
        ak: Option<AkBlob>,
        known: Option<KnownTpm>,
        log: Option<&[u8]>,
    ) -> Result<Self, BenchError> {
        let mut attester = Attester::new(AttesterContext {
            template: TEMPLATE,
            trust_domain: trust_domain()?,
            svid_public_key: SVID_KEY.to_vec(),
            claims: Claims::default(),
            ak,
            ek: None,
            event_log: log.map(Arc::from),
            svid_key: None,
        });
        let mut verifier = verifier(policy);
        let payload = send(&mut attester, tpm, AttesterEvent::Begin)?;
        let challenge = challenge(&mut verifier, &payload, known.as_ref())?;
        let response = send(&mut attester, tpm, AttesterEvent::Challenge(&challenge))?;
        let node = admit(&mut verifier, &response, log)?;
        let new_ak = match attester.step(AttesterEvent::Admitted).map_err(BenchError::wrong)? {
            AttesterAction::Keep(ak) => Some(ak),
            _ => None,
        };
        Ok(Self { payload, response, node, new_ak })
    }
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

/// `stored_log` is what the server has kept.
fn admit(verifier: &mut Verifier, response: &[u8], stored_log: Option<&[u8]>) -> Result<Box<AttestedNode>, BenchError> {
    let mut action = verifier.step(VerifierEvent::Response(response), NOW).map_err(BenchError::wrong)?;
    if matches!(action, VerifierAction::FetchLog { .. }) {
        let stored = VerifierEvent::StoredLog(stored_log.map(<[u8]>::to_vec));
        action = verifier.step(stored, NOW).map_err(BenchError::wrong)?;
    }
    match action {
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
