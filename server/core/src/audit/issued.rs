//! No audit, no issuance: what the CA signed leaves this crate only as [`Recorded`], and only [`AuditLog`] makes one of it.
//!
//! The CA gives out [`Unrecorded`], whose content nobody outside this file can take. What is known before it may leave (whose it is,
//! its serial number, its end) can be read, because the store has to have it first.
//!
//! The line is written before the transaction that admits a node or renews its SVID: if it can't be written, no token is spent and
//! no serial number is replaced, and the node can ask again. If the transaction fails then, the line tells of an SVID that nobody got;
//! the attestation's own line says so.

use std::fmt;

use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::SerialNumber;

use super::sink::{AuditLine, AuditLog, AuditSinkError, AuditValue};
use super::{MAX_NAME_LEN, chain, shown};

/// What the audit log says of something that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentFacts {
    /// `x509-svid issue`, `jwt-svid issue` …
    pub event: &'static str,
    /// Whose it is.
    pub id: SpiffeId,
    /// What tells it from all others.
    pub identity: DocumentIdentity,
    /// The authority that signed it.
    pub authority_id: String,
    /// Unix seconds, inclusive.
    pub not_after: u64,
}

/// What tells a document from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentIdentity {
    /// A certificate's serial number.
    Serial(SerialNumber),
    /// A token: never itself, for whoever has it can use it.
    TokenSha256([u8; 32]),
}

/// Something that the CA signs for others.
pub trait Document {
    /// Every fact that an auditor needs to know it by.
    fn facts(&self) -> DocumentFacts;
}

/// Signed, and not to leave before its audit line is written.
#[must_use = "it was signed and is for nobody before it is recorded"]
pub struct Unrecorded<T>(T);

impl<T> Unrecorded<T> {
    pub(crate) fn new(document: T) -> Self {
        Self(document)
    }
}

impl<T: Document> Unrecorded<T> {
    /// What the store has to know before it leaves.
    pub fn facts(&self) -> DocumentFacts {
        self.0.facts()
    }
}

impl<T> fmt::Debug for Unrecorded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unrecorded")
    }
}

/// Signed, with its audit line written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<T>(T);

impl<T> Recorded<T> {
    /// What was signed.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> std::ops::Deref for Recorded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// For what something is issued.
#[derive(Clone, Copy, Debug)]
pub struct Issue<'a> {
    /// Who asked, as the permit has it.
    pub actor: &'a str,
    /// What for: `workload`, `node attestation`, `agent renewal`, `mint` …
    pub purpose: &'static str,
    /// Leaves out whose it is: the ID of a node with a join token repeats the token, which is not spent yet. The attestation's own line
    /// names it, with the same serial number.
    pub withhold_id: bool,
}

impl AuditLog {
    /// Writes the line of one document. `entry`: the entry's identifier, where it is an entry's.
    pub async fn record<T: Document>(
        &self,
        issue: Issue<'_>,
        entry: Option<&str>,
        document: Unrecorded<T>,
    ) -> Result<Recorded<T>, AuditSinkError> {
        self.write(&[issued(issue, entry, &document.0)]).await?;
        Ok(Recorded(document.0))
    }

    /// Writes the lines of a batch in one go: those of what was signed, and those of what was refused. Either all lines are written,
    /// or nothing of the batch leaves.
    pub async fn record_all<T: Document, E: std::error::Error>(
        &self,
        issue: Issue<'_>,
        batch: Vec<(String, Result<Unrecorded<T>, E>)>,
    ) -> Result<Vec<Result<Recorded<T>, E>>, AuditSinkError> {
        let lines: Vec<_> = batch
            .iter()
            .map(|(entry, result)| match result {
                Ok(document) => issued(issue, Some(entry), &document.0),
                Err(error) => refused(issue, entry, error),
            })
            .collect();
        self.write(&lines).await?;
        Ok(batch.into_iter().map(|(_entry, result)| result.map(|document| Recorded(document.0))).collect())
    }

    /// Lets the server's own SVID go to the server's own TLS, written or not: it never leaves this process with its key, and without it
    /// nobody could be told that the audit log is the reason. A line that can't be written now is an ordinary event, which the sink
    /// keeps until it can.
    pub(crate) async fn record_own<T: Document>(&self, document: Unrecorded<T>) -> Recorded<T> {
        let issue = Issue { actor: "server", purpose: "server", withhold_id: false };
        if self.write(&[issued(issue, None, &document.0)]).await.is_err() {
            let DocumentFacts { event, id, identity, authority_id, not_after } = document.0.facts();
            let subject = format!("{id} {} authority {authority_id} until {not_after}", identity.shown());
            super::change(issue.actor, event, &subject, "ok");
        }
        Recorded(document.0)
    }
}

impl DocumentIdentity {
    fn shown(&self) -> String {
        match self {
            Self::Serial(serial) => format!("serial {}", serial.to_decimal()),
            Self::TokenSha256(hash) => format!("token SHA-256 {}", hex::encode(hash)),
        }
    }
}

fn issued<T: Document>(issue: Issue<'_>, entry: Option<&str>, document: &T) -> AuditLine {
    let DocumentFacts { event, id, identity, authority_id, not_after } = document.facts();
    let mut fields = asked(issue, event);
    fields.extend([
        ("authority_id", authority_id.into()),
        ("not_after", not_after.into()),
        ("outcome", "ok".into()),
        ("spiffe_id", if issue.withhold_id { String::new() } else { id.as_str().to_owned() }.into()),
    ]);
    fields.push(match identity {
        DocumentIdentity::Serial(serial) => ("serial", serial.to_decimal().into()),
        DocumentIdentity::TokenSha256(hash) => ("token_sha256", hex::encode(hash).into()),
    });
    if let Some(entry) = entry {
        fields.push(("entry_id", entry.escape_debug().to_string().into()));
    }
    AuditLine::new("SVID issued", fields)
}

/// Of what was refused there is no document, only what was asked for.
fn refused(issue: Issue<'_>, entry: &str, error: &dyn std::error::Error) -> AuditLine {
    let mut fields = asked(issue, "svid refuse");
    fields.push(("entry_id", shown(entry, MAX_NAME_LEN).into()));
    fields.push(("outcome", shown(&chain(error), super::MAX_TEXT_LEN).into()));
    AuditLine::new("SVID refused", fields)
}

fn asked(Issue { actor, purpose, withhold_id: _ }: Issue<'_>, event: &'static str) -> Vec<(&'static str, AuditValue)> {
    vec![("actor", actor.to_owned().into()), ("event", event.into()), ("purpose", purpose.into())]
}
