//! The Spec ID event, which opens a crypto-agile log and says which digests its events have (TCG_EfiSpecIDEvent, section 10.4.5.1).

use super::cursor::Cursor;
use super::{Banks, LogError, LogFault, MAX_ALGORITHMS};
use crate::HashAlgorithm;

/// How the data of the event begins.
pub(super) const SIGNATURE: &[u8] = b"Spec ID Event03\0";

/// The algorithms that a log declares, with the size of their digests.
#[derive(Clone, Debug)]
pub(super) struct Algorithms {
    list: [(u16, u16); MAX_ALGORITHMS],
    len: usize,
}

impl Algorithms {
    /// Reads the event's data, to its last byte. Checks: 1 to 8 algorithms, none twice; those that are known have their own size.
    pub(super) fn parse(mut cursor: Cursor<'_>) -> Result<Self, LogError> {
        cursor.take("signature", SIGNATURE.len())?;
        cursor.u32("platformClass")?;
        for field in ["specVersionMinor", "specVersionMajor", "specErrata", "uintnSize"] {
            cursor.u8(field)?;
        }
        let at = cursor.offset();
        let got = cursor.u32("numberOfAlgorithms")?;
        let count = usize::try_from(got).unwrap_or(usize::MAX);
        if count == 0 || count > MAX_ALGORITHMS {
            return Err(cursor.fault(at, LogFault::AlgorithmCount { got, limit: MAX_ALGORITHMS }));
        }
        let mut algorithms = Self { list: [(0, 0); MAX_ALGORITHMS], len: 0 };
        for _ in 0..count {
            let at = cursor.offset();
            let algorithm = cursor.u16("algorithmId")?;
            let size = cursor.u16("digestSize")?;
            let wanted = HashAlgorithm::from_id(algorithm).map(HashAlgorithm::digest_len);
            if let Some(wanted) = wanted.filter(|wanted| usize::from(size) != *wanted) {
                return Err(cursor.fault(at, LogFault::DigestSize { algorithm, got: size, wanted }));
            }
            if algorithms.size_of(algorithm).is_some() {
                return Err(cursor.fault(at, LogFault::Duplicate { algorithm }));
            }
            algorithms.push(algorithm, size);
        }
        let vendor_info_size = cursor.u8("vendorInfoSize")?;
        cursor.take("vendorInfo", vendor_info_size.into())?;
        match cursor.left() {
            0 => Ok(algorithms),
            left => Err(cursor.fault(cursor.offset(), LogFault::SpecIdTrailing { left })),
        }
    }

    fn push(&mut self, algorithm: u16, size: u16) {
        if let Some(place) = self.list.get_mut(self.len) {
            *place = (algorithm, size);
            self.len += 1;
        }
    }

    fn as_slice(&self) -> &[(u16, u16)] {
        self.list.get(..self.len).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The length of this algorithm's digests, where it is declared.
    pub(super) fn size_of(&self, algorithm: u16) -> Option<usize> {
        self.as_slice().iter().find(|(id, _)| *id == algorithm).map(|(_, size)| usize::from(*size))
    }

    /// The banks among them that are known here.
    pub(super) fn banks(&self) -> Banks {
        let mut banks = Banks::none();
        for bank in self.as_slice().iter().filter_map(|(id, _)| HashAlgorithm::from_id(*id)) {
            banks.push(bank);
        }
        banks
    }
}
