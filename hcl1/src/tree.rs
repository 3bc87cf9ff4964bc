//! What a file says, before anyone asks for a type: nodes with positions, in the order of the file.
//!
//! A block's labels are levels of the tree: `NodeAttestor "tpm" { … }` is the same as `NodeAttestor = { "tpm" = { … } }`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a text. Both numbers count from 1; the column counts characters, not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where the value begins: at `{` for a block, at the next label for a level that a label makes.
    pub position: Position,
    /// The value.
    pub value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Quoted text or a heredoc, with escapes resolved.
    String(String),
    /// A number without a decimal point, as written: `8081`, `0x1f`, `0755`, `1e3`.
    Number(String),
    /// A number with a decimal point, as written.
    Float(String),
    /// `true` or `false`, unquoted.
    Bool(bool),
    /// JSON's `null`: an empty text, and nothing else.
    Null,
    /// `[ … ]`.
    List(Vec<Node>),
    /// `{ … }` or a label's level.
    Object(Object),
}

impl Value {
    /// The word for this kind of value in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Number(_) => "a number",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a bool",
            Self::Null => "null",
            Self::List(_) => "a list",
            Self::Object(_) => "a block",
        }
    }
}

/// The items of a block, in the order of the file; keys may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// The items.
    pub items: Vec<Item>,
}

/// One key of a block and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key as written, without quotes.
    pub key: String,
    /// Where the key begins.
    pub position: Position,
    /// Its value.
    pub node: Node,
}
