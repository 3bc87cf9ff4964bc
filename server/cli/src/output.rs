//! Where a command reads and writes, and in which form.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};

use prost::{Message, Name};
use tonic::Code;

use crate::{CliError, Environment};

/// For people or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Labels and values.
    #[default]
    #[value(alias = "prettyprint")]
    Pretty,
    /// One line of JSON, in protobuf's mapping with the names of the .proto files.
    Json,
}

/// `-output`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct OutputArgs {
    /// Desired output format
    #[arg(long, short = 'o', value_enum, ignore_case = true, default_value_t)]
    pub output: Format,
}

/// The process's streams and the environment that matters, handed in so that tests see every byte.
pub struct Io<'a> {
    /// Standard input.
    pub input: &'a mut (dyn Read + Send),
    /// Standard output.
    pub out: &'a mut (dyn Write + Send),
    /// Standard error.
    pub err: &'a mut (dyn Write + Send),
    /// What was read from the environment.
    pub environment: Environment,
}

impl Io<'_> {
    /// A file, or standard input where the path is `-`; at most `limit` bytes of it.
    pub(crate) fn read(&mut self, path: &str, limit: u64) -> Result<Vec<u8>, CliError> {
        let mut bytes = Vec::new();
        let outcome = if path == "-" {
            (&mut *self.input).take(limit).read_to_end(&mut bytes)
        } else {
            File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
        };
        outcome.map_err(|source| CliError::Read { path: path.to_owned(), source })?;
        Ok(bytes)
    }

    pub(crate) fn out(&mut self, text: &str) -> Result<(), CliError> {
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(CliError::Write)
    }

    pub(crate) fn err(&mut self, text: &str) -> Result<(), CliError> {
        self.err.write_all(text.as_bytes()).map_err(CliError::Write)
    }

    pub(crate) fn json<M: Message + Name>(&mut self, message: &M) -> Result<(), CliError> {
        let line = plastron_proto::json::to_json(message)?.to_string();
        self.out(&format!(
            "{}\n",
            escape(&line, |text, c| {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            })
        ))
    }
}

/// Text that someone else wrote, for a terminal: what could move the cursor or reorder the line is shown as an escape.
pub(crate) fn printable(text: &str) -> String {
    escape(text, |out, c| out.extend(c.escape_unicode()))
}

/// Text in quotes as Go's `%q` writes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            '\u{7}' => out.write_str("\\a"),
            '\u{8}' => out.write_str("\\b"),
            '\u{c}' => out.write_str("\\f"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            '\u{b}' => out.write_str("\\v"),
            '\0'..='\u{1f}' | '\u{7f}' => write!(out, "\\x{:02x}", u32::from(c)),
            c if (c.is_control() || is_invisible(c)) && c <= '\u{ffff}' => write!(out, "\\u{:04x}", u32::from(c)),
            c if c.is_control() || is_invisible(c) => write!(out, "\\U{:08x}", u32::from(c)),
            c => out.write_char(c),
        };
    }
    out.push('"');
    out
}

fn escape(text: &str, mut write: impl FnMut(&mut String, char)) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) { write(&mut out, c) } else { out.push(c) }
    }
    out
}

/// Marks that change the direction or hide (Unicode general category Cf, as far as terminals act on it), and line separators.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// The names that gRPC's documentation gives its codes.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// Unix seconds as SPIRE prints them: `2026-01-02 15:04:05 +0000 UTC`.
pub(crate) fn utc(seconds: i64) -> String {
    match time::OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(at) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} +0000 UTC",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        ),
        Err(_) => format!("{seconds} s after 1970"),
    }
}

/// Unix seconds as RFC 3339 has them: `2026-01-02T15:04:05Z`.
pub(crate) fn rfc3339(seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}

/// A SPIFFE ID of an answer; nothing where the answer has none.
pub(crate) fn id_text(id: Option<&plastron_proto::types::Spiffeid>) -> String {
    id.map(|id| printable(&format!("spiffe://{}{}", id.trust_domain, id.path))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_turns_the_text_around_is_escaped() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}\u{202e}é\n"), "a\\u{1b}[2Jb\\u{9b}\\u{202e}é\\u{a}");
        assert_eq!(printable(r#"unix:path:/a\b "c""#), r#"unix:path:/a\b "c""#);
    }

    #[test]
    fn quotes_are_gos() {
        assert_eq!(quoted("a \"b\" \\ \n\u{1b}\u{202e}\u{e0001}é"), r#""a \"b\" \\ \n\x1b\u202e\U000e0001é""#);
    }

    #[test]
    fn times_are_utc_and_never_panic() {
        assert_eq!(utc(1_767_366_245), "2026-01-02 15:04:05 +0000 UTC");
        assert_eq!(utc(i64::MAX), "9223372036854775807 s after 1970");
        assert_eq!(rfc3339(1_767_366_245), "2026-01-02T15:04:05Z");
        assert_eq!(rfc3339(i64::MAX), "9223372036854775807 s after 1970");
    }
}
