//! `tpm info|fingerprint|quote|eventlog`: what the machine's TPM and firmware say, without an agent or a server.
//!
//! Nothing here is verified: a quote is printed for a person to look at, made by an attestation key that is made for it and forgotten,
//! so that it is of no use to whoever wants to pose as this node.

mod event_log;
mod render;

use clap::{Args, Subcommand};
use plastron_attestation::{PcrSelection, TpmDevice, TpmDeviceError};
use plastron_attestation_tcg::{EkTemplate, HashAlgorithm};

use crate::Context;
use crate::error::CliError;
use crate::print::Output;

/// The device that an agent uses when nothing else is configured.
const DEFAULT_DEVICE: &str = "/dev/tpmrm0";

/// PCRs that are quoted when none are named: the firmware's and the boot loader's (TCG PC Client Platform Firmware Profile, 2.3.4).
const DEFAULT_PCRS: u32 = 0xff;

/// What the program's TPM back end offers beside [`TpmDevice`].
pub trait TpmSource {
    /// Opens the TPM; `device` is a path or a TCTI configuration.
    fn open(&self, device: &str) -> Result<Box<dyn TpmDevice>, TpmDeviceError>;

    /// The templates whose certificate the TPM's NV memory has. No key is made for it.
    fn certified_templates(&self, device: &str) -> Result<Vec<EkTemplate>, TpmDeviceError>;

    /// What the TPM says of itself.
    fn properties(&self, device: &str) -> Result<TpmProperties, TpmDeviceError>;
}

/// What a TPM says of itself (TPM2_GetCapability). None of it is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TpmProperties {
    /// TPM_PT_MANUFACTURER as text, such as `IFX`.
    pub manufacturer: String,
    /// TPM_PT_VENDOR_STRING_1 to 4, joined.
    pub vendor: String,
    /// TPM_PT_FIRMWARE_VERSION_1 and 2, as `major.minor.build`.
    pub firmware: String,
    /// TPM_PT_FAMILY_INDICATOR and TPM_PT_REVISION, as `2.0 revision 1.59`.
    pub specification: String,
    /// Allocated PCR banks: TPM_ALG_ID, and which PCRs, PCR 0 in the lowest bit.
    pub banks: Vec<(u16, u32)>,
    /// TPM_PT_LOCKOUT_COUNTER: failed authorisations.
    pub lockout_counter: u32,
    /// TPM_PT_MAX_AUTH_FAIL: at how many of them the TPM locks.
    pub max_auth_fail: u32,
}

/// The verbs of `tpm`.
#[derive(Debug, Subcommand)]
pub enum Tpm {
    /// Manufacturer, firmware, PCR banks, endorsement keys and their certificates
    Info(Keys),
    /// The fingerprints of the endorsement keys: what ek_pin in a pool takes
    Fingerprint(Keys),
    /// PCR values, quoted by an attestation key made for the purpose
    Quote(Quote),
    /// The event log of the boot: events, the PCR values that they lead to, facts and findings
    Eventlog(event_log::EventLog),
}

/// Flags of all verbs.
#[derive(Debug, Args)]
struct Common {
    /// The TPM: a path, or a TCTI configuration such as swtpm:host=127.0.0.1,port=2321
    #[arg(long, value_name = "DEVICE", default_value = DEFAULT_DEVICE)]
    device: String,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Flags of the verbs that show endorsement keys.
#[derive(Debug, Args)]
pub struct Keys {
    #[command(flatten)]
    common: Common,
    /// An endorsement key: rsa2048, p256, rsa2048-high, p256-high, p384 or rsa3072; may be given several times. Making one can take a
    /// discrete TPM many seconds [default: rsa2048, and those whose certificate the TPM has]
    #[arg(long = "template", value_name = "NAME", value_parser = parse_template)]
    templates: Vec<EkTemplate>,
}

impl Keys {
    /// Which keys to look at, each once.
    fn choose(&self, source: &dyn TpmSource) -> Result<Choice, TpmDeviceError> {
        if !self.templates.is_empty() {
            let templates = EkTemplate::ALL.into_iter().filter(|template| self.templates.contains(template)).collect();
            return Ok(Choice { templates, is_asked_for: true });
        }
        let certified = source.certified_templates(&self.common.device)?;
        let is_usual = |template: &EkTemplate| *template == EkTemplate::L1Rsa2048 || certified.contains(template);
        Ok(Choice { templates: EkTemplate::ALL.into_iter().filter(is_usual).collect(), is_asked_for: false })
    }
}

/// The endorsement keys to look at.
struct Choice {
    templates: Vec<EkTemplate>,
    /// By name: then one that the TPM does not have is an error.
    is_asked_for: bool,
}

/// Flags of `tpm quote`.
#[derive(Debug, Args)]
pub struct Quote {
    #[command(flatten)]
    common: Common,
    /// The endorsement key under which the attestation key is made: rsa2048, p256, rsa2048-high, p256-high, p384 or rsa3072
    #[arg(long, value_name = "NAME", default_value = "rsa2048", value_parser = parse_template)]
    template: EkTemplate,
    /// PCRs, such as 0,1,7 [default: 0 to 7]
    #[arg(long, value_name = "LIST", value_parser = parse_pcrs)]
    pcrs: Option<u32>,
    /// Bank, such as sha256; may be given several times [default: all allocated]
    #[arg(long = "bank", value_name = "NAME", value_parser = parse_bank)]
    banks: Vec<HashAlgorithm>,
    /// What the quote is to contain, 1 to 64 bytes in hexadecimal [default: 32 random bytes]
    #[arg(long, value_name = "HEX", value_parser = parse_nonce)]
    nonce: Option<Nonce>,
}

/// One value, where the parser would take a bare list for several.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Nonce(Vec<u8>);

pub(crate) fn run(command: Tpm, context: Context<'_>) -> Result<(), CliError> {
    let source = || context.tpm.ok_or(CliError::NoTpm);
    let (output, report) = match command {
        Tpm::Eventlog(arguments) => return event_log::run(&arguments, context),
        Tpm::Info(keys) => {
            let source = source()?;
            let (properties, choice) = (source.properties(&keys.common.device)?, keys.choose(source)?);
            (keys.common.output, render::info(&properties, &choice, source.open(&keys.common.device)?.as_mut()))
        }
        Tpm::Fingerprint(keys) => {
            let source = source()?;
            let choice = keys.choose(source)?;
            (keys.common.output, render::fingerprints(&choice, source.open(&keys.common.device)?.as_mut())?)
        }
        Tpm::Quote(Quote { common, template, pcrs, banks, nonce }) => {
            let source = source()?;
            let pcrs = pcrs.unwrap_or(DEFAULT_PCRS);
            let nonce = nonce.map_or_else(random_nonce, Ok)?;
            let selection = if banks.is_empty() {
                // A bank may have fewer PCRs than asked for, and an empty selection is not quoted.
                let allocated = source.properties(&common.device)?.banks;
                allocated.into_iter().map(|(bank, has)| (bank, has & pcrs)).filter(|(_, pcrs)| *pcrs != 0).collect()
            } else {
                banks.into_iter().map(|bank| (bank.id(), pcrs)).collect()
            };
            let mut device = source.open(&common.device)?;
            (common.output, render::quote(device.as_mut(), template, &nonce.0, &PcrSelection(selection))?)
        }
    };
    match output {
        Output::Pretty => write!(context.out, "{}", report.text)?,
        Output::Json => writeln!(context.out, "{}", report.json)?,
    }
    Ok(())
}

fn random_nonce() -> Result<Nonce, CliError> {
    let mut nonce = vec![0; 32];
    getrandom::fill(&mut nonce).map_err(|error| CliError::Random(std::io::Error::other(error)))?;
    Ok(Nonce(nonce))
}

fn parse_pcrs(text: &str) -> Result<u32, String> {
    let mut bitmap = 0;
    for number in text.split(',') {
        match number.trim().parse::<u32>() {
            Ok(pcr) if pcr < 24 => bitmap |= 1 << pcr,
            _ => return Err(format!("{number:?} is not a PCR; they are 0 to 23, separated by commas")),
        }
    }
    Ok(bitmap)
}

fn parse_template(text: &str) -> Result<EkTemplate, String> {
    EkTemplate::from_name(text)
        .ok_or_else(|| format!("{text:?} is not an EK template; use one of {}", EkTemplate::names()))
}

fn parse_bank(text: &str) -> Result<HashAlgorithm, String> {
    HashAlgorithm::from_name(text).ok_or_else(|| format!("{text:?} is not a PCR bank; write for example sha256"))
}

fn parse_nonce(text: &str) -> Result<Nonce, String> {
    match hex::decode(text) {
        Ok(nonce) if (1..=64).contains(&nonce.len()) => Ok(Nonce(nonce)),
        _ => Err("a nonce is 1 to 64 bytes in hexadecimal".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pcr_lists_and_nonces_are_checked() {
        assert_eq!(parse_pcrs("0,7, 23"), Ok(0x80_0081));
        for text in ["", "24", "-1", "a", "1,,2"] {
            assert!(parse_pcrs(text).is_err(), "{text}");
        }
        assert_eq!(parse_nonce("00ff"), Ok(Nonce(vec![0, 255])));
        for text in ["", "0", "zz", &"00".repeat(65)] {
            assert!(parse_nonce(text).is_err(), "{text}");
        }
        assert!(parse_bank("sha256").is_ok() && parse_bank("md5").is_err());
    }
}
