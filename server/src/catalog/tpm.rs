//! `NodeAttestor "tpm"`: pools of endorsement keys. No pool, no trust.
//!
//! ```hcl
//! NodeAttestor "tpm" {
//!   plugin_data {
//!     pool "racks" {
//!       require               = "certificate"            # certificate, pin, certificate-and-pin or certificate-or-pin
//!       ek_ca_paths           = ["roots.pem"]            # manufacturers' roots, PEM or DER
//!       ek_intermediate_paths = ["intermediates.pem"]
//!       ek_pins               = ["<64 hex digits>"]      # EK fingerprints: plastron-agent tpm fingerprint
//!       ek_template           = "rsa2048"                # L-1; see conf/server/server.conf for the others
//!       golden_pcrs "sha256" { "7" = ["<hex>"] }
//!     }
//!   }
//! }
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use plastron_daemon::config::{LoadError, Strictness};
use plastron_daemon::plugins::Plugin;
use plastron_hcl1::{Located, Notice, Place};
use plastron_plugins_node_tpm::{
    DeniedEk, DenyList, EkFingerprint, EkPin, EkTemplate, EkTrust, ExpiredEk, GoldenPcr, HashAlgorithm, Pool,
    PoolConfig, PoolError, TrustAnchors,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A file of certificates: every TPM manufacturer's together stay far below.
const MAX_CERTIFICATE_FILE: u64 = 4 << 20;

/// The pools as configured, in the order of the file.
#[derive(Debug)]
pub(super) struct Pools {
    pools: Vec<Configured>,
    deny: DenyList,
}

/// A pool whose certificates are not read yet.
#[derive(Debug)]
struct Configured {
    roots: Vec<PathBuf>,
    intermediates: Vec<PathBuf>,
    pins: Vec<EkPin>,
    require: Require,
    /// With trust in nothing, until the certificates are read.
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

/// Why pools can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolsError {
    /// A file of certificates.
    #[error("can't read the certificates in {path:?}")]
    Read { path: PathBuf, source: io::Error },
    /// A file that holds no certificates, or too much.
    #[error(
        "{path:?} is neither PEM with certificates nor one DER certificate of at most {MAX_CERTIFICATE_FILE} bytes"
    )]
    Certificates { path: PathBuf },
    /// A pool.
    #[error("{place}")]
    Pool { place: Box<Place>, source: Box<PoolError> },
}

#[derive(Deserialize)]
struct RawPlugin {
    #[serde(default)]
    pool: Option<plastron_hcl1::Subtree>,
    #[serde(default)]
    denied_ek: BTreeMap<String, Located<RawDenied>>,
}

#[derive(Deserialize)]
struct RawDenied {
    #[serde(default)]
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPool {
    require: Option<Located<String>>,
    ek_ca_paths: Vec<PathBuf>,
    ek_intermediate_paths: Vec<PathBuf>,
    ek_pins: Vec<Located<String>>,
    ek_pin: BTreeMap<String, Located<RawPin>>,
    ek_template: Option<Located<String>>,
    expired_ek: Option<Located<String>>,
    pcrs: Option<Vec<u8>>,
    banks: Option<Vec<Located<String>>>,
    golden_pcrs: BTreeMap<String, BTreeMap<String, Located<Vec<String>>>>,
    selector_pcrs: Vec<u8>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPin {
    added_by: String,
    added_at: Option<Located<String>>,
    reason: String,
    expires: Option<Located<String>>,
}

impl Pools {
    pub(super) fn read(plugin: &Plugin, strictness: &Strictness<'_>) -> Result<(Self, Vec<Notice>), LoadError> {
        let (RawPlugin { pool, denied_ek }, mut notices) = plugin.decode(strictness)?;
        let mut pools: Vec<Configured> = Vec::new();
        let blocks = pool.map(|pool| pool.blocks()).transpose()?.unwrap_or_default();
        for block in blocks {
            if pools.iter().any(|pool| pool.config.name == block.key) {
                return Err(block.place.refuse(format_args!("pool {:?} is configured already", block.key)).into());
            }
            let (raw, more) = block.subtree.decode::<RawPool>()?;
            notices.extend(strictness.judge(more)?);
            pools.push(configured(block.key, block.place, raw)?);
        }
        if pools.is_empty() {
            return Err(plugin.place.refuse("a pool must be configured: without one no TPM is trusted").into());
        }
        let mut keys = Vec::new();
        for (hex, denied) in denied_ek {
            let fingerprint = fingerprint(&hex).map_err(|problem| denied.refuse(problem))?;
            keys.push(DeniedEk { fingerprint, reason: denied.value.reason });
        }
        Ok((Self { pools, deny: DenyList { keys, ..DenyList::default() } }, notices))
    }

    /// Reads the certificates.
    pub(super) fn open(&self) -> Result<(Vec<Pool>, DenyList), PoolsError> {
        let pools = self.pools.iter().map(Configured::open).collect::<Result<_, _>>()?;
        Ok((pools, self.deny.clone()))
    }
}

impl Configured {
    fn open(&self) -> Result<Pool, PoolsError> {
        let refused = |source| PoolsError::Pool { place: Box::new(self.place.clone()), source: Box::new(source) };
        let anchors = || -> Result<TrustAnchors, PoolsError> {
            TrustAnchors::new(read_all(&self.roots)?, read_all(&self.intermediates)?).map_err(refused)
        };
        let ek_trust = match self.require {
            Require::Certificate => EkTrust::Chain(anchors()?),
            Require::Pin => EkTrust::Pin(self.pins.clone()),
            Require::CertificateAndPin => EkTrust::ChainAndPin(anchors()?, self.pins.clone()),
            Require::CertificateOrPin => EkTrust::ChainOrPin(anchors()?, self.pins.clone()),
        };
        Pool::new(PoolConfig { ek_trust, ..self.config.clone() }).map_err(refused)
    }
}

fn configured(name: String, place: Place, raw: RawPool) -> Result<Configured, LoadError> {
    let mut pins = Vec::new();
    for pin in &raw.ek_pins {
        let fingerprint = fingerprint(&pin.value).map_err(|problem| pin.refuse(problem))?;
        let (added_by, reason) = ("configuration".to_owned(), pin.place.to_string());
        pins.push(EkPin { fingerprint, added_by, added_at: 0, reason, expires: None });
    }
    for (hex, pin) in &raw.ek_pin {
        let fingerprint = fingerprint(hex).map_err(|problem| pin.refuse(problem))?;
        let RawPin { added_by, added_at, reason, expires } = &pin.value;
        pins.push(EkPin {
            fingerprint,
            added_by: added_by.clone(),
            added_at: added_at.as_ref().map(moment).transpose()?.unwrap_or(0),
            reason: reason.clone(),
            expires: expires.as_ref().map(moment).transpose()?,
        });
    }
    let require = require(&raw, &pins, &place)?;
    let mut config = PoolConfig::new(name, EkTrust::Pin(Vec::new()));
    if let Some(template) = &raw.ek_template {
        config.ek_template = ek_template(&template.value).map_err(|problem| template.refuse(problem))?;
    }
    if let Some(expired) = &raw.expired_ek {
        config.expired_ek = match expired.value.as_str() {
            "refuse" => ExpiredEk::Refused,
            "accept" => ExpiredEk::Accepted,
            other => return Err(expired.refuse(format_args!("expected refuse or accept, got {other:?}")).into()),
        };
    }
    if let Some(pcrs) = raw.pcrs {
        config.pcrs = pcrs;
    }
    if let Some(banks) = &raw.banks {
        let parsed = banks.iter().map(|text| bank(&text.value).map_err(|problem| text.refuse(problem)));
        config.banks = parsed.collect::<Result<_, _>>()?;
    }
    config.golden_pcrs = golden_pcrs(&raw.golden_pcrs)?;
    config.selector_pcrs = raw.selector_pcrs;
    Ok(Configured { roots: raw.ek_ca_paths, intermediates: raw.ek_intermediate_paths, pins, require, config, place })
}

/// What is required, where it is said; else what there is, if there is one thing. AND and OR are never guessed.
fn require(raw: &RawPool, pins: &[EkPin], place: &Place) -> Result<Require, LoadError> {
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

fn golden_pcrs(raw: &BTreeMap<String, BTreeMap<String, Located<Vec<String>>>>) -> Result<Vec<GoldenPcr>, LoadError> {
    let mut golden = Vec::new();
    for (bank_name, pcrs) in raw {
        for (index, values) in pcrs {
            let bank = bank(bank_name).map_err(|problem| values.refuse(problem))?;
            let index = index.parse().map_err(|_not_a_number| values.refuse(format_args!("{index:?} is no PCR")))?;
            for hex in &values.value {
                let value = unhex(hex).ok_or_else(|| values.refuse(format_args!("{hex:?} is not hexadecimal")))?;
                golden.push(GoldenPcr { bank, index, value });
            }
        }
    }
    Ok(golden)
}

fn bank(name: &str) -> Result<HashAlgorithm, String> {
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

fn fingerprint(hex: &str) -> Result<EkFingerprint, String> {
    EkFingerprint::from_hex(hex)
        .ok_or_else(|| format!("{hex:?} is no EK fingerprint: expected 64 hexadecimal digits in lower case"))
}

fn moment(text: &Located<String>) -> Result<u64, LoadError> {
    let parsed = OffsetDateTime::parse(&text.value, &Rfc3339).ok();
    let seconds = parsed.and_then(|moment| u64::try_from(moment.unix_timestamp()).ok());
    seconds.ok_or_else(|| text.refuse("expected a time such as 2026-01-31T12:00:00Z").into())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, PoolsError> {
    let mut certificates = Vec::new();
    for path in paths {
        certificates.extend(read_certificates(path)?);
    }
    Ok(certificates)
}

fn read_certificates(path: &Path) -> Result<Vec<Vec<u8>>, PoolsError> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_CERTIFICATE_FILE + 1).read_to_end(&mut bytes))
        .map_err(|source| PoolsError::Read { path: path.to_owned(), source })?;
    let malformed = || PoolsError::Certificates { path: path.to_owned() };
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_CERTIFICATE_FILE) {
        return Err(malformed());
    }
    // A DER certificate is a SEQUENCE; what it holds is checked where the pool is made.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes]);
    }
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        certificates.push(certificate.map_err(|_not_pem| malformed())?.to_vec());
    }
    if certificates.is_empty() { Err(malformed()) } else { Ok(certificates) }
}
