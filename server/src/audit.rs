//! The audit log of this server is its log: lines of the target `audit`, whatever the level.

use async_trait::async_trait;
use plastron_daemon::logging::{AuditRecord, AuditWriter, FieldValue, WriteFailure};
use plastron_server_core::audit::{AuditLine, AuditSink, AuditSinkError, AuditValue};

/// The program's log as the services' audit log.
pub(crate) struct AuditedLog(pub(crate) AuditWriter);

#[async_trait]
impl AuditSink for AuditedLog {
    async fn write(&self, lines: &[AuditLine]) -> Result<(), AuditSinkError> {
        self.0.write(lines.iter().map(record)).await.map_err(failure)
    }

    fn state(&self) -> Result<(), AuditSinkError> {
        self.0.state().map_err(failure)
    }
}

fn record(AuditLine { message, fields }: &AuditLine) -> AuditRecord<'_> {
    let value = |value| match value {
        &AuditValue::Number(number) => FieldValue::Number(number),
        AuditValue::Text(text) => FieldValue::Text(text),
    };
    AuditRecord { message, fields: fields.iter().map(|(name, of)| (*name, value(of))).collect() }
}

fn failure(WriteFailure { since, reason }: WriteFailure) -> AuditSinkError {
    AuditSinkError { since, reason }
}
