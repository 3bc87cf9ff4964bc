//! How a block, a list, a located value and a labelled variant are offered to serde.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use serde::de::{
    DeserializeSeed, EnumAccess, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Fault, Path, Slot};
use crate::{Node, Notice, NoticeKind, Place, Position, Value};

/// All values that a block and its repetitions give to one key.
struct Field<'r> {
    key: &'r str,
    position: Position,
    nodes: Vec<&'r Node>,
}

/// The keys of a block.
pub(super) struct Fields<'s, 'r, 'p> {
    slot: &'s Slot<'r, 'p>,
    fields: std::vec::IntoIter<Field<'r>>,
    /// The struct's own keys; `None` for a map, which takes every key.
    known: Option<&'static [&'static str]>,
    current: Option<Field<'r>>,
}

impl<'s, 'r, 'p> Fields<'s, 'r, 'p> {
    /// Keys as they are written.
    pub(super) fn of_map(slot: &'s Slot<'r, 'p>) -> Result<Self, Fault> {
        Self::grouped(slot, None)
    }

    /// Keys in the spelling of `fields`, whatever their case in the file.
    pub(super) fn of_struct(slot: &'s Slot<'r, 'p>, fields: &'static [&'static str]) -> Result<Self, Fault> {
        Self::grouped(slot, Some(fields))
    }

    fn grouped(slot: &'s Slot<'r, 'p>, known: Option<&'static [&'static str]>) -> Result<Self, Fault> {
        let mut fields: Vec<Field<'r>> = Vec::new();
        let mut index: HashMap<&str, usize> = HashMap::new();
        for object in slot.blocks()? {
            for item in &object.items {
                let spelling = known.and_then(|known| known.iter().find(|name| name.eq_ignore_ascii_case(&item.key)));
                let key = spelling.copied().unwrap_or(&item.key);
                match index.entry(key) {
                    Entry::Vacant(entry) => {
                        entry.insert(fields.len());
                        fields.push(Field { key, position: item.position, nodes: vec![&item.node] });
                    }
                    Entry::Occupied(entry) => {
                        if let Some(field) = fields.get_mut(*entry.get()) {
                            field.nodes.push(&item.node);
                            note_duplicate(slot, field, item.position, &item.node);
                        }
                    }
                }
            }
        }
        Ok(Self { slot, fields: fields.into_iter(), known, current: None })
    }
}

/// Blocks and lists merge; a single value that is set again does not.
fn note_duplicate(slot: &Slot<'_, '_>, field: &Field<'_>, position: Position, node: &Node) {
    if matches!(node.value, Value::Object(_) | Value::List(_)) {
        return;
    }
    let path = Path { parent: Some(slot.path), key: field.key }.joined();
    let place = Place { file: Arc::clone(slot.reader.file), position, path };
    slot.reader.notices.borrow_mut().push(Notice { place, kind: NoticeKind::Duplicate { first: field.position } });
}

impl<'de> MapAccess<'de> for Fields<'_, '_, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        for field in self.fields.by_ref() {
            let path = Path { parent: Some(self.slot.path), key: field.key };
            if self.known.is_some_and(|known| !known.contains(&field.key)) {
                // Said here and not in `deserialize_ignored_any`: a field of type `IgnoredAny` is known.
                let place =
                    Place { file: Arc::clone(self.slot.reader.file), position: field.position, path: path.joined() };
                self.slot.reader.notices.borrow_mut().push(Notice { place, kind: NoticeKind::UnknownKey });
                continue;
            }
            let key = seed
                .deserialize(field.key.into_deserializer())
                .map_err(|fault: Fault| fault.at(field.position, &path))?;
            self.current = Some(field);
            return Ok(Some(key));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let field = self.current.take().ok_or_else(|| Fault::new("a value was asked for before its key".to_owned()))?;
        let path = Path { parent: Some(self.slot.path), key: field.key };
        let slot = Slot { reader: self.slot.reader, path: &path, nodes: field.nodes };
        let position = slot.position();
        seed.deserialize(slot).map_err(|fault| fault.at(position, &path))
    }
}

/// The elements of a list.
pub(super) struct Values<'s, 'r, 'p> {
    pub(super) slot: &'s Slot<'r, 'p>,
    pub(super) elements: std::vec::IntoIter<&'r Node>,
}

impl<'de> SeqAccess<'de> for Values<'_, '_, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.elements.next() else { return Ok(None) };
        let slot = Slot { reader: self.slot.reader, path: self.slot.path, nodes: vec![node] };
        seed.deserialize(slot).map(Some).map_err(|fault| fault.at(node.position, self.slot.path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.len())
    }
}

/// The parts of a [`crate::Located`].
pub(super) struct LocatedAccess<'r, 'p> {
    pub(super) place: Place,
    pub(super) keys: std::slice::Iter<'static, &'static str>,
    pub(super) key: &'static str,
    pub(super) slot: Option<Slot<'r, 'p>>,
}

impl<'de> MapAccess<'de> for LocatedAccess<'_, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(key) = self.keys.next() else { return Ok(None) };
        self.key = key;
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        match (self.key, self.slot.take()) {
            ("value", Some(slot)) => seed.deserialize(slot),
            (key, slot) => {
                self.slot = slot;
                match key {
                    "file" => seed.deserialize((&*self.place.file).into_deserializer()),
                    "line" => seed.deserialize(self.place.position.line.into_deserializer()),
                    "column" => seed.deserialize(self.place.position.column.into_deserializer()),
                    _ => seed.deserialize(self.place.path.as_str().into_deserializer()),
                }
            }
        }
    }
}

/// A block whose only key or label names a variant: `bundle_endpoint_profile "https_spiffe" { … }`.
pub(super) struct Variant<'r, 'p> {
    slot: &'p Slot<'r, 'p>,
    field: Field<'r>,
}

impl<'r, 'p> Variant<'r, 'p> {
    pub(super) fn of(slot: &'p Slot<'r, 'p>, variants: &'static [&'static str]) -> Result<Self, Fault> {
        let mut fields = Fields::of_map(slot)?.fields;
        match (fields.next(), fields.next()) {
            (Some(field), None) => Ok(Self { slot, field }),
            _ => Err(Fault::new(format!("expected exactly one of {}", variants.join(", ")))),
        }
    }
}

impl<'de, 'r, 'p> EnumAccess<'de> for Variant<'r, 'p> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let path = Path { parent: Some(self.slot.path), key: self.field.key };
        let variant = seed
            .deserialize(self.field.key.into_deserializer())
            .map_err(|fault: Fault| fault.at(self.field.position, &path))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        self.struct_variant(&[], IgnoredAny).map(|_| ())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let path = Path { parent: Some(self.slot.path), key: self.field.key };
        let slot = Slot { reader: self.slot.reader, path: &path, nodes: self.field.nodes };
        let position = slot.position();
        seed.deserialize(slot).map_err(|fault| fault.at(position, &path))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        Err(Fault::new("a configuration has no tuples".to_owned()))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        struct AsStruct<V>(&'static [&'static str], V);
        impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for AsStruct<V> {
            type Value = V::Value;

            fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
                deserializer.deserialize_struct("", self.0, self.1)
            }
        }
        self.newtype_variant_seed(AsStruct(fields, visitor))
    }
}
