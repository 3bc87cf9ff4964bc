//! Pinned endorsement keys: from the pool's own configuration, and from files that an inventory exports.
//!
//! Files are CSV (`.csv`, with a header) or JSON (`.json`, an array of objects) with the columns `fingerprint`, `added_by`, `added_at`,
//! `reason`, `obtained`, and `expires`, which may be absent or empty. In files the provenance of every pin is demanded. One key is pinned once in
//! a pool, wherever: else one of two provenances would be shown, and one of two expiries would hold.

mod csv;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plastron_daemon::config::LoadError;
use plastron_hcl1::Located;
use plastron_plugins_node_tpm::{EkFingerprint, EkPin};
use serde::{Deserialize, Deserializer};

use super::PoolsError;
use super::values::{fingerprint, moment};
use crate::catalog::files;
use csv::{Fault, Field};

/// Longest text of a pin: it goes into an audit line.
const MAX_TEXT: usize = 1024;

/// The columns of a file. `expires` alone may be missing.
const COLUMNS: [&str; 6] = ["fingerprint", "added_by", "added_at", "reason", "obtained", "expires"];

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPin {
    added_by: String,
    added_at: Option<Located<String>>,
    reason: String,
    obtained: String,
    expires: Option<Located<String>>,
}

/// The pins of a pool, those in files not read yet.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// Each with the place where it stands.
    configured: Vec<(String, EkPin)>,
    paths: Vec<PathBuf>,
}

impl Pins {
    /// From `ek_pins`, `ek_pin` blocks, and `ek_pins_paths`.
    pub(super) fn read(
        bare: &[Located<String>],
        blocks: &BTreeMap<String, Located<RawPin>>,
        paths: Vec<PathBuf>,
    ) -> Result<Self, LoadError> {
        let mut configured = Vec::new();
        for pin in bare {
            let fingerprint = fingerprint(&pin.value).map_err(|problem| pin.refuse(problem))?;
            let (added_by, reason) = ("configuration".to_owned(), pin.place.to_string());
            let pin = EkPin { fingerprint, added_by, added_at: 0, reason, obtained: String::new(), expires: None };
            configured.push((pin.reason.clone(), pin));
        }
        let seconds = |text: &Option<Located<String>>| {
            let parsed = text.as_ref().map(|text| moment(&text.value).map_err(|problem| text.refuse(problem)));
            parsed.transpose()
        };
        for (hex, pin) in blocks {
            let fingerprint = fingerprint(hex).map_err(|problem| pin.refuse(problem))?;
            let RawPin { added_by, added_at, reason, obtained, expires } = &pin.value;
            let (added_at, expires) = (seconds(added_at)?.unwrap_or(0), seconds(expires)?);
            let (added_by, reason, obtained) = (added_by.clone(), reason.clone(), obtained.clone());
            let place = pin.place.to_string();
            configured.push((place, EkPin { fingerprint, added_by, added_at, reason, obtained, expires }));
        }
        Ok(Self { configured, paths })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.configured.is_empty() && self.paths.is_empty()
    }

    /// Reads the files.
    pub(super) fn open(&self) -> Result<Vec<EkPin>, PoolsError> {
        let mut all = self.configured.clone();
        for path in &self.paths {
            all.extend(read_file(path)?);
        }
        let mut places: BTreeMap<EkFingerprint, String> = BTreeMap::new();
        let mut pins = Vec::with_capacity(all.len());
        for (place, pin) in all {
            if let Some(first) = places.insert(pin.fingerprint, place.clone()) {
                return Err(PoolsError::DuplicatePin { fingerprint: pin.fingerprint, first, second: place });
            }
            pins.push(pin);
        }
        Ok(pins)
    }
}

fn read_file(path: &Path) -> Result<Vec<(String, EkPin)>, PoolsError> {
    let read = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => read_csv,
        Some("json") => read_json,
        _ => return Err(PoolsError::PinsForm { path: path.to_owned() }),
    };
    let text = files::text("pins", path)?;
    // Some programs put a byte order mark in front of UTF-8.
    let pins = read(text.strip_prefix('\u{feff}').unwrap_or(&text))
        .map_err(|Fault { line, column, problem }| PoolsError::Pins { path: path.to_owned(), line, column, problem })?;
    Ok(pins.into_iter().map(|(place, pin)| (format!("{}{place}", path.display()), pin)).collect())
}

/// Rows of a file, each with its place in it.
type Rows = Vec<(String, EkPin)>;

fn read_csv(text: &str) -> Result<Rows, Fault> {
    let (header, rows) = csv::read(text)?;
    for (at, name) in header.iter().enumerate() {
        if !COLUMNS.contains(&name.text.as_str()) {
            return Err(name.refuse(format!("column {:?} is unknown: expected {}", name.text, COLUMNS.join(", "))));
        }
        if header.iter().take(at).any(|other| other.text == name.text) {
            return Err(name.refuse(format!("column {:?} is there twice", name.text)));
        }
    }
    if let Some(missing) = COLUMNS.iter().take(5).find(|column| header.iter().all(|name| name.text != **column)) {
        return Err(Fault::new(1, 1, format!("column {missing:?} is missing")));
    }
    rows.iter().map(|row| csv_pin(&header, row)).collect()
}

fn csv_pin(header: &[Field], row: &[Field]) -> Result<(String, EkPin), Fault> {
    let field = |name: &str| header.iter().zip(row).find(|(column, _)| column.text == name).map(|(_, field)| field);
    let given = |name: &str| field(name).ok_or_else(|| Fault::new(1, 1, format!("column {name:?} is missing")));
    let text = |name: &str| given(name).and_then(|field| stated(&field.text).map_err(|problem| field.refuse(problem)));
    let place = format!(":{}", row.first().map_or(1, |first| first.line));
    let key = given("fingerprint")?;
    let added_at = given("added_at")?;
    let expires = field("expires").filter(|field| !field.text.is_empty());
    let pin = EkPin {
        fingerprint: fingerprint(&key.text).map_err(|problem| key.refuse(problem))?,
        added_by: text("added_by")?,
        added_at: moment(&added_at.text).map_err(|problem| added_at.refuse(problem))?,
        reason: text("reason")?,
        obtained: text("obtained")?,
        expires: expires.map(|field| moment(&field.text).map_err(|problem| field.refuse(problem))).transpose()?,
    };
    Ok((place, pin))
}

/// Text of a pin's provenance: there, and short enough to be shown.
fn stated(text: &str) -> Result<String, String> {
    match text.len() {
        _ if text.trim().is_empty() => {
            Err("is empty: a pin says who added it, why, and how the fingerprint was obtained".to_owned())
        }
        0..=MAX_TEXT => Ok(text.to_owned()),
        length => Err(format!("{length} bytes, at most {MAX_TEXT}")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPin {
    #[serde(deserialize_with = "json_fingerprint")]
    fingerprint: EkFingerprint,
    #[serde(deserialize_with = "json_stated")]
    added_by: String,
    #[serde(deserialize_with = "json_moment")]
    added_at: u64,
    #[serde(deserialize_with = "json_stated")]
    reason: String,
    #[serde(deserialize_with = "json_stated")]
    obtained: String,
    #[serde(default, deserialize_with = "json_expires")]
    expires: Option<u64>,
}

fn read_json(text: &str) -> Result<Rows, Fault> {
    let pins: Vec<JsonPin> =
        serde_json::from_str(text).map_err(|error| Fault::new(error.line(), error.column(), without_place(&error)))?;
    let numbered = pins.into_iter().zip(1..);
    let rows = numbered.map(|(pin, number)| {
        let JsonPin { fingerprint, added_by, added_at, reason, obtained, expires } = pin;
        (format!(", entry {number}"), EkPin { fingerprint, added_by, added_at, reason, obtained, expires })
    });
    Ok(rows.collect())
}

/// The message without the place that serde_json writes behind it, because the place goes in front.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

fn json_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    read(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn json_fingerprint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EkFingerprint, D::Error> {
    json_text(deserializer, fingerprint)
}

fn json_moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    json_text(deserializer, moment)
}

fn json_stated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    json_text(deserializer, stated)
}

fn json_expires<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => moment(text).map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests;
