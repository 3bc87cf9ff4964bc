//! From the tree to a type: serde's side of the crate.
//!
//! Several nodes can stand behind one key, because HCL1 merges repeated blocks: a [`Slot`] is all of them.

mod access;
mod fault;

use std::cell::RefCell;
use std::sync::Arc;

use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Unexpected, Visitor};

use crate::located::{LOCATED, LOCATED_KEYS};
use crate::subtree::{SUBTREE, flatten};
use crate::{ConfigError, Node, Notice, Place, Position, Value, number};
use access::{Fields, LocatedAccess, Values, Variant};
use fault::Fault;

/// Reads the nodes that stand behind one key, at `path`, as `T`.
pub(crate) fn read<T: DeserializeOwned>(
    nodes: &[&Node],
    file: &Arc<str>,
    path: &str,
) -> Result<(T, Vec<Notice>), ConfigError> {
    let reader = Reader { file, notices: RefCell::default() };
    let top = Path { parent: None, key: path };
    let slot = Slot { reader: &reader, path: &top, nodes: nodes.to_vec() };
    let at = slot.position();
    let result = T::deserialize(slot).map_err(|fault| fault.at(at, &top));
    let mut notices = reader.notices.into_inner();
    notices.sort_by_key(|notice| notice.place.position);
    match result {
        Ok(value) => Ok((value, notices)),
        Err(fault) => Err(fault.into_error(file, notices)),
    }
}

/// What one reading shares.
struct Reader<'r> {
    file: &'r Arc<str>,
    notices: RefCell<Vec<Notice>>,
}

/// The keys from the top, innermost first; joined only when someone asks.
struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    key: &'p str,
}

impl Path<'_> {
    fn joined(&self) -> String {
        let mut keys = Vec::new();
        let mut level = Some(self);
        while let Some(Path { parent, key }) = level {
            if !key.is_empty() {
                keys.push(*key);
            }
            level = *parent;
        }
        keys.reverse();
        keys.join(".")
    }
}

/// All nodes behind one key. Never empty.
struct Slot<'r, 'p> {
    reader: &'r Reader<'r>,
    path: &'p Path<'p>,
    nodes: Vec<&'r Node>,
}

impl<'r, 'p> Slot<'r, 'p> {
    /// Where the value that counts begins: the first of merged blocks, the last of repeated values.
    fn position(&self) -> Position {
        let merged = matches!(self.nodes.first().map(|node| &node.value), Some(Value::Object(_) | Value::List(_)));
        let node = if merged { self.nodes.first() } else { self.nodes.last() };
        node.map_or(Position { line: 1, column: 1 }, |node| node.position)
    }

    fn place(&self) -> Place {
        Place { file: Arc::clone(self.reader.file), position: self.position(), path: self.path.joined() }
    }

    /// The value that counts where a single value is wanted.
    fn scalar(&self) -> Option<&'r Value> {
        self.nodes.last().map(|node| &node.value)
    }

    /// The blocks behind this key. A list of blocks is none, as in HashiCorp's reader: which of them would count?
    fn blocks(&self) -> Result<Vec<&'r crate::Object>, Fault> {
        let block = |node: &&'r Node| match &node.value {
            Value::Object(object) => Ok(object),
            other => Err(self.mismatch(node.position, "a block", other)),
        };
        self.nodes.iter().map(block).collect()
    }

    /// The elements of the list behind this key; a block is a list of one.
    fn elements(&self) -> Result<Vec<&'r Node>, Fault> {
        let mut elements = Vec::new();
        for node in &self.nodes {
            match &node.value {
                Value::List(nodes) => elements.extend(nodes),
                Value::Object(_) => elements.push(*node),
                other => return Err(self.mismatch(node.position, "a list", other)),
            }
        }
        Ok(elements)
    }

    fn mismatch(&self, position: Position, expected: &str, found: &Value) -> Fault {
        Fault::new(format!("expected {expected}, got {}", found.kind())).at(position, self.path)
    }

    fn wrong<'de, V: Visitor<'de>>(&self, visitor: &V) -> Fault {
        let unexpected = Unexpected::Other(self.scalar().map_or("nothing", Value::kind));
        de::Error::invalid_type(unexpected, visitor)
    }

    fn integer<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Fault> {
        let (Some(Value::Number(text)) | Some(Value::String(text))) = self.scalar() else {
            return Err(Fault::new(format!(
                "expected an integer, got {}",
                self.scalar().map_or("nothing", Value::kind)
            )));
        };
        let value =
            number::integer(text).ok_or_else(|| Fault::new(format!("{:?} is not an integer of 64 bits", text)))?;
        match (u64::try_from(value), i64::try_from(value)) {
            (Ok(value), _) => visitor.visit_u64(value),
            (_, Ok(value)) => visitor.visit_i64(value),
            _ => Err(Fault::new(format!("{text:?} is not an integer of 64 bits"))),
        }
    }

    fn float<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar() {
            Some(Value::Number(text) | Value::Float(text)) => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => visitor.visit_f64(value),
                _ => Err(Fault::new(format!("{text:?} is not a number"))),
            },
            _ => Err(self.wrong(&visitor)),
        }
    }

    fn string<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar() {
            Some(Value::String(text) | Value::Number(text)) => visitor.visit_str(text),
            Some(Value::Null) => visitor.visit_str(""),
            _ => Err(self.wrong(&visitor)),
        }
    }
}

macro_rules! forward {
    ($($method:ident => $to:ident),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.$to(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Slot<'_, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar() {
            Some(Value::String(_) | Value::Null) => self.string(visitor),
            Some(Value::Number(text)) if number::integer(text).is_some() => self.integer(visitor),
            Some(Value::Number(_) | Value::Float(_)) => self.float(visitor),
            Some(Value::Bool(value)) => visitor.visit_bool(*value),
            Some(Value::List(_)) => self.deserialize_seq(visitor),
            Some(Value::Object(_)) => self.deserialize_map(visitor),
            None => visitor.visit_unit(),
        }
    }

    forward! {
        deserialize_i8 => integer, deserialize_i16 => integer, deserialize_i32 => integer, deserialize_i64 => integer,
        deserialize_u8 => integer, deserialize_u16 => integer, deserialize_u32 => integer, deserialize_u64 => integer,
        deserialize_i128 => integer, deserialize_u128 => integer,
        deserialize_f32 => float, deserialize_f64 => float,
        deserialize_char => string, deserialize_str => string, deserialize_string => string,
        deserialize_bytes => string, deserialize_byte_buf => string, deserialize_identifier => string,
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar() {
            Some(Value::Bool(value)) => visitor.visit_bool(*value),
            _ => Err(self.wrong(&visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        // A block in which no key is known.
        self.deserialize_struct("", &[], de::IgnoredAny)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name == SUBTREE {
            let text = flatten(&self.place(), &self.nodes).map_err(de::Error::custom)?;
            return visitor.visit_str(&text);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let elements = self.elements()?;
        visitor.visit_seq(Values { slot: &self, elements: elements.into_iter() })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Fields::of_map(&self)?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == LOCATED {
            let place = self.place();
            return visitor.visit_map(LocatedAccess { place, keys: LOCATED_KEYS.iter(), key: "", slot: Some(self) });
        }
        visitor.visit_map(Fields::of_struct(&self, fields)?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.scalar() {
            Some(Value::String(text)) => visitor.visit_enum(text.as_str().into_deserializer()),
            Some(Value::Object(_) | Value::List(_)) => visitor.visit_enum(Variant::of(&self, variants)?),
            _ => Err(self.wrong(&visitor)),
        }
    }

    /// A derived visitor comes here with every key that it does not know.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}
