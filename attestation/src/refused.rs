//! Why the verifier refuses a node, and how far it had come.

use std::error::Error;

use plastron_attestation_appraise::{AppraiseError, Check, CheckRecord, Checklist, EkFingerprint, Verdict};

use crate::log_transfer::LogKind;
use crate::wire::WireError;

/// A failed check of the exchange, or of the evidence in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// A message does not parse.
    #[error("the message does not parse")]
    Wire(#[from] WireError),
    /// The evidence fails.
    #[error("the evidence is refused")]
    Evidence(#[from] AppraiseError),
    /// A message out of order.
    #[error("unexpected {got}: {reason}")]
    Sequence {
        /// What came.
        got: &'static str,
        /// Why it is not its turn.
        reason: &'static str,
    },
    /// The response came too late.
    #[error("the response came {age} s after the challenge, at most {limit} s are allowed")]
    ChallengeExpired {
        /// Seconds between challenge and response.
        age: u64,
        /// The limit.
        limit: u64,
    },
    /// An operator banned the node.
    #[error("the node is banned: {reason:?}")]
    Banned {
        /// Why.
        reason: String,
    },
    /// The node is in quarantine.
    #[error("the node is in quarantine: {reason:?}; evict it to let it enrol anew")]
    Quarantined {
        /// Why.
        reason: String,
    },
    /// A response to a credential without its secret.
    #[error("the response does not hold the secret of the credential")]
    SecretMissing,
    /// A secret that no credential was made for.
    #[error("the response holds a secret that was not asked for")]
    SecretUnasked,
    /// A part of a log that is not as long as it has to be; of 0 bytes where the response has none.
    #[error("the part of the {log} that begins at {offset} has {got} bytes, not {wanted}")]
    LogPart {
        /// Which log.
        log: LogKind,
        /// Where the part begins.
        offset: usize,
        /// Its length.
        got: usize,
        /// The length that is left, or the longest that a part may have.
        wanted: usize,
    },
    /// No certification of the SVID's key, which was asked for.
    #[error("the response does not hold the certification of the SVID's key")]
    CertificationMissing,
    /// A certification that was not asked for.
    #[error("the response holds a certification that was not asked for")]
    CertificationUnasked,
    /// A log that was not asked for.
    #[error("the response holds an event log that was not asked for")]
    LogUnasked,
    /// The length of an IMA list that was not asked for.
    #[error("the response holds the length of an IMA list that was not asked for")]
    ImaListUnasked,
    /// More than a list may have.
    #[error(
        "the IMA list has {len} bytes, at most {limit}; let the IMA policy measure less, or do not ask for the list"
    )]
    ImaListTooLong {
        /// Its length.
        len: u32,
        /// The limit.
        limit: usize,
    },
    /// A log in parts that does not come to its end.
    #[error("the {log} was not there {age} s after its beginning, at most {limit} s are allowed")]
    LogTransferTooSlow {
        /// Which log.
        log: LogKind,
        /// Seconds since the response, or since all before this log was there.
        age: u64,
        /// The limit.
        limit: u64,
    },
}

impl ExchangeError {
    /// The check that failed.
    pub fn check(&self) -> Check {
        match self {
            Self::Wire(WireError::NotOurs | WireError::Version { .. }) => Check::UnknownPayload,
            Self::Wire(_) | Self::LogPart { .. } | Self::ImaListTooLong { .. } => Check::Malformed,
            Self::Evidence(error) => error.check(),
            Self::Sequence { .. }
            | Self::SecretUnasked
            | Self::LogUnasked
            | Self::ImaListUnasked
            | Self::CertificationUnasked => Check::Sequence,
            Self::CertificationMissing => Check::CertifySignature,
            Self::ChallengeExpired { .. } | Self::LogTransferTooSlow { .. } => Check::ChallengeFresh,
            Self::Banned { .. } | Self::Quarantined { .. } => Check::Standing,
            Self::SecretMissing => Check::AkActivated,
        }
    }

    /// What failed, with its causes, on one line.
    pub fn describe(&self) -> String {
        let mut line = match self {
            Self::Evidence(error) => error.to_string(),
            other => other.to_string(),
        };
        let mut source = match self {
            Self::Evidence(error) => error.source(),
            other => other.source(),
        };
        while let Some(cause) = source {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            source = cause.source();
        }
        line
    }
}

/// A node that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", error.check(), error.describe())]
pub struct Refused {
    error: ExchangeError,
    records: Vec<CheckRecord>,
    node: Option<EkFingerprint>,
}

impl Refused {
    pub(crate) fn new(error: ExchangeError, mut checks: Checklist, node: Option<EkFingerprint>) -> Box<Self> {
        checks.fail(error.check(), error.describe());
        Box::new(Self { error, records: checks.into_records(), node })
    }

    /// What failed.
    pub fn error(&self) -> &ExchangeError {
        &self.error
    }

    /// The check that failed.
    pub fn check(&self) -> Check {
        self.error.check()
    }

    /// What is known of the node; never `Verdict::Trusted`.
    pub fn verdict(&self) -> Verdict {
        self.error.verdict()
    }

    /// Every check made until then, in order, the failed one last.
    pub fn records(&self) -> &[CheckRecord] {
        &self.records
    }

    /// The node that the evidence is proven to be about: set when its AK has signed a quote for this conversation.
    pub fn node(&self) -> Option<EkFingerprint> {
        self.node
    }
}
