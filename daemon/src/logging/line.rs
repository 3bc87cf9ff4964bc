//! The two forms of a line.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::Format;

/// An event, ready to be written.
pub(super) struct Line<'a> {
    /// As [`now`] gives it.
    pub(super) time: &'a str,
    pub(super) level: &'static str,
    pub(super) message: FieldValue<'a>,
    /// Where in the source it was made, if that is to be shown.
    pub(super) location: Option<Location<'a>>,
    /// In the order in which they are written.
    pub(super) fields: &'a [(&'a str, FieldValue<'a>)],
}

/// A place in the source, under SPIRE's names.
#[derive(Clone, Copy)]
pub(super) struct Location<'a> {
    /// `file:line`.
    pub(super) file: &'a str,
    /// The module: a function has no name here.
    pub(super) func: &'a str,
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub enum FieldValue<'a> {
    /// Text.
    Text(&'a str),
    /// A number.
    Number(u64),
    /// Anything that an event may hold.
    Json(&'a Value),
}

/// The time of a line that is written now. SPIRE's text has seconds unless a form is asked for, its JSON nanoseconds.
pub(super) fn now(format: Format) -> String {
    let now = OffsetDateTime::now_utc();
    match format {
        Format::Text => now.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z")),
        Format::Json => now.format(&Rfc3339),
    }
    .unwrap_or_default()
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
    /// Appends the line, with its line feed.
    pub(super) fn push(&self, format: Format, out: &mut String) {
        match format {
            Format::Text => self.text(out),
            Format::Json => self.json(out),
        }
        out.push('\n');
    }

    fn text(&self, out: &mut String) {
        // Writing to a String can't fail.
        let _ = write!(out, "time=\"{}\" level={} msg=", self.time, self.level);
        push_value(out, self.message);
        if let Some(Location { file, func }) = self.location {
            push_pair(out, "file", FieldValue::Text(file));
            push_pair(out, "func", FieldValue::Text(func));
        }
        for (name, value) in self.fields {
            push_pair(out, shown_name(name), *value);
        }
    }

    fn json(&self, out: &mut String) {
        let mut object = Map::new();
        for (name, value) in self.fields {
            object.insert(shown_name(name).to_owned(), value.to_json());
        }
        if let Some(Location { file, func }) = self.location {
            object.insert("file".to_owned(), Value::from(file));
            object.insert("func".to_owned(), Value::from(func));
        }
        // After the fields: none of them can pass for these.
        object.insert("level".to_owned(), Value::from(self.level));
        object.insert("msg".to_owned(), self.message.to_json());
        object.insert("time".to_owned(), Value::from(self.time));
        out.push_str(&Value::Object(object).to_string());
    }
}

impl FieldValue<'_> {
    fn to_json(self) -> Value {
        match self {
            Self::Text(text) => Value::from(text),
            Self::Number(number) => Value::from(number),
            Self::Json(value) => value.clone(),
        }
    }
}

/// A field with the name of one of ours is kept apart, as logrus does.
fn shown_name(name: &str) -> &str {
    match name {
        "time" => "fields.time",
        "level" => "fields.level",
        "msg" => "fields.msg",
        name => name.strip_prefix("r#").unwrap_or(name),
    }
}

fn push_pair(out: &mut String, name: &str, value: FieldValue<'_>) {
    out.push(' ');
    out.push_str(name);
    out.push('=');
    push_value(out, value);
}

fn push_value(out: &mut String, value: FieldValue<'_>) {
    let rendered;
    let text = match value {
        FieldValue::Text(text) => text,
        FieldValue::Json(Value::String(text)) => text.as_str(),
        FieldValue::Number(number) => {
            rendered = number.to_string();
            &rendered
        }
        FieldValue::Json(other) => {
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
