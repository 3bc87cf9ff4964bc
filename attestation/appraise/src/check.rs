//! Every check of an admission, named once. Audit records, metric labels, command line and tests speak `Check`.

use std::fmt;

macro_rules! checks {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A check that evidence passes or fails. Exhaustive on purpose: a new one breaks the build of whatever must handle it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Check {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Check {
            /// Every check.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in audit lines, metric labels and on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

checks! {
    /// Bytes parse, within their limits, with nothing left over.
    Malformed = "malformed",
    /// The payload is of this project's format and version.
    UnknownPayload = "unknown_payload",
    /// The messages come in their order; nothing is sent twice.
    Sequence = "sequence",
    /// The join token exists, is unspent and has not expired.
    JoinToken = "join_token",
    /// The operator has not banned the node, nor is it in quarantine.
    Standing = "standing",
    /// Neither the EK, nor its certificate, nor the TPM's model or firmware is on the operator's deny list.
    DenyList = "deny_list",
    /// A pool trusts this EK. No pool, no trust.
    Pool = "pool",
    /// The EK's public area equals the template that the pool accepts.
    EkTemplate = "ek_template",
    /// The EK is strong: size, exponent, not of the ROCA family.
    EkStrength = "ek_strength",
    /// The pool demands a certificate and there is one, X.509 v3, that parses strictly.
    EkCertificate = "ek_certificate",
    /// The certificate is over this very EK.
    EkCertificateKey = "ek_certificate_key",
    /// The certificate is an end entity's.
    EkBasicConstraints = "ek_basic_constraints",
    /// Key usage is that of an EK of its type.
    EkKeyUsage = "ek_key_usage",
    /// Extended key usage names an EK certificate, and neither an AK nor a platform certificate.
    EkExtendedKeyUsage = "ek_extended_key_usage",
    /// The subject alternative name states the TPM's manufacturer, model and version.
    EkTpmIdentity = "ek_tpm_identity",
    /// Every critical extension is understood.
    EkCriticalExtension = "ek_critical_extension",
    /// Leaf and path are valid now.
    EkValidity = "ek_validity",
    /// The certificate leads to a manufacturer root that the pool pins.
    EkPath = "ek_path",
    /// The EK is pinned in the pool.
    EkPin = "ek_pin",
    /// The EK certificate is not revoked.
    EkRevocation = "ek_revocation",
    /// The AK is restricted, signs, does not decrypt, and was made in this TPM, never to leave it.
    AkAttributes = "ak_attributes",
    /// The AK's algorithms and sizes are strong.
    AkAlgorithm = "ak_algorithm",
    /// The AK is in the TPM of this EK: the credential was activated, here or at enrolment.
    AkActivated = "ak_activated",
    /// The answer came to a challenge that is still fresh.
    ChallengeFresh = "challenge_fresh",
    /// The AK signed these bytes.
    QuoteSignature = "quote_signature",
    /// The TPM itself made the signed structure (TPM_GENERATED_VALUE).
    QuoteMagic = "quote_magic",
    /// The signed structure is a quote.
    QuoteType = "quote_type",
    /// extraData binds the quote to purpose, trust domain, nonce, payload, challenge and SVID key.
    QuoteBinding = "quote_binding",
    /// The AK that signed descends from the EK.
    QualifiedSigner = "qualified_signer",
    /// The PCRs quoted are exactly those asked for, every bank once and in order.
    PcrSelection = "pcr_selection",
    /// A bank other than SHA-1 is allocated, and the pool asked for all that a TPM can have.
    PcrBanks = "pcr_banks",
    /// The PCR values are as many and as long as their banks say.
    PcrValues = "pcr_values",
    /// The PCR values hash to the quote's pcrDigest.
    PcrDigest = "pcr_digest",
    /// The SVID's key, which is said to be in the TPM, was made there, never to leave it, and signs what it is given.
    SvidKeyAttributes = "svid_key_attributes",
    /// The public area of that key is of the CSR's key.
    SvidKeyPublic = "svid_key_public",
    /// The AK signed the certification of that key.
    CertifySignature = "certify_signature",
    /// The TPM itself made the certification (TPM_GENERATED_VALUE).
    CertifyMagic = "certify_magic",
    /// The signed structure is a certification.
    CertifyType = "certify_type",
    /// extraData binds the certification to this conversation, as the quote's does.
    CertifyBinding = "certify_binding",
    /// The AK that certified descends from the EK.
    CertifySigner = "certify_signer",
    /// What was certified is that key, now or at an earlier attestation.
    CertifyName = "certify_name",
    /// Certification and quote are of one boot.
    SameBoot = "same_boot",
    /// The event log is the one that the payload announced, which the quote covers.
    EventLogDigest = "event_log_digest",
    /// The PCR values are the pool's golden ones, in every allocated bank.
    GoldenPcr = "golden_pcr",
    /// Every allocated bank was extended by the same boot (CVE-2021-42299).
    BankNotExtended = "bank_not_extended",
    /// The node shows the event log of its boot.
    EventLogMissing = "event_log_missing",
    /// The event log has digests of another bank than SHA-1.
    EventLogBanks = "event_log_banks",
    /// The event log replays to the quoted PCR values.
    EventLogReplay = "event_log_replay",
    /// The node shows its IMA list, where the pool asks for that.
    ImaListMissing = "ima_list_missing",
    /// A beginning of the IMA list replays to PCR 10 in every allocated bank.
    ImaList = "ima_list",
    /// The IMA list is about the boot that the quote shows.
    ImaBootAggregate = "ima_boot_aggregate",
    /// Firmware ended each of PCR 0 to 7 with one separator, and not with that of an error.
    Separators = "separators",
    /// PCR 7 holds the variables of Secure Boot once each, then its separator, then authorities, all of them text that hashes.
    SecureBootEvents = "secure_boot_events",
    /// Secure Boot was in the state that the pool demands.
    SecureBoot = "secure_boot",
    /// No firmware debugger was enabled.
    DebugMode = "debug_mode",
    /// No boot application was started after the operating system took over.
    LateBootApplication = "late_boot_application",
    /// Every event in a PCR that the pool pins is of a type that has a rule.
    UnknownEvent = "unknown_event",
    /// The log tells no more than is read.
    FactLimit = "fact_limit",
    /// The TPM's state did not go back, and no retired AK speaks for the node.
    TpmStateRegressed = "tpm_state_regressed",
    /// A person approved, where the pool asks for that.
    Approval = "approval",
    /// A node's certificate chain is no longer, and its keys no larger, than the operator allows.
    CertificateLimits = "certificate_limits",
    /// The chain leads to a CA that the operator trusts for nodes.
    CertificatePath = "certificate_path",
    /// The certificate says that its key makes digital signatures.
    CertificateKeyUsage = "certificate_key_usage",
    /// The node comes from an address that its certificate names.
    ClientAddress = "client_address",
    /// The node has the private key of the certificate that it shows.
    ProofOfPossession = "proof_of_possession",
    /// What the node showed makes the path of an agent's ID.
    AgentPath = "agent_path",
    /// All proofs are about one TPM, one AK and one quote.
    Subject = "subject",
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// It holds.
    Passed,
    /// It does not; the evidence is refused.
    Failed,
    /// It was not made, and the verdict says so (`revocation: not checked`).
    NotChecked,
}

impl fmt::Display for CheckOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotChecked => "not checked",
        })
    }
}

/// One line of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRecord {
    /// Which check.
    pub check: Check,
    /// What became of it.
    pub outcome: CheckOutcome,
    /// Both sides of the comparison, in words; escaped where it comes from the node. Empty where there is nothing to add.
    pub detail: String,
}

/// The checks made so far, in order. A verifier writes each one down as it makes it, so that a refusal shows how far it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checklist {
    records: Vec<CheckRecord>,
}

impl Checklist {
    /// Nothing was checked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a check that holds.
    pub fn pass(&mut self, check: Check, detail: impl Into<String>) {
        self.records.push(CheckRecord { check, outcome: CheckOutcome::Passed, detail: detail.into() });
    }

    /// Notes a check that was not made.
    pub fn not_checked(&mut self, check: Check, detail: impl Into<String>) {
        self.records.push(CheckRecord { check, outcome: CheckOutcome::NotChecked, detail: detail.into() });
    }

    /// Notes the check that refuses the evidence.
    pub fn fail(&mut self, check: Check, detail: impl Into<String>) {
        self.records.push(CheckRecord { check, outcome: CheckOutcome::Failed, detail: detail.into() });
    }

    /// Takes over what another list noted.
    pub fn append(&mut self, other: Self) {
        self.records.extend(other.records);
    }

    /// The records, in the order in which the checks were made.
    pub fn records(&self) -> &[CheckRecord] {
        &self.records
    }

    /// Gives the records away.
    pub fn into_records(self) -> Vec<CheckRecord> {
        self.records
    }
}
