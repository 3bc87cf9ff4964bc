//! What a pool demands of a boot, beside golden PCR values: the log of the boot, the state of Secure Boot, and the exceptions that a
//! machine's model needs. Each exception has a name, is off unless configuration names it, and shows in the verdict. Not here: rules
//! over other facts, which a policy language will state.

use plastron_attestation_tcg::HashAlgorithm;

/// What becomes of a node that shows no event log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingEventLog {
    /// Its verdict is `indeterminate: no log`, and nothing is issued.
    #[default]
    Refuse,
    /// It is judged by its PCR values alone, and every verdict says so.
    Accept,
}

/// What becomes of a log in the format of TPM 1.2, which has SHA-1 digests only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sha1EventLog {
    /// It is refused: SHA-1 is only a witness.
    #[default]
    Refuse,
    /// It counts for what it is worth, and every verdict says so.
    Accept,
}

/// What a SecureBoot variable without a value means. The UEFI specification gives it one byte, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptySecureBoot {
    /// Nothing: the state of Secure Boot is not known.
    #[default]
    Unknown,
    /// Secure Boot is off. Some firmware measures the variable before it exists.
    Disabled,
}

/// Whether a certificate of db may have vouched for a driver before PCR 7 was closed by its separator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriversBeforeSeparator {
    /// An EV_EFI_VARIABLE_AUTHORITY event before the separator refuses.
    #[default]
    Refuse,
    /// It is accepted: machines with a `Driver####` load option, or with signed option ROMs on some firmware.
    Accept,
}

/// Whether a node has to show what Linux measured after the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImaPolicy {
    /// It is not asked for its IMA list.
    #[default]
    NotAsked,
    /// It is asked, and the verdict says so where it has none. A list that it shows has to hold.
    Accept,
    /// Without a list its verdict is `indeterminate: no IMA list`, and nothing is issued.
    Require,
}

/// What a boot must have been. The default wants a log and no exception, and demands no state of Secure Boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootPolicy {
    /// No event log at all.
    pub missing_event_log: MissingEventLog,
    /// `Some(true)`: Secure Boot must have been enabled; `Some(false)`: it must not; `None`: no demand.
    pub secure_boot: Option<bool>,
    /// Banks that the firmware of this pool's model allocates and does not extend. They are no evidence, and whatever stands in them
    /// is disregarded. At least one bank other than SHA-1 has to be left.
    pub unextended_banks: Vec<HashAlgorithm>,
    /// Logs in the format of TPM 1.2.
    pub sha1_event_log: Sha1EventLog,
    /// A SecureBoot variable of length zero.
    pub empty_secure_boot: EmptySecureBoot,
    /// Drivers that were verified before PCR 7's separator.
    pub drivers_before_separator: DriversBeforeSeparator,
    /// The IMA measurement list.
    pub ima: ImaPolicy,
}
