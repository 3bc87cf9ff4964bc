//! `tpm info|fingerprint|quote` on a TPM in memory.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser};
use plastron_agent_cli::{CliError, Command, Context, Environment, TpmProperties, TpmSource, run};
use plastron_attestation::{TpmDevice, TpmDeviceError};
use plastron_attestation_appraise::EkFingerprint;
use plastron_attestation_fake_tpm::{AkAlgorithm, FakeTpm, Fleet, Manufacturer};
use plastron_attestation_tcg::{EkTemplate, HashAlgorithm};

#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

struct Source(FakeTpm);

impl TpmSource for Source {
    fn open(&self, device: &str) -> Result<Box<dyn TpmDevice>, TpmDeviceError> {
        assert_eq!(device, "fake");
        Ok(Box::new(self.0.copy()))
    }

    fn certified_templates(&self, _device: &str) -> Result<Vec<EkTemplate>, TpmDeviceError> {
        let is_certified = |template: &EkTemplate| {
            self.0.copy().endorsement_key(*template).is_ok_and(|material| material.certificate.is_some())
        };
        Ok(EkTemplate::ALL.into_iter().filter(is_certified).collect())
    }

    fn properties(&self, _device: &str) -> Result<TpmProperties, TpmDeviceError> {
        Ok(TpmProperties {
            manufacturer: "IFX".to_owned(),
            vendor: "SL\x1b[2JB9670".to_owned(),
            firmware: "7.85.4555".to_owned(),
            specification: "2.0 revision 1.38".to_owned(),
            banks: vec![(HashAlgorithm::Sha256.id(), 0xff_ffff), (HashAlgorithm::Sha1.id(), 0)],
            lockout_counter: 1,
            max_auth_fail: 32,
        })
    }
}

fn source() -> Source {
    let mut tpm = FakeTpm::new(&Manufacturer::new("Acme"), EkTemplate::L1Rsa2048);
    tpm.allocate(&[HashAlgorithm::Sha256]);
    tpm.measure(4, b"boot loader");
    Source(tpm)
}

fn fingerprint(source: &Source) -> String {
    EkFingerprint::of_bytes(&source.0.ek_public()).unwrap().to_string()
}

async fn call(source: &Source, arguments: &[&str]) -> (Result<(), CliError>, String) {
    let line = ["program", "tpm"].iter().chain(arguments).chain(&["-device", "fake"]).map(OsString::from);
    let Program { command } =
        Program::try_parse_from(plastron_daemon::go_flags::normalise(line, &Program::command())).unwrap();
    let mut out = Vec::new();
    let environment = Environment::default();
    let outcome = run(
        command,
        Context {
            environment: &environment,
            tpm: Some(source),
            input: &mut std::io::empty(),
            out: &mut out,
            err: &mut std::io::sink(),
        },
    )
    .await;
    (outcome, String::from_utf8(out).unwrap())
}

async fn json(source: &Source, arguments: &[&str]) -> serde_json::Value {
    let (outcome, text) = call(source, &[arguments, &["-output", "json"]].concat()).await;
    outcome.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn fingerprint_prints_what_a_pin_takes() {
    let source = source();
    let expected = fingerprint(&source);
    let (outcome, text) = call(&source, &["fingerprint"]).await;
    outcome.unwrap();
    assert_eq!(text, format!("rsa2048 {expected}\n"));
    let report = json(&source, &["fingerprint"]).await;
    assert_eq!(report.pointer("/endorsement_keys/0/fingerprint").unwrap(), &expected);
    assert_eq!(report.pointer("/schema_version").unwrap(), 1);
}

#[tokio::test]
async fn info_names_chip_banks_keys_and_certificates() {
    let source = source();
    let (outcome, text) = call(&source, &["info"]).await;
    outcome.unwrap();
    for part in ["Manufacturer      : IFX\n", "sha256 (24 PCRs)", &fingerprint(&source), "  Issuer", "1 of 32 failures"]
    {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    // Threat 41: a chip's vendor string does not drive the terminal.
    assert!(!text.contains('\x1b'), "{text}");
    assert!(
        text.ends_with(
            "Not looked at     : p256, rsa2048-high, p256-high, p384, rsa3072; ask for one with -template\n"
        )
    );
    // The other template is one that this TPM does not have: said, and no failure.
    let asked = ["info", "-template", "rsa2048", "-template", "p384"];
    let (outcome, text) = call(&source, &asked).await;
    outcome.unwrap();
    assert!(text.contains("p384") && text.contains("  Unavailable"), "{text}");

    let report = json(&source, &asked).await;
    assert_eq!(report.pointer("/endorsement_keys/0/template").unwrap(), "rsa2048");
    assert_eq!(report.pointer("/endorsement_keys/0/certificate/sha256").unwrap().as_str().unwrap().len(), 64);
    assert!(report.pointer("/endorsement_keys/1/error").is_some());
    assert_eq!(report.pointer("/pcr_banks/0/name").unwrap(), "sha256");
}

#[tokio::test]
async fn an_ek_without_a_certificate_says_so() {
    let mut source = source();
    source.0.set_certificate(None);
    let report = json(&source, &["info"]).await;
    assert!(report.pointer("/endorsement_keys/0/certificate").unwrap().is_null());
    source.0.set_certificate(Some(b"no certificate".to_vec()));
    let report = json(&source, &["info"]).await;
    assert_eq!(report.pointer("/endorsement_keys/0/certificate/error").unwrap(), "does not parse");
}

#[tokio::test]
async fn quote_shows_the_pcrs_that_were_asked_for_in_every_allocated_bank() {
    let source = source();
    let report = json(&source, &["quote", "-nonce", "c0ffee"]).await;
    let pcrs = report.pointer("/pcrs/sha256").unwrap().as_object().unwrap();
    assert_eq!(pcrs.len(), 8);
    assert_eq!(pcrs["4"], hex::encode(source.0.pcr(HashAlgorithm::Sha256, 4).unwrap()));
    assert_eq!(report.pointer("/pcrs").unwrap().as_object().unwrap().len(), 1, "a bank without PCRs is not asked for");
    assert_eq!(report.pointer("/nonce").unwrap(), "c0ffee");
    let report = json(&source, &["quote", "-pcrs", "4,7", "-bank", "sha256"]).await;
    assert_eq!(report.pointer("/pcrs/sha256").unwrap().as_object().unwrap().len(), 2);
    assert_eq!(report.pointer("/nonce").unwrap().as_str().unwrap().len(), 64);
}

/// A discrete TPM takes long for a key: those are made that are asked for, or that somebody certified.
#[tokio::test]
async fn endorsement_keys_are_made_that_are_certified_or_asked_for() {
    let templates = [EkTemplate::L2P256, EkTemplate::H2P256, EkTemplate::H3P384];
    let mut fleet = Fleet::new(&Manufacturer::new("Acme"), &templates, AkAlgorithm::P256, 1);
    let mut source = Source(fleet.next().unwrap());
    source.0.set_certificate(None);
    for verb in ["fingerprint", "info"] {
        let shown = async |arguments: &[&str]| -> Vec<String> {
            let report = json(&source, &[&[verb], arguments].concat()).await;
            let keys = report.pointer("/endorsement_keys").unwrap().as_array().unwrap();
            let has_key = |key: &&serde_json::Value| key.get("error").is_none();
            keys.iter().filter(has_key).map(|key| key["template"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(shown(&[]).await, ["p256-high", "p384"], "{verb}");
        assert_eq!(shown(&["-template", "p256"]).await, ["p256"], "{verb}");
        let twice = ["-template", "p384", "-template", "p256", "-template", "p384"];
        assert_eq!(shown(&twice).await, ["p256", "p384"], "{verb}");
    }
    let (missing, text) = call(&source, &["fingerprint", "-template", "p256", "-template", "rsa3072"]).await;
    assert!(missing.is_err() && text.is_empty(), "{text}");
    let line = ["program", "tpm", "info", "-template", "rsa1024"].map(OsString::from);
    let unknown = Program::try_parse_from(plastron_daemon::go_flags::normalise(line, &Program::command()))
        .err()
        .unwrap()
        .to_string();
    assert!(unknown.contains("use one of rsa2048, p256"), "{unknown}");
}
