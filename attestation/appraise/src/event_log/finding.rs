//! Findings: what is odd in a log, by name, with the event that shows it. Some refuse a boot wherever they are met, some where a policy
//! relies on what they cast doubt on, and some are for people to know; `judge` decides which.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::Check;

/// What can be odd in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// A check of its own fails.
    Check(Check),
    /// The text of an event is not what was hashed.
    UntrustedText,
    /// The data of an event does not have the form that its type has.
    MalformedData,
    /// The type of an event has no rule in its PCR.
    UnknownEvent,
    /// An event of PCR 4 has another type than what was started there has, and can be a boot application.
    RetypedApplication,
    /// Secure Boot is said to be enabled without a platform key, which no firmware does.
    SecureBootWithoutPk,
    /// shim was told to verify nothing, so that Secure Boot ended with it.
    ShimVerifiesNothing,
    /// The machine has no platform key: Secure Boot is off, and whoever comes first can enrol keys.
    SetupMode,
    /// The SecureBoot variable has no value.
    EmptySecureBoot,
    /// A certificate vouched for a driver before PCR 7's separator.
    AuthorityBeforeSeparator,
    /// PCR 7 holds authorities although Secure Boot is off: shim's SbatLevel, for one.
    AuthorityWithoutSecureBoot,
    /// Firmware ran without protection from DMA, and says so.
    DmaProtectionDisabled,
    /// What GRUB measured does not tell which text was the kernel's command line.
    AmbiguousCommandLine,
    /// An event is in a PCR that can be reset, which is no evidence of boot.
    ResettablePcr,
    /// The log has digests of SHA-1 alone, which is never evidence by itself.
    Sha1EventLog,
    /// A list has more entries than are kept.
    FactLimit,
}

impl FindingKind {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Check(check) => check.name(),
            Self::UntrustedText => "untrusted_text",
            Self::MalformedData => "malformed_data",
            Self::UnknownEvent => "unknown_event",
            Self::RetypedApplication => "retyped_application",
            Self::SecureBootWithoutPk => "secure_boot_without_pk",
            Self::ShimVerifiesNothing => "shim_verifies_nothing",
            Self::SetupMode => "setup_mode",
            Self::EmptySecureBoot => "empty_secure_boot",
            Self::AuthorityBeforeSeparator => "authority_before_separator",
            Self::AuthorityWithoutSecureBoot => "authority_without_secure_boot",
            Self::DmaProtectionDisabled => "dma_protection_disabled",
            Self::AmbiguousCommandLine => "ambiguous_command_line",
            Self::ResettablePcr => "resettable_pcr",
            Self::Sha1EventLog => "sha1_event_log",
            Self::FactLimit => "fact_limit",
        }
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    #[serde(rename = "check", serialize_with = "name")]
    pub kind: FindingKind,
    /// The PCR that it is about, if it is about one.
    #[serde(skip)]
    pub pcr: Option<u8>,
    /// The event that shows it, by its number in the log; `None` where what is odd is that there is none.
    pub event: Option<u32>,
    /// Both sides, in words; text from the log is escaped.
    pub text: String,
}

fn name<S: Serializer>(kind: &FindingKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(event) = self.event {
            write!(f, "event {event}: ")?;
        }
        f.write_str(&self.text)
    }
}
