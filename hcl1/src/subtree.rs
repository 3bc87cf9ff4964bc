//! A part of a file that is kept for a type which is not known yet: a plugin's configuration.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use crate::{ConfigError, Item, Node, Notice, Object, Place, Position, Value, de};

/// A part of a file, with its positions: `plugin_data { … }`. Repeated blocks are all kept.
///
/// [`Subtree::absent`] stands for a block that the file does not have: it decodes to any type whose fields are all optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtree {
    place: Place,
    nodes: Vec<Node>,
}

/// One key of a subtree, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The key or label.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// What it holds.
    pub subtree: Subtree,
}

impl Subtree {
    /// A block without items, for where the file has none.
    pub fn absent(place: Place) -> Self {
        let node = Node { position: place.position, value: Value::Object(Object::default()) };
        Self { place, nodes: vec![node] }
    }

    /// A whole file.
    pub fn of_file(root: Node, file_name: &str) -> Self {
        Self {
            place: Place { file: file_name.into(), position: root.position, path: String::new() },
            nodes: vec![root],
        }
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Reads it as `T`; unknown keys and duplicates come back as notices.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<(T, Vec<Notice>), ConfigError> {
        let nodes: Vec<&Node> = self.nodes.iter().collect();
        de::read(&nodes, &self.place.file, &self.place.path)
    }

    /// The keys in the order of the file, nothing merged: for blocks whose order or repetition means something.
    pub fn blocks(&self) -> Result<Vec<Block>, ConfigError> {
        let mut blocks = Vec::new();
        for node in &self.nodes {
            self.collect(node, &mut blocks)?;
        }
        Ok(blocks)
    }

    fn collect(&self, node: &Node, blocks: &mut Vec<Block>) -> Result<(), ConfigError> {
        match &node.value {
            Value::Object(object) => {
                for item in &object.items {
                    let place = self.place_of(&item.key, item.position);
                    let subtree = Self {
                        place: Place { position: item.node.position, ..place.clone() },
                        nodes: vec![item.node.clone()],
                    };
                    blocks.push(Block { key: item.key.clone(), place, subtree });
                }
                Ok(())
            }
            other => {
                let place = Place { position: node.position, ..self.place.clone() };
                Err(place.refuse(format_args!("expected a block, got {}", other.kind())))
            }
        }
    }

    fn place_of(&self, key: &str, position: Position) -> Place {
        let path = if self.place.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place.path) };
        Place { file: Arc::clone(&self.place.file), position, path }
    }
}

/// How a `Subtree` asks our reader for itself: by a name that no configuration has.
pub(crate) const SUBTREE: &str = "$plastron_hcl1::Subtree";

/// A tree as a list in pre-order, so that it can pass through serde's data model in one string: `serde_json`'s own limit on
/// depth is lower than a tree of ours needs when each of its levels is several of JSON.
#[derive(Serialize, DeriveDeserialize)]
struct Flat {
    file: String,
    position: Position,
    path: String,
    roots: usize,
    nodes: Vec<FlatNode>,
}

#[derive(Serialize, DeriveDeserialize)]
struct FlatNode {
    key: Option<(String, Position)>,
    position: Position,
    value: FlatValue,
}

#[derive(Serialize, DeriveDeserialize)]
enum FlatValue {
    String(String),
    Number(String),
    Float(String),
    Bool(bool),
    Null,
    List(usize),
    Object(usize),
}

/// Writes a subtree for [`Subtree`]'s own visitor.
pub(crate) fn flatten(place: &Place, nodes: &[&Node]) -> Result<String, serde_json::Error> {
    let mut flat = Flat {
        file: place.file.to_string(),
        position: place.position,
        path: place.path.clone(),
        roots: nodes.len(),
        nodes: Vec::new(),
    };
    for node in nodes {
        push(node, None, &mut flat.nodes);
    }
    serde_json::to_string(&flat)
}

fn push(node: &Node, key: Option<(String, Position)>, out: &mut Vec<FlatNode>) {
    let position = node.position;
    let value = match &node.value {
        Value::String(text) => FlatValue::String(text.clone()),
        Value::Number(text) => FlatValue::Number(text.clone()),
        Value::Float(text) => FlatValue::Float(text.clone()),
        Value::Bool(value) => FlatValue::Bool(*value),
        Value::Null => FlatValue::Null,
        Value::List(nodes) => FlatValue::List(nodes.len()),
        Value::Object(object) => FlatValue::Object(object.items.len()),
    };
    out.push(FlatNode { key, position, value });
    match &node.value {
        Value::List(nodes) => nodes.iter().for_each(|node| push(node, None, out)),
        Value::Object(object) => {
            object.items.iter().for_each(|item| push(&item.node, Some((item.key.clone(), item.position)), out));
        }
        Value::String(_) | Value::Number(_) | Value::Float(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// Takes the next tree off the list; `None` if the list is not one that `flatten` wrote.
fn pull(nodes: &mut std::vec::IntoIter<FlatNode>) -> Option<(Option<(String, Position)>, Node)> {
    let FlatNode { key, position, value } = nodes.next()?;
    let value = match value {
        FlatValue::String(text) => Value::String(text),
        FlatValue::Number(text) => Value::Number(text),
        FlatValue::Float(text) => Value::Float(text),
        FlatValue::Bool(value) => Value::Bool(value),
        FlatValue::Null => Value::Null,
        FlatValue::List(count) => {
            Value::List((0..count).map(|_| pull(nodes).map(|(_, node)| node)).collect::<Option<_>>()?)
        }
        FlatValue::Object(count) => {
            let item = |_| {
                let (key, node) = pull(nodes)?;
                let (key, position) = key?;
                Some(Item { key, position, node })
            };
            Value::Object(Object { items: (0..count).map(item).collect::<Option<_>>()? })
        }
    };
    Some((key, Node { position, value }))
}

impl<'de> Deserialize<'de> for Subtree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(SUBTREE, SubtreeVisitor)
    }
}

struct SubtreeVisitor;

impl Visitor<'_> for SubtreeVisitor {
    type Value = Subtree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of a configuration file")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Subtree, E> {
        let foreign = || E::custom("only plastron-hcl1 can keep a part of a file");
        let flat: Flat = serde_json::from_str(text).map_err(|_| foreign())?;
        let mut list = flat.nodes.into_iter();
        let nodes: Option<Vec<Node>> = (0..flat.roots).map(|_| pull(&mut list).map(|(_, node)| node)).collect();
        let place = Place { file: flat.file.into(), position: flat.position, path: flat.path };
        Ok(Subtree { place, nodes: nodes.ok_or_else(foreign)? })
    }
}
