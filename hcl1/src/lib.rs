//! SPIRE's configuration language (HashiCorp's HCL, version 1, and its JSON form) with positions, and a serde front end.
//!
//! The grammar is what HCL1's own reader accepts, except for its accidents: a key without a value before `}` or the end
//! of the file is an error here. Values that HCL2 readers change silently keep their meaning: `0755` is 493, `"$${b}"` is
//! itself, a number is good where text is wanted.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! struct File {
//!     server: Server,
//! }
//! #[derive(serde::Deserialize)]
//! struct Server {
//!     trust_domain: String,
//! }
//!
//! let (file, notices) = plastron_hcl1::from_str::<File>("server {\n  trust_domain = \"td\"\n  bogus = 1\n}", "server.conf")?;
//! assert_eq!(file.server.trust_domain, "td");
//! assert_eq!(notices[0].to_string(), "server.conf:3:3: unknown key server.bogus");
//! # Ok::<(), plastron_hcl1::ConfigError>(())
//! ```
//!
//! How a tree becomes a type:
//! - Struct fields match keys without regard to case; map keys are taken as written.
//! - Repeated blocks are one block, repeated lists one list; labels are map levels; a list of objects is a repeated block.
//! - A number is good where text is wanted, quoted digits where an integer is wanted; `true` and `false` stay unquoted.
//! - A value set twice: the last one counts, and a [`Notice`] says so. A key that no field takes is a [`Notice`] too; all of
//!   them are collected in one pass.
//! - [`Located`] keeps the place of a value, [`Subtree`] keeps a part of the file for a later type.
//!
//! Don't use `#[serde(flatten)]` or untagged enums in such types: they buffer values, and then unknown keys and places are
//! lost.
//!
//! The crate reads no files and no environment; it does not print HCL and does not know what the keys mean.

mod cursor;
mod de;
mod error;
mod expand;
mod json;
mod lexer;
mod literal;
mod located;
mod notice;
mod number;
mod parser;
mod subtree;
mod tree;

#[cfg(test)]
mod tests;

pub use error::{ConfigError, SyntaxError};
pub use expand::expand_env;
pub use located::{Located, Place};
pub use notice::{Notice, NoticeKind};
pub use parser::parse;
pub use subtree::{Block, Subtree};
pub use tree::{Item, Node, Object, Position, Value};

/// The largest file that is read: SPIRE's largest example has 10 KiB, and an operator who lists a thousand pins stays far
/// below.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// How deep blocks, labels and lists may nest: SPIRE's deepest form has 8 levels; each level costs stack.
pub const MAX_NESTING: usize = 64;

/// Reads a whole file's text into `T`. `file_name` is only named in errors and notices.
pub fn from_str<T: serde::de::DeserializeOwned>(text: &str, file_name: &str) -> Result<(T, Vec<Notice>), ConfigError> {
    let root = parse(text, file_name)?;
    de::read(&[&root], &file_name.into(), "")
}
