//! What a replayed list says: `ima.*`. All of it was hashed into PCR 10, save what is named claimed.

use std::collections::BTreeMap;

use plastron_attestation_tcg::ima::BOOT_AGGREGATE;
use serde::Serialize;

use super::ReplayedImaList;
use super::boot_aggregate::BootAggregate;

/// Facts from a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImaFacts {
    /// Entries that the quote covers.
    pub entries: usize,
    /// Entries behind them, which came after the quote and prove nothing.
    pub unproven_entries: usize,
    /// `sha256:` and the digest of what was booted, or `None` where the TPM has neither a SHA-256 nor a SHA-1 bank.
    pub boot_aggregate: Option<String>,
    /// How many kernels were started since by kexec; each leaves a `boot_aggregate` of its own.
    pub kexecs: usize,
    /// Files, and buffers that the kernel measures under a name, in their order; a file that changed is there again.
    pub files: Vec<ImaFileFact>,
    /// Files of which the kernel could not tell what was read.
    pub violations: Vec<ImaViolation>,
    /// Entries of templates that are not known: hashed, and not read.
    pub unread_entries: usize,
    /// How the kernel extended each bank: `hashed`, `padded` or `padded throughout`.
    pub banks: BTreeMap<String, &'static str>,
}

/// A measured file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImaFileFact {
    /// Number of the entry, from 0.
    pub entry: u32,
    /// Its path as it was opened. Bytes that are no printable ASCII, and backslashes and quotes, are escaped as in `\x1b`.
    pub path: String,
    /// The template: `ima-buf` holds a buffer, not a file.
    pub template: String,
    /// Algorithm and digest: `sha256:` and hexadecimal digits.
    pub digest: String,
    /// Whether the entry carries a signature. It was not verified.
    pub signed: bool,
}

/// A file that was open for writing while it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImaViolation {
    /// Number of the entry, from 0.
    pub entry: u32,
    /// Its path, escaped in the same way, where the list tells: the node's own word, for PCR 10 holds no more than that there was a violation.
    pub claimed_path: Option<String>,
}

pub(super) fn of(list: &ReplayedImaList<'_>) -> ImaFacts {
    let mut facts = ImaFacts {
        entries: list.proven.len(),
        unproven_entries: list.unproven,
        boot_aggregate: match &list.boot_aggregate {
            BootAggregate::Of { bank, digest } => Some(format!("{bank}:{}", hex::encode(digest))),
            BootAggregate::Zeros => None,
        },
        kexecs: 0,
        files: Vec::new(),
        violations: Vec::new(),
        unread_entries: 0,
        banks: list.banks.iter().map(|(bank, extension)| (bank.name().to_owned(), extension.name())).collect(),
    };
    for entry in list.proven.iter().skip(1) {
        let path = entry.file.map(|file| file.name.escape_ascii().to_string());
        if entry.is_violation() {
            facts.violations.push(ImaViolation { entry: entry.number, claimed_path: path });
            continue;
        }
        match (entry.file, path) {
            (Some(file), _) if file.name == BOOT_AGGREGATE && entry.template != "ima-buf" => facts.kexecs += 1,
            (Some(file), Some(path)) => facts.files.push(ImaFileFact {
                entry: entry.number,
                path,
                template: entry.template.to_owned(),
                digest: format!("{}:{}", file.digest_algorithm.escape_debug(), hex::encode(file.digest)),
                signed: !file.signature.is_empty(),
            }),
            _ => facts.unread_entries += 1,
        }
    }
    facts
}
