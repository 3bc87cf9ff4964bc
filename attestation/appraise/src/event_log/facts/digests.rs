//! The digests of an event whose data is only a label: what there is to compare with a reference.

use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::RawEvent;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// A digest for each bank of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests(Vec<(HashAlgorithm, Vec<u8>)>);

impl Digests {
    pub(super) fn of(event: &RawEvent<'_>, banks: &[HashAlgorithm]) -> Self {
        Self(banks.iter().filter_map(|bank| Some((*bank, event.digest(*bank)?.to_vec()))).collect())
    }

    /// The digest in this bank.
    pub fn get(&self, bank: HashAlgorithm) -> Option<&[u8]> {
        self.0.iter().find(|(own, _)| *own == bank).map(|(_, digest)| digest.as_slice())
    }
}

impl Serialize for Digests {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (bank, digest) in &self.0 {
            map.serialize_entry(bank.name(), &hex::encode(digest))?;
        }
        map.end()
    }
}

/// Something that was measured, with what the log calls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// What the log calls it. No digest covers this.
    pub label: String,
    /// Its digests.
    pub digests: Digests,
}
