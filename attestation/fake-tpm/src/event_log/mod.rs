//! Event logs as firmware writes them, good and bad (TCG PC Client Platform Firmware Profile 1.06, section 10), and the PCR values
//! that a TPM has after them. The hashing here shares no code with the verifier's replay.

mod boot;

use std::collections::BTreeMap;

use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::EventType;

pub use boot::{GLOBAL, IMAGE_SECURITY, LinuxBoot, signature_list, uefi_variable};

use crate::FakeTpm;

/// Writes a log event by event.
#[derive(Clone, Debug)]
pub struct LogBuilder {
    crypto_agile: bool,
    banks: Vec<HashAlgorithm>,
    bytes: Vec<u8>,
    startup_locality: u8,
    extensions: Vec<Extension>,
    /// Where each event begins.
    offsets: Vec<usize>,
}

/// One TPM2_PCR_Extend.
#[derive(Clone, Debug)]
struct Extension {
    pcr: u8,
    digests: Vec<(HashAlgorithm, Vec<u8>)>,
}

impl LogBuilder {
    /// A crypto-agile log with digests for these banks, begun with its Spec ID event.
    pub fn crypto_agile(banks: &[HashAlgorithm]) -> Self {
        let mut builder = Self {
            crypto_agile: false,
            banks: banks.to_vec(),
            bytes: Vec::new(),
            startup_locality: 0,
            extensions: Vec::new(),
            offsets: Vec::new(),
        };
        // platformClass 0, specification 2.0 errata 105, UINTN of 8 bytes.
        let mut data = b"Spec ID Event03\0\0\0\0\0\x00\x02\x69\x02".to_vec();
        data.extend(len(banks.len()).to_le_bytes());
        for bank in banks {
            data.extend(bank.id().to_le_bytes());
            data.extend(len(bank.digest_len()).to_le_bytes().into_iter().take(2));
        }
        data.push(0);
        builder.raw_event(0, EventType::NO_ACTION, &[(HashAlgorithm::Sha1, vec![0; 20])], &data);
        builder.crypto_agile = true;
        builder
    }

    /// A log of the old format, which has SHA-1 digests only.
    pub fn sha1() -> Self {
        let mut builder = Self::crypto_agile(&[HashAlgorithm::Sha1]);
        builder.crypto_agile = false;
        builder.bytes.clear();
        builder.offsets.clear();
        builder
    }

    /// States the locality of TPM2_Startup, which is the first value of PCR 0.
    pub fn startup_locality(&mut self, locality: u8) -> &mut Self {
        self.startup_locality = locality;
        self.no_action(0, &[b"StartupLocality\0".as_slice(), &[locality]].concat())
    }

    /// EV_NO_ACTION with digests of zeros: it extends nothing.
    pub fn no_action(&mut self, pcr: u8, data: &[u8]) -> &mut Self {
        let zeros: Vec<_> = self.banks.iter().map(|bank| (*bank, vec![0; bank.digest_len()])).collect();
        self.raw_event(pcr, EventType::NO_ACTION, &zeros, data);
        self
    }

    /// An event whose digest is that of its data.
    pub fn event(&mut self, pcr: u8, event_type: EventType, data: &[u8]) -> &mut Self {
        self.measured(pcr, event_type, data, data)
    }

    /// An event whose digest is that of something else, such as the content of a file.
    pub fn measured(&mut self, pcr: u8, event_type: EventType, hashed: &[u8], data: &[u8]) -> &mut Self {
        let digests: Vec<_> = self.banks.iter().map(|bank| (*bank, bank.digest([hashed]))).collect();
        self.raw_event(pcr, event_type, &digests, data);
        self.extensions.push(Extension { pcr, digests });
        self
    }

    /// Writes an event that the TPM was not told of, with whatever digests.
    pub fn raw_event(
        &mut self,
        pcr: u8,
        event_type: EventType,
        digests: &[(HashAlgorithm, Vec<u8>)],
        data: &[u8],
    ) -> &mut Self {
        self.offsets.push(self.bytes.len());
        self.bytes.extend(u32::from(pcr).to_le_bytes());
        self.bytes.extend(event_type.0.to_le_bytes());
        if self.crypto_agile {
            self.bytes.extend(len(digests.len()).to_le_bytes());
        }
        for (bank, digest) in digests {
            if self.crypto_agile {
                self.bytes.extend(bank.id().to_le_bytes());
            }
            self.bytes.extend(digest);
        }
        self.bytes.extend(len(data.len()).to_le_bytes());
        self.bytes.extend(data);
        self
    }

    /// Tells the TPM of an extension that the log does not have.
    pub fn unlogged(&mut self, pcr: u8, hashed: &[u8]) -> &mut Self {
        let digests = self.banks.iter().map(|bank| (*bank, bank.digest([hashed]))).collect();
        self.extensions.push(Extension { pcr, digests });
        self
    }

    /// How many events there are, the Spec ID event included; the next one has this number.
    pub fn event_count(&self) -> usize {
        self.offsets.len()
    }

    /// Where an event begins, to tamper with it.
    pub fn offset_of(&self, event: usize) -> Option<usize> {
        self.offsets.get(event).copied()
    }

    /// The log.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a TPM has to be told, in order: the PCR, and the digest for each bank.
    pub fn extensions(&self) -> impl Iterator<Item = (u8, &[(HashAlgorithm, Vec<u8>)])> {
        self.extensions.iter().map(|Extension { pcr, digests }| (*pcr, digests.as_slice()))
    }

    /// What a TPM that was told all this shows, for every PCR that was extended.
    pub fn pcrs(&self) -> BTreeMap<(HashAlgorithm, u8), Vec<u8>> {
        let mut pcrs = BTreeMap::new();
        for Extension { pcr, digests } in &self.extensions {
            for (bank, digest) in digests {
                let value = pcrs.entry((*bank, *pcr)).or_insert_with(|| self.first_value(*bank, *pcr));
                *value = bank.digest([value.as_slice(), digest]);
            }
        }
        pcrs
    }

    /// Starts a TPM in the log's locality and extends it with everything that was measured, in the banks that it has. A bank that
    /// the log lacks stays as it is.
    pub fn boot(&self, tpm: &mut FakeTpm) {
        tpm.start_up(self.startup_locality);
        self.extend(tpm);
    }

    /// Extends a running TPM so, as a program can that has root.
    pub fn extend(&self, tpm: &mut FakeTpm) {
        for Extension { pcr, digests } in &self.extensions {
            for (bank, digest) in digests {
                tpm.extend(*bank, *pcr, digest);
            }
        }
    }

    fn first_value(&self, bank: HashAlgorithm, pcr: u8) -> Vec<u8> {
        let mut value = vec![0; bank.digest_len()];
        if let (0, Some(last)) = (pcr, value.last_mut()) {
            *last = self.startup_locality;
        }
        value
    }
}

fn len(len: usize) -> u32 {
    u32::try_from(len).expect("a length of 32 bits")
}
