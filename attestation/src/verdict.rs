//! Which fault has which verdict. Every variant is named: a new one does not build until it has its word.
//!
//! Not here: what the peer is told (the `tpm` plugin), a node that waits for a person, and what an agent says of its own TPM (`device`).

use plastron_attestation_appraise::{AppraiseError, Verdict};

use crate::refused::ExchangeError;

impl ExchangeError {
    /// What is known of the node that is refused for this; never `Verdict::Trusted`.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Evidence(error) => of_evidence(error),
            // What does not parse, or comes out of turn, is a fault of whoever sent it.
            Self::Wire(_)
            | Self::Sequence { .. }
            | Self::SecretMissing
            | Self::SecretUnasked
            | Self::LogPart { .. }
            | Self::LogUnasked
            | Self::ImaListUnasked
            | Self::ImaListTooLong { .. }
            | Self::CertificationMissing
            | Self::CertificationUnasked
            | Self::Banned { .. }
            | Self::Quarantined { .. } => Verdict::Untrusted,
            // A slow TPM is no bad one: what it says is merely stale.
            Self::ChallengeExpired { .. } | Self::LogTransferTooSlow { .. } => Verdict::Indeterminate,
        }
    }
}

fn of_evidence(error: &AppraiseError) -> Verdict {
    use AppraiseError as E;
    match error {
        // Whoever starts the machine with a log, or with IMA, heals this; until then nothing is known of it.
        E::EventLogMissing | E::ImaListMissing => Verdict::Indeterminate,
        // A machine that restarts just now is no bad one.
        E::ResetBetween { .. } => Verdict::Indeterminate,
        // Whether the certificate is revoked can't be told: the operator's list is too old, or not valid yet.
        E::CrlStale { .. } | E::CrlNotYetValid { .. } => Verdict::Indeterminate,
        // The operator's list is no list of its issuer, or the pool's PCRs lack what its own rules need.
        E::CrlMalformed { .. } | E::CrlExtension { .. } | E::CrlSignature { .. } | E::ImaNotQuoted { .. } => {
            Verdict::Error
        }
        E::Read(_)
        | E::Fingerprint(_)
        | E::Selector(_)
        | E::DeniedEk { .. }
        | E::DeniedCertificate { .. }
        | E::DeniedFirmware { .. }
        | E::DeniedModel { .. }
        | E::NoPool
        | E::PoolGone { .. }
        | E::NoPoolTrusts { .. }
        | E::EkTemplate { .. }
        | E::EkModulus { .. }
        | E::Roca
        | E::EkPoint
        | E::EkCertificateMissing { .. }
        | E::CertificateTooLong { .. }
        | E::TooManyIntermediates { .. }
        | E::CertificateMalformed { .. }
        | E::EkCertificateVersion { .. }
        | E::EkCertificateKey { .. }
        | E::EkIsCa
        | E::EkKeyUsage { .. }
        | E::EkExtendedKeyUsage { .. }
        | E::EkTpmIdentity { .. }
        | E::CriticalExtension { .. }
        | E::Expired { .. }
        | E::NotYetValid { .. }
        | E::EkPath { .. }
        | E::Revoked { .. }
        | E::EkNotPinned { .. }
        | E::EkPinExpired { .. }
        | E::AkAttributes { .. }
        | E::AkAlgorithm { .. }
        | E::MakeCredential { .. }
        | E::CredentialMismatch
        | E::AkNotEnrolled { .. }
        | E::QuoteSignature { .. }
        | E::QuoteMagic { .. }
        | E::QuoteType { .. }
        | E::QuoteBinding { .. }
        | E::QualifiedSigner { .. }
        | E::PcrSelection { .. }
        | E::OnlySha1
        | E::PcrCount { .. }
        | E::PcrLength { .. }
        | E::PcrDigest { .. }
        | E::SvidKeyAttributes { .. }
        | E::SvidKeyNameAlg { .. }
        | E::SvidKeyPublic { .. }
        | E::CertifySignature { .. }
        | E::CertifyMagic { .. }
        | E::CertifyType { .. }
        | E::CertifyBinding { .. }
        | E::CertifySigner { .. }
        | E::CertifyName { .. }
        | E::EventLogTooLong { .. }
        | E::EventLogDigest { .. }
        | E::GoldenPcr { .. }
        | E::NoGoldenPcr { .. }
        | E::NoBankForGoldenPcr { .. }
        | E::BankNotExtended { .. }
        | E::EventLog(_)
        | E::EventLogSha1 { .. }
        | E::EventLogReplay { .. }
        | E::BankNotInLog { .. }
        | E::BankMissingInEvent { .. }
        | E::BankUntouched { .. }
        | E::BankNotReplayed { .. }
        | E::ImaList(_)
        | E::ImaPcr { .. }
        | E::ImaTemplateDigest { .. }
        | E::ImaNotExtended { .. }
        | E::ImaReplay { .. }
        | E::ImaNoBootAggregate
        | E::ImaBootAggregate { .. }
        | E::BootEvent { .. }
        | E::SecureBoot { .. }
        | E::StateRegressed { .. }
        | E::RetiredAk
        | E::Subject { .. } => Verdict::Untrusted,
    }
}
