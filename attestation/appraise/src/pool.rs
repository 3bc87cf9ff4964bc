//! Pools: which endorsement keys are trusted, and what their machines must have measured. No pool, no trust.

use std::collections::BTreeMap;

use plastron_attestation_tcg::{EkTemplate, HashAlgorithm, PcrBank};

use crate::{AppraiseError, Approval, BootPolicy, EkFingerprint, EkTrust, IMA_PCR, ImaPolicy, MissingEventLog};

/// PCRs that are quoted unless the pool says otherwise: firmware and boot loader, and shim's MOK state.
pub const DEFAULT_PCRS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];

/// PCRs that a debugger or user space can reset are no evidence of boot; those of DRTM are not either, without DRTM.
const MAX_EVIDENCE_PCR: u8 = 15;

/// The PCR that has the state of Secure Boot.
const SECURE_BOOT_PCR: u8 = 7;

/// Longest pool name: it becomes a selector and a metric label.
const MAX_NAME_LEN: usize = 64;

/// What becomes of an EK certificate whose validity has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiredEk {
    /// Its TPM is refused.
    #[default]
    Refused,
    /// It is accepted, and every verdict says so: TPMs outlive their certificates.
    Accepted,
}

/// One golden PCR value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldenPcr {
    /// The bank.
    pub bank: HashAlgorithm,
    /// The PCR, 0 to 15.
    pub index: u8,
    /// A value that is accepted; several entries for one PCR are alternatives.
    pub value: Vec<u8>,
}

/// A pool as configuration states it.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The one template that its endorsement keys have, so that one TPM is one node.
    pub ek_template: EkTemplate,
    /// How endorsement keys are trusted.
    pub ek_trust: EkTrust,
    /// Expired EK certificates.
    pub expired_ek: ExpiredEk,
    /// Whether a person has to approve a TPM that was not known.
    pub new_nodes: Approval,
    /// Whether a person has to approve another AK of a known TPM.
    pub new_ak: Approval,
    /// PCRs to quote; golden and selector PCRs are added, PCR 7 where a state of Secure Boot is demanded, and PCR 0 to 10 where an IMA
    /// list is asked for: it replays to the last and sums up the others.
    pub pcrs: Vec<u8>,
    /// Banks to quote. All four, unless the pool's TPM model does not implement a hash function at all and refuses the quote.
    pub banks: Vec<HashAlgorithm>,
    /// Golden values. A PCR that has any needs one in every bank that a machine has allocated, apart from SHA-1.
    pub golden_pcrs: Vec<GoldenPcr>,
    /// PCRs of the SHA-256 bank whose values become selectors `tpm:pcr:sha256:<n>:<hex>`.
    pub selector_pcrs: Vec<u8>,
    /// What a boot must have been.
    pub boot: BootPolicy,
}

impl PoolConfig {
    /// A pool that trusts endorsement keys of template L-1 so, wants to see the log of every boot, and demands nothing of what it tells
    /// beyond what every boot does.
    pub fn new(name: impl Into<String>, ek_trust: EkTrust) -> Self {
        Self {
            name: name.into(),
            ek_template: EkTemplate::L1Rsa2048,
            ek_trust,
            expired_ek: ExpiredEk::Refused,
            new_nodes: Approval::NotAsked,
            new_ak: Approval::NotAsked,
            pcrs: DEFAULT_PCRS.to_vec(),
            banks: HashAlgorithm::ALL.to_vec(),
            golden_pcrs: Vec::new(),
            selector_pcrs: Vec::new(),
            boot: BootPolicy::default(),
        }
    }
}

/// The values that are accepted, by PCR and bank.
pub(crate) type Golden = BTreeMap<u8, BTreeMap<HashAlgorithm, Vec<Vec<u8>>>>;

/// A pool whose configuration makes sense.
#[derive(Clone, Debug)]
pub struct Pool {
    pub(crate) name: String,
    pub(crate) template: EkTemplate,
    pub(crate) trust: EkTrust,
    pub(crate) expired_ek: ExpiredEk,
    pub(crate) new_nodes: Approval,
    pub(crate) new_ak: Approval,
    pub(crate) selection: Vec<PcrBank>,
    pub(crate) golden: Golden,
    pub(crate) selector_pcrs: Vec<u8>,
    pub(crate) boot: BootPolicy,
}

impl Pool {
    /// Checks a configuration: name; pins where trust needs them; PCR numbers; banks distinct and not SHA-1 alone; golden values as
    /// long as their bank, with at least one outside SHA-1 for each PCR; a bank to judge the boot by, and the log where it is asked for.
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        let PoolConfig {
            name,
            ek_template,
            ek_trust,
            expired_ek,
            new_nodes,
            new_ak,
            pcrs,
            mut banks,
            golden_pcrs,
            selector_pcrs,
            boot,
        } = config;
        if name.is_empty()
            || name.len() > MAX_NAME_LEN
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        {
            return Err(PoolError::Name { name });
        }
        let ek_trust = ek_trust.in_order(&name)?;
        banks.sort_unstable();
        banks.dedup();
        if !banks.iter().any(|bank| *bank != HashAlgorithm::Sha1) {
            return Err(PoolError::Banks { name });
        }
        if boot.missing_event_log == MissingEventLog::Accept && boot.secure_boot.is_some() {
            return Err(PoolError::SecureBootWithoutLog { name });
        }
        let judged = |bank: &&HashAlgorithm| **bank != HashAlgorithm::Sha1 && !boot.unextended_banks.contains(bank);
        if !banks.iter().any(|bank| judged(&bank)) {
            return Err(PoolError::NoBankLeft { name });
        }
        let golden = group_golden(&name, golden_pcrs)?;
        let mut bitmap = 0;
        let secure_boot_pcr = boot.secure_boot.map(|_| SECURE_BOOT_PCR);
        let ima_pcrs: Vec<u8> = match boot.ima {
            ImaPolicy::NotAsked => Vec::new(),
            ImaPolicy::Accept | ImaPolicy::Require => (0..=IMA_PCR).collect(),
        };
        for index in pcrs.iter().chain(golden.keys()).chain(&selector_pcrs).chain(&secure_boot_pcr).chain(&ima_pcrs) {
            if *index > MAX_EVIDENCE_PCR {
                return Err(PoolError::Pcr { name, index: *index });
            }
            bitmap |= 1 << index;
        }
        if bitmap == 0 {
            return Err(PoolError::NoPcrs { name });
        }
        let selection = banks.iter().map(|bank| PcrBank { hash: bank.id(), bitmap }).collect();
        Ok(Self {
            name,
            template: ek_template,
            trust: ek_trust,
            expired_ek,
            new_nodes,
            new_ak,
            selection,
            golden,
            selector_pcrs,
            boot,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a boot must have been.
    pub fn boot(&self) -> &BootPolicy {
        &self.boot
    }

    /// What a quote has to cover: the same PCRs of every bank.
    pub fn selection(&self) -> &[PcrBank] {
        &self.selection
    }
}

fn group_golden(name: &str, golden_pcrs: Vec<GoldenPcr>) -> Result<Golden, PoolError> {
    let mut golden = Golden::new();
    for GoldenPcr { bank, index, value } in golden_pcrs {
        if value.len() != bank.digest_len() {
            return Err(PoolError::GoldenLength { name: name.to_owned(), bank, index, got: value.len() });
        }
        golden.entry(index).or_default().entry(bank).or_default().push(value);
    }
    match golden.iter().find(|(_, banks)| banks.keys().all(|bank| *bank == HashAlgorithm::Sha1)) {
        Some((index, _)) => Err(PoolError::GoldenSha1 { name: name.to_owned(), index: *index }),
        None => Ok(golden),
    }
}

/// Why a pool's configuration makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The name has other characters, none or too many.
    #[error("pool name {name:?} is not 1 to 64 letters, digits, dots, dashes and underscores")]
    Name {
        /// The name.
        name: String,
    },
    /// Trust in a chain without a root to lead to.
    #[error("no manufacturer root certificate: trust in EK certificates needs at least one")]
    NoRoots,
    /// Trust in pins without any.
    #[error("pool {name:?} trusts pins and has none")]
    NoPins {
        /// The pool.
        name: String,
    },
    /// Two pins of one key: one of two provenances would be shown, and one of two expiries would hold.
    #[error("pool {name:?} pins EK {fingerprint} twice")]
    DuplicatePin {
        /// The pool.
        name: String,
        /// The key.
        fingerprint: EkFingerprint,
    },
    /// A root or intermediate that does not parse.
    #[error("{which} certificate {index} is not usable")]
    Certificate {
        /// `root` or `intermediate`.
        which: &'static str,
        /// Position in the list, from 0.
        index: usize,
        /// What is wrong with it.
        source: AppraiseError,
    },
    /// A revocation list that can't be used.
    #[error("certificate revocation list {index} is not usable")]
    Crl {
        /// Position in the list, from 0.
        index: usize,
        /// What is wrong with it.
        source: AppraiseError,
    },
    /// No bank but SHA-1.
    #[error("pool {name:?} quotes no bank other than sha1, which is never evidence by itself")]
    Banks {
        /// The pool.
        name: String,
    },
    /// A fact is demanded that only a log can tell, and the log is not.
    #[error(
        "pool {name:?} demands a state of Secure Boot and accepts machines without an event log, which can't show it: drop one of the two"
    )]
    SecureBootWithoutLog {
        /// The pool.
        name: String,
    },
    /// Every bank that counts is one that firmware is said not to extend.
    #[error(
        "pool {name:?} names every bank that it quotes, apart from sha1, as unextended: none is left to judge a boot by"
    )]
    NoBankLeft {
        /// The pool.
        name: String,
    },
    /// Nothing to quote.
    #[error("pool {name:?} quotes no PCR")]
    NoPcrs {
        /// The pool.
        name: String,
    },
    /// A PCR that is no evidence of boot.
    #[error("PCR {index} in pool {name:?}: only PCR 0 to 15 are evidence, the others can be reset")]
    Pcr {
        /// The pool.
        name: String,
        /// The PCR.
        index: u8,
    },
    /// A golden value of the wrong length.
    #[error("golden value of PCR {index} in pool {name:?} has {got} bytes, which no {bank} digest has")]
    GoldenLength {
        /// The pool.
        name: String,
        /// The bank.
        bank: HashAlgorithm,
        /// The PCR.
        index: u8,
        /// Its length.
        got: usize,
    },
    /// Golden values in the SHA-1 bank only.
    #[error(
        "golden values of PCR {index} in pool {name:?} are of the sha1 bank only, which is never evidence by itself"
    )]
    GoldenSha1 {
        /// The pool.
        name: String,
        /// The PCR.
        index: u8,
    },
}
