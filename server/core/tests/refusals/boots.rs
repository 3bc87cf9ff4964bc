//! Refusals whose words come from what a log tells: a TPM in memory boots so, and is refused.

use std::sync::Arc;
use std::time::Duration;

use plastron_attestation::{
    Attester, AttesterAction, AttesterContext, AttesterEvent, Claims, EkTemplate, Entropy, ExchangeError, Verifier,
    VerifierAction, VerifierEvent, VerifierPolicy, perform,
};
use plastron_attestation_appraise::{CredentialEntropy, DenyList, EkTrust, GoldenPcr, Pool, PoolConfig, TrustAnchors};
use plastron_attestation_fake_tpm::event_log::{LinuxBoot, LogBuilder, uefi_variable};
use plastron_attestation_fake_tpm::{FakeTpm, Manufacturer};
use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::EventType;
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;

const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(crate::fixture::START));
const TEMPLATE: EkTemplate = EkTemplate::H3P384;
const KEY: &[u8] = b"the SPKI of the CSR";
/// EFI_GLOBAL_VARIABLE.
const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// More GRUB commands than are kept as facts.
const TOO_MANY_COMMANDS: usize = 2_100;

type Change = fn(&mut LogBuilder);

/// All of them, by what was wrong.
pub(crate) fn all() -> Vec<(String, ExchangeError)> {
    let odd: [(&str, Change); 5] = [
        ("a second separator", |log| {
            log.event(2, EventType::SEPARATOR, &[0; 4]);
        }),
        ("an error separator", |log| {
            log.event(3, EventType::SEPARATOR, &[1, 0, 0, 0]);
        }),
        ("SecureBoot measured twice", |log| {
            log.event(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, &uefi_variable(&GLOBAL, "SecureBoot", &[1]));
        }),
        ("a debugger in firmware", |log| {
            log.event(7, EventType::EFI_ACTION, b"UEFI Debug Mode");
        }),
        ("an application after ExitBootServices", |log| {
            log.event(4, EventType::EFI_BOOT_SERVICES_APPLICATION, &[0; 32]);
        }),
    ];
    let mut all: Vec<(String, ExchangeError)> =
        odd.into_iter().map(|(name, change)| (name.to_owned(), refused(&changed(change), |_, _| {}))).collect();
    let without_secure_boot = LinuxBoot { secure_boot: false, ..LinuxBoot::default() }.log();
    all.push((
        "Secure Boot off".to_owned(),
        refused(&without_secure_boot, |config, _| config.boot.secure_boot = Some(true)),
    ));
    all.push((
        "another boot than the golden one".to_owned(),
        refused(&LinuxBoot::default().log(), |config, _| {
            for bank in [HashAlgorithm::Sha256, HashAlgorithm::Sha384] {
                config.golden_pcrs.push(GoldenPcr { bank, index: 4, value: vec![0xab; bank.digest_len()] });
            }
        }),
    ));
    let unknown = changed(|log| {
        log.event(4, EventType(0x1234_5678), b"?");
    });
    all.push((
        "an unknown event in a pinned PCR".to_owned(),
        refused(&unknown, |config, tpm| {
            for bank in [HashAlgorithm::Sha256, HashAlgorithm::Sha384] {
                config.golden_pcrs.push(GoldenPcr { bank, index: 4, value: tpm.pcr(bank, 4).unwrap().to_vec() });
            }
        }),
    ));
    let endless = LinuxBoot { grub_commands: TOO_MANY_COMMANDS, ..LinuxBoot::default() }.log();
    all.push(("more commands than are kept".to_owned(), refused(&endless, |_, _| {})));
    all
}

fn changed(change: Change) -> LogBuilder {
    let mut log = LinuxBoot::default().log();
    change(&mut log);
    log
}

/// What refuses a machine that booted so.
fn refused(log: &LogBuilder, change: impl FnOnce(&mut PoolConfig, &FakeTpm)) -> ExchangeError {
    let manufacturer = Manufacturer::new("Turtle");
    let mut tpm = FakeTpm::new(&manufacturer, TEMPLATE);
    log.boot(&mut tpm);
    let anchors = TrustAnchors::new(vec![manufacturer.root()], vec![manufacturer.intermediate()]).unwrap();
    let mut config = PoolConfig::new("metal", EkTrust::Chain(anchors));
    config.ek_template = TEMPLATE;
    change(&mut config, &tpm);
    let policy = VerifierPolicy { pools: vec![Pool::new(config).unwrap()], deny: DenyList::default() };
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let mut attester = Attester::new(AttesterContext {
        template: TEMPLATE,
        trust_domain: trust_domain.clone(),
        svid_public_key: KEY.to_vec(),
        claims: Claims::default(),
        ak: None,
        ek: None,
        event_log: Some(Arc::from(log.bytes())),
        svid_key: None,
    });
    let credential = CredentialEntropy { secret: [2; 32].into(), seed: [3; 48].into() };
    let entropy = Entropy { nonce: [1; 32], credential };
    let mut verifier = Verifier::new(Arc::new(policy), trust_domain, KEY.to_vec(), entropy);
    let payload = send(&mut attester, &mut tpm, AttesterEvent::Begin);
    verifier.step(VerifierEvent::Payload(&payload), NOW).unwrap();
    let action = verifier.step(VerifierEvent::Known { by_ak: None, by_ek: None }, NOW).unwrap();
    let VerifierAction::Challenge(challenge) = action else { panic!("{action:?}") };
    let response = send(&mut attester, &mut tpm, AttesterEvent::Challenge(&challenge));
    let mut verdict = verifier.step(VerifierEvent::Response(&response), NOW);
    while let Ok(VerifierAction::RequestLog { message, .. }) = &verdict {
        let chunk = send(&mut attester, &mut tpm, AttesterEvent::Challenge(message));
        verdict = verifier.step(VerifierEvent::LogChunk(&chunk), NOW);
    }
    match verdict {
        Ok(action) => panic!("this must be refused: {action:?}"),
        Err(refused) => refused.error().clone(),
    }
}

fn send(attester: &mut Attester, tpm: &mut FakeTpm, event: AttesterEvent<'_>) -> Vec<u8> {
    let mut action = attester.step(event).unwrap();
    loop {
        match action {
            AttesterAction::Send(bytes) => return bytes,
            AttesterAction::Tpm(request) => {
                let reply = perform(tpm, TEMPLATE, request).unwrap();
                action = attester.step(AttesterEvent::Tpm(reply)).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}
