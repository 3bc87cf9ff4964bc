//! One pool: how its endorsement keys are trusted, and what is quoted and demanded of its machines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use plastron_daemon::config::LoadError;
use plastron_hcl1::{Located, Place};
use plastron_plugins_node_tpm::{
    Approval, EkTemplate, EkTrust, ExpiredEk, GoldenPcr, HashAlgorithm, Pool, PoolConfig, PoolError, TrustAnchors,
};
use serde::Deserialize;

use super::PoolsError;
use super::boot::{self, RawSecureBoot, chosen};
use super::pins::{Pins, RawPin};
use super::values::bytes_of_hex;
use crate::catalog::files::Loaded;

/// A pool whose files are not read yet.
#[derive(Debug)]
pub(super) struct Configured {
    roots: Vec<PathBuf>,
    intermediates: Vec<PathBuf>,
    revocation_lists: Vec<PathBuf>,
    max_crl_age: u64,
    pins: Pins,
    require: Require,
    /// With trust in nothing, until the files are read.
    config: PoolConfig,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Require {
    Certificate,
    Pin,
    CertificateAndPin,
    CertificateOrPin,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPool {
    require: Option<Located<String>>,
    ek_ca_paths: Vec<PathBuf>,
    ek_intermediate_paths: Vec<PathBuf>,
    ek_crl_paths: Vec<PathBuf>,
    ek_crl_max_age: Option<Located<String>>,
    ek_pins: Vec<Located<String>>,
    ek_pin: BTreeMap<String, Located<RawPin>>,
    ek_pins_paths: Vec<PathBuf>,
    ek_template: Option<Located<String>>,
    expired_ek: Option<Located<String>>,
    new_nodes: Option<Located<String>>,
    new_ak: Option<Located<String>>,
    pcrs: Option<Vec<u8>>,
    banks: Option<Vec<Located<String>>>,
    golden_pcrs: BTreeMap<String, BTreeMap<String, Located<Vec<String>>>>,
    selector_pcrs: Vec<u8>,
    pub(super) missing_event_log: Option<Located<String>>,
    pub(super) secure_boot: Option<RawSecureBoot>,
    pub(super) unextended_banks: Vec<Located<String>>,
    pub(super) sha1_event_log: Option<Located<String>>,
    pub(super) empty_secure_boot: Option<Located<String>>,
    pub(super) drivers_before_separator: Option<Located<String>>,
    pub(super) ima: Option<Located<String>>,
}

impl Configured {
    pub(super) fn read(name: String, place: Place, raw: RawPool) -> Result<Self, LoadError> {
        let pins = Pins::read(&raw.ek_pins, &raw.ek_pin, raw.ek_pins_paths.clone())?;
        let require = require(&raw, &pins, &place)?;
        let max_crl_age = max_crl_age(&raw, &place)?;
        let mut config = PoolConfig::new(name, EkTrust::Pin(Vec::new()));
        if let Some(template) = &raw.ek_template {
            config.ek_template = ek_template(&template.value).map_err(|problem| template.refuse(problem))?;
        }
        config.expired_ek =
            chosen(raw.expired_ek.as_ref(), ("refuse", ExpiredEk::Refused), ("accept", ExpiredEk::Accepted))?;
        config.boot = boot::policy(&raw)?;
        let approval = |text| chosen(text, ("admit", Approval::NotAsked), ("approve", Approval::ByPerson));
        config.new_nodes = approval(raw.new_nodes.as_ref())?;
        config.new_ak = approval(raw.new_ak.as_ref())?;
        if let Some(pcrs) = raw.pcrs {
            config.pcrs = pcrs;
        }
        if let Some(banks) = &raw.banks {
            let parsed = banks.iter().map(|text| bank(&text.value).map_err(|problem| text.refuse(problem)));
            config.banks = parsed.collect::<Result<_, _>>()?;
        }
        config.golden_pcrs = golden_pcrs(&raw.golden_pcrs)?;
        config.selector_pcrs = raw.selector_pcrs;
        Ok(Self {
            roots: raw.ek_ca_paths,
            intermediates: raw.ek_intermediate_paths,
            revocation_lists: raw.ek_crl_paths,
            max_crl_age,
            pins,
            require,
            config,
            place,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// Reads the files.
    pub(super) fn open(&self) -> Result<Pool, PoolsError> {
        let ek_trust = match self.require {
            Require::Certificate => EkTrust::Chain(self.anchors()?),
            Require::Pin => EkTrust::Pin(self.pins.open()?),
            Require::CertificateAndPin => EkTrust::ChainAndPin(self.anchors()?, self.pins.open()?),
            Require::CertificateOrPin => EkTrust::ChainOrPin(self.anchors()?, self.pins.open()?),
        };
        Pool::new(PoolConfig { ek_trust, ..self.config.clone() }).map_err(|source| self.refused(source))
    }

    fn anchors(&self) -> Result<TrustAnchors, PoolsError> {
        let (roots, intermediates) = (Loaded::certificates(&self.roots)?, Loaded::certificates(&self.intermediates)?);
        let lists = Loaded::revocation_lists(&self.revocation_lists)?;
        let place = || Box::new(self.place.clone());
        TrustAnchors::new(roots.der.clone(), intermediates.der.clone())
            .and_then(|anchors| anchors.with_revocation_lists(&lists.der, self.max_crl_age))
            .map_err(|error| match error {
                PoolError::Certificate { which, index, source } => {
                    let path = if which == "root" { roots.path(index) } else { intermediates.path(index) };
                    PoolsError::Certificate { place: place(), which, path, source: Box::new(source) }
                }
                PoolError::Crl { index, source } => {
                    PoolsError::Crl { place: place(), path: lists.path(index), source: Box::new(source) }
                }
                other => self.refused(other),
            })
    }

    fn refused(&self, source: PoolError) -> PoolsError {
        PoolsError::Pool { place: Box::new(self.place.clone()), source: Box::new(source) }
    }
}

/// What is required, where it is said; else what there is, if there is one thing. AND and OR are never guessed.
fn require(raw: &RawPool, pins: &Pins, place: &Place) -> Result<Require, LoadError> {
    let (has_roots, has_pins) = (!raw.ek_ca_paths.is_empty(), !pins.is_empty());
    let Some(text) = &raw.require else {
        return match (has_roots, has_pins) {
            (true, false) => Ok(Require::Certificate),
            (false, true) => Ok(Require::Pin),
            (true, true) => Err(place
                .refuse(
                    "both ek_ca_paths and ek_pins: say with require whether certificate-and-pin or certificate-or-pin",
                )
                .into()),
            (false, false) => Err(place.refuse("ek_ca_paths or ek_pins must be configured").into()),
        };
    };
    let (require, roots, pins) = match text.value.as_str() {
        "certificate" => (Require::Certificate, true, false),
        "pin" => (Require::Pin, false, true),
        "certificate-and-pin" => (Require::CertificateAndPin, true, true),
        "certificate-or-pin" => (Require::CertificateOrPin, true, true),
        other => {
            let known = "certificate, pin, certificate-and-pin or certificate-or-pin";
            return Err(text.refuse(format_args!("expected {known}, got {other:?}")).into());
        }
    };
    if roots != has_roots {
        let problem = if roots { "needs ek_ca_paths" } else { "makes no use of ek_ca_paths: take them out" };
        return Err(text.refuse(problem).into());
    }
    if pins != has_pins {
        let problem = if pins { "needs ek_pins" } else { "makes no use of ek_pins: take them out" };
        return Err(text.refuse(problem).into());
    }
    Ok(require)
}

/// How old a revocation list may be, in seconds. Whoever imports lists has to say it: there is no age that is right for all.
fn max_crl_age(raw: &RawPool, place: &Place) -> Result<u64, LoadError> {
    match (&raw.ek_crl_max_age, raw.ek_crl_paths.is_empty()) {
        (None, true) => Ok(0),
        (None, false) => {
            let problem =
                "ek_crl_paths needs ek_crl_max_age, such as 720h: a list that is older refuses its issuer's EKs";
            Err(place.refuse(problem).into())
        }
        (Some(age), true) => Err(age.refuse("makes no sense without ek_crl_paths").into()),
        (Some(_), false) if raw.ek_ca_paths.is_empty() => {
            Err(place.refuse("ek_crl_paths are of no use without ek_ca_paths: they belong to certificates").into())
        }
        (Some(age), false) => match plastron_server_cli::go_duration(&age.value) {
            Ok(duration) if duration.as_secs() > 0 => Ok(duration.as_secs()),
            Ok(_) => Err(age.refuse("must be a second or more").into()),
            Err(problem) => Err(age.refuse(problem).into()),
        },
    }
}

fn golden_pcrs(raw: &BTreeMap<String, BTreeMap<String, Located<Vec<String>>>>) -> Result<Vec<GoldenPcr>, LoadError> {
    let mut golden = Vec::new();
    for (bank_name, pcrs) in raw {
        for (index, values) in pcrs {
            let bank = bank(bank_name).map_err(|problem| values.refuse(problem))?;
            let index = index.parse().map_err(|_not_a_number| values.refuse(format_args!("{index:?} is no PCR")))?;
            for hex in &values.value {
                let value =
                    bytes_of_hex(hex).ok_or_else(|| values.refuse(format_args!("{hex:?} is not hexadecimal")))?;
                golden.push(GoldenPcr { bank, index, value });
            }
        }
    }
    Ok(golden)
}

pub(super) fn bank(name: &str) -> Result<HashAlgorithm, String> {
    let known = || HashAlgorithm::ALL.map(HashAlgorithm::name).join(", ");
    HashAlgorithm::from_name(name).ok_or_else(|| format!("{name:?} is no bank: expected one of {}", known()))
}

fn ek_template(name: &str) -> Result<EkTemplate, String> {
    let found = match name {
        "rsa-2048" => Some(EkTemplate::L1Rsa2048),
        "ecc-p384" => Some(EkTemplate::H3P384),
        other => EkTemplate::from_name(other),
    };
    found.ok_or_else(|| format!("{name:?} is no EK template: expected one of {}", EkTemplate::names()))
}
