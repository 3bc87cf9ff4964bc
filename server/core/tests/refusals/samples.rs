//! A sample of every way in which evidence is refused. A variant without one does not compile; those whose words depend on a real log are
//! in `boots`.

use plastron_attestation::{ExchangeError, LogKind, WireError};
use plastron_attestation_appraise::event_log::LastEvent;
use plastron_attestation_appraise::{AppraiseError, EkFingerprint, FingerprintError};
use plastron_attestation_tcg::event_log::{LogError, LogFault};
use plastron_attestation_tcg::ima::{ImaListError, ImaListFault};
use plastron_attestation_tcg::{HashAlgorithm, ObjectAttributes, ReadError, ReadFault};
use plastron_spiffe::SelectorError;

use crate::fixture::START;

/// Samples by variant; `boots` says where the variant's words are made by a real boot.
macro_rules! samples {
    ($function:ident, $enum:ident { $($variant:ident => [$($sample:expr),* $(,)?],)+ }) => {
        fn $function() -> Vec<(String, $enum)> {
            let name = |error: &$enum| match error {
                $($enum::$variant { .. } => stringify!($variant),)+
            };
            let samples: Vec<(&str, $enum)> = vec![$($((stringify!($variant), $sample),)*)+];
            for (variant, sample) in &samples {
                assert_eq!(*variant, name(sample), "a sample stands beside its variant");
            }
            samples.into_iter().map(|(variant, sample)| (format!("{}::{variant}", stringify!($enum)), sample)).collect()
        }
    };
}

/// Every sample.
pub(crate) fn all() -> Vec<(String, ExchangeError)> {
    let wire = wire().into_iter().map(|(name, error)| (name, ExchangeError::Wire(error)));
    let evidence = evidence().into_iter().map(|(name, error)| (name, ExchangeError::Evidence(error)));
    wire.chain(exchange()).chain(evidence).collect()
}

samples!(wire, WireError {
    NotOurs => [WireError::NotOurs],
    Version => [WireError::Version { got: 9 }],
    TooLong => [WireError::TooLong { message: "payload", len: 5_000_000, limit: 65_536 }],
    Truncated => [WireError::Truncated { what: "the value of a field" }],
    Order => [WireError::Order { tag: 3, after: 4 }],
    UnknownTag => [WireError::UnknownTag { message: "response", tag: 99 }],
    Missing => [WireError::Missing { message: "response", field: "the quote" }],
    Value => [WireError::Value { field: "claimed model", reason: "not UTF-8" }],
});

samples!(exchange, ExchangeError {
    // Each of their samples is in a list of its own.
    Wire => [],
    Evidence => [],
    Sequence => [ExchangeError::Sequence { got: "response", reason: "no challenge waits for one" }],
    ChallengeExpired => [ExchangeError::ChallengeExpired { age: 75, limit: 60 }],
    Banned => [ExchangeError::Banned { reason: "stolen \u{1b}[2J".to_owned() }],
    Quarantined => [ExchangeError::Quarantined { reason: "TpmStateRegressed".to_owned() }],
    SecretMissing => [ExchangeError::SecretMissing],
    SecretUnasked => [ExchangeError::SecretUnasked],
    CertificationMissing => [ExchangeError::CertificationMissing],
    CertificationUnasked => [ExchangeError::CertificationUnasked],
    LogPart => [ExchangeError::LogPart { log: LogKind::EventLog, offset: 3_145_728, got: 0, wanted: 1_048_576 }],
    LogUnasked => [ExchangeError::LogUnasked],
    ImaListUnasked => [ExchangeError::ImaListUnasked],
    ImaListTooLong => [ExchangeError::ImaListTooLong { len: 5_000_000, limit: 4_194_304 }],
    LogTransferTooSlow => [ExchangeError::LogTransferTooSlow { log: LogKind::ImaList, age: 130, limit: 120 }],
});

fn fingerprint() -> EkFingerprint {
    EkFingerprint::from_hex(&"5a".repeat(32)).unwrap()
}

fn short(structure: &'static str) -> ReadError {
    ReadError { structure, offset: 20, reason: ReadFault::Short { needed: 2, left: 0 } }
}

fn sha256(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn metal() -> String {
    "metal".to_owned()
}

fn text(text: &str) -> String {
    text.to_owned()
}

/// A year before the conversation, and a year after.
const LAST_YEAR: u64 = START - 365 * 86_400;
const NEXT_YEAR: u64 = START + 365 * 86_400;

samples!(evidence, AppraiseError {
    Read => [AppraiseError::Read(short("TPMT_PUBLIC"))],
    Fingerprint => [
        AppraiseError::Fingerprint(FingerprintError::Parse(short("TPMT_PUBLIC"))),
        AppraiseError::Fingerprint(FingerprintError::NoKey { reason: "the modulus is empty" }),
    ],
    Selector => [AppraiseError::Selector(SelectorError::MissingValue { kind: text("tpm") })],
    DeniedEk => [AppraiseError::DeniedEk { fingerprint: fingerprint(), reason: text("stolen from the depot") }],
    DeniedCertificate => [AppraiseError::DeniedCertificate { serial: text("1001"), reason: text("recalled") }],
    DeniedFirmware => [AppraiseError::DeniedFirmware {
        model: text("SLB9670"),
        firmware_version: 0x0007_0055_0011_5a00,
        reason: text("TPM-Fail"),
    }],
    DeniedModel => [AppraiseError::DeniedModel { model: text("SLB9665"), reason: text("ROCA") }],
    NoPool => [AppraiseError::NoPool],
    PoolGone => [AppraiseError::PoolGone { pool: metal() }],
    NoPoolTrusts => [AppraiseError::NoPoolTrusts {
        fingerprint: fingerprint(),
        reasons: text("\"metal\": the EK certificate is a CA's; \"lab\": the EK is not a point of its curve"),
    }],
    EkTemplate => [AppraiseError::EkTemplate { pool: metal(), template: "rsa2048", field: "nameAlg" }],
    EkModulus => [AppraiseError::EkModulus { bits: 2047, parity: "even" }],
    Roca => [AppraiseError::Roca],
    EkPoint => [AppraiseError::EkPoint],
    EkCertificateMissing => [AppraiseError::EkCertificateMissing { pool: metal() }],
    CertificateTooLong => [AppraiseError::CertificateTooLong { which: "EK", len: 70_000, limit: 8_192 }],
    TooManyIntermediates => [AppraiseError::TooManyIntermediates { got: 9, limit: 8 }],
    CertificateMalformed => [AppraiseError::CertificateMalformed { which: "EK", reason: text("trailing data") }],
    EkCertificateVersion => [AppraiseError::EkCertificateVersion { version: 1 }],
    EkCertificateKey => [AppraiseError::EkCertificateKey { reason: "another modulus" }],
    EkIsCa => [AppraiseError::EkIsCa],
    EkKeyUsage => [AppraiseError::EkKeyUsage { got: text("digitalSignature"), wanted: "keyEncipherment" }],
    EkExtendedKeyUsage => [AppraiseError::EkExtendedKeyUsage { got: text("2.23.133.8.3") }],
    EkTpmIdentity => [AppraiseError::EkTpmIdentity { missing: "manufacturer" }],
    CriticalExtension => [AppraiseError::CriticalExtension { which: "EK", oid: text("1.3.6.1.4.1.99999.1") }],
    Expired => [AppraiseError::Expired { which: "EK", not_after: LAST_YEAR, now: START }],
    NotYetValid => [AppraiseError::NotYetValid { which: "intermediate", not_before: NEXT_YEAR, now: START }],
    EkPath => [AppraiseError::EkPath { issuer: text("\"CN=Infineon OPTIGA TPM 2.0 RSA CA 042\""), reason: text("no issuer of that name") }],
    CrlMalformed => [AppraiseError::CrlMalformed { reason: text("trailing data") }],
    CrlExtension => [AppraiseError::CrlExtension { issuer: text("\"CN=Turtle root\""), oid: text("2.5.29.27") }],
    CrlSignature => [AppraiseError::CrlSignature { issuer: text("\"CN=Turtle root\""), reason: "the signature does not verify" }],
    CrlNotYetValid => [AppraiseError::CrlNotYetValid { issuer: text("\"CN=Turtle root\""), this_update: NEXT_YEAR, now: START }],
    CrlStale => [AppraiseError::CrlStale { issuer: text("\"CN=Turtle root\""), until: LAST_YEAR, now: START }],
    Revoked => [AppraiseError::Revoked {
        which: "EK",
        issuer: text("\"CN=Turtle intermediate\""),
        serial: text("1001"),
        this_update: LAST_YEAR,
    }],
    EkNotPinned => [AppraiseError::EkNotPinned { fingerprint: fingerprint(), pool: metal() }],
    EkPinExpired => [AppraiseError::EkPinExpired { fingerprint: fingerprint(), pool: metal(), expires: LAST_YEAR, now: START }],
    AkAttributes => [AppraiseError::AkAttributes {
        got: ObjectAttributes::SIGN_ENCRYPT.with(ObjectAttributes::FIXED_TPM),
        wanted: "restricted must be set",
    }],
    AkAlgorithm => [AppraiseError::AkAlgorithm { what: "signing hash", got: text("0x0004") }],
    MakeCredential => [AppraiseError::MakeCredential { reason: "it is no storage key" }],
    CredentialMismatch => [AppraiseError::CredentialMismatch],
    AkNotEnrolled => [AppraiseError::AkNotEnrolled { ak_name: format!("000b{}", sha256(0xa1)) }],
    QuoteSignature => [AppraiseError::QuoteSignature { reason: "the signature does not verify" }],
    QuoteMagic => [AppraiseError::QuoteMagic { got: 0xff54_4346 }],
    QuoteType => [AppraiseError::QuoteType { got: 0x8017 }],
    QuoteBinding => [AppraiseError::QuoteBinding { got: sha256(1), wanted: sha256(2) }],
    QualifiedSigner => [AppraiseError::QualifiedSigner { got: format!("000b{}", sha256(1)), wanted: format!("000b{}", sha256(2)) }],
    PcrSelection => [AppraiseError::PcrSelection { got: text("sha256:0x000003"), wanted: text("sha1:0x0043ff+sha256:0x0043ff") }],
    OnlySha1 => [AppraiseError::OnlySha1],
    PcrCount => [AppraiseError::PcrCount { got: 32, wanted: 33 }],
    PcrLength => [AppraiseError::PcrLength { bank: HashAlgorithm::Sha256, index: 7, got: 20 }],
    PcrDigest => [AppraiseError::PcrDigest { got: sha256(1), wanted: sha256(2) }],
    SvidKeyAttributes => [AppraiseError::SvidKeyAttributes {
        got: ObjectAttributes::SIGN_ENCRYPT.with(ObjectAttributes::FIXED_PARENT),
        wanted: "fixedTPM must be set, or the key can leave the TPM",
    }],
    SvidKeyNameAlg => [AppraiseError::SvidKeyNameAlg { got: HashAlgorithm::Sha1 }],
    SvidKeyPublic => [AppraiseError::SvidKeyPublic { got: sha256(1), wanted: sha256(2) }],
    CertifySignature => [AppraiseError::CertifySignature { reason: "it does not verify" }],
    CertifyMagic => [AppraiseError::CertifyMagic { got: 0xff54_4346 }],
    CertifyType => [AppraiseError::CertifyType { got: 0x8018 }],
    CertifyBinding => [AppraiseError::CertifyBinding { got: sha256(1), wanted: sha256(2) }],
    CertifySigner => [AppraiseError::CertifySigner { got: format!("000b{}", sha256(1)), wanted: format!("000b{}", sha256(2)) }],
    CertifyName => [AppraiseError::CertifyName { got: format!("000b{}", sha256(1)), wanted: format!("000b{}", sha256(2)) }],
    ResetBetween => [AppraiseError::ResetBetween { certified: (7, 0), quoted: (8, 0) }],
    EventLogTooLong => [AppraiseError::EventLogTooLong { len: 5_000_000, limit: 4_194_304 }],
    EventLogDigest => [AppraiseError::EventLogDigest { got: sha256(1), wanted: sha256(2) }],
    // A real boot has the words of this one.
    GoldenPcr => [],
    NoGoldenPcr => [AppraiseError::NoGoldenPcr { pool: metal(), bank: HashAlgorithm::Sha384, index: 7 }],
    NoBankForGoldenPcr => [AppraiseError::NoBankForGoldenPcr { pool: metal(), index: 7 }],
    BankNotExtended => [AppraiseError::BankNotExtended { bank: HashAlgorithm::Sha384, other: HashAlgorithm::Sha256, index: 0 }],
    EventLogMissing => [AppraiseError::EventLogMissing],
    EventLog => [AppraiseError::EventLog(LogError {
        offset: 1_234,
        event: Some(17),
        reason: LogFault::Short { field: "Event", needed: 4_096, left: 12 },
    })],
    EventLogSha1 => [AppraiseError::EventLogSha1 { format: "SHA-1" }],
    EventLogReplay => [AppraiseError::EventLogReplay {
        bank: HashAlgorithm::Sha256,
        index: 4,
        quoted: sha256(1),
        replayed: sha256(2),
        last_event: LastEvent(Some(31)),
    }],
    BankNotInLog => [AppraiseError::BankNotInLog { bank: HashAlgorithm::Sha384, log_banks: text("sha1, sha256") }],
    BankMissingInEvent => [AppraiseError::BankMissingInEvent { bank: HashAlgorithm::Sha384, event: 17 }],
    BankUntouched => [AppraiseError::BankUntouched { bank: HashAlgorithm::Sha384, index: 0 }],
    BankNotReplayed => [AppraiseError::BankNotReplayed {
        bank: HashAlgorithm::Sha384,
        other: HashAlgorithm::Sha256,
        index: 4,
        quoted: sha256(1),
        replayed: sha256(2),
        last_event: LastEvent(None),
    }],
    ImaListMissing => [AppraiseError::ImaListMissing],
    ImaList => [AppraiseError::ImaList(ImaListError {
        offset: 99,
        entry: Some(3),
        reason: ImaListFault::Read(ReadFault::Short { needed: 20, left: 1 }),
    })],
    ImaPcr => [AppraiseError::ImaPcr { entry: 3, pcr: 11 }],
    ImaTemplateDigest => [AppraiseError::ImaTemplateDigest { entry: 3, got: sha256(1), wanted: sha256(2) }],
    ImaNotQuoted => [AppraiseError::ImaNotQuoted { bank: HashAlgorithm::Sha256, index: 10 }],
    ImaNotExtended => [AppraiseError::ImaNotExtended { bank: HashAlgorithm::Sha384 }],
    ImaReplay => [AppraiseError::ImaReplay { entries: 1_200, banks: text("sha1, sha256") }],
    ImaNoBootAggregate => [AppraiseError::ImaNoBootAggregate],
    ImaBootAggregate => [AppraiseError::ImaBootAggregate { got: sha256(1), wanted: sha256(2) }],
    // Real boots have the words of these two.
    BootEvent => [],
    SecureBoot => [],
    StateRegressed => [AppraiseError::StateRegressed { what: "resetCount", before: 41, now: 39 }],
    RetiredAk => [AppraiseError::RetiredAk],
    Subject => [AppraiseError::Subject { what: "the quote is by another AK" }],
});
