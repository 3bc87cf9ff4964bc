//! What the server said of an attestation, in its own audit line.

use std::time::Duration;

use plastron_swtpm_tests::TestServer;
use serde_json::Value;

use crate::BootTestError;

/// The line is written before the agent has its answer, and the guest has ended when it is looked for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The field of an audit line that says what it is about. The SVID's own line has these words too, as its purpose.
const MARK: &str = "\"event\":\"node attestation\"";

/// One audit line of an attestation.
pub(crate) struct Verdict {
    line: Value,
}

/// Reads a server's audit lines in order, each once.
#[derive(Default)]
pub(crate) struct AuditReader {
    next: usize,
}

impl AuditReader {
    /// The next attestation that the server judged.
    pub(crate) fn next(&mut self, server: &mut TestServer) -> Result<Verdict, BootTestError> {
        let (next, line) = server.process().wait_for_line_after(self.next, MARK, PATIENCE)?;
        self.next = next;
        let line = serde_json::from_str(&line)
            .map_err(|_| BootTestError::Malformed { path: line, expected: "audit line in JSON" })?;
        Ok(Verdict { line })
    }

    /// Begins at the start again: a server that was started again has a new log.
    pub(crate) fn start_over(&mut self) {
        self.next = 0;
    }
}

impl Verdict {
    fn field(&self, name: &str) -> &str {
        self.line.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it says that the node was admitted.
    pub(crate) fn admitted(&self) -> bool {
        self.field("verdict") == "trusted"
    }

    /// The node's SPIFFE ID.
    pub(crate) fn node(&self) -> &str {
        self.field("node")
    }

    /// Serial number of the SVID, where one was issued.
    pub(crate) fn serial(&self) -> &str {
        self.field("serial")
    }

    /// Every check that was made, with its outcome and detail.
    pub(crate) fn checks(&self) -> &str {
        self.field("checks")
    }

    /// Why the node was refused, in words.
    pub(crate) fn reason(&self) -> &str {
        self.field("reason")
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the audit line is {}", self.line)
    }
}
