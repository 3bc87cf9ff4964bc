//! A TPM that answers "later" is asked again with bounded patience; one that refuses is not.

use std::time::{Duration, Instant};

use plastron_attestation::{AkBlob, EkTemplate, PcrSelection, QuoteBytes, TpmDevice, TpmDeviceError};
use plastron_hsm_tpm::{AuthValue, Tpm, TpmConfig};
use plastron_swtpm_tests::Swtpm;
use zeroize::Zeroizing;

use crate::exchange::open;
use crate::tap::Tap;
use crate::tpm_device::assert_nothing_left;

/// TPM_RC (TPM 2.0 Library part 2, section 6.6.3).
const YIELDED: u32 = 0x908;
const TESTING: u32 = 0x90a;
const NV_RATE: u32 = 0x920;
const LOCKOUT: u32 = 0x921;
const RETRY: u32 = 0x922;
/// TPM_RC_AUTH_FAIL for the first session of a command.
const AUTH_FAIL: u32 = 0x98e;

/// TPM_CC.
const CREATE: u32 = 0x153;
const POLICY_SECRET: u32 = 0x151;
const QUOTE: u32 = 0x158;

const TEMPLATE: EkTemplate = EkTemplate::L1Rsa2048;

/// Answers this command with that code, the first `times`.
fn answer(tap: &Tap, command: u32, code: u32, times: usize) {
    let mut left = times;
    tap.forget_commands();
    tap.set_answer(Some(Box::new(move |sent| {
        let answers = sent == command && left > 0;
        left -= usize::from(answers);
        answers.then_some(code)
    })));
}

fn tapped() -> (Swtpm, Tap, Tpm, AkBlob) {
    let tpm = Swtpm::start().unwrap();
    let tap = Tap::on(&tpm);
    let device = Tpm::open(TpmConfig::new(tap.tcti())).unwrap();
    let ak = open(&tpm).create_attestation_key(TEMPLATE).unwrap();
    (tpm, tap, device, ak)
}

fn quote(device: &mut Tpm, ak: &AkBlob) -> Result<QuoteBytes, TpmDeviceError> {
    device.quote(TEMPLATE, ak, &[7; 32], &PcrSelection(vec![(0x000b, 0xff)]))
}

/// The command comes through as it was, sent once more than it was put off. libtss2 alone would have given up after five or six.
fn heals(code: u32) {
    let (tpm, tap, mut device, ak) = tapped();
    answer(&tap, QUOTE, code, 7);
    quote(&mut device, &ak).unwrap();
    assert_eq!(tap.count(QUOTE), 8);
    assert_nothing_left(&tpm);
}

/// It ends, says what the TPM said, and leaves the TPM usable.
fn gives_up(code: u32) {
    let (tpm, tap, mut device, ak) = tapped();
    answer(&tap, QUOTE, code, usize::MAX);
    let began = Instant::now();
    let error = quote(&mut device, &ak).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(matches!(&error, TpmDeviceError::Command { command: "Quote", .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("still busy after 8 attempts") && text.contains(&format!("{code:#x}")), "{text}");
    let sent = tap.count(QUOTE);
    assert!((8..=48).contains(&sent), "sent {sent} times");
    tap.set_answer(None);
    quote(&mut device, &ak).unwrap();
    assert_nothing_left(&tpm);
}

#[test]
fn retry_heals() {
    heals(RETRY);
}

#[test]
fn retry_without_end_is_an_error() {
    gives_up(RETRY);
}

#[test]
fn yielded_heals() {
    heals(YIELDED);
}

#[test]
fn yielded_without_end_is_an_error() {
    gives_up(YIELDED);
}

#[test]
fn testing_heals() {
    heals(TESTING);
}

#[test]
fn testing_without_end_is_an_error() {
    gives_up(TESTING);
}

#[test]
fn nv_rate_heals() {
    heals(NV_RATE);
}

#[test]
fn nv_rate_without_end_is_an_error() {
    gives_up(NV_RATE);
}

/// Whatever command the lockout answers: it went out once, and nothing followed it but what frees the slots.
#[test]
fn lockout_is_not_sent_again() {
    let (tpm, tap, mut device, ak) = tapped();
    for command in [POLICY_SECRET, QUOTE] {
        answer(&tap, command, LOCKOUT, usize::MAX);
        let error = quote(&mut device, &ak).unwrap_err();
        assert!(matches!(error, TpmDeviceError::Lockout), "{error}");
        assert_eq!(tap.count(command), 1);
        tap.set_answer(None);
    }
    answer(&tap, CREATE, LOCKOUT, usize::MAX);
    let error = device.create_attestation_key(TEMPLATE).unwrap_err();
    assert!(matches!(error, TpmDeviceError::Lockout), "{error}");
    assert_eq!(tap.count(CREATE), 1);
    tap.set_answer(None);
    quote(&mut device, &ak).unwrap();
    assert_nothing_left(&tpm);
}

/// A refused authorisation value goes out once in the life of its configuration, even where the TPM would take it the next time.
#[test]
fn auth_fail_is_not_sent_again() {
    let (tpm, tap, _, ak) = tapped();
    let value = AuthValue::new(Zeroizing::new(Vec::new()), "the file /etc/plastron/auth").unwrap();
    let config = TpmConfig { endorsement_auth: value, ..TpmConfig::new(tap.tcti()) };
    answer(&tap, POLICY_SECRET, AUTH_FAIL, 1);
    for _ in 0..3 {
        let error = quote(&mut Tpm::open(config.clone()).unwrap(), &ak).unwrap_err();
        assert!(matches!(error, TpmDeviceError::WrongAuth { hierarchy: "endorsement", .. }), "{error}");
    }
    assert_eq!(tap.count(POLICY_SECRET), 1);
    assert_nothing_left(&tpm);
}
