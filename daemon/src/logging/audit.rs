//! Audit lines whose writer needs to know that they were written: the same lines in the same place as those of the target `audit`.

use super::line::{FieldValue, Line, now};
use super::sink::{Keep, Sink, WriteFailure};
use super::{AUDIT_REFUSAL_TARGET, AUDIT_TARGET, Format};

/// Writes audit lines, with a result. No level drops them.
#[derive(Clone)]
pub struct AuditWriter {
    sink: Sink,
    format: Format,
}

/// An audit line.
pub struct AuditRecord<'a> {
    /// Its message.
    pub message: &'a str,
    /// Its fields, in the order in which they are to stand: alphabetical.
    pub fields: Vec<(&'a str, FieldValue<'a>)>,
}

impl AuditWriter {
    pub(super) fn new(sink: Sink, format: Format) -> Self {
        Self { sink, format }
    }

    /// Writes the lines in one go. It answers within a few seconds: a write that takes longer counts as failed.
    pub async fn write<'a>(&self, records: impl IntoIterator<Item = AuditRecord<'a>>) -> Result<(), WriteFailure> {
        let (time, mut lines) = (now(self.format), String::new());
        for AuditRecord { message, fields } in records {
            let line = Line {
                time: &time,
                level: "info",
                message: FieldValue::Text(message),
                location: None,
                fields: &fields,
            };
            line.push(self.format, &mut lines);
        }
        self.sink.write_checked(lines).await
    }

    /// What the last write of any line came to. Writes nothing.
    pub fn state(&self) -> Result<(), WriteFailure> {
        self.sink.state()
    }
}

/// Whether an event of this target is kept until it can be written.
pub(super) fn keep(target: &str) -> Keep {
    match target {
        AUDIT_TARGET => Keep::Change,
        AUDIT_REFUSAL_TARGET => Keep::Refusal,
        _other => Keep::No,
    }
}
