//! Manufacturer, model and version of a TPM, from the subject alternative name of its EK certificate (TCG EK Credential Profile
//! 2.5, section 3.2.9): one directoryName whose attributes are 2.23.133.2.1, 2.2 and 2.3.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use der::{Decode, Header, Reader as _, SliceReader, Tag, TagNumber};

use crate::AppraiseError;
use crate::certificate::Certificate;

const TPM_MANUFACTURER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.1");
const TPM_MODEL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.2");
const TPM_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.3");

/// Longest attribute: real ones have up to 20 bytes.
const MAX_ATTRIBUTE_LEN: usize = 64;

/// What the manufacturer certified about a TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmIdentity {
    /// The four bytes of the TCG vendor ID.
    pub manufacturer_id: u32,
    /// Model, as written.
    pub model: String,
    /// Version, as written (`id:00490004`).
    pub version: String,
}

impl TpmIdentity {
    /// Reads it from a certificate.
    pub(crate) fn of(certificate: &Certificate<'_>) -> Result<Self, AppraiseError> {
        let missing = |missing| AppraiseError::EkTpmIdentity { missing };
        let names = certificate.extension(ID_CE_SUBJECT_ALT_NAME).ok_or_else(|| missing("subject alternative name"))?;
        let attributes = directory_attributes(names).map_err(|error| AppraiseError::CertificateMalformed {
            which: certificate.which(),
            reason: format!("subject alternative name: {error}"),
        })?;
        let find = |oid, name| match attributes.iter().filter(|(found, _)| *found == oid).collect::<Vec<_>>().as_slice()
        {
            [(_, value)] if !value.is_empty() => Ok(value.clone()),
            _ => Err(missing(name)),
        };
        let manufacturer = find(TPM_MANUFACTURER, "manufacturer")?;
        Ok(Self {
            manufacturer_id: parse_vendor_id(&manufacturer)
                .ok_or_else(|| missing("manufacturer as id:<8 hex digits>"))?,
            model: find(TPM_MODEL, "model")?,
            version: find(TPM_VERSION, "version")?,
        })
    }

    /// The vendor ID as its letters (`STM`, `IFX`), or as eight hexadecimal digits where it is not made of letters.
    pub fn manufacturer(&self) -> String {
        let bytes = self.manufacturer_id.to_be_bytes();
        let letters = bytes.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |last| last + 1);
        match bytes.get(..letters).and_then(|letters| std::str::from_utf8(letters).ok()) {
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => text.to_owned(),
            _ => format!("{:08x}", self.manufacturer_id),
        }
    }
}

fn parse_vendor_id(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("id:")?;
    if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

/// The attributes of every directoryName: GeneralNames ⊃ [4] Name ⊃ RDNs ⊃ attributes. Read by hand, because manufacturers do not
/// sort the SET OF of a relative distinguished name.
fn directory_attributes(names: &[u8]) -> der::Result<Vec<(ObjectIdentifier, String)>> {
    let directory_name = Tag::ContextSpecific { constructed: true, number: TagNumber(4) };
    let mut attributes = Vec::new();
    let mut reader = SliceReader::new(names)?;
    reader.sequence(|reader| {
        while !reader.is_finished() {
            let name = Header::decode(reader)?;
            if name.tag() != directory_name {
                reader.drain(name.length())?;
                continue;
            }
            reader.read_nested(name.length(), |reader| {
                reader.sequence(|reader| {
                    while !reader.is_finished() {
                        let rdn = Header::decode(reader)?;
                        rdn.tag().assert_eq(Tag::Set)?;
                        reader.read_nested(rdn.length(), |reader| {
                            while !reader.is_finished() {
                                attributes.push(reader.sequence(read_attribute)?);
                            }
                            Ok::<_, der::Error>(())
                        })?;
                    }
                    Ok::<_, der::Error>(())
                })
            })?;
        }
        Ok::<_, der::Error>(())
    })?;
    reader.finish()?;
    Ok(attributes)
}

fn read_attribute<'a>(reader: &mut SliceReader<'a>) -> der::Result<(ObjectIdentifier, String)> {
    let oid = ObjectIdentifier::decode(reader)?;
    let value = Header::decode(reader)?;
    let bytes = reader.read_slice(value.length())?;
    let text = match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String if bytes.len() <= MAX_ATTRIBUTE_LEN => {
            std::str::from_utf8(bytes).unwrap_or_default()
        }
        _ => "",
    };
    Ok((oid, text.to_owned()))
}
