//! IMA measurement lists as Linux writes them, good and bad (Linux, `Documentation/security/IMA-templates.rst`), and what a kernel
//! extends PCR 10 with. The hashing here shares no code with the verifier's replay.

use plastron_attestation_tcg::HashAlgorithm;

use crate::FakeTpm;

/// What a kernel extends the banks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Before 5.8: SHA-1 in the SHA-1 bank, and padded into all others, violations too.
    Linux5_7,
    /// As Debian 12 builds it: SHA-1 and SHA-256 are hashed, SHA-384 and SHA-512 padded; violations are 0xff throughout.
    Linux6_1,
    /// Every bank is hashed.
    Linux6_12,
}

impl Kernel {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Linux5_7, Self::Linux6_1, Self::Linux6_12];

    fn digest(self, bank: HashAlgorithm, data: &[u8], violation: bool) -> Vec<u8> {
        let padded = match self {
            Self::Linux5_7 => bank != HashAlgorithm::Sha1,
            Self::Linux6_1 => matches!(bank, HashAlgorithm::Sha384 | HashAlgorithm::Sha512),
            Self::Linux6_12 => false,
        };
        let mut digest = match (violation, padded) {
            (true, true) if self == Self::Linux5_7 => vec![0xff; 20],
            (true, _) => vec![0xff; bank.digest_len()],
            (false, true) => HashAlgorithm::Sha1.digest([data]),
            (false, false) => bank.digest([data]),
        };
        digest.resize(bank.digest_len(), 0);
        digest
    }
}

/// Writes a list entry by entry.
#[derive(Clone, Debug)]
pub struct ImaListBuilder {
    kernel: Kernel,
    bytes: Vec<u8>,
    /// Where each entry begins.
    offsets: Vec<usize>,
    /// What each was extended with.
    measured: Vec<(Vec<u8>, bool)>,
}

impl ImaListBuilder {
    /// An empty list of such a kernel.
    pub fn new(kernel: Kernel) -> Self {
        Self { kernel, bytes: Vec::new(), offsets: Vec::new(), measured: Vec::new() }
    }

    /// The list with which a kernel begins on a TPM that has booted: `boot_aggregate` of its SHA-256 bank, else of its SHA-1 bank, else zeros.
    pub fn booted(kernel: Kernel, tpm: &FakeTpm) -> Self {
        let mut list = Self::new(kernel);
        list.boot_aggregate(tpm);
        list
    }

    /// Adds a `boot_aggregate` of the TPM as it is.
    pub fn boot_aggregate(&mut self, tpm: &FakeTpm) -> &mut Self {
        let banks = [(HashAlgorithm::Sha256, 10), (HashAlgorithm::Sha1, 8)];
        let values = |(bank, count)| -> Option<(HashAlgorithm, Vec<u8>)> {
            let pcrs: Option<Vec<&[u8]>> = (0..count).map(|index| tpm.pcr(bank, index)).collect();
            Some((bank, bank.digest(pcrs?)))
        };
        let (bank, digest) = banks.into_iter().find_map(values).unwrap_or_else(|| (HashAlgorithm::Sha256, vec![0; 32]));
        self.entry("ima-ng", &ng(bank, &digest, "boot_aggregate"))
    }

    /// Adds a file by template `ima-ng`.
    pub fn file(&mut self, path: &str, content: &[u8]) -> &mut Self {
        self.entry("ima-ng", &ng(HashAlgorithm::Sha256, &HashAlgorithm::Sha256.digest([content]), path))
    }

    /// Adds a file by template `ima-sig`.
    pub fn signed_file(&mut self, path: &str, content: &[u8], signature: &[u8]) -> &mut Self {
        let mut data = ng(HashAlgorithm::Sha256, &HashAlgorithm::Sha256.digest([content]), path);
        data.extend(field(signature));
        self.entry("ima-sig", &data)
    }

    /// Adds a file that was open for writing.
    pub fn violation(&mut self, path: &str) -> &mut Self {
        let data = ng(HashAlgorithm::Sha256, &[0; 32], path);
        self.raw_entry(10, &[0; 20], "ima-ng", &data);
        self.measured.push((data, true));
        self
    }

    /// Adds an entry of any template.
    pub fn entry(&mut self, template: &str, data: &[u8]) -> &mut Self {
        self.raw_entry(10, &HashAlgorithm::Sha1.digest([data]), template, data);
        self.measured.push((data.to_vec(), false));
        self
    }

    /// Writes an entry that no PCR was extended with.
    pub fn raw_entry(&mut self, pcr: u32, template_digest: &[u8], template: &str, data: &[u8]) -> &mut Self {
        self.offsets.push(self.bytes.len());
        self.bytes.extend(pcr.to_le_bytes());
        self.bytes.extend(template_digest);
        self.bytes.extend(field(template.as_bytes()));
        self.bytes.extend(field(data));
        self
    }

    /// The list.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Where an entry begins, to tamper with it.
    pub fn offset_of(&self, entry: usize) -> Option<usize> {
        self.offsets.get(entry).copied()
    }

    /// Extends PCR 10 of every bank of a TPM with the first `count` entries.
    pub fn extend(&self, tpm: &mut FakeTpm, count: usize) {
        for bank in HashAlgorithm::ALL {
            self.extend_bank(tpm, bank, count);
        }
    }

    /// Extends PCR 10 of one bank, if it is allocated.
    pub fn extend_bank(&self, tpm: &mut FakeTpm, bank: HashAlgorithm, count: usize) {
        for digest in self.extensions(bank).take(count) {
            tpm.extend(bank, 10, &digest);
        }
    }

    /// What PCR 10 of a bank is extended with, entry by entry: for a TPM that is none of ours.
    pub fn extensions(&self, bank: HashAlgorithm) -> impl Iterator<Item = Vec<u8>> {
        self.measured.iter().map(move |(data, violation)| self.kernel.digest(bank, data, *violation))
    }
}

/// The template data of `ima-ng`.
pub fn ng(algorithm: HashAlgorithm, digest: &[u8], name: &str) -> Vec<u8> {
    let digest = [format!("{algorithm}:\0").as_bytes(), digest].concat();
    let name = [name.as_bytes(), &[0]].concat();
    [field(&digest), field(&name)].concat()
}

fn field(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("a short field");
    [len.to_le_bytes().as_slice(), bytes].concat()
}
