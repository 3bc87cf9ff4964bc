//! The two forms of a line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::macros::format_description;

/// An event, ready to be written.
pub(super) struct Line<'a> {
    pub(super) time: OffsetDateTime,
    pub(super) level: &'static str,
    pub(super) message: &'a Value,
    /// `file:line` in the source, or empty.
    pub(super) location: &'a str,
    pub(super) fields: &'a BTreeMap<&'static str, Value>,
}

/// SPIRE's words for the levels.
pub(super) fn level_name(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warning",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG => "debug",
        tracing::Level::TRACE => "trace",
    }
}

impl Line<'_> {
    pub(super) fn text(&self) -> String {
        let mut out = format!("time=\"{}\" level={} msg=", self.timestamp(), self.level);
        push_value(&mut out, self.message);
        if !self.location.is_empty() {
            push_pair(&mut out, "file", &Value::from(self.location));
        }
        for (name, value) in self.fields {
            push_pair(&mut out, shown_name(name), value);
        }
        out.push('\n');
        out
    }

    pub(super) fn json(&self) -> String {
        let mut object = Map::new();
        for (name, value) in self.fields {
            object.insert(shown_name(name).to_owned(), value.clone());
        }
        if !self.location.is_empty() {
            object.insert("file".to_owned(), Value::from(self.location));
        }
        // After the fields: none of them can pass for these.
        object.insert("level".to_owned(), Value::from(self.level));
        object.insert("msg".to_owned(), self.message.clone());
        object.insert("time".to_owned(), Value::from(self.timestamp()));
        let mut out = Value::Object(object).to_string();
        out.push('\n');
        out
    }

    fn timestamp(&self) -> String {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        self.time.format(form).unwrap_or_default()
    }
}

/// A field with the name of one of ours is kept apart, as logrus does.
fn shown_name(name: &'static str) -> &'static str {
    match name {
        "time" => "fields.time",
        "level" => "fields.level",
        "msg" => "fields.msg",
        name => name.strip_prefix("r#").unwrap_or(name),
    }
}

fn push_pair(out: &mut String, name: &str, value: &Value) {
    out.push(' ');
    out.push_str(name);
    out.push('=');
    push_value(out, value);
}

fn push_value(out: &mut String, value: &Value) {
    let rendered;
    let text = match value {
        Value::String(text) => text,
        other => {
            rendered = other.to_string();
            &rendered
        }
    };
    if text.bytes().all(is_plain) {
        out.push_str(text);
    } else {
        // Writing to a String can't fail.
        let _ = write!(out, "{text:?}");
    }
}

/// The characters that logrus writes without quotes.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/' | b'@' | b'^' | b'+')
}
