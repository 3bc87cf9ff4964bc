//! Why evidence is refused: a variant for each way in which a check can fail, with both sides in it.
//!
//! Text that came from a node or a certificate is escaped in every message.

use plastron_attestation_tcg::event_log::{LogError, LogFault};
use plastron_attestation_tcg::ima::{ImaListError, ImaListFault};
use plastron_attestation_tcg::{HashAlgorithm, ObjectAttributes, ReadError};

use crate::event_log::{Finding, LastEvent, PcrEvents};
use crate::utc::Utc;
use crate::{Check, EkFingerprint, FingerprintError};

/// A failed check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant names its fields and says what they are")]
pub enum AppraiseError {
    #[error("a TPM structure does not parse")]
    Read(#[from] ReadError),
    #[error("the EK has no fingerprint")]
    Fingerprint(#[from] FingerprintError),
    #[error("a selector of the node can't be made")]
    Selector(#[from] plastron_spiffe::SelectorError),
    #[error("EK {fingerprint} is on the deny list: {reason:?}")]
    DeniedEk { fingerprint: EkFingerprint, reason: String },
    #[error("EK certificate with serial number {serial} is on the deny list: {reason:?}")]
    DeniedCertificate { serial: String, reason: String },
    #[error("TPM model {model:?} with firmware {firmware_version:#018x} is on the deny list: {reason:?}")]
    DeniedFirmware { model: String, firmware_version: u64, reason: String },
    #[error("TPM model {model:?} is on the deny list: {reason:?}")]
    DeniedModel { model: String, reason: String },

    #[error("no pool is configured, so no EK is trusted; name one in NodeAttestor \"tpm\"")]
    NoPool,
    #[error(
        "pool {pool:?}, which took the node, is not configured any more; name it again, or evict the node to let it enrol anew"
    )]
    PoolGone { pool: String },
    #[error("no pool trusts EK {fingerprint}: {reasons}")]
    NoPoolTrusts { fingerprint: EkFingerprint, reasons: String },
    #[error(
        "{field} of the EK is not that of template {template}, which pool {pool:?} accepts; agent and pool name it in 'ek_template'"
    )]
    EkTemplate { pool: String, template: &'static str, field: &'static str },
    #[error("the RSA modulus of the EK has {bits} significant bits and is {parity}; wanted: 2048 to 8192, odd")]
    EkModulus { bits: usize, parity: &'static str },
    #[error("the RSA modulus of the EK is of the ROCA family (CVE-2017-15361); replace the TPM")]
    Roca,
    #[error("the EK is not a point of its curve")]
    EkPoint,

    #[error("pool {pool:?} demands an EK certificate and the TPM has none; pin the EK or provision its certificate")]
    EkCertificateMissing { pool: String },
    #[error("the {which} certificate has {len} bytes, at most {limit}")]
    CertificateTooLong { which: &'static str, len: usize, limit: usize },
    #[error("{got} intermediate certificates came with the EK, at most {limit}")]
    TooManyIntermediates { got: usize, limit: usize },
    #[error("the {which} certificate does not parse: {reason}")]
    CertificateMalformed { which: &'static str, reason: String },
    #[error("the EK certificate is of X.509 v{version}, not v3")]
    EkCertificateVersion { version: u8 },
    #[error("the EK certificate is over another key: {reason}")]
    EkCertificateKey { reason: &'static str },
    #[error("the EK certificate is a CA's")]
    EkIsCa,
    #[error("key usage of the EK certificate is {got}; an EK of this type needs {wanted} and must not sign")]
    EkKeyUsage { got: String, wanted: &'static str },
    #[error("extended key usage is {got}, not that of an EK certificate (2.23.133.8.1)")]
    EkExtendedKeyUsage { got: String },
    #[error("the EK certificate does not state the TPM's {missing}")]
    EkTpmIdentity { missing: &'static str },
    #[error("critical extension {oid} of the {which} certificate is not understood")]
    CriticalExtension { which: &'static str, oid: String },
    #[error("the {which} certificate expired: not valid after {}, now {}", Utc(*.not_after), Utc(*.now))]
    Expired { which: &'static str, not_after: u64, now: u64 },
    #[error("the {which} certificate is not valid yet: not valid before {}, now {}", Utc(*.not_before), Utc(*.now))]
    NotYetValid { which: &'static str, not_before: u64, now: u64 },
    #[error(
        "no path from the EK certificate, issued by {issuer}, to a root of the pool: {reason}; if you trust its maker, add the maker's CA to the pool"
    )]
    EkPath { issuer: String, reason: String },
    #[error("the certificate revocation list does not parse: {reason}")]
    CrlMalformed { reason: String },
    #[error(
        "critical extension {oid} of the revocation list by {issuer} is not understood: delta, indirect and partial lists are not taken"
    )]
    CrlExtension { issuer: String, oid: String },
    #[error("the revocation list by {issuer} is not its issuer's: {reason}")]
    CrlSignature { issuer: String, reason: &'static str },
    #[error("the revocation list by {issuer} is of the future: this update {}, now {}", Utc(*.this_update), Utc(*.now))]
    CrlNotYetValid { issuer: String, this_update: u64, now: u64 },
    #[error("the revocation list by {issuer} is stale: good until {}, now {}; import a newer one", Utc(*.until), Utc(*.now))]
    CrlStale { issuer: String, until: u64, now: u64 },
    #[error("the {which} certificate with serial number {serial} is revoked by the list of {} by {issuer}", Utc(*.this_update))]
    Revoked { which: &'static str, issuer: String, serial: String, this_update: u64 },
    #[error("EK {fingerprint} is not pinned in pool {pool:?}; pin it to let the machine in")]
    EkNotPinned { fingerprint: EkFingerprint, pool: String },
    #[error("the pin of EK {fingerprint} in pool {pool:?} expired at {}, now {}; pin it anew", Utc(*.expires), Utc(*.now))]
    EkPinExpired { fingerprint: EkFingerprint, pool: String, expires: u64, now: u64 },

    #[error("attributes of the AK are {got}: {wanted}")]
    AkAttributes { got: ObjectAttributes, wanted: &'static str },
    #[error("the AK's {what} is not accepted: {got}")]
    AkAlgorithm { what: &'static str, got: String },
    #[error("no credential can be made for this EK: {reason}")]
    MakeCredential { reason: &'static str },
    #[error("the credential was not activated: the secret that came back is another")]
    CredentialMismatch,
    #[error("the record of the node holds another AK than {ak_name}")]
    AkNotEnrolled { ak_name: String },

    #[error("the AK did not sign the quote ({reason})")]
    QuoteSignature { reason: &'static str },
    #[error("the magic of the signed structure is {got:#010x}, not TPM_GENERATED_VALUE")]
    QuoteMagic { got: u32 },
    #[error("the signed structure is of type {got:#06x}, not a quote")]
    QuoteType { got: u16 },
    #[error("extraData is {got}, not {wanted}: another nonce, purpose, trust domain, SVID key or conversation")]
    QuoteBinding { got: String, wanted: String },
    #[error("qualifiedSigner is {got}, not {wanted}: the AK does not descend from the EK")]
    QualifiedSigner { got: String, wanted: String },
    #[error("PCRs quoted: {got}; asked for: {wanted}")]
    PcrSelection { got: String, wanted: String },
    #[error(
        "no PCR bank other than sha1 is allocated; allocate sha256 in the firmware's setup or with tpm2_pcrallocate"
    )]
    OnlySha1,
    #[error("{got} PCR values for {wanted} PCRs quoted")]
    PcrCount { got: usize, wanted: usize },
    #[error("the value of PCR {index} in bank {bank} has {got} bytes, not {}", .bank.digest_len())]
    PcrLength { bank: HashAlgorithm, index: u8, got: usize },
    #[error("the PCR values hash to {got}, the quote's pcrDigest is {wanted}")]
    PcrDigest { got: String, wanted: String },

    #[error("attributes of the SVID's key are {got}: {wanted}")]
    SvidKeyAttributes { got: ObjectAttributes, wanted: &'static str },
    #[error(
        "nameAlg of the SVID's key is {got}, so that two public areas could share its Name; at least sha256 is wanted"
    )]
    SvidKeyNameAlg { got: HashAlgorithm },
    #[error("the public area is of key {got}, the CSR is for {wanted}")]
    SvidKeyPublic { got: String, wanted: String },
    #[error("the AK did not sign the certification of the SVID's key ({reason})")]
    CertifySignature { reason: &'static str },
    #[error("the magic of the certification is {got:#010x}, not TPM_GENERATED_VALUE")]
    CertifyMagic { got: u32 },
    #[error("the signed structure is of type {got:#06x}, not a certification")]
    CertifyType { got: u16 },
    #[error("extraData of the certification is {got}, not {wanted}: another conversation, or not for certifying")]
    CertifyBinding { got: String, wanted: String },
    #[error("qualifiedSigner of the certification is {got}, not {wanted}: the AK does not descend from the EK")]
    CertifySigner { got: String, wanted: String },
    #[error("what was certified is {got}, not the SVID's key {wanted}")]
    CertifyName { got: String, wanted: String },
    #[error(
        "the TPM was reset between certification and quote: resetCount and restartCount were {certified:?}, then {quoted:?}; attest again"
    )]
    ResetBetween { certified: (u32, u32), quoted: (u32, u32) },

    #[error("the event log has {len} bytes, at most {limit}")]
    EventLogTooLong { len: u32, limit: usize },
    #[error("the SHA-256 of the event log is {got}, the payload announced {wanted}")]
    EventLogDigest { got: String, wanted: String },

    #[error("PCR {index} of bank {bank} is {got}, not {wanted}; {events}")]
    GoldenPcr { bank: HashAlgorithm, index: u8, got: String, wanted: String, events: PcrEvents },
    #[error(
        "pool {pool:?} has no golden value for PCR {index} in bank {bank}, which is allocated; name one, or deallocate the bank"
    )]
    NoGoldenPcr { pool: String, bank: HashAlgorithm, index: u8 },
    #[error(
        "pool {pool:?} pins PCR {index}, and no bank is left to compare: each is sha1, or excepted by 'unextended_banks'"
    )]
    NoBankForGoldenPcr { pool: String, index: u8 },
    #[error(
        "bank {bank} is untouched in PCR {index} while bank {other} is not: firmware did not extend it; deallocate the bank, or name it in 'unextended_banks'"
    )]
    BankNotExtended { bank: HashAlgorithm, other: HashAlgorithm, index: u8 },
    #[error(
        "indeterminate: no log: firmware wrote none, or the kernel found none (GRUB 2.06 does not hand it on where Secure Boot is off: use \
         GRUB 2.12 or a unified kernel image, or enable Secure Boot); 'missing_event_log' in the pool accepts such machines"
    )]
    EventLogMissing,
    #[error("the event log is malformed")]
    EventLog(#[source] LogError),
    #[error(
        "the event log, of format {format}, has evidence in SHA-1 only, which is never evidence by itself; 'sha1_event_log' in the pool accepts such machines"
    )]
    EventLogSha1 { format: &'static str },
    #[error(
        "PCR {index} of bank {bank} is {quoted}; the event log replays to {replayed}, {last_event}: the PCR was extended by what the log does not tell, or the log is changed or of another boot"
    )]
    EventLogReplay { bank: HashAlgorithm, index: u8, quoted: String, replayed: String, last_event: LastEvent },
    #[error(
        "bank {bank} is allocated and the event log has no digests for it (it has {log_banks}): firmware did not extend it; \
         deallocate the bank, or name it in 'unextended_banks'"
    )]
    BankNotInLog { bank: HashAlgorithm, log_banks: String },
    #[error("bank {bank} is allocated and event {event} of the log has no digest for it")]
    BankMissingInEvent { bank: HashAlgorithm, event: u32 },
    #[error(
        "PCR {index} of bank {bank} is untouched: firmware did not extend it; deallocate the bank, or name it in 'unextended_banks'"
    )]
    BankUntouched { bank: HashAlgorithm, index: u8 },
    #[error(
        "PCR {index} of bank {bank} is {quoted}; the event log replays to {replayed} ({last_event}), and replays in bank {other}: \
         something else than this boot filled the bank"
    )]
    BankNotReplayed {
        bank: HashAlgorithm,
        other: HashAlgorithm,
        index: u8,
        quoted: String,
        replayed: String,
        last_event: LastEvent,
    },
    #[error(
        "indeterminate: no IMA list: the kernel has no IMA, or the agent's 'ima_log_path' names another file; boot with ima_policy=tcb, \
         or let 'ima' in the pool accept such machines"
    )]
    ImaListMissing,
    #[error("an IMA list does not parse")]
    ImaList(#[source] ImaListError),
    #[error(
        "entry {entry} of the IMA list was extended into PCR {pcr}; only lists in PCR 10 are judged: leave pcr= out of the IMA policy"
    )]
    ImaPcr { entry: u32, pcr: u8 },
    #[error("the template digest of entry {entry} of the IMA list is {got}, its data hash to {wanted}")]
    ImaTemplateDigest { entry: u32, got: String, wanted: String },
    #[error("PCR {index} of bank {bank} is not quoted, and an IMA list needs it: name it in the pool's PCRs")]
    ImaNotQuoted { bank: HashAlgorithm, index: u8 },
    #[error(
        "PCR 10 of bank {bank} is untouched: the kernel did not extend it; build IMA and the TPM's driver into the kernel"
    )]
    ImaNotExtended { bank: HashAlgorithm },
    #[error("no beginning of the IMA list, of {entries} entries, replays to PCR 10 in every bank: {banks}")]
    ImaReplay { entries: usize, banks: String },
    #[error("the IMA list does not begin with boot_aggregate")]
    ImaNoBootAggregate,
    #[error("boot_aggregate of the IMA list is {got}, not {wanted}: the list is of another boot")]
    ImaBootAggregate { got: String, wanted: String },
    #[error("{finding}")]
    BootEvent { check: Check, finding: Box<Finding> },
    #[error("Secure Boot is {got}; the pool demands that it was {wanted}")]
    SecureBoot { got: String, wanted: &'static str },
    #[error("the TPM went back: {what} was {before}, now {now}: a copy of it is alive, or an older state was put back")]
    StateRegressed { what: &'static str, before: u64, now: u64 },
    #[error("the node retired this AK: a copy of it, or of its disk, is alive")]
    RetiredAk,
    #[error("proofs about different subjects: {what}")]
    Subject { what: &'static str },
}

/// A list without an entry is none; any other fault is a malformed list.
impl From<ImaListError> for AppraiseError {
    fn from(error: ImaListError) -> Self {
        match error.reason {
            ImaListFault::Empty => Self::ImaListMissing,
            ImaListFault::Read(_) => Self::ImaList(error),
        }
    }
}

/// A log without an event is none; any other fault is a malformed log.
impl From<LogError> for AppraiseError {
    fn from(error: LogError) -> Self {
        match error.reason {
            LogFault::Empty => Self::EventLogMissing,
            _ => Self::EventLog(error),
        }
    }
}

impl AppraiseError {
    /// The check that failed.
    pub fn check(&self) -> Check {
        match self {
            Self::Read(_) | Self::Fingerprint(_) | Self::Selector(_) => Check::Malformed,
            Self::CertificateTooLong { .. } | Self::TooManyIntermediates { .. } => Check::Malformed,
            Self::DeniedEk { .. }
            | Self::DeniedCertificate { .. }
            | Self::DeniedModel { .. }
            | Self::DeniedFirmware { .. } => Check::DenyList,
            Self::NoPool | Self::PoolGone { .. } | Self::NoPoolTrusts { .. } => Check::Pool,
            Self::EkTemplate { .. } => Check::EkTemplate,
            Self::EkModulus { .. } | Self::Roca | Self::EkPoint => Check::EkStrength,
            Self::EkCertificateMissing { .. }
            | Self::CertificateMalformed { .. }
            | Self::EkCertificateVersion { .. } => Check::EkCertificate,
            Self::EkCertificateKey { .. } => Check::EkCertificateKey,
            Self::EkIsCa => Check::EkBasicConstraints,
            Self::EkKeyUsage { .. } => Check::EkKeyUsage,
            Self::EkExtendedKeyUsage { .. } => Check::EkExtendedKeyUsage,
            Self::EkTpmIdentity { .. } => Check::EkTpmIdentity,
            Self::CriticalExtension { .. } => Check::EkCriticalExtension,
            Self::Expired { .. } | Self::NotYetValid { .. } => Check::EkValidity,
            Self::EkPath { .. } => Check::EkPath,
            Self::CrlMalformed { .. }
            | Self::CrlExtension { .. }
            | Self::CrlSignature { .. }
            | Self::CrlNotYetValid { .. }
            | Self::CrlStale { .. }
            | Self::Revoked { .. } => Check::EkRevocation,
            Self::EkNotPinned { .. } | Self::EkPinExpired { .. } => Check::EkPin,
            Self::AkAttributes { .. } => Check::AkAttributes,
            Self::AkAlgorithm { .. } => Check::AkAlgorithm,
            Self::MakeCredential { .. } | Self::CredentialMismatch | Self::AkNotEnrolled { .. } => Check::AkActivated,
            Self::QuoteSignature { .. } => Check::QuoteSignature,
            Self::QuoteMagic { .. } => Check::QuoteMagic,
            Self::QuoteType { .. } => Check::QuoteType,
            Self::QuoteBinding { .. } => Check::QuoteBinding,
            Self::QualifiedSigner { .. } => Check::QualifiedSigner,
            Self::PcrSelection { .. } => Check::PcrSelection,
            Self::OnlySha1 => Check::PcrBanks,
            Self::PcrCount { .. } | Self::PcrLength { .. } => Check::PcrValues,
            Self::PcrDigest { .. } => Check::PcrDigest,
            Self::EventLogTooLong { .. } => Check::Malformed,
            Self::SvidKeyAttributes { .. } | Self::SvidKeyNameAlg { .. } => Check::SvidKeyAttributes,
            Self::SvidKeyPublic { .. } => Check::SvidKeyPublic,
            Self::CertifySignature { .. } => Check::CertifySignature,
            Self::CertifyMagic { .. } => Check::CertifyMagic,
            Self::CertifyType { .. } => Check::CertifyType,
            Self::CertifyBinding { .. } => Check::CertifyBinding,
            Self::CertifySigner { .. } => Check::CertifySigner,
            Self::CertifyName { .. } => Check::CertifyName,
            Self::ResetBetween { .. } => Check::SameBoot,
            Self::EventLogDigest { .. } => Check::EventLogDigest,
            Self::GoldenPcr { .. } | Self::NoGoldenPcr { .. } | Self::NoBankForGoldenPcr { .. } => Check::GoldenPcr,
            Self::BankNotExtended { .. }
            | Self::BankNotInLog { .. }
            | Self::BankMissingInEvent { .. }
            | Self::BankUntouched { .. }
            | Self::BankNotReplayed { .. } => Check::BankNotExtended,
            Self::EventLogMissing => Check::EventLogMissing,
            Self::EventLog(_) => Check::Malformed,
            Self::EventLogSha1 { .. } => Check::EventLogBanks,
            Self::EventLogReplay { .. } => Check::EventLogReplay,
            Self::ImaListMissing => Check::ImaListMissing,
            Self::ImaList(_) => Check::Malformed,
            Self::ImaPcr { .. }
            | Self::ImaTemplateDigest { .. }
            | Self::ImaNotQuoted { .. }
            | Self::ImaNotExtended { .. }
            | Self::ImaReplay { .. } => Check::ImaList,
            Self::ImaNoBootAggregate | Self::ImaBootAggregate { .. } => Check::ImaBootAggregate,
            Self::BootEvent { check, .. } => *check,
            Self::SecureBoot { .. } => Check::SecureBoot,
            Self::StateRegressed { .. } | Self::RetiredAk => Check::TpmStateRegressed,
            Self::Subject { .. } => Check::Subject,
        }
    }
}
