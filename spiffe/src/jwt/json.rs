//! Reads one JSON object and refuses a member that occurs twice, on every level (RFC 8725, section 2.4: readers that disagree).
//!
//! Depth is bounded by serde_json (128 levels), length by the caller.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{JwtError, Part};

/// Reads `json`, one object with nothing behind it.
pub(super) fn object(part: Part, json: &[u8]) -> Result<Map<String, Value>, JwtError> {
    let refused = |reason: String| JwtError::Json { part, reason };
    // serde_json does not look at the encoding of everything that it reads from bytes.
    let text = std::str::from_utf8(json).map_err(|error| refused(error.to_string()))?;
    let duplicate = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Strict { duplicate: &duplicate }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match (read, duplicate.into_inner()) {
        (_, Some(name)) => Err(JwtError::DuplicateMember { part, name }),
        (Ok(Value::Object(object)), None) => Ok(object),
        (Ok(_), None) => Err(refused("not a JSON object".to_owned())),
        (Err(error), None) => Err(refused(error.to_string())),
    }
}

/// A value in which no object has a member twice; the name of the first that has is left in `duplicate`.
#[derive(Clone, Copy)]
struct Strict<'a> {
    duplicate: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.contains_key(&name) {
                *self.duplicate.borrow_mut() = Some(name);
                return Err(A::Error::custom("duplicate member"));
            }
            members.insert(name, map.next_value_seed(self)?);
        }
        Ok(Value::Object(members))
    }
}
