//! Messages as JSON, the way SPIRE's `-output json` prints them: protobuf's JSON mapping with the names of the .proto files, every
//! unset scalar and list printed, unset messages left out, 64-bit integers as strings, bytes as base64, keys sorted.
//!
//! It walks the wire bytes along the descriptors, so a new message needs no code here. It writes JSON and reads none.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost::{Message, Name};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use serde_json::{Map, Value};

/// Messages nest this deep at most; ours need four, `google.protobuf.Struct` in a token's claims may need more.
const MAX_DEPTH: usize = 64;

/// Why a message can't be printed.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// No such message or enum in the descriptor set.
    #[error("the descriptor set does not know {name}")]
    UnknownType {
        /// The full name.
        name: String,
    },
    /// A field of a type that no message here has.
    #[error("field {field} has a type that can't be printed as JSON")]
    UnsupportedField {
        /// The field's name.
        field: String,
    },
    /// The bytes are not those of a message.
    #[error("not a protobuf message")]
    Malformed(#[from] prost::DecodeError),
    /// The bytes end inside a field, or hold a group.
    #[error("the message ends inside a field")]
    Truncated,
    /// Messages inside messages, deeper than the limit.
    #[error("messages nest more than {MAX_DEPTH} deep")]
    TooDeep,
}

/// The message as a JSON object.
pub fn to_json<M: Message + Name>(message: &M) -> Result<Value, JsonError> {
    message_json(&M::full_name(), &message.encode_to_vec(), MAX_DEPTH)
}

struct Types {
    messages: HashMap<String, DescriptorProto>,
    enums: HashMap<String, HashMap<i32, String>>,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let mut types = Types { messages: HashMap::new(), enums: HashMap::new() };
    let files = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap_or_default().file;
    for file in files {
        let package = file.package().to_owned();
        types.add_enums(&package, &file.enum_type);
        types.add_messages(&package, file.message_type);
    }
    types
});

impl Types {
    fn add_messages(&mut self, scope: &str, messages: Vec<DescriptorProto>) {
        for mut message in messages {
            let name = join(scope, message.name());
            self.add_enums(&name, &message.enum_type);
            self.add_messages(&name, std::mem::take(&mut message.nested_type));
            self.messages.insert(name, message);
        }
    }

    fn add_enums(&mut self, scope: &str, enums: &[prost_types::EnumDescriptorProto]) {
        for item in enums {
            let values = item.value.iter().map(|value| (value.number(), value.name().to_owned())).collect();
            self.enums.insert(join(scope, item.name()), values);
        }
    }
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// A value as it stands on the wire.
enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn message_json(name: &str, bytes: &[u8], depth: usize) -> Result<Value, JsonError> {
    let depth = depth.checked_sub(1).ok_or(JsonError::TooDeep)?;
    let descriptor = TYPES.messages.get(name).ok_or_else(|| JsonError::UnknownType { name: name.to_owned() })?;
    let mut object = Map::new();
    for field in &descriptor.field {
        if let Some(default) = default_of(field)? {
            object.insert(field.name().to_owned(), default);
        }
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, raw) = next_field(&mut rest)?;
        let Some(field) = descriptor.field.iter().find(|f| u32::try_from(f.number()).is_ok_and(|n| n == number)) else {
            continue;
        };
        add(&mut object, field, raw, depth)?;
    }
    Ok(unwrap_well_known(name, object))
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Raw<'a>), JsonError> {
    let (number, wire_type) = decode_key(rest)?;
    let raw = match wire_type {
        WireType::Varint => Raw::Number(decode_varint(rest)?),
        WireType::LengthDelimited => {
            let len = usize::try_from(decode_varint(rest)?).unwrap_or(usize::MAX);
            Raw::Bytes(take(rest, len)?)
        }
        WireType::SixtyFourBit => Raw::Number(u64::from_le_bytes(take(rest, 8)?.try_into().unwrap_or_default())),
        WireType::ThirtyTwoBit => Raw::Number(u32::from_le_bytes(take(rest, 4)?.try_into().unwrap_or_default()).into()),
        WireType::StartGroup | WireType::EndGroup => return Err(JsonError::Truncated),
    };
    Ok((number, raw))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], JsonError> {
    let (head, tail) = rest.split_at_checked(len).ok_or(JsonError::Truncated)?;
    *rest = tail;
    Ok(head)
}

fn add(
    object: &mut Map<String, Value>,
    field: &FieldDescriptorProto,
    raw: Raw<'_>,
    depth: usize,
) -> Result<(), JsonError> {
    let name = field.name();
    if field.label() != Label::Repeated {
        object.insert(name.to_owned(), value_json(field, raw, depth)?);
        return Ok(());
    }
    let mut items = Vec::new();
    match raw {
        Raw::Bytes(mut packed) if !matches!(field.r#type(), Type::String | Type::Bytes | Type::Message) => {
            while !packed.is_empty() {
                items.push(value_json(field, Raw::Number(decode_varint(&mut packed)?), depth)?);
            }
        }
        raw => items.push(value_json(field, raw, depth)?),
    }
    match object.get_mut(name) {
        Some(Value::Array(list)) => list.append(&mut items),
        Some(Value::Object(map)) => map.extend(items.iter().filter_map(map_item)),
        _ => {}
    }
    Ok(())
}

/// A map is a repeated message of two fields on the wire.
fn map_item(item: &Value) -> Option<(String, Value)> {
    let key = match item.get("key")? {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some((key, item.get("value").cloned().unwrap_or(Value::Null)))
}

fn value_json(field: &FieldDescriptorProto, raw: Raw<'_>, depth: usize) -> Result<Value, JsonError> {
    let unsupported = || JsonError::UnsupportedField { field: field.name().to_owned() };
    let type_name = field.type_name().trim_start_matches('.');
    Ok(match (field.r#type(), raw) {
        (Type::Bool, Raw::Number(n)) => Value::Bool(n != 0),
        // Negative numbers are sign-extended to 64 bits on the wire: the low half is the number.
        (Type::Int32, Raw::Number(n)) => Value::from(i64::from_le_bytes(n.to_le_bytes())),
        (Type::Uint32, Raw::Number(n)) => Value::from(n),
        (Type::Int64, Raw::Number(n)) => Value::String(i64::from_le_bytes(n.to_le_bytes()).to_string()),
        (Type::Uint64, Raw::Number(n)) => Value::String(n.to_string()),
        (Type::Float, Raw::Number(n)) => Value::from(f32::from_bits(u32::try_from(n).unwrap_or_default())),
        (Type::Double, Raw::Number(n)) => double_json(f64::from_bits(n)),
        (Type::Enum, Raw::Number(n)) => enum_json(type_name, n)?,
        (Type::String, Raw::Bytes(bytes)) => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        (Type::Bytes, Raw::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
        (Type::Message, Raw::Bytes(bytes)) => message_json(type_name, bytes, depth)?,
        _ => return Err(unsupported()),
    })
}

/// Whole numbers print as such: a time in a token's claims is `1800000300` to every reader, and never `1800000300.0`.
fn double_json(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = (number.fract() == 0.0 && number.abs() <= EXACT).then(|| format!("{number:.0}").parse::<i64>().ok());
    whole.flatten().map_or_else(|| Value::from(number), Value::from)
}

fn enum_json(type_name: &str, number: u64) -> Result<Value, JsonError> {
    let values = TYPES.enums.get(type_name).ok_or_else(|| JsonError::UnknownType { name: type_name.to_owned() })?;
    let known = i32::try_from(number).ok().and_then(|n| values.get(&n));
    Ok(known.map_or_else(|| Value::from(number), |name| Value::String(name.clone())))
}

/// What an unset field prints; `None` where it prints nothing: messages, members of a `oneof`, and `optional` scalars.
fn default_of(field: &FieldDescriptorProto) -> Result<Option<Value>, JsonError> {
    if field.label() == Label::Repeated {
        let entry = TYPES.messages.get(field.type_name().trim_start_matches('.'));
        let is_map = entry.and_then(|e| e.options.as_ref()).is_some_and(|options| options.map_entry());
        return Ok(Some(if is_map { Value::Object(Map::new()) } else { Value::Array(Vec::new()) }));
    }
    if field.oneof_index.is_some() || field.r#type() == Type::Message {
        return Ok(None);
    }
    let zero = match field.r#type() {
        Type::String | Type::Bytes => Raw::Bytes(&[]),
        _ => Raw::Number(0),
    };
    value_json(field, zero, MAX_DEPTH).map(Some)
}

/// `google.protobuf` messages that stand for their content.
fn unwrap_well_known(name: &str, mut object: Map<String, Value>) -> Value {
    match name {
        "google.protobuf.BoolValue" | "google.protobuf.StringValue" => object.remove("value").unwrap_or_default(),
        "google.protobuf.Struct" => object.remove("fields").unwrap_or_default(),
        "google.protobuf.ListValue" => object.remove("values").unwrap_or_default(),
        "google.protobuf.Value" if object.contains_key("null_value") => Value::Null,
        "google.protobuf.Value" => object.into_iter().next().map(|(_, value)| value).unwrap_or_default(),
        _ => Value::Object(object),
    }
}

#[cfg(test)]
mod tests;
