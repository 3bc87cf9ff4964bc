//! Where audit lines go, with a result: what must not happen without its line asks here first.
//!
//! [`AuditSink`] is the seam; the program implements it over its log. [`AuditLog`] stands before it: it writes what is to be handed
//! out or done only once its line is written, and where the sink is known to be broken it refuses at once, trying a line of its own
//! once a second, so that it heals by itself. Lines about what was done already do not come by here: they are events of the target
//! `audit`, and a sink keeps those that it could not write and writes them before anything else.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

/// How often a broken sink is tried.
const PROBE_PERIOD: Duration = Duration::from_secs(1);

/// A line to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// The line's message.
    pub message: &'static str,
    /// Its fields, in alphabetical order of their names. What a peer may have written is escaped already.
    pub fields: Vec<(&'static str, AuditValue)>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditValue {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Number(u64),
}

impl From<String> for AuditValue {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<&'static str> for AuditValue {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<u64> for AuditValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl AuditLine {
    pub(super) fn new(message: &'static str, mut fields: Vec<(&'static str, AuditValue)>) -> Self {
        fields.push(("type", "audit".into()));
        fields.sort_unstable_by_key(|(name, _value)| *name);
        Self { message, fields }
    }
}

/// Takes audit lines.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// Writes the lines, in order and before it answers, or says why not. It answers within a few seconds, whatever the lines are
    /// written to; lines that were reported as not written may still appear, or appear in part.
    async fn write(&self, lines: &[AuditLine]) -> Result<(), AuditSinkError>;

    /// What the last write to it came to, whoever made it. Writes nothing.
    fn state(&self) -> Result<(), AuditSinkError>;
}

/// Why audit lines are not written: what is to be recorded does not happen. Unavailable, for every kind of call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log can't be written since {}: {reason}", super::utc(*.since))]
pub struct AuditSinkError {
    /// Since when, Unix seconds.
    pub since: u64,
    /// What the sink said.
    pub reason: String,
}

/// The audit log, as those see it who need an answer of it.
pub struct AuditLog {
    sink: Arc<dyn AuditSink>,
    /// When a broken sink was last tried.
    probed: Mutex<Option<Instant>>,
}

impl AuditLog {
    /// An audit log over this sink.
    pub fn new(sink: Arc<dyn AuditSink>) -> Arc<Self> {
        Arc::new(Self { sink, probed: Mutex::new(None) })
    }

    /// Whether audit lines are being written, for what must not even begin without them. Where they were not, a line that says so
    /// is tried, at most once a second: if it is written, all is well again.
    pub async fn check(&self) -> Result<(), AuditSinkError> {
        let Err(broken) = self.sink.state() else { return Ok(()) };
        if !self.may_probe() {
            return Err(broken);
        }
        let AuditSinkError { since, reason } = broken;
        let fields = vec![
            ("event", "audit log resumed".into()),
            ("reason", super::shown(&reason, super::MAX_TEXT_LEN).into()),
            ("since", super::utc(since).into()),
        ];
        self.write(&[AuditLine::new("Audit log is written again", fields)]).await
    }

    pub(super) async fn write(&self, lines: &[AuditLine]) -> Result<(), AuditSinkError> {
        self.sink.write(lines).await
    }

    fn may_probe(&self) -> bool {
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if probed.is_some_and(|probed| now.saturating_duration_since(probed) < PROBE_PERIOD) {
            return false;
        }
        *probed = Some(now);
        true
    }

    /// Writes the line of a change that must not be made without it, before it is made. Once it is made, [`super::change`] says how
    /// it ended.
    pub async fn announce(
        &self,
        actor: &str,
        action: &'static str,
        subject: &str,
    ) -> Result<Announced, AuditSinkError> {
        let fields = vec![
            ("actor", actor.to_owned().into()),
            ("event", action.into()),
            ("outcome", "about to be done".into()),
            ("subject", subject.escape_debug().to_string().into()),
        ];
        self.write(&[AuditLine::new(action, fields)]).await?;
        Ok(Announced(()))
    }
}

/// Proof that the line of a change was written before the change.
#[derive(Debug)]
pub struct Announced(());
