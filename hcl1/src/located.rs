//! Values that remember where they stand, for checks that come after parsing.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::{ConfigError, Position};

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name, as it was given.
    pub file: Arc<str>,
    /// The line and column of the value, for an unknown key of the key.
    pub position: Position,
    /// The keys from the top of the file, joined by dots: `server.federation.federates_with.td`. Empty at the top.
    pub path: String,
}

impl Place {
    /// The path for people: control characters are escaped.
    pub fn key(&self) -> impl fmt::Display + '_ {
        self.path.escape_debug()
    }

    /// The error that says that what stands here can't be used.
    pub fn refuse(&self, problem: impl fmt::Display) -> ConfigError {
        ConfigError::Value { place: self.clone(), problem: problem.to_string(), notices: Vec::new() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}:{}", self.file, self.position)
        } else {
            write!(f, "{}:{}: {}", self.file, self.position, self.key())
        }
    }
}

/// A value with its place. Only this crate's reader can fill it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> Located<T> {
    /// The error that says that this value can't be used.
    pub fn refuse(&self, problem: impl fmt::Display) -> ConfigError {
        self.place.refuse(problem)
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// How a `Located` asks our reader for the place: by a struct name that no configuration has.
pub(crate) const LOCATED: &str = "$plastron_hcl1::Located";
/// The keys that the reader then offers, in this order.
pub(crate) const LOCATED_KEYS: &[&str] = &["file", "line", "column", "path", "value"];

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(LOCATED, LOCATED_KEYS, LocatedVisitor(PhantomData))
    }
}

struct LocatedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for LocatedVisitor<T> {
    type Value = Located<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Located<T>, A::Error> {
        let file: String = entry(&mut map)?;
        let line = entry(&mut map)?;
        let column = entry(&mut map)?;
        let path = entry(&mut map)?;
        let value = entry(&mut map)?;
        Ok(Located { value, place: Place { file: file.into(), position: Position { line, column }, path } })
    }
}

fn entry<'de, A: MapAccess<'de>, V: Deserialize<'de>>(map: &mut A) -> Result<V, A::Error> {
    match map.next_entry::<String, V>()? {
        Some((_, value)) => Ok(value),
        None => Err(A::Error::custom("only plastron-hcl1 can tell the place of a value")),
    }
}
