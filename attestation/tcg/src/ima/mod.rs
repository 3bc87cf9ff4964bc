//! The measurement list of Linux's Integrity Measurement Architecture in binary form, `binary_runtime_measurements`
//! (Linux, `Documentation/security/IMA-templates.rst`), little-endian.
//!
//! Names, digests and signatures are the node's words until the list is compared with a quote. Not here: that comparison.

mod error;
mod template;

pub use error::{ImaListError, ImaListFault};
pub use template::ImaFile;

use crate::{HashAlgorithm, ReadError, Reader};
use template::Template;

/// Longest list: what one message of the exchange carries.
pub const MAX_IMA_LIST_LEN: usize = 4 << 20;

/// Most entries: the shortest that Linux writes has 64 bytes.
pub const MAX_IMA_ENTRIES: usize = 1 << 16;

/// Longest name of a template: those with a format of their own are named by it.
const MAX_TEMPLATE_NAME: usize = 255;

/// Longest data of an entry: those of critical data hold whole policies.
const MAX_TEMPLATE_DATA: usize = 1 << 20;

/// Highest PCR of a PC Client TPM.
const MAX_PCR: u32 = 23;

/// The name of the entry that sums up what was booted: the first, and one more after each kexec.
pub const BOOT_AGGREGATE: &[u8] = b"boot_aggregate";

/// A list whose form is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImaList<'a> {
    entries: Vec<ImaEntry<'a>>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImaEntry<'a> {
    /// From 0, in the order of the list.
    pub number: u32,
    /// Where it begins.
    pub offset: usize,
    /// The PCR that it was extended into.
    pub pcr: u8,
    /// SHA-1 of the template data, as the list states it; zeros for a violation.
    pub template_digest: [u8; 20],
    /// Name of the template.
    pub template: &'a str,
    /// What the template data say, where the template is one of Linux's own.
    pub file: Option<ImaFile<'a>>,
    data: TemplateData<'a>,
}

/// What the template digest is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TemplateData<'a> {
    /// All but the oldest template: the data as they stand in the list.
    AsListed(&'a [u8]),
    /// The oldest, `ima`: a SHA-1 digest, and a name that is filled up with zeros.
    Padded { digest: &'a [u8], name: &'a [u8] },
}

/// To how many bytes the oldest template fills a name up.
const PADDED_NAME_LEN: usize = 256;

impl<'a> ImaList<'a> {
    /// Reads a list. No bytes are [`ImaListFault::Empty`]: there is no list, which is not the same as a bad one.
    ///
    /// A template that is not known is kept with its data, which have a length of their own, and has no `file`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImaListError> {
        if bytes.is_empty() {
            return Err(ImaListError { offset: 0, entry: None, reason: ImaListFault::Empty });
        }
        let mut reader = Reader::new("IMA measurement list", bytes);
        if bytes.len() > MAX_IMA_LIST_LEN {
            return Err(error::at(None, reader.too_many("bytes", bytes.len(), MAX_IMA_LIST_LEN)));
        }
        let mut entries = Vec::new();
        let mut number = 0;
        while reader.left() > 0 {
            if entries.len() == MAX_IMA_ENTRIES {
                let error = reader.too_many("entries", entries.len() + 1, MAX_IMA_ENTRIES);
                return Err(error::at(Some(number), error));
            }
            entries.push(read_entry(&mut reader, number).map_err(|error| error::at(Some(number), error))?);
            number += 1;
        }
        Ok(Self { entries })
    }

    /// Entries, in the order in which they were extended.
    pub fn entries(&self) -> &[ImaEntry<'a>] {
        &self.entries
    }
}

impl ImaEntry<'_> {
    /// Whether the kernel could not tell what was read: a file was open for writing while it was measured.
    pub fn is_violation(&self) -> bool {
        self.template_digest == [0; 20]
    }

    /// The digest of the template data, as the kernel computes it for a bank.
    pub fn template_hash(&self, bank: HashAlgorithm) -> Vec<u8> {
        match self.data {
            TemplateData::AsListed(data) => bank.digest([data]),
            TemplateData::Padded { digest, name } => {
                let zeros = [0; PADDED_NAME_LEN];
                let padding = zeros.get(name.len()..).unwrap_or_default();
                bank.digest([digest, name, padding])
            }
        }
    }
}

/// PCR, template digest, length and name of the template, and its data with their length, which the oldest template does not have.
fn read_entry<'a>(reader: &mut Reader<'a>, number: u32) -> Result<ImaEntry<'a>, ReadError> {
    let offset = reader.offset();
    let before = reader.clone();
    let pcr = reader.u32_le()?;
    let pcr = u8::try_from(pcr).ok().filter(|_| pcr <= MAX_PCR).ok_or_else(|| before.value("PCR", pcr.into()))?;
    let template_digest = reader.array()?;
    let name_len = reader.length_u32_le("bytes of the template's name", MAX_TEMPLATE_NAME)?;
    let name_at = reader.clone();
    let template = std::str::from_utf8(reader.take(name_len)?)
        .map_err(|error| name_at.value("byte of the template's name that is no text", position(error.valid_up_to())))?;
    let (data, file) = match Template::of(template) {
        Template::Ima => {
            let file = template::read_ima(reader, PADDED_NAME_LEN - 1)?;
            (TemplateData::Padded { digest: file.digest, name: file.name }, Some(file))
        }
        other => {
            let len = reader.length_u32_le("bytes of template data", MAX_TEMPLATE_DATA)?;
            let mut fields = reader.clone();
            let data = reader.take(len)?;
            let file = match other {
                Template::Fields(names) => Some(template::read_fields(&mut fields, names, reader.offset())?),
                Template::Ima | Template::Unknown => None,
            };
            (TemplateData::AsListed(data), file)
        }
    };
    Ok(ImaEntry { number, offset, pcr, template_digest, template, file, data })
}

fn position(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
